"""What a table and a check leave behind: nothing to collect, nothing that grows, one cause."""

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bus import MemoryLog, MemoryPublisher, MemoryReader, Record
from stream.events import Rate, Subject, TokenRef, decode_request
from stream.gateway import ALLOW, CommandTable, Gateway, GatewaySpec, TableSpec
from stream.gateway.asgi import CALLERS_REMEMBERED, _canonical
from stream.gateway.binding import MINUTE_MS, MINUTES_MAX, _minute_of
from stream.gateway.bucket import PACES_MAX, _pace_of, bucket_of
from stream.gateway.fitting import encode_fitting
from tests.buses import WallClock
from tests.models.owner import (
    AGENT,
    NOW_MS,
    Topic,
    act,
    command,
    operator_record,
    revoked,
    subject_record,
    throttled,
)
from tests.unit.gateway.shelf import Shelf

TRACKED_MAX = 50
MINUTE_END_MS = (NOW_MS // MINUTE_MS + 2) * MINUTE_MS


@pytest.mark.parametrize("after_ms", [-1, 0, 1, MINUTE_MS - 1])
@pytest.mark.parametrize("put", [revoked, throttled])
def test_expiry_is_exact_around_the_minute(shelf: Shelf, put: Any, after_ms: int) -> None:
    """Whatever place in its minute a command ends at, it binds until that millisecond."""
    ends_ms = MINUTE_END_MS + after_ms
    shelf.put(put(expires_at_ms=ends_ms, rate=Rate(0, 1_000)))
    for now_ms in (NOW_MS, MINUTE_END_MS - 2, ends_ms - 1):
        verdict = shelf.table.check(now_ms, AGENT, "GET /x")
        assert (verdict.is_allowed, verdict.retry_after_ms) == (False, ends_ms - now_ms)
    assert shelf.table.check(ends_ms, AGENT, "GET /x") is ALLOW
    # And again, when the clock steps back.
    assert shelf.decision(now_ms=ends_ms - 1) != "allow"


def test_a_stop_binds_again_when_the_clock_steps_back(shelf: Shelf) -> None:
    """What holds at a time does not depend on what time it was asked for before."""
    shelf.put(revoked())
    shelf.put(operator_record("", act("stop", NOW_MS + 20)))
    times = [NOW_MS + at for at in (19, 20, 5, 25, 19, 20)]
    assert [shelf.decision(now_ms=now_ms) for now_ms in times] == [
        "allow",
        "deny",
        "allow",
        "deny",
        "allow",
        "deny",
    ]


def test_a_verdict_tells_its_cause_when_the_record_is_gone(shelf: Shelf) -> None:
    """What a verdict rests on is read late, and is what it was."""
    pair = revoked(rule="export-burst", text="512 requests in 10 s", expires_at_ms=NOW_MS + 9)
    shelf.put(pair)
    ended = shelf.table.check(NOW_MS, AGENT, "GET /x")
    again = shelf.table.check(NOW_MS, AGENT, "GET /x")
    shelf.put((pair[0], None))
    shelf.put(revoked(rule="another", text="else", offset=5))
    assert shelf.table.check(NOW_MS, AGENT, "GET /x").rule == "another"
    assert (ended.rule, ended.reason) == ("export-burst", "512 requests in 10 s")
    assert (ended.action, ended.retry_after_ms, len(ended.command)) == ("revoke", 9, 32)
    assert ended == again
    assert hash(ended) == hash(again)
    assert ended != shelf.table.check(NOW_MS, AGENT, "GET /x")


def test_each_command_of_a_record_tells_its_own_cause(shelf: Shelf) -> None:
    """Sorted by strength or not, a verdict names the command that it rests on."""
    subject = Subject(workload=AGENT)
    weak = command(subject, "throttle", rule="weak", rate=Rate(0, 1_000))
    strong = command(subject, "revoke", rule="strong", expires_at_ms=NOW_MS + 5)
    shelf.put(subject_record(subject, weak, strong))
    first, then = (shelf.table.check(NOW_MS + at, AGENT, "GET /x") for at in (0, 5))
    assert (first.rule, first.command) == ("strong", strong.id)
    assert (then.rule, then.command) == ("weak", weak.id)


def test_a_table_leaves_nothing_to_collect() -> None:
    """However many records are held, a collection of garbage has no object more to look at."""
    topic, table = Topic(), CommandTable(TableSpec(), 1)
    puts = (revoked, throttled)
    records = [topic.record(puts[at % 2](f"{AGENT}/{at}")) for at in range(2_000)]
    gc.collect()
    before = len(gc.get_objects())
    outcomes = {table.apply(record) for record in records}
    gc.collect()
    assert outcomes == {"applied"}
    assert len(gc.get_objects()) - before < TRACKED_MAX


def test_strangers_leave_nothing_behind(shelf: Shelf) -> None:
    """A hundred thousand workloads that nobody has seen: a check keeps nothing of them."""
    shelf.put(revoked())
    for place in range(100_000):
        assert shelf.table.check(NOW_MS, f"{AGENT}/{place}", "GET /x") is ALLOW
    assert len(shelf.table._bound) == 1


def test_what_is_remembered_is_bounded() -> None:
    """Identities, rates and minutes that never come again push each other out."""
    for place in range(2 * CALLERS_REMEMBERED):
        _canonical(f"{AGENT}/{place}")
        bucket_of(Rate(1 + place, 1_000))
        _minute_of(place)
    held = [each.cache_info().currsize for each in (_canonical, _pace_of, _minute_of)]
    assert held == [CALLERS_REMEMBERED, PACES_MAX, MINUTES_MAX]


def test_one_workload_with_many_tasks_and_tokens(shelf: Shelf) -> None:
    """Thousands of things of one workload bind each its own requests, and no other."""
    for place in range(1_000):
        task = Subject(workload=AGENT, task=f"t-{place}")
        token = Subject(workload=AGENT, token=TokenRef("i", f"{place}"))
        shelf.put(subject_record(task, command(task, "hold", rule=f"task-{place}")))
        shelf.put(subject_record(token, command(token, rule=f"token-{place}")))
    for place in (0, 1, 500, 999):
        asked = {"task": f"t-{place}", "token": TokenRef("i", "none")}
        assert shelf.table.check(NOW_MS, AGENT, "GET /x", **asked).rule == f"task-{place}"
        asked = {"task": f"t-{place}", "token": TokenRef("i", f"{place}")}
        assert shelf.table.check(NOW_MS, AGENT, "GET /x", **asked).rule == f"token-{place}"
    assert shelf.table.check(NOW_MS, AGENT, "GET /x", "t-1000") is ALLOW
    assert shelf.table.check(NOW_MS, AGENT, "GET /x") is ALLOW


@given(
    permits=st.integers(0, 20),
    per_ms=st.integers(1, 5_000),
    steps_ms=st.lists(st.integers(-3_000, 3_000), max_size=60),
)
def test_admitting_is_refilling_and_taking(permits: int, per_ms: int, steps_ms: list[int]) -> None:
    """One call or two, and wherever the clock steps to, the same requests pass and wait."""
    one, other = bucket_of(Rate(permits, per_ms)), bucket_of(Rate(permits, per_ms))
    now_ms = NOW_MS
    for step_ms in steps_ms:
        now_ms += step_ms
        wait_ms = other.refill(now_ms)
        if not wait_ms:
            other.take()
        assert one.admit(now_ms) == wait_ms
        assert (one.level, one.filled_ms) == (other.level, other.filled_ms)


@given(
    operation=st.text(st.characters(), max_size=400),
    outcome=st.sampled_from(["served", "failed", "denied", "refused"]),
    status=st.integers(-(10**6), 10**6),
    size=st.integers(0, 10**20),
)
def test_a_plain_report_is_what_a_full_one_sends(
    operation: str, outcome: str, status: int, size: int
) -> None:
    """What the middleware says of a request needs no second look, and a worker accepts it."""
    clock = WallClock()
    log = MemoryLog(clock)
    gateway = Gateway(MemoryReader(log), MemoryPublisher(log), clock, GatewaySpec(name="edge"))
    gateway.report_plain(AGENT, operation, outcome, status, size)  # type: ignore[arg-type]
    ((key, payload, count),) = gateway._reporter._waiting
    event = decode_request(payload)
    assert (key, count, event.workload) == (AGENT.encode(), 1, AGENT)
    assert encode_fitting(event) == payload
    assert event.status == max(0, min(status, 999))


def test_a_record_without_a_signature_is_taken_as_it_is() -> None:
    """What ends like a signed record and is none is taken apart, and held whole."""
    topic, table = Topic(), CommandTable(TableSpec(), 1)
    key, value = revoked()
    # White space behind it is still JSON; another member is one that this version does not know.
    odd = value[:-1] + b',"later":{"key":"x"}}'
    assert table.apply(topic.record((key, odd))) == "applied"
    assert table.bytes_held == len(key) + len(odd)
    assert table.apply(Record(0, 9, NOW_MS, key, odd)) == "unchanged"
