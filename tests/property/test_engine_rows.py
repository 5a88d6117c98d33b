"""Rows that leave memory and come back, workers that die, records that are delivered twice."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from stream.events import Request
from stream.identity import canonical_workload, positive_murmur2
from tests.models.driver import KEY, Driver
from tests.models.logs import T0_MS, WORKLOADS, Line, Log, change_of, log_of, logs, policy_of

one_or_more = st.one_of(logs(), logs(partitions=3))
cuts = st.sets(st.integers(1, 120))


def bytes_of_rows(driver: Driver) -> list[bytes]:
    """The rows in memory by workload, but for what is local to the process."""
    table = driver.state.table
    rows = table.rows.copy()
    rows["local"] = 0
    return sorted(rows[slot].tobytes() for slot in table.used_slots().tolist())


@given(one_or_more)
def test_a_restored_row_is_the_stored_row(log: Log) -> None:
    """Restored into another process a row is the same in memory, stored again the same bytes."""
    driver = Driver(log).run(log.lines)
    driver.save()
    other = Driver(log, starts={line.partition: line.offset for line in log.lines})
    # A row that is behind loses what its next event's policy does not name; see `_is_ahead`.
    assume(other.state.table.layout == driver.state.table.layout)
    for line in log.lines:
        name = canonical_workload(line.request.workload)
        if name in driver.store and other.state.table.find(KEY.hash(name)) < 0:
            ids = KEY.hash(name), positive_murmur2(name.encode()), line.partition
            other.state.restore(name, ids, driver.store[name])
    assert other.rows() == driver.store
    assert bytes_of_rows(other) == bytes_of_rows(driver)


@given(one_or_more, cuts, st.integers(1, 5))
def test_eviction_changes_nothing(log: Log, cuts: set[int], slots_max: int) -> None:
    """With slots for a few workloads, records, findings and rows are those of a large table."""
    whole = Driver(log).run(log.lines)
    small = Driver(log, slots_max=slots_max).run(log.lines, cuts)
    assert not small.refused
    assert small.rows() == whole.rows()
    for partition in range(log.partitions):
        assert small.of(partition)[:2] == whole.of(partition)[:2]


@given(one_or_more, cuts)
def test_all_rows_may_leave_at_any_time(log: Log, cuts: set[int]) -> None:
    """Storing and forgetting every row at each cut changes no record, finding or row."""
    whole, leaving = Driver(log).run(log.lines), Driver(log)
    edges = [0, *sorted(each for each in cuts if each < len(log.lines)), len(log.lines)]
    for start, end in pairwise(edges):
        leaving.run(log.lines[start:end])
        leaving.evict()
    assert leaving.rows() == whole.rows()
    for partition in range(log.partitions):
        assert leaving.of(partition)[:2] == whole.of(partition)[:2]


def crash(log: Log, chance: random.Random) -> tuple[Driver, dict[int, int]]:
    """A worker that saved some rows at some moments and died; where each partition must begin."""
    driver, position = Driver(log), 0
    died_at = chance.randint(0, len(log.lines))
    while position < died_at:
        end = min(died_at, position + chance.randint(1, 20))
        driver.run(log.lines[position:end])
        position = end
        slots = driver.state.table.used_slots().tolist()
        driver.save([slot for slot in slots if chance.random() < 0.5])
    starts = dict.fromkeys(range(log.partitions), 0)
    for line in log.lines[:died_at]:
        starts[line.partition] = line.offset + 1
    table = driver.state.table
    for slot in table.used_slots().tolist():
        unsaved = int(table.sections.local[slot]["unsaved_from"])
        partition = int(table.sections.head[slot]["partition"])
        if unsaved:
            starts[partition] = min(starts[partition], unsaved - 1)
    return driver, starts


@given(one_or_more, st.randoms(use_true_random=False), st.integers(0, 120), cuts)
def test_a_new_owner_continues_where_a_dead_one_stopped(
    log: Log, chance: random.Random, earlier: int, cuts: set[int]
) -> None:
    """From the checkpoint, or any offset before, rows and records come out as if nobody died."""
    whole = Driver(log).run(log.lines)
    dead, starts = crash(log, chance)
    starts = {partition: max(0, start - earlier) for partition, start in starts.items()}
    lines = [line for line in log.lines if line.offset >= starts[line.partition]]
    heir = Driver(log, store=dead.store, starts=starts).run(lines, cuts)
    assert heir.rows() == whole.rows()
    for partition in range(log.partitions):
        expected, findings, _ = whole.of(partition)
        published = dead.of(partition)[0] + heir.of(partition)[0]
        assert list(dict.fromkeys(published)) == expected
        assert set(findings) == set(dead.of(partition)[1] + heir.of(partition)[1])
    assert dead.records() | heir.records() == whole.records()


def test_a_tick_brings_a_row_under_the_policy_in_force() -> None:
    """Else what it counted under the last policy would be kept by whoever has that, or lost."""
    agent, limit = WORKLOADS[0], {"measure": "requests", "at_most": 5, "per": "10s"}
    rule = {"limit": limit, "action": "revoke", "for": "1h", "mode": "enforce"}
    other = rule | {"limit": limit | {"measure": "errors"}}
    asks = Request(T0_MS + 1, agent, "tick", kind="tick")
    log = log_of(policy_of(rule), Request(T0_MS, agent, "tool:x"), asks)
    log = log._replace(changes=(*log.changes, change_of(policy_of(other), from_offset=1)))
    whole, dead = Driver(log).run(log.lines), Driver(log).run(log.lines[:1])
    dead.save()
    heir = Driver(log, store=dead.store, starts={0: 1}).run(log.lines[1:])
    assert heir.rows() == whole.rows()


@given(one_or_more, st.lists(st.integers(0, 119), max_size=20))
def test_a_record_delivered_twice_counts_once(log: Log, again: list[int]) -> None:
    """Lines repeated later in their partition are duplicates and change nothing else."""
    lines: list[Line] = []
    for place, line in enumerate(log.lines):
        lines.append(line)
        lines += [log.lines[each] for each in again if each <= place]
    known = [each for each in lines if each.request.authenticated]
    once = [each for each in log.lines if each.request.authenticated]
    twice, whole = Driver(log).run(known), Driver(log).run(once)
    assert twice.rows() == whole.rows()
    assert twice.outgoing == whole.outgoing
    assert twice.findings == whole.findings
    # A tick of whom nobody knows leaves nothing to know it by.
    ticks = sum(each.request.kind == "tick" for each in known)
    ticks -= sum(each.request.kind == "tick" for each in once)
    repeated = len(known) - len(once)
    assert repeated - ticks <= twice.tallies["duplicates"] <= repeated
