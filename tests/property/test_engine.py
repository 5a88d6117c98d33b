"""The whole step: equal to a slow model, and blind to batches, slots, memory and neighbours."""

from __future__ import annotations

import math
import random

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.enforcement import Outgoing
from stream.events import TIME_MS_MAX, Finding, RejectCode, decode_value
from stream.identity import canonical_workload, home_partition, positive_murmur2
from stream.policy import Policy
from stream.profiles import OperationTable
from stream.simulate.model import Enforcer, Held, without_texts
from tests.models.driver import KEY, Driver
from tests.models.logs import DAY, SPANS, T0_MS, WORKLOADS, Change, Line, Log, logs, moved

UNCHECKED = {"transitions_dropped"}
cuts = st.sets(st.integers(1, 120))
one_or_more = st.one_of(logs(), logs(partitions=3))


def blank(finding: Finding) -> Finding:
    """A finding without its sentence."""
    return msgspec.structs.replace(finding, text="")


def carried(outgoing: Outgoing) -> tuple[Held, ...]:
    """All that a record carries."""
    return tuple(without_texts(command) for command in decode_value(outgoing.value).commands)


# The beginning of time, now, and nearly its end: beyond it nothing is a time.
AGES = [0, 3 * DAY - T0_MS, TIME_MS_MAX - T0_MS - 900 * DAY]


@given(one_or_more, st.sampled_from(AGES))
def test_findings_and_commands_are_those_of_the_model(log: Log, shift_ms: int) -> None:
    """Each event gives the findings, bodies, versions, records and tallies of the definition."""
    log = moved(log, shift_ms)
    driver = Driver(log).run(log.lines)
    model = Enforcer(log.changes)
    outcomes = [each for line in log.lines for each in model.apply(line)]
    for name in {each.workload for each in driver.findings} | model.rows.keys():
        mine = [each for each in outcomes if each.finding.workload == name]
        findings = [each for each in driver.findings if each.workload == name]
        outgoing = [each for each in driver.outgoing if each.command.body.subject.workload == name]
        assert list(map(blank, findings)) == [each.finding for each in mine]
        commands = [without_texts(each.command) for each in outgoing]
        assert commands == [each.command for each in mine if each.command]
        assert list(map(carried, outgoing)) == [each.record for each in mine if each.command]
    tallies = {key: count for key, count in driver.tallies.items() if count}
    expected = {key: count for key, count in model.tallies.items() if count}
    assert tallies | dict.fromkeys(UNCHECKED, 0) == expected | dict.fromkeys(UNCHECKED, 0)


@given(one_or_more)
def test_rows_hold_what_the_model_knows(log: Log) -> None:
    """Clock, counters, windows, contexts, marks and the ledger of each row are the model's."""
    driver = Driver(log).run(log.lines)
    model = Enforcer(log.changes)
    for line in log.lines:
        model.apply(line)
    table = driver.state.table
    head = table.sections.head
    assert {each for each in table.names if each} == model.rows.keys()
    for slot, name in enumerate(table.names[: len(table)]):
        row, contexts = model.rows[name], table.sections.contexts[slot]
        fields = ("clock_ms", "events", "late", "offset", "lift_offset")
        assert head[slot][list(fields)].tolist() == tuple(getattr(row, each) for each in fields)
        assert head[slot]["policy"] == int(row.policy, 16)
        assert head[slot]["contexts_dropped"] == row.contexts.dropped
        assert head[slot]["tasks"] == sum(each is not None for each in row.contexts.tasks)
        assert head[slot]["in_force"] == len(row.ledger.entries())
        for place, context in enumerate([row.contexts.own, *row.contexts.tasks]):
            recent = KEY.hash_all(context.recent) if context else []
            assert contexts[place]["recent"].tolist() == recent + [0] * (3 - len(recent))
            assert contexts[place]["events"] == (context.events if context else 0)
            assert contexts[place]["granted"] == (context.is_granted if context else False)
            task = KEY.hash(context.task) if context and context.task else 0
            assert contexts[place]["task"] == task
            count = len(context.marks) if context else 0
            assert np.count_nonzero(table.sections.marks[slot, place]["at_ms"]) == count
        totals = [*table.sections.counts[slot]["total"], *table.sections.sums[slot]["total"]]
        mine = sorted(filter(None, (row.total(pair) for pair in row.windows)))
        assert sorted(int(each) for each in totals if each) == mine
        for place, entry in enumerate(row.ledger.places):
            until_ms = entry.until_ms if entry else 0
            assert table.sections.ledger[slot, place]["until_ms"] == until_ms


@given(one_or_more, cuts)
def test_batches_decide_nothing(log: Log, cuts: set[int]) -> None:
    """However a log is cut, records, findings, rows, names and tallies are the same bytes."""
    whole, cut = Driver(log).run(log.lines), Driver(log).run(log.lines, cuts)
    assert cut.rows() == whole.rows()
    assert cut.tallies == whole.tallies
    for partition in range(log.partitions):
        assert cut.of(partition) == whole.of(partition)


@given(logs(partitions=4), st.randoms(use_true_random=False), cuts)
def test_partitions_may_arrive_in_any_order(
    log: Log, chance: random.Random, cuts: set[int]
) -> None:
    """Partitions interleaved in another way, or alone, give the same records and rows."""
    order = [line.partition for line in log.lines]
    chance.shuffle(order)
    ahead = {p: iter([line for line in log.lines if line.partition == p]) for p in set(order)}
    mixed = Driver(log).run([next(ahead[partition]) for partition in order], cuts)
    whole = Driver(log).run(log.lines)
    assert mixed.rows() == whole.rows()
    for partition in range(log.partitions):
        mine = [line for line in log.lines if line.partition == partition]
        alone = Driver(log._replace(changes=of_partition(log, partition))).run(mine)
        assert alone.of(partition)[:2] == whole.of(partition)[:2] == mixed.of(partition)[:2]
        # Whether a name is handed on once more depends on who shares the cache of operations.
        assert len({frozenset(each.of(partition)[2]) for each in (alone, whole, mixed)}) == 1
        assert alone.rows().items() <= whole.rows().items()


def of_partition(log: Log, partition: int) -> tuple[Change, ...]:
    """What is journalled for one partition."""
    return tuple(each for each in log.changes if each.partition == partition)


@given(one_or_more, st.permutations(sorted(set(map(canonical_workload, WORKLOADS)))), cuts)
def test_slots_decide_nothing(log: Log, names: list[str], cuts: set[int]) -> None:
    """Rows that stand in other slots give the same records and are the same rows."""
    other = Driver(log)
    for place, name in enumerate(names):
        key, home = KEY.hash(name), positive_murmur2(name.encode())
        other.state.table.admit(place + 1, "nobody", 0, 0)
        other.state.table.admit(key, name, home, home_partition(name.encode(), log.partitions))
    for place in range(0, len(names), 2):
        other.state.evict(other.state.table.find(place + 1))
    other.run(log.lines, cuts)
    whole = Driver(log).run(log.lines)
    assert [other.of(each) for each in range(log.partitions)] == [
        whole.of(each) for each in range(log.partitions)
    ]
    rows = other.rows()
    assert all(rows[name] == row for name, row in whole.rows().items())


SHIFT_MS = math.lcm(1_000, 1_001, 7_000, 10_000, 60_000, 86_400_000)


@given(one_or_more, st.sampled_from([-1, 1, 5]))
def test_time_may_be_shifted(log: Log, times: int) -> None:
    """A log moved by whole bins of all its windows gives the same commands at moved times."""
    shift_ms = times * SHIFT_MS
    assert len(SPANS) == 6, "SHIFT_MS is a multiple of each"
    late = moved(log, shift_ms)
    there, here = Driver(late).run(late.lines), Driver(log).run(log.lines)
    assert there.tallies == here.tallies
    bodies = [
        msgspec.structs.replace(
            each.command.body,
            clock_ms=each.command.body.clock_ms - shift_ms,
            until_ms=each.command.body.until_ms - shift_ms,
        )
        for each in there.outgoing
    ]
    assert bodies == [each.command.body for each in here.outgoing]


@given(one_or_more, st.integers(1, 4), st.lists(st.integers(1, 120)))
def test_a_full_table_of_operations_changes_nothing(
    log: Log, operations_max: int, cuts: list[int]
) -> None:
    """A cache of a few operations, emptied again and again, gives the same records and rows."""
    small = Driver(log)
    bind = small.state._bind

    def bind_small(policy: Policy) -> None:
        bind(policy)
        for name, bound in small.state.bound.items():
            table = OperationTable(bound.policy, log.partitions, operations_max)
            small.state.bound[name] = bound._replace(operations=table)

    small.state._bind = bind_small
    small.adopt_anew()
    small.run(log.lines, cuts)
    whole = Driver(log).run(log.lines)
    assert small.rows() == whole.rows()
    for partition in range(log.partitions):
        assert small.of(partition)[:2] == whole.of(partition)[:2]
        assert set(whole.of(partition)[2]) == set(small.of(partition)[2])


@given(one_or_more, st.integers(1, 3), cuts)
def test_workloads_without_a_slot_are_refused(log: Log, slots_max: int, cuts: set[int]) -> None:
    """Who finds no row is refused with a code; the others are as if those had never called."""
    small = Driver(log, slots_max=slots_max, is_forgetful=True).run(log.lines, cuts)
    names = {each for each in small.state.table.names if each}
    assert len(names) <= slots_max
    outside = {
        (line.partition, line.offset, RejectCode.TOO_MANY)
        for line in log.lines
        if canonical_workload(line.request.workload) not in names
        and line.request.authenticated
        and line.request.kind != "tick"  # of whom nobody knows, nothing is lost
    }
    assert set(small.refused) == outside
    assert len(small.refused) == len(outside)
    inside: list[Line] = [
        line for line in log.lines if (line.partition, line.offset) not in {e[:2] for e in outside}
    ]
    alone = Driver(log).run(inside)
    assert small.rows() == alone.rows()
    assert [small.of(each)[:2] for each in range(log.partitions)] == [
        alone.of(each)[:2] for each in range(log.partitions)
    ]
