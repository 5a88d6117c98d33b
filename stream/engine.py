"""step(): the one place that orders find -> resolve -> count -> judge -> plan.

No I/O, no clock, no random: live, replay, backtest, tests and simulation all run this same step.
What differs between them is who made the batch and who carries the results away. The order of
events within a partition decides everything; how they are cut into batches decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream.enforcement import (
    NOTHING_EXPECTED,
    SCORE,
    TALLIES,
    ConditionTables,
    Expectation,
    Held,
    Incident,
    Out,
    Outgoing,
    Where,
    held_tail,
    new_out,
    plan_decision,
    restore_held,
    run,
)
from stream.errors import NewerFormat, RowCorrupt
from stream.events import MET, Conditions, Finding, RejectCode
from stream.identity import parent_path
from stream.kernel import HashKey
from stream.policy import Policy, PolicyTables
from stream.profiles import (
    Batch,
    Layout,
    OperationTable,
    ProfileTable,
    RowFormat,
    touch,
    with_tail,
)

PARTITIONS_MAX: Final = 4_096
_NO_SCORES: Final = np.zeros(0, SCORE)
FOREVER_MS: Final = (1 << 62) - 1


class StepResult(NamedTuple):
    """What a step came to.

    `outgoing`: records to publish, in order; `findings`: what rules saw; `names`: operations first
    seen in a partition, (partition, hash, text); `refused`: events that found no row, with a code;
    `tallies`: int64 counts, named by `enforcement.TALLIES`.
    """

    outgoing: list[Outgoing]
    findings: list[Finding]
    names: list[tuple[int, int, str]]
    refused: list[tuple[int, RejectCode]]
    tallies: Any


class Bound(NamedTuple):
    """A policy bound to the layout of the rows, with the operations seen under it."""

    policy: Policy
    tables: PolicyTables
    operations: OperationTable


class State:
    """Everything a step reads and changes: rows, operations, conditions, what is held in force."""

    def __init__(self, key: HashKey, slots_max: int, partitions: int) -> None:
        if not 1 <= partitions <= PARTITIONS_MAX:
            raise ValueError(f"partitions must be 1..{PARTITIONS_MAX}, not {partitions}")
        self.key = key
        self.partitions = partitions
        self.table = ProfileTable(Layout((), (), ()), slots_max)
        self.format = RowFormat(self.table.layout, key.id)
        self.held: dict[int, Held] = {}
        self.conditions: dict[int, Conditions] = {}
        self.exempt: dict[int, dict[str, int]] = {}
        self.lifted: dict[int, dict[str, int]] = {}
        self.bound: dict[str, Bound] = {}
        self.serial = 0
        self.batch_number = 0
        self.condition_tables = ConditionTables(
            *(np.zeros(partitions, kind) for kind in (np.int64,) * 2 + (np.int32,) * 3)
        )
        self.origins: dict[int, dict[int, int]] = {}
        self.out: Out = new_out()
        self.expected: dict[int, Expectation] = {}

    def widen(self, partitions: int) -> None:
        """Let there be more partitions; those that are there stay as they are."""
        assert self.partitions <= partitions <= PARTITIONS_MAX, partitions
        more = partitions - self.partitions
        self.condition_tables = ConditionTables(
            *(np.concatenate((each, np.zeros(more, each.dtype))) for each in self.condition_tables)
        )
        for bound in self.bound.values():
            bound.operations.widen(more)
        self.partitions = partitions

    def adopt(
        self,
        partition: int,
        conditions: Conditions,
        policy: Policy,
        expectation: Expectation = NOTHING_EXPECTED,
    ) -> None:
        """Let conditions hold in a partition from its next event on; rows are kept."""
        assert policy.hash == conditions.policy_hash
        assert expectation.version == conditions.baseline_version
        assert expectation.shed == conditions.shed
        self.expected[partition] = expectation
        self.conditions[partition] = conditions
        self.exempt[partition] = {each.workload: each.until_ms for each in conditions.exemptions}
        self.lifted[partition] = {each.workload: each.offset for each in conditions.lifts}
        self.origins[partition] = {each.partition: each.shift for each in conditions.ancestors}
        self.condition_tables.forgotten_before_ms[partition] = conditions.forgotten_before_ms
        self.condition_tables.stopped_until_ms[partition] = conditions.stopped_until_ms
        self.condition_tables.era[partition] = conditions.era
        self.condition_tables.log_era[partition] = conditions.log_era
        self.condition_tables.fresh_era[partition] = conditions.fresh_era
        self.serial += 1
        in_use = {each.policy_hash for each in self.conditions.values()}
        for gone in set(self.bound) - in_use:
            del self.bound[gone]
        if policy.hash not in self.bound:
            self._bind(policy)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget partitions and their rows, saving nothing."""
        gone = set(partitions)
        for slot in self.table.slots_of(gone).tolist():
            self.evict(slot)
        for partition in gone:
            self.conditions.pop(partition, None)
            self.expected.pop(partition, None)
            for bound in self.bound.values():
                bound.operations.seen[:, partition] = 0

    def drop_moved(self, partition: int, count: int) -> None:
        """Forget the rows of a partition whose home among so many is another; they are stored."""
        for slot in self.table.moved(partition, count).tolist():
            self.evict(slot)

    def evict(self, slot: int) -> None:
        """Forget one row in this process."""
        self.held.pop(slot, None)
        self.table.remove(slot)

    def stored(self, slots: Sequence[int]) -> list[bytes]:
        """Return the stored form of rows, with what is held in force on them."""
        encoded = self.format.encode(self.table, slots)
        if not self.held:
            return encoded
        return [
            with_tail(row, held_tail(self.held[slot])) if slot in self.held else row
            for slot, row in zip(slots, encoded, strict=True)
        ]

    def restore(self, name: str, ids: tuple[int, int, int], stored: bytes) -> int:
        """Admit a stored row; return its slot. `ids` are hash, home and partition.

        Errors: RowCorrupt, NewerFormat; the row is then not there.
        """
        slot = self.table.admit(ids[0], name, ids[1], ids[2])
        try:
            tail = self.format.restore(self.table, slot, stored)
            self.table.rehome(slot, ids[2], self.origins[ids[2]])
            if self._is_ahead(slot, ids[2]) and (unnamed := self.format.unnamed(stored)):
                self._relayout(self.table.layout.union(unnamed))
                tail = self.format.restore(self.table, slot, stored)
                self.table.rehome(slot, ids[2], self.origins[ids[2]])
            held = restore_held(self.key, tail)
        except NewerFormat as error:
            self.evict(slot)
            raise NewerFormat(f"partition {ids[2]}, {name}: {error.message}") from error
        except (RowCorrupt, ValueError, RecursionError) as error:
            self.evict(slot)
            raise RowCorrupt(f"the stored row of {name} is corrupt: {error}") from error
        self.table.reset_local(slot)
        if held:
            self.held[slot] = held
        return slot

    def _is_ahead(self, slot: int, partition: int) -> bool:
        """Tell whether a row was stored under conditions that this process has yet to reach.

        So it is after a crash. A row that is behind loses what its next event's policy does not
        name; this one is in use by then, and must have it all.
        """
        head, conditions = self.table.sections.head[slot], self.conditions[partition]
        is_other = head["policy"] != self.bound[conditions.policy_hash].policy.number
        first = max(conditions.log_era, conditions.fresh_era)
        is_later = head["era"] >= first and head["offset"] >= conditions.from_offset
        return bool(is_other and is_later)

    def _bind(self, policy: Policy) -> None:
        """Bind a policy, giving rows the layout that all policies in use need.

        Only an event may make a row forget, whoever else is in memory: rows that hold more are
        evicted if they are stored, and until they are, what they hold keeps its place.
        """
        layout = policy.layout
        for bound in self.bound.values():
            layout = bound.policy.layout.union(layout)
        stored, held = self.table.beyond(layout)
        for slot in stored.tolist():
            self.evict(slot)
        self._relayout(layout.union(held))
        operations = OperationTable(policy, self.partitions)
        self.bound[policy.hash] = Bound(policy, policy.bind(self.table.layout), operations)

    def _relayout(self, layout: Layout) -> None:
        """Give rows, their format and the bound policies another layout."""
        if layout != self.table.layout:
            self.table.relayout(layout)
            self.format = RowFormat(layout, self.key.id)
            for name, each in self.bound.items():
                self.bound[name] = each._replace(tables=each.policy.bind(layout))

    def resolve(self, slots: Any, policy: Policy) -> None:
        """Find out once what conditions mean for rows: class, exemption, lift."""
        local = self.table.sections.local
        partitions = self.table.sections.head["partition"][slots].tolist()
        names = [self.table.names[slot] or "" for slot in slots.tolist()]
        assert all(names), "every row in use has a name"
        local["class_index"][slots] = [policy.class_of(name) for name in names]
        if any(each.baseline is not None for each in self.expected.values()):
            local["peers"][slots] = self.key.hash_all([parent_path(name) for name in names])
        local["exempt_until_ms"][slots] = [
            FOREVER_MS if policy.is_exempt(name) else self.exempt[partition].get(name, 0)
            for partition, name in zip(partitions, names, strict=True)
        ]
        local["lift_offset"][slots] = [
            self.lifted[partition].get(name, MET)
            for partition, name in zip(partitions, names, strict=True)
        ]
        local["serial"][slots] = self.serial


def missing(state: State, batch: Batch) -> list[int]:
    """Return one event for each workload of the batch that has no row in memory."""
    events = batch.events
    slots = np.empty(len(events), np.int32)
    if not len(events) or state.table.locate(events["workload"], slots) == 0:
        return []
    absent = np.flatnonzero((slots < 0) & (events["authenticated"] != 0))
    _, first = np.unique(events["workload"][absent], return_index=True)
    return sorted(absent[first].tolist())


def make_room(state: State, batch: Batch, count: int) -> int:
    """Evict stored rows until `count` more fit, if they can; return how many went.

    Rows of the batch stay. More go than must, so that the search is not needed each time.
    """
    table = state.table
    if table.free >= count:
        return 0
    slots = np.empty(len(batch.events), np.int32)
    table.locate(batch.events["workload"], slots)
    # A number of its own: rows that an earlier, larger batch marked as used may go.
    state.batch_number += 1
    touch(batch.events, slots, table.sections.local, state.batch_number, state.serial)
    wanted = max(count - table.free, table.slots_max // 16)
    victims = table.victims(wanted, state.batch_number).tolist()
    for slot in victims:
        state.evict(slot)
    return len(victims)


def trim_learned(state: State, batch: Batch, records_max: int) -> int:
    """Evict stored rows, but none of the batch, until about so many contexts are compared.

    Returns how many went. Mutates: state.
    """
    table = state.table
    if (excess := len(table.learned) - records_max) <= 0:
        return 0
    slots = np.empty(len(batch.events), np.int32)
    table.locate(batch.events["workload"], slots)
    state.batch_number += 1
    touch(batch.events, slots, table.sections.local, state.batch_number, state.serial)
    victims = table.learners(excess + records_max // 16, state.batch_number).tolist()
    for slot in victims:
        state.evict(slot)
    return len(victims)


def step(state: State, batch: Batch, scores: Any = None) -> StepResult:
    """Apply a batch; return everything that follows from it.

    Shapes:   scores: [event] of SCORE, zeros: where learned evidence goes; or nobody asks.
    Requires: conditions adopted for every partition of the batch; rows that a store has are
    restored before (`missing` names them), new ones are made here while there are free slots.
    Mutates: state, scores.
    """
    result = StepResult([], [], [], [], np.zeros(len(TALLIES), np.int64))
    if not len(batch.events):
        return result
    here = np.unique(batch.events["partition"]).tolist()
    held = {each: (state.conditions[each].policy_hash, state.expected[each]) for each in here}
    for policy_hash, expectation in dict.fromkeys(held.values()):
        under = state.bound[policy_hash], expectation
        here = [each for each in held if held[each] == (policy_hash, expectation)]
        places = np.flatnonzero(np.isin(batch.events["partition"], here))
        most = under[0].operations.operations_max
        for start in range(0, len(places), most):
            chosen, known = places[start : start + most], len(result.refused)
            sink = _NO_SCORES if scores is None else scores[chosen]
            _step_one(state, batch.chosen(chosen), under, result, sink)
            if scores is not None:
                scores[chosen] = sink
            result.refused[known:] = [
                (int(chosen[event]), code) for event, code in result.refused[known:]
            ]
    return result


def _step_one(
    state: State, batch: Batch, under: tuple[Bound, Expectation], result: StepResult, sink: Any
) -> None:
    """Apply a batch, all under one policy and one baseline. Mutates: state, result, sink."""
    kept, (bound, expectation) = None, under
    events, table = batch.events, state.table
    state.batch_number += 1
    slots = np.empty(len(events), np.int32)
    if table.locate(events["workload"], slots):
        batch, slots, kept = _admit(state, batch, slots, result)
        events = batch.events
    if touch(events, slots, table.sections.local, state.batch_number, state.serial):
        used = np.unique(slots[slots >= 0])
        state.resolve(used[table.sections.local["serial"][used] != state.serial], bound.policy)
    index, names = bound.operations.index(batch)
    result.names.extend(names)
    where = Where(slots, *bound.operations.view(index))
    state_out = state.out._replace(tallies=result.tallies)
    scores = sink if kept is None or not len(sink) else sink[kept]
    learning = expectation.learning(batch, state.key, bound.policy, table.learned, scores)
    rest = state.condition_tables, state_out, learning
    start = 0
    while start < len(events):
        state_out.used[0] = 0
        start = run(events, start, where, table.sections, bound.tables, rest)
        _plan_all(state, batch, bound, state_out, result)
    if kept is not None and len(sink):
        sink[kept] = scores


def _admit(state: State, batch: Batch, slots: Any, result: StepResult) -> tuple[Batch, Any, Any]:
    """Make rows for new workloads; leave out events that find no place, and say which stay.

    Mutates: state, result. Returns which events are in the batch, None for all of them.
    """
    events, table = batch.events, state.table
    fresh = missing(state, batch)[: table.free]
    if fresh:
        names = [batch.workload(event) for event in fresh]
        ones = events[fresh]
        table.admit_all(ones["workload"], names, ones["home"], ones["partition"])
    table.locate(events["workload"], slots)
    kept = None
    homeless = (slots < 0) & (events["authenticated"] != 0)
    if homeless.any():
        for event in np.flatnonzero(homeless).tolist():
            result.refused.append((event, RejectCode.TOO_MANY))
        kept = np.flatnonzero(~homeless)
        batch, slots = batch.chosen(kept), slots[kept]
    return batch, slots, kept


def _plan_all(state: State, batch: Batch, bound: Bound, out: Out, result: StepResult) -> None:
    """Turn the decisions of a run into findings and records. Mutates: state.held, result."""
    for decision in out.decisions[: out.used[0]]:
        slot, event = int(decision["slot"]), int(decision["event"])
        name = state.table.names[slot]
        assert name is not None
        one = batch.events[event]
        era = state.conditions[int(one["partition"])].era
        held = state.held.get(slot, {})
        expected = state.expected[int(one["partition"])]
        incident = Incident(decision, one, name, batch.request(event), expected)
        finding, outgoing = plan_decision(incident, bound.policy, held, era)
        if finding is not None:
            result.findings.append(finding)
        if outgoing is not None:
            result.outgoing.append(outgoing)
        if held:
            state.held[slot] = held
        else:
            state.held.pop(slot, None)
