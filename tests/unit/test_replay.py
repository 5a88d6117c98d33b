"""Recorded events through the same step: what a file gives is what a log gives."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cli.reading import Line
from stream.events import (
    RejectCode,
    Request,
    encode_request,
    encode_request_msgpack,
    join_requests,
)
from stream.identity import canonical_workload
from stream.replay import Replay, batches
from tests.models.driver import KEY, Driver
from tests.models.logs import T0_MS, Log, change_of, logs, policy_of

POLICY = policy_of(
    {
        "limit": {"measure": "requests", "at_most": 1, "per": "10s"},
        "action": "revoke",
        "mode": "enforce",
    }
)


def as_file(log: Log) -> Log:
    """The log that a file makes of these events: under one policy, appended at their own times."""
    policy = log.changes[0].policy
    return Log(
        log.partitions,
        tuple(line._replace(append_ms=line.request.at_ms) for line in log.lines),
        tuple(change_of(policy, each) for each in range(log.partitions)),
    )


def result_of(replay: Replay, payloads: list[bytes]) -> tuple[list[Any], list[Any]]:
    """Everything that payloads came to in a replay."""
    outgoing, findings = [], []
    for result, rejects in replay.run(payloads):
        outgoing += result.outgoing
        findings += result.findings
        assert not rejects
    return outgoing, findings


@given(logs(partitions=3), st.integers(1, 4))
def test_a_replay_is_the_step_without_doors(log: Log, partitions: int) -> None:
    """The same findings, and the same command bodies whatever the number of partitions."""
    log = as_file(log)
    payloads, driver = [line.value for line in log.lines], Driver(log).run(log.lines)
    outgoing, findings = result_of(Replay(log.changes[0].policy, KEY, 3, 16), payloads)
    for partition in range(3):
        mine = [each for each in outgoing if each.partition == partition]
        assert mine == driver.of(partition)[0]
    assert sorted(findings, key=repr) == sorted(driver.findings, key=repr)
    others, _ = result_of(Replay(log.changes[0].policy, KEY, partitions, 16), payloads)
    for name in {each.command.body.subject.workload for each in outgoing}:
        bodies = [
            [each.command.body for each in some if each.command.body.subject.workload == name]
            for some in (outgoing, others)
        ]
        assert bodies[0] == bodies[1]


def payload(place: int, workload: str = "spiffe://td/a") -> bytes:
    """A request at its own second."""
    return encode_request(Request(T0_MS + place, workload, "tool:x"))


def test_batches_are_one_log() -> None:
    """Offsets go on from one batch to the next, so nothing is taken for a duplicate."""
    replay = Replay(POLICY, KEY, 1, 4)
    results = [replay.apply([payload(place)])[0] for place in range(3)]
    assert [len(each.outgoing) for each in results] == [0, 1, 0]
    assert results[1].outgoing[0].offset == 1
    assert [int(each.tallies[1]) for each in results] == [1, 1, 1]


def test_a_bad_line_is_told_and_stops_nothing() -> None:
    """It has its place in the file, and the lines around it count."""
    deep = payload(0)[:-1] + b',"x":' + b"[" * 30_000
    bad = [b"{", b"", b'{"at_ms":1}', payload(0).replace(b"spiffe", b"http"), deep]
    replay = Replay(POLICY, KEY, 1, 4)
    result, rejects = replay.apply([payload(0), *bad, payload(1)])
    assert [each.offset for each in result.outgoing] == [len(bad) + 1]
    told = {each.offset: each.code for each in rejects}
    assert told == {
        1: RejectCode.MALFORMED,
        2: RejectCode.EMPTY,
        3: RejectCode.WRONG_TYPE,
        4: RejectCode.BAD_IDENTITY,
        5: RejectCode.TOO_DEEP,
    }


def test_any_encoding_and_any_case_is_the_same_workload() -> None:
    """JSON or msgpack, scheme and trust domain in any case: one row, one home."""
    request = Request(T0_MS, "SPIFFE://TD/a", "tool:x")
    replay = Replay(POLICY, KEY, 3, 4)
    result, _ = replay.apply([payload(0), encode_request_msgpack(request)])
    (outgoing,) = result.outgoing
    assert outgoing.command.body.subject.workload == canonical_workload(request.workload)


def test_an_event_ahead_of_the_file_is_not_in_the_future() -> None:
    """In a file append time is event time, so no clock is clamped."""
    replay = Replay(POLICY, KEY, 1, 4)
    later = encode_request(Request(T0_MS + 10**9, "spiffe://td/a", "tool:x"))
    result, _ = replay.apply([payload(0), later])
    assert int(result.tallies[7]) == 0


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 12), st.integers(1, 2_000))
def test_batches_are_bounded(sizes: list[int], events_max: int, bytes_max: int) -> None:
    """By events, not by lines, and by bytes; nothing is lost, and the results are the same."""
    events = [payload(place) for place in range(sum(sizes))]
    rest = iter(events)
    lines = [join_requests(list(islice(rest, size))) if size else b"[" for size in sizes]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stream.replay.BATCH_EVENTS", events_max)
        patched.setattr("stream.replay.BATCH_BYTES", bytes_max)
        pieces = list(batches(lines))
        findings = [
            finding
            for result, _ in Replay(POLICY, KEY, 1, 4).run(lines)
            for finding in result.findings
        ]
    assert list(chain.from_iterable(pieces)) == lines
    for piece in pieces:
        before = piece[:-1]
        assert piece
        assert sum(max(line.count(b"at_ms"), 1) for line in before) < events_max
        assert sum(map(len, before)) < bytes_max
    result, _ = Replay(POLICY, KEY, 1, 4).apply(lines)
    assert findings == result.findings


def test_a_batch_of_lines_is_bounded_too() -> None:
    """What holds a payload counts as its payload."""
    array = join_requests([payload(place) for place in range(700)])
    lines = [Line("f", number, array) for number in range(40)]
    assert [len(each) for each in batches(lines)] == [29, 11]
    long = [Line("f", number, b"{" + b"x" * 60_000) for number in range(200)]
    assert [len(each) for each in batches(long)] == [140, 60]


def test_nothing_is_nothing() -> None:
    """An empty file gives no batch, and an empty batch no result."""
    replay = Replay(POLICY, KEY, 2, 4)
    assert list(replay.run([])) == []
    result, rejects = replay.apply([])
    assert (result.outgoing, result.findings, rejects) == ([], [], [])


def test_a_file_has_a_stated_number_of_workloads() -> None:
    """One more than the slots is refused, event by event, and the others go on."""
    replay = Replay(POLICY, KEY, 1, 2)
    names = ["spiffe://td/a", "spiffe://td/b", "spiffe://td/c", "spiffe://td/a"]
    result, _ = replay.apply([payload(place, name) for place, name in enumerate(names)])
    assert result.refused == [(2, RejectCode.TOO_MANY)]
    assert [each.offset for each in result.outgoing] == [3]


@pytest.mark.parametrize("partitions", [0, 4_097])
def test_partitions_are_bounded(partitions: int) -> None:
    """None, or more than a topic of ours may have."""
    with pytest.raises(ValueError, match="partitions must be"):
        Replay(POLICY, KEY, partitions)
