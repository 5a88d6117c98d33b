"""Commands and what is held of them: ids, envelopes, records, and the tail of a stored row."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given

from stream.enforcement import held_tail, restore_held
from stream.enforcement.plan import _worth
from stream.events import (
    COMMANDS_MAX,
    Request,
    SubjectRecord,
    command_id,
    decode_value,
    subject_key,
)
from stream.policy import stable_id
from tests.models.driver import KEY, Driver
from tests.models.logs import T0_MS, Log, log_of, logs, policy_of

AGENT = "spiffe://td/agents/a"
# What stands behind a stored row is read again by later versions: this one was written by 0.1.
TAIL = b"""[{"id":"0f","body":{"subject":{"workload":"spiffe://td/w","task":"t"},"action":"revoke",
"mode":"enforce","rule":"leak","reason":{"text":"x came","detector":"forbid"},"clock_ms":5,
"until_ms":9,"policy":"ab"},"version":{"era":1,"offset":7,"ordinal":2},"partition":3,
"caused_at_ms":5,"expires_at_ms":9,"offsets":[7]},{"id":"10","body":{"subject":{"workload":
"spiffe://td/w","token":{"issuer":"i","id":"j"}},"action":"throttle","mode":"shadow","rule":"flood",
"reason":{"text":"3 requests","detector":"limit","weights":[{"operation":"tool:x"}]},"clock_ms":5,
"until_ms":9,"policy":"ab","rate":{"permits":1,"per_ms":2},"repeat":4},"version":{"era":1,
"offset":7},"partition":3,"caused_at_ms":5,"expires_at_ms":9}]"""


@given(logs(partitions=2))
def test_a_command_is_its_body_in_an_envelope(log: Log) -> None:
    """Id, key, expiry and version follow from body and cause alone, and no id comes twice."""
    driver = Driver(log).run(log.lines)
    appended = {(line.partition, line.offset): line.append_ms for line in log.lines}
    for each in driver.outgoing:
        command, record = each.command, decode_value(each.value)
        body, cause = command.body, (each.partition, each.offset)
        assert command.id == command_id(body, command.version)
        assert command.offsets == (command.version.offset,) == (each.offset,)
        assert command.caused_at_ms == appended[cause]
        assert command.expires_at_ms == appended[cause] + body.until_ms - body.clock_ms
        assert each.row == KEY.hash(body.subject.workload)
        assert each.key == subject_key("home", body.subject)
        assert isinstance(record, SubjectRecord)
        assert command in record.commands
        assert record.version == command.version
        assert all(other.body.subject == body.subject for other in record.commands)
        assert record.expires_at_ms == max(other.expires_at_ms for other in record.commands)
        assert each.expires_at_ms == record.expires_at_ms
    ids = [each.command.id for each in driver.outgoing]
    assert len(set(ids)) == len(ids)


@given(logs())
def test_what_is_held_comes_back(log: Log) -> None:
    """Commands written behind a row are found again under the same rule, kind and subject."""
    driver = Driver(log).run(log.lines)
    for held in driver.state.held.values():
        assert 0 < len(held) <= COMMANDS_MAX
        again = restore_held(KEY, held_tail(held))
        assert list(again.items()) == list(held.items())
    assert held_tail({}) == b""
    assert restore_held(KEY, b"") == {}


def test_an_old_tail_is_read() -> None:
    """Fields that came later have their defaults; the keys are those of rows."""
    held = restore_held(KEY, TAIL)
    assert list(held) == [
        (stable_id("rule", "leak"), 1, KEY.hash("t")),
        (stable_id("rule", "flood"), 2, KEY.hash("1:i:j")),
    ]
    assert [each.body.repeat for each in held.values()] == [0, 4]


@pytest.mark.parametrize("tail", [b"{}", b"[", b"[{}]", b"\xff", b"[" * 100_000])
def test_a_tail_that_is_not_ours_is_an_error(tail: bytes) -> None:
    """Of a kind that the engine turns into a corrupt row."""
    with pytest.raises((ValueError, RecursionError)):
        restore_held(KEY, tail)


def test_what_binds_is_the_last_to_be_forgotten() -> None:
    """Releases go first, then shadows, then the weaker, then the older."""
    (leak, flood) = restore_held(KEY, TAIL).values()

    def changed(command, **fields):
        return msgspec.structs.replace(
            command, body=msgspec.structs.replace(command.body, **fields)
        )

    order = [
        changed(leak, action="release"),
        flood,
        changed(leak, mode="shadow"),
        changed(flood, mode="enforce"),
        leak,
        msgspec.structs.replace(leak, version=msgspec.structs.replace(leak.version, offset=8)),
    ]
    worths = list(map(_worth, order))
    assert worths == sorted(set(worths))


def test_many_releases_push_no_revoke_out_of_its_record() -> None:
    """However often throttles come and go, the record of a revoked task carries the revoke."""
    forbid = {"first": ["tool:read"], "then": ["tool:send"], "within": "1m"}
    burst = {"measure": "requests", "at_most": 2, "per": "1s"}
    policy = policy_of(
        {"forbid": forbid, "action": "revoke", "on": "task", "for": "2h", "mode": "enforce"},
        {"limit": burst, "action": "throttle", "rate": "1/s", "on": "task", "for": "2h"},
    )
    requests = [Request(T0_MS, AGENT, each, task="bad") for each in ("tool:read", "tool:send")]
    for burst_ms in range(2_000, 50_000, 2_000):
        requests += [
            Request(T0_MS + burst_ms + each, AGENT, "tool:x", task=f"t{burst_ms}-{each}")
            for each in range(6)
        ]
    requests += [Request(T0_MS + 60_000 + each, AGENT, "tool:x", task="bad") for each in range(4)]
    log = log_of(policy, *requests)
    last = Driver(log).run(log.lines).outgoing[-1]
    record = decode_value(last.value)
    assert record.subject.task == "bad"
    assert {each.body.action for each in record.commands} == {"revoke", "throttle"}
