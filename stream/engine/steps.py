"""The step itself, batch by batch; see the room's first words."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.enforcement import (
    COUNTED,
    SCORE,
    TALLIES,
    Expectation,
    Incident,
    Out,
    Outgoing,
    Where,
    plan_decision,
    run,
    shut_out,
)
from stream.events import Finding, RejectCode
from stream.profiles import TICK, Batch, lines_touched, touch

from .state import Bound, State

_NO_SCORES: Final = np.zeros(0, SCORE)
_EVENTS: Final = TALLIES.index("events")


class Enforced(NamedTuple):
    """A workload on which a rule on learned evidence newly enforces something, and when."""

    partition: int
    tier: str
    append_ms: int


class StepResult(NamedTuple):
    """What a step came to.

    `outgoing`: records to publish, in order; `findings`: what rules saw; `names`: operations first
    seen in a partition, (partition, hash, text); `refused`: events that found no row, with a code;
    `admitted`: workloads that got one; `enforced`: what took of the allowance of a brake;
    `tallies`: int64 counts, named by `enforcement.TALLIES`.
    """

    outgoing: list[Outgoing]
    findings: list[Finding]
    names: list[tuple[int, int, str]]
    refused: list[tuple[int, RejectCode]]
    admitted: list[tuple[int, str]]
    enforced: list[Enforced]
    tallies: Any


def missing(state: State, batch: Batch) -> list[int]:
    """Return one event for each workload of the batch that has no row in memory.

    The first that makes one; a tick makes none, and stands only for a workload that has no other.
    """
    events = batch.events
    slots = np.empty(len(events), np.int32)
    if not len(events) or state.table.locate(events["workload"], slots) == 0:
        return []
    absent = np.flatnonzero((slots < 0) & (events["authenticated"] != 0))
    absent = absent[np.argsort(events["kind"][absent] == TICK, kind="stable")]
    _, first = np.unique(events["workload"][absent], return_index=True)
    return sorted(absent[first].tolist())


def step(state: State, batch: Batch, scores: Any = None) -> StepResult:
    """Apply a batch; return everything that follows from it.

    Shapes:   scores: [event] of SCORE, zeros: where learned evidence goes; or nobody asks.
    Requires: conditions adopted for every partition of the batch; rows that a store has are
    restored before (`missing` names them), new ones are made here while there are free slots.
    Mutates: state, scores.
    """
    result = StepResult([], [], [], [], [], [], np.zeros(len(TALLIES), np.int64))
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
    if table.locate(events["workload"], slots) or state.closed:
        batch, slots, kept = _admit(state, batch, slots, result)
        events = batch.events
    if touch(events, slots, table.sections.local, state.batch_number, state.serial):
        used = np.unique(slots[slots >= 0])
        state.resolve(used[table.sections.local["serial"][used] != state.serial], bound.policy)
    index, names = bound.operations.index(batch)
    result.names.extend(names)
    where = Where(slots, *bound.operations.view(index), lines_touched(table.sections))
    state_out = state.out._replace(tallies=result.tallies)
    scores = sink if kept is None or not len(sink) else sink[kept]
    learning = expectation.learning(batch, state.key, bound.policy, table, scores)
    learning = learning._replace(brakes=state.brakes)
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
    asks = events["kind"] == TICK  # what asks for whom nobody knows makes no row, and is no loss
    unknown = np.flatnonzero(asks & (slots < 0) & (events["authenticated"] != 0))
    shut = shut_out(table, batch, slots, state.condition_tables, (state.key, state.closed))
    fresh = [event for event in missing(state, batch) if not (asks[event] or shut[event])]
    fresh = fresh[: table.free]
    if fresh:
        names = batch.workloads(fresh)
        ones = events[fresh]
        table.admit_all(ones["workload"], names, ones["home"], ones["partition"])
        result.admitted.extend(zip(ones["partition"].tolist(), names, strict=True))
    table.locate(events["workload"], slots)
    kept = None
    homeless = shut | (slots < 0) & (events["authenticated"] != 0)
    if len(unknown):
        # Nor is anybody known before the first event, however the log is cut into batches.
        first = dict(zip(events["workload"][fresh].tolist(), fresh, strict=True))
        asked = events["workload"][unknown].tolist()
        homeless[unknown] |= [
            each < first.get(workload, -1)
            for each, workload in zip(unknown.tolist(), asked, strict=True)
        ]
    if homeless.any():
        result.tallies[_EVENTS] += np.count_nonzero(homeless & asks)
        codes = RejectCode.TOO_MANY, RejectCode.DOMAIN_FULL
        places = np.flatnonzero(homeless & ~asks).tolist()
        result.refused.extend((event, codes[int(shut[event])]) for event in places)
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
        if decision["brake"] == COUNTED:
            tier = bound.policy.class_name(bound.policy.class_of(name))
            result.enforced.append(Enforced(int(one["partition"]), tier, int(one["append_ms"])))
        if finding is not None:
            result.findings.append(finding)
        if outgoing is not None:
            result.outgoing.append(outgoing)
        if held:
            state.held[slot] = held
        else:
            state.held.pop(slot, None)
