"""No shelter and no frame: what whoever may report can and cannot do to a workload by it.

The attacker here controls one gateway: any field of any event, as often as they like.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.engine import make_room, step
from stream.events import TIME_MS_MAX, Request, Token, encode_request
from stream.identity import canonical_workload, home_partition
from stream.profiles import Arrival, Decoder
from tests.models.driver import KEY, Driver
from tests.models.logs import (
    DAY,
    T0_MS,
    WORKLOADS,
    Change,
    Line,
    Log,
    change_of,
    log_of,
    logs,
    policy_of,
)

VICTIM = "spiffe://td/agents/a"
one_or_more = st.one_of(logs(), logs(partitions=3))
# Seeded, not drawn: what an attacker writes has no shape worth shrinking.
chances = st.integers(0, 1 << 32).map(random.Random)
# Some of the profile's examples suffice: each holds dozens of forged events.
fewer = settings(max_examples=max(10, settings.default.max_examples // 4))
cuts = st.sets(st.integers(1, 240))


def with_room(log: Log) -> Log:
    """The same log with a hole behind every record."""

    def widened(change: Change) -> Change:
        old = change.conditions
        lifts = tuple(msgspec.structs.replace(each, offset=2 * each.offset) for each in old.lifts)
        new = msgspec.structs.replace(old, from_offset=2 * old.from_offset, lifts=lifts)
        return change._replace(conditions=new)

    return log._replace(
        lines=tuple(each._replace(offset=2 * each.offset) for each in log.lines),
        changes=tuple(map(widened, log.changes)),
    )


def forged(chance: random.Random, append_ms: int, **fields: Any) -> dict[str, Any]:
    """An event with whatever an attacker may write into it."""
    times = [0, append_ms, append_ms - DAY, append_ms + 4_000, append_ms + 400 * DAY, TIME_MS_MAX]
    return {
        "at_ms": max(0, chance.choice(times)),
        "workload": chance.choice([*WORKLOADS, f"spiffe://td/agents/new-{chance.randrange(99)}"]),
        "operation": chance.choice(["tool:read_mail", "POST /a/b", f"tool:{chance.random()}"]),
        "outcome": chance.choice(["served", "failed", "denied", "refused"]),
        "kind": chance.choice(["request", "request", "grant", "completion"]),
        "count": chance.choice([1, 10**6]),
        "bytes": chance.choice([0, 1 << 44]),
        "cost": chance.choice([0, 10**15]),
        "task": chance.choice(["", "t1", f"t{chance.random()}"]),
        "token": chance.choice([None, {"issuer": "i", "id": "1"}, {"id": f"{chance.random()}"}]),
        **fields,
    }


@fewer
@given(one_or_more, chances, cuts)
def test_a_failed_authentication_does_nothing_to_whom_it_names(
    log: Log, chance: random.Random, cut: set[int]
) -> None:
    """Rows, commands, findings, names and the order of eviction are as if it had never been sent.

    Whatever it claims: any workload, known or new, any time, count, task, token and kind.
    """
    log = with_room(log)
    noisy: list[Line] = []
    for line in log.lines:
        noisy.append(line)
        if chance.random() < 0.5:
            event = forged(chance, line.append_ms, authenticated=False)
            name = canonical_workload(event["workload"])
            if home_partition(name.encode(), log.partitions) == line.partition:
                value = msgspec.json.encode(event)
                noisy.append(line._replace(offset=line.offset + 1, value=value))
    quiet, other = Driver(log).run(log.lines), Driver(log).run(noisy, cut)
    assert other.rows() == quiet.rows()
    for partition in range(log.partitions):
        assert other.of(partition) == quiet.of(partition)
    sent = len(noisy) - len(log.lines)
    assert other.tallies["unauthenticated"] == quiet.tallies["unauthenticated"] + sent
    assert other.tallies["events"] == quiet.tallies["events"] + sent
    ours = {key: n for key, n in quiet.tallies.items() if key not in ("unauthenticated", "events")}
    assert {key: other.tallies[key] for key in ours} == ours


def test_a_flood_of_failed_authentications_keeps_no_row_in_memory() -> None:
    """Nor does it push one out: who was used last decides, and nobody used what it names."""
    policy = policy_of(
        {"limit": {"measure": "requests", "at_most": 1, "per": "1s"}, "action": "observe"}
    )
    names = [f"spiffe://td/agents/{each}" for each in range(4)]
    log = log_of(policy, *[Request(T0_MS + place, name, "x") for place, name in enumerate(names)])
    driver = Driver(log, slots_max=4)
    for line in log.lines:
        driver.run([line])
    driver.save()
    flood = [
        encode_request(Request(T0_MS, name, f"tool:{each}", authenticated=False))
        for each in range(50)
        for name in (names[0], f"spiffe://td/agents/new-{each}")
    ]
    arrival = Arrival("t", 0, list(range(10, 110)), [T0_MS] * 100, flood)
    batch, _ = Decoder(KEY, 1).decode([arrival])
    result = step(driver.state, batch)
    assert (result.outgoing, result.names, result.refused) == ([], [], [])
    assert len(driver.state.bound[policy.hash].operations) == 1
    make_room(driver.state, batch, 1)
    assert driver.state.table.find(KEY.hash(names[0])) < 0, "the longest unused goes, as before"
    assert all(driver.state.table.find(KEY.hash(name)) >= 0 for name in names[1:])


@given(one_or_more)
def test_a_refusal_hides_nothing_where_nothing_is_enforced(log: Log) -> None:
    """Where no rule is enforced, `refused` and `served` are one and the same, to the byte."""
    policies = {
        each.policy.hash: policy_of(
            *(
                {**msgspec.to_builtins(rule), "mode": "shadow"}
                for rule in each.policy.spec.rules
                if rule.mode != "off"
            ),
            classes=msgspec.to_builtins(each.policy.spec.classes),
            tasks=each.policy.spec.tasks,
        )
        for each in log.changes
    }
    changes = tuple(
        change_of(
            policies[each.policy.hash], each.partition, each.conditions.from_offset,
            lifts=each.conditions.lifts,
        )
        for each in log.changes
    )  # fmt: skip
    log = log._replace(changes=changes)
    served = [
        line._replace(value=line.value.replace(b'"refused"', b'"served"')) for line in log.lines
    ]
    claimed, honest = Driver(log).run(log.lines), Driver(log).run(served)
    assert claimed.rows() == honest.rows()
    assert claimed.tallies["refused_disbelieved"] == claimed.tallies["refused"]
    for partition in range(log.partitions):
        assert claimed.of(partition)[:2] == honest.of(partition)[:2]


@fewer
@given(logs(), chances)
def test_believed_refusals_only_keep_alive_what_is_in_force(
    log: Log, chance: random.Random
) -> None:
    """However many refusals are claimed, nothing begins, nothing gets harder, no sequence matches.

    At most a limit that is in force is renewed, as long as they keep coming.
    """
    driver = Driver(log).run(log.lines)
    offset, append_ms = len(log.lines), max(line.append_ms for line in log.lines)
    table = driver.state.table
    for _ in range(20):
        append_ms += chance.choice([1, 300, 900])
        event = forged(
            chance, append_ms, workload=VICTIM, outcome="refused", kind="request",
            operation=chance.choice(["tool:read_mail", "tool:send_mail", "POST /a/b"]),
        )  # fmt: skip
        slot = table.find(KEY.hash(VICTIM))
        ledger = table.sections.ledger[slot].copy() if slot >= 0 else np.zeros(0)
        marks = table.sections.marks[slot].copy() if slot >= 0 else np.zeros(0)
        before = len(driver.outgoing), driver.tallies["refused_disbelieved"]
        driver.run([Line(0, offset, append_ms, msgspec.json.encode(event))])
        offset += 1
        if driver.tallies["refused_disbelieved"] > before[1]:
            continue
        live = {
            (int(each["rule"]), int(each["kind"]), int(each["subject"])): each
            for each in ledger
            if each["rule"] and each["until_ms"] > 0
        }
        for each in table.sections.ledger[slot]:
            if each["rule"]:
                known = live[int(each["rule"]), int(each["kind"]), int(each["subject"])]
                assert each["action"] == known["action"]
                assert each["mode"] <= known["mode"] or known["mode"] < 2
        actions = [each.command.body for each in driver.outgoing[before[0] :]]
        assert all(each.action == "release" or each.repeat for each in actions)
        # What a policy took away is released at the next event, whatever it was.
        renewed = [each for each in actions if each.action != "release"]
        assert all(each.reason.detector == "limit" for each in renewed)
        if len(marks) and table.sections.marks[slot].shape == marks.shape:
            assert set(table.sections.marks[slot]["at_ms"].ravel().tolist()) <= {
                0, *marks["at_ms"].ravel().tolist()
            }  # fmt: skip


LIMIT = {"measure": "requests", "at_most": 2, "per": "10s"}
THROTTLE = {"limit": LIMIT, "action": "throttle", "rate": "1/s", "for": "10s", "mode": "enforce"}


def test_a_throttle_ends_soon_after_claims_of_refusals_do() -> None:
    """A flood of them keeps it alive while it lasts; 10 s and its own time later all is over."""
    flood = [Request(T0_MS + each * 500, VICTIM, "x", outcome="refused", count=10**6)
             for each in range(1, 100)]  # fmt: skip
    after_ms = T0_MS + 50_000 + 11_000
    calls = [Request(after_ms + 9_000 * each, VICTIM, "x") for each in range(5)]
    log = log_of(policy_of(THROTTLE), Request(T0_MS, VICTIM, "x", count=3), *flood, *calls)
    driver = Driver(log).run(log.lines)
    last = driver.outgoing[-1].command.body
    assert last.clock_ms <= after_ms
    assert last.action == "release" or last.until_ms <= T0_MS + 50_000 + 10_000
    assert not any(each.offset > 100 for each in driver.outgoing)


@pytest.mark.parametrize("at_ms", [0, T0_MS - 400 * DAY, T0_MS + 400 * DAY, TIME_MS_MAX])
@pytest.mark.parametrize("kind", ["request", "grant", "completion"])
def test_no_time_that_is_claimed_ends_or_restarts_anything(at_ms: int, kind: Any) -> None:
    """The row's clock ends at the broker's time plus the skew, and never goes back.

    So what is in force lasts, and no row is made new by a gateway that lies about the time.
    """
    policy = policy_of(THROTTLE | {"for": "1m"}, skew="5s")
    victim = [Request(T0_MS + each, VICTIM, "x") for each in range(4)]
    log = log_of(policy, *victim)
    forged_line = Line(0, 4, T0_MS + 10, encode_request(Request(at_ms, VICTIM, "y", kind=kind)))
    driver = Driver(log).run([*log.lines, forged_line])
    head = driver.state.table.sections.head[0]
    assert T0_MS + 3 <= head["clock_ms"] <= T0_MS + 10 + 5_000
    assert head["first_ms"] == T0_MS
    assert head["in_force"] == 1
    assert driver.tallies["restarted"] == 0
    ends = driver.state.table.sections.ledger[0]["until_ms"].max()
    assert ends > T0_MS + 10 + 5_000


def test_a_count_that_is_too_large_to_be_true_counts_what_may_be_said_at_most() -> None:
    """A million a record; a thousand such records saturate nothing, and leave with their window."""
    policy = policy_of(THROTTLE, {"limit": LIMIT | {"measure": "bytes", "at_most": 1}, "for": "1m",
                                  "action": "observe"})  # fmt: skip
    huge = [
        Request(T0_MS + each, VICTIM, "x", count=10**6, bytes=1 << 44, cost=10**15)
        for each in range(1_000)
    ]
    later = Request(T0_MS + 60_000, VICTIM, "x", token=Token(id="t"))
    log = log_of(policy, *huge, later)
    driver = Driver(log).run(log.lines)
    assert driver.tallies["requests"] == 1_000 * 10**6 + 1
    assert driver.findings[0].observed == 10**6
    assert driver.state.table.sections.counts[0]["total"].max() == 1


def test_who_hides_others_behind_a_clock_ahead_is_seen() -> None:
    """Within the skew a clock ahead takes other gateways' reports out of shorter windows.

    That is the price of one clock a row; each such event is counted as late, and the longer windows
    hold it all the same.
    """
    short = THROTTLE | {"limit": LIMIT | {"per": "1s"}}
    long = THROTTLE | {"limit": LIMIT | {"per": "1m"}}
    ahead = Request(T0_MS + 5_000, VICTIM, "x", kind="completion")
    calls = [Request(T0_MS + each, VICTIM, "x") for each in range(1, 5)]
    for rule, issued in ((short, 0), (long, 1)):
        log = log_of(policy_of(rule), ahead, *calls)
        lines = [log.lines[0]._replace(append_ms=T0_MS), *log.lines[1:]]
        driver = Driver(log).run(lines)
        assert driver.tallies["issued"] == issued
        assert driver.tallies["late"] == (0 if issued else 4)
