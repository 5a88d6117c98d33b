"""Habits over ended tasks: what is learned of how calls are made, and how usual evidence of it is.

The facts are those of the detectors' own learning functions; evidence of tasks is found by the
kernels of the loop, one task after another of each workload, with shares going on between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stream.baselines import (
    ENTRY,
    PARTS_BEFORE,
    PARTS_MEASURED,
    RATES,
    Entries,
    HabitFacts,
    Prior,
    Tail,
    Tasks,
    asked_of,
    smoothed_tail,
    whole,
)
from stream.kernel import kernel, mix64, routine
from stream.profiles import DENIED, FAILED

from .fallback import FALLBACK, follow_fallback, learn_fallbacks
from .habits import HABIT_NAMES, HABIT_PARTS, no_details
from .loops import LOOPS, PLACES, end_stretch, follow_loops, learn_loops
from .sequence_learning import BenignTask, learn_sequences
from .shares import DENIAL, ERROR, SHARES, USUAL, follow_usual, learn_shares
from .workload import CONTEXT_HABITS, CONTEXT_PARTS, HELD, USUALS, follow_context, write_usual

assert (HABIT_PARTS, HELD) == (PARTS_MEASURED, RATES)
# What is asserted of each part, in the order of HABIT_NAMES. Context parts are minus logarithms of
# shares of benign tasks, so they halve with each bit; but what no task did is the rarer the more of
# them were learned from, which the number of tasks says already: so a bit less each time that there
# are twice as many. Sums over calls (order, shares) grow by some six bits a call once there is a
# burst, and half of the bursts go on. Rates are those of the table in benchmarks/README.md: half as
# many each 4.3 bits, of tasks that last an hour.
PRIORS: Final = (
    Prior(0.0, 1.0, 1.0),
    Prior(1.0, 6.0, 1.0),
    Prior(1.0, 1.0, 1.0),
    Prior(0.0, 1.0, 1.0),
    *[Prior(-5.0, 4.3, 0.0)] * HELD,
    *[Prior(1.0, 6.0, 0.5)] * 2,
)


@kernel
def _symbol_of(call: Any, values: Any) -> Any:
    """Return what the same call is again, as `follow_context` has it."""
    return mix64(call["operation"], asked_of(call, values)) | np.uint64(1)


@routine
def _watch(tasks: Any, calls: Any, values: Any, states: Any, out: Any) -> int:
    """Follow loops and fallbacks; return how many denials there are.

    Shapes: states = [1] of LOOPS, of FALLBACK, and each empty; out = (levels [task, place],
            denials [call, 3]: class, what was denied, what was done instead).
    Mutates: states, out.
    """
    loops, fallbacks, no_loops, no_fallback = states
    levels, denials = out
    used = 0
    for number in range(len(tasks)):
        task = tasks[number]
        loops[0] = no_loops[0]
        fallbacks[0] = no_fallback[0]
        first = whole(task["calls_from"])
        for index in range(first, first + task["calls_count"]):
            call = calls[index]
            outcome = whole(call["outcome"])
            failed = 1 if outcome in (FAILED, DENIED) else 0
            follow_loops(loops[0], _symbol_of(call, values), failed)
            what = (call["operation"], whole(call["effect"]), outcome)
            if follow_fallback(fallbacks[0], what) != np.uint64(0):
                denials[used - 1, 2] = call["operation"]
            if outcome == DENIED:
                denials[used, 0] = task["group"]
                denials[used, 1] = call["operation"]
                used += 1
        end_stretch(loops[0], levels[number])
    return used


def learn_habits(of: Tasks) -> Entries:
    """Return what benign tasks teach of how calls are made, as entries."""
    tasks = of.tasks[np.argsort(of.tasks["ended_ms"], kind="stable")]
    tasks = tasks[tasks["calls_count"] > 0]
    if not len(tasks):
        return np.zeros(0, ENTRY)
    ends = tasks["calls_from"] + tasks["calls_count"]
    spans = list(zip(tasks["calls_from"].tolist(), ends.tolist(), strict=True))
    of_calls = of.calls[["operation", "effect"]].tolist()
    groups = tasks["group"].copy()
    benign = [
        BenignTask(group, of_calls[start:end])
        for group, (start, end) in zip(groups.tolist(), spans, strict=True)
    ]
    levels = np.zeros((len(tasks), PLACES), np.uint8)
    denials = np.zeros((len(of.calls), 3), np.uint64)
    states = tuple(np.zeros(1, each) for each in (LOOPS, FALLBACK, LOOPS, FALLBACK))
    used = _watch(tasks, of.calls, of.values, states, (levels, denials))
    failures = np.stack(
        [
            [int((of.calls["outcome"][start:end] == outcome).sum()) for start, end in spans]
            for outcome in (FAILED, DENIED)
        ],
        axis=1,
    )
    parts = [
        learn_sequences(benign),
        learn_loops(groups, levels),
        learn_shares(groups, tasks["calls_count"].astype(np.int64), failures),
    ]
    if used:
        parts.append(learn_fallbacks(denials[:used]))
    return np.concatenate(parts)


@routine
def _follow_all(tasks: Any, calls: Any, values: Any, known: Any, out: Any) -> None:
    """Find the most evidence of each part in each task. Mutates: known's states, out.

    Shapes: known = (entries, contexts [1], shares [2], both empty, room for what is usual); tasks
            in the order of their workloads; out = (most [task, part], bits and details of a
            context's parts).
    """
    entries, contexts, shares, no_context, no_shares, usual = known
    most, bits, details = out
    for number in range(len(tasks)):
        task = tasks[number]
        contexts[0] = no_context[0]
        if number == 0 or tasks[number - 1]["workload"] != task["workload"]:
            shares[ERROR] = no_shares[0]
            shares[DENIAL] = no_shares[0]
        write_usual(task["group"], entries, usual)
        first = whole(task["calls_from"])
        for index in range(first, first + task["calls_count"]):
            call = calls[index]
            asked = asked_of(call, values)
            of = (task["group"], entries, asked, usual)
            ready = follow_context(contexts[0], call, whole(call["effect"]), of, (bits, details))
            for part in range(CONTEXT_PARTS):
                if ready & (1 << part):
                    most[number, part] = max(most[number, part], bits[part])
            for which in (ERROR, DENIAL):
                outcome = FAILED if which == ERROR else DENIED
                failed = 1 if call["outcome"] == outcome else 0
                part = CONTEXT_PARTS + HELD + which
                found = follow_usual(shares[which], (failed, 1), usual[which], details[0])
                most[number, part] = max(most[number, part], found)


def most_habits(entries: Entries, of: Tasks) -> Any:
    """Return the most bits of each part in each task, -1 where it did not know.

    Shapes: entries: a table, as kernels search it; returns [task, part].
    """
    order = np.lexsort((of.tasks["ended_ms"], of.tasks["workload"]))
    tasks = of.tasks[order]
    found = np.full((len(tasks), HABIT_PARTS), -1, np.int64)
    rates = CONTEXT_PARTS + np.arange(HELD)
    found[:, rates] = tasks["rates"].astype(np.int64) - 1
    known = (
        entries,
        *(np.zeros(*each) for each in ((1, CONTEXT_HABITS), (2, SHARES))),
        *(np.zeros(1, each) for each in (CONTEXT_HABITS, SHARES)),
        np.zeros((USUALS, USUAL), np.int64),
    )
    out = found, np.zeros(CONTEXT_PARTS, np.int64), no_details()[0]
    _follow_all(tasks, of.calls, of.values, known, out)
    most = np.empty_like(found)
    most[order] = found
    return most


def asserted_tails() -> tuple[Tail, ...]:
    """Return the tail of each part while nothing was measured."""
    return tuple(smoothed_tail((), prior) for prior in PRIORS)


def tails_of(measured: Sequence[Tail]) -> tuple[Tail, ...]:
    """Return the tail of each part: as it was measured, or else as it is asserted.

    Baselines of format 1 measured no different resources.
    """
    asserted = asserted_tails()
    if len(measured) == PARTS_BEFORE:
        at = HABIT_NAMES.index("resources_rate")
        return (*measured[:at], asserted[at], *measured[at:])
    return tuple(measured) or asserted


LEARNED_HABITS: Final = HabitFacts(learn_habits, most_habits, PRIORS)
