"""What a process holds between batches: policies, layouts, rows that come and go."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from stream.engine import State, make_room, missing, step
from stream.errors import NewerFormat, RowCorrupt
from stream.events import RejectCode, Request, encode_request
from stream.identity import home_partition, positive_murmur2
from stream.profiles import Arrival, Batch, Decoder, empty_batch
from stream.profiles.rowwords import checksum
from stream.warm import warm
from tests.models.driver import KEY, Driver
from tests.models.logs import T0_MS, Change, Line, Log, change_of, policy_of

NAMES = [f"spiffe://td/w{each}" for each in range(12)]
HOUR_LIMIT = {"measure": "requests", "at_most": 2, "per": "1h"}
HOUR_RULE = {"limit": HOUR_LIMIT, "action": "revoke", "for": "1h", "mode": "enforce"}
FIRST = policy_of(HOUR_RULE)
OTHER = policy_of({**HOUR_RULE, "limit": {**HOUR_LIMIT, "per": "1m"}})


def batch_of(names: list[str], partitions: int = 1, **fields: object) -> Batch:
    """One event of each workload, each its own arrival."""
    arrivals = []
    for offset, name in enumerate(names):
        value = encode_request(Request(T0_MS + offset, name, "tool:x", **fields))
        partition = home_partition(name.encode(), partitions)
        arrivals.append(Arrival("t", partition, [offset], [T0_MS + offset], [value]))
    return Decoder(KEY, partitions).decode(arrivals)[0]


def state_of(slots_max: int, *changes: Change, partitions: int = 1) -> State:
    """A process under these conditions."""
    state = State(KEY, slots_max, partitions)
    for change in changes:
        state.adopt(change.partition, change.conditions, change.policy)
    return state


def saved(state: State, slots: list[int]) -> list[bytes]:
    """The stored form of rows, which are clean from here on."""
    state.table.sections.local["unsaved_from"][slots] = 0
    return state.stored(slots)


def line(offset: int, at_ms: int, name: str = NAMES[0]) -> Line:
    """A request of one workload."""
    return Line(0, offset, T0_MS + at_ms, encode_request(Request(T0_MS + at_ms, name, "tool:x")))


def test_an_empty_batch_comes_to_nothing() -> None:
    """No events, no results, no rows."""
    state = state_of(4, change_of(FIRST))
    result = step(state, empty_batch())
    assert not any((result.outgoing, result.findings, result.names, result.refused))
    assert missing(state, empty_batch()) == []


@pytest.mark.parametrize("partitions", [0, 4_097])
def test_partitions_are_bounded(partitions: int) -> None:
    """None, or more than a topic of ours may have."""
    with pytest.raises(ValueError, match="partitions must be 1"):
        State(KEY, 4, partitions)


def test_the_kernels_can_be_compiled_ahead() -> None:
    """Warming up goes once through everything, and may be done again."""
    warm()
    warm()


def test_one_event_stands_for_each_workload_that_is_missing() -> None:
    """The first of it, in order of arrival; who failed to authenticate needs no row."""
    state = state_of(8, change_of(FIRST))
    step(state, batch_of(NAMES[:1]))
    assert missing(state, batch_of([NAMES[2], NAMES[0], NAMES[1], NAMES[2]])) == [0, 2]
    assert missing(state, batch_of(NAMES[:3], authenticated=False)) == []


def test_who_is_refused_is_named_by_place_in_the_batch() -> None:
    """Also where partitions of the batch are under different policies."""
    by_partition = {
        each: [n for n in NAMES if home_partition(n.encode(), 2) == each] for each in (0, 1)
    }
    names = [by_partition[1][0], by_partition[0][0], by_partition[1][1], by_partition[0][1]]
    changes = change_of(FIRST, 0), change_of(OTHER, 1)
    state = state_of(1, *changes, partitions=2)
    batch = batch_of(names, 2)
    result = step(state, batch)
    assert {code for _, code in result.refused} == {RejectCode.TOO_MANY}
    refused = {batch.workload(event) for event, _ in result.refused}
    found = {name for name in state.table.names if name}
    assert len(found) == 1
    assert refused == set(names) - found


def test_rows_of_an_earlier_batch_make_room() -> None:
    """Looked at for a batch that did not fit, rows may still go for a part of it that does."""
    state = state_of(4, change_of(FIRST))
    step(state, batch_of(NAMES[:4]))
    saved(state, [0, 1, 2, 3])
    whole = batch_of(NAMES[:8])
    assert make_room(state, whole, 4) == 0
    half = whole.part(4, 8)
    assert make_room(state, half, len(missing(state, half))) == 4
    assert step(state, half).refused == []


def test_rows_that_are_not_stored_make_no_room() -> None:
    """Nothing that the store lacks is ever forgotten."""
    state = state_of(2, change_of(FIRST))
    step(state, batch_of(NAMES[:2]))
    assert make_room(state, batch_of(NAMES[2:4]), 2) == 0
    saved(state, [1])
    assert make_room(state, batch_of(NAMES[2:4]), 2) == 1


def test_a_corrupt_row_is_not_there() -> None:
    """It is named, and its slot is free again."""
    state = state_of(1, change_of(FIRST))
    ids = KEY.hash(NAMES[0]), positive_murmur2(NAMES[0].encode()), 0
    with pytest.raises(RowCorrupt, match=f"the stored row of {NAMES[0]} is corrupt"):
        state.restore(NAMES[0], ids, b"x" * 100)
    assert (len(state.table), state.table.free, state.held) == (0, 1, {})


def test_rows_that_come_together_are_those_that_come_alone() -> None:
    """Among plain ones stand one with commands, of another partition, cut, foreign and doubled."""
    before = state_of(16, change_of(FIRST))
    step(before, batch_of([*NAMES, NAMES[1], NAMES[1], NAMES[1]]))
    slots = [before.table.find(KEY.hash(name)) for name in NAMES]
    assert before.held, "one of them holds a command"
    before.table.sections.head["partition"][slots[2]] = 1
    stored = saved(before, slots)
    stored[4], stored[5] = stored[4][:-8], stored[5] + b"odd"
    stored[6] = stored[6][:100] + bytes([stored[6][100] ^ 1]) + stored[6][101:]
    stored[7], stored[8] = b"", stored[9]
    keys = np.array([KEY.hash(name) for name in NAMES], np.uint64)
    homes = np.array([positive_murmur2(name.encode()) for name in NAMES])
    zeros = np.zeros(len(NAMES), int)
    together, alone = (state_of(16, change_of(FIRST)) for _ in range(2))
    for state in (together, alone):
        state.origins[0] = {1: 7}
    good, faults = together.restore_all(keys, NAMES, (homes, zeros), stored)
    for place, (name, row) in enumerate(zip(NAMES, stored, strict=True)):
        with contextlib.suppress(RowCorrupt):
            alone.restore(name, (int(keys[place]), int(homes[place]), 0), row)
    found = [str(each) for each in faults]
    assert len(found) == 5
    assert all(
        f"row of {name} is corrupt" in each for name, each in zip(NAMES[4:9], found, strict=True)
    )
    for name in NAMES:
        mine, its = together.table.find(KEY.hash(name)), alone.table.find(KEY.hash(name))
        assert (mine < 0, its < 0) == (name in NAMES[4:9],) * 2
        if mine >= 0:
            assert mine in good
            assert together.stored([mine]) == alone.stored([its])
    assert together.held.keys() == {together.table.find(KEY.hash(NAMES[1]))}


def test_a_newer_row_among_others_leaves_none_that_is_empty() -> None:
    """What was read is there as it was stored; nobody's row is one that has counted nothing."""
    before = state_of(4, change_of(FIRST))
    step(before, batch_of(NAMES[:3]))
    slots = [before.table.find(KEY.hash(name)) for name in NAMES[:3]]
    stored = saved(before, slots)
    newer = np.frombuffer(b"\x63" + stored[1][1:], np.uint64).copy()
    newer[1] = checksum(newer, 0, len(newer))
    stored[1] = newer.tobytes()
    keys = np.array([KEY.hash(name) for name in NAMES[:3]], np.uint64)
    state = state_of(4, change_of(FIRST))
    with pytest.raises(NewerFormat, match=f"{NAMES[1]}: a stored row has format 99"):
        state.restore_all(keys, NAMES[:3], (np.arange(3), np.zeros(3, int)), stored)
    assert state.table.find(int(keys[1])) < 0
    counted = state.table.sections.head["events"][state.table.used_slots()]
    assert (len(counted), set(counted.tolist())) == (2, {1})


def test_a_partition_that_goes_takes_its_rows_and_names() -> None:
    """Rows of others stay; an operation is named again when the partition comes back."""
    state = state_of(16, change_of(FIRST, 0), change_of(FIRST, 1), partitions=2)
    batch = batch_of(NAMES, 2)
    assert {each[0] for each in step(state, batch).names} == {0, 1}
    state.drop([1])
    homes = {home_partition(name.encode(), 2) for name in state.table.names if name}
    assert homes == {0}
    state.adopt(1, change_of(FIRST, 1).conditions, FIRST)
    assert {each[0] for each in step(state, batch).names} == {1}


def test_only_policies_in_use_are_bound() -> None:
    """A policy that holds nowhere any more is let go, and the layout with it."""
    state = state_of(4, change_of(FIRST, 0), change_of(FIRST, 1), partitions=2)
    assert state.table.layout == FIRST.layout
    state.adopt(1, change_of(OTHER, 1).conditions, OTHER)
    assert state.bound.keys() == {FIRST.hash, OTHER.hash}
    assert set(state.table.layout.counts) == {*FIRST.layout.counts, *OTHER.layout.counts}
    state.adopt(0, change_of(OTHER, 0).conditions, OTHER)
    assert state.bound.keys() == {OTHER.hash}


def test_a_policy_taken_back_finds_what_it_counted() -> None:
    """A workload silent meanwhile has lost nothing, stored or not, evicted or in memory."""
    changes = [change_of(each, 0, at) for at, each in ((0, FIRST), (2, OTHER), (3, FIRST))]
    lines = (line(0, 0), line(1, 1), line(2, 2, NAMES[1]), line(3, 3))
    log = Log(1, lines, tuple(changes))
    outcomes = []
    for is_stored, is_evicted in ((False, False), (True, False), (True, True)):
        driver = Driver(log).run(lines[:2])
        if is_stored:
            driver.save()
        if is_evicted:
            driver.evict()
        driver.run(lines[2:])
        outcomes.append((driver.outgoing, driver.rows()))
        assert [each.offset for each in driver.outgoing] == [3]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_a_row_stored_under_a_later_policy_keeps_it_all() -> None:
    """A worker that died after a switch left rows ahead of its checkpoint: nothing counts twice."""
    changes = change_of(OTHER), change_of(FIRST, 0, 2)
    lines = (line(0, 0), line(1, 1), line(2, 2), line(3, 3), line(4, 4))
    log = Log(1, lines, changes)
    whole = Driver(log).run(lines)
    dead = Driver(log).run(lines[:4])
    dead.save()
    for start in range(5):
        heir = Driver(log, store=dict(dead.store), starts={0: start}).run(lines[start:])
        assert heir.rows() == whole.rows()
        assert [each.offset for each in heir.outgoing] == [4]


def test_rows_without_news_widen_no_layout() -> None:
    """What nobody holds any more takes no room in rows after a switch."""
    log = Log(1, (line(0, 0), line(1, 1)), (change_of(FIRST), change_of(OTHER, 0, 1)))
    driver = Driver(log).run(log.lines[:1])
    driver.save()
    driver.run(log.lines[1:])
    assert driver.state.table.layout == OTHER.layout
    assert len(driver.state.table) == 1
