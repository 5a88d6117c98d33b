"""Habits in the loop: how calls are made, by each context and by each workload as a whole.

A context's habits lie at the place of its LEARNED record; a workload's in a table of their own,
found like that one: a row names its record, a record names its workload, and both are stored with
the row. Under another baseline those of contexts begin anew, those of workloads go on. They say how
rare each part is among benign tasks (`rarity`), so that the rarest speaks, within its share of the
budget.

While nothing is compared nothing is followed either. Rates must not take that for silence: where
requests of the row were not followed, their intervals begin anew.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.baselines import find_group
from stream.detectors import (
    CONTEXT_HABITS,
    CONTEXT_PARTS,
    DETAILS,
    HABIT_PARTS,
    HABITS,
    HABITS_BEFORE,
    STEPS,
    USUAL,
    USUALS,
    WORKLOAD_PARTS,
    begin_rates,
    follow_context,
    is_sound_context,
    is_sound_workload,
    no_details,
    observe_workload,
    rarity_of,
    write_usual,
)
from stream.kernel import kernel
from stream.profiles import (
    REQUEST,
    HabitKinds,
    ProfileTable,
    claim_habits,
    end_habits,
    end_learned,
    find_habits,
)

BITS, RARITY = range(2)  # rows of what parts show
NOBODY = -1
KEPT_HABITS: Final = HabitKinds(CONTEXT_HABITS, HABITS, HABITS_BEFORE)


class Habits(NamedTuple):
    """What the loop needs of habits.

    Shapes: contexts [record] of CONTEXT_HABITS, beside LEARNED; workloads [n] of HABITS; free: of
            these, as `claim_habits` takes it; empty: one empty element of each of the two; usual
            [class + 1, USUALS, USUAL]: of each class of the baseline, and room for that of
            another; scales [part, step]; worths [mode, step]; shown [2, part]: bits and rarity at
            the event at hand; bits, details: of a context's parts, then of a workload's; scratch
            [DETAILS].
    """

    contexts: Any
    workloads: Any
    free: Any
    empty: Any
    usual: Any
    scales: Any
    worths: Any
    shown: Any
    bits: Any
    details: Any
    scratch: Any


def no_habits(modes: int) -> Habits:
    """Return habits of nobody, calibrated by nothing."""
    return Habits(
        np.zeros(1, CONTEXT_HABITS),
        np.zeros(1, HABITS),
        (np.zeros(1, np.int32), np.zeros(1, np.int64)),
        (np.zeros(1, CONTEXT_HABITS), np.zeros(1, HABITS)),
        np.zeros((1, USUALS, USUAL), np.int64),
        np.zeros((HABIT_PARTS, STEPS), np.int64),
        np.zeros((modes, STEPS), np.int64),
        np.zeros((2, HABIT_PARTS), np.int64),
        (np.zeros(CONTEXT_PARTS, np.int64), np.zeros(WORKLOAD_PARTS, np.int64)),
        no_details(),
        np.zeros(DETAILS, np.int64),
    )


@kernel
def _usual_in(group: np.uint64, entries: Any, groups: Any, usual: Any) -> int:
    """Return the place of what is usual in a class. Mutates: usual, its last for what is none."""
    found = int(find_group(groups, group))
    if found >= 0:
        return found
    last = len(usual) - 1
    write_usual(group, entries, usual[last])
    return last


@kernel
def follow_habits(event: Any, clock_ms: int, local: Any, given: Any, habits: Habits) -> int:
    """Follow an event in its context and its workload; return which parts know.

    Shapes:  given = (place of the context's record, effect or -1, (entries, classes), (what the
             call asked, values of the batch), requests of the row so far).
    Mutates: local, habits; `shown` says what each part has to say now.
    """
    place, effect, (entries, groups), (asked, values), requests = given
    bits, details, shown = habits.bits, habits.details, habits.shown
    workload = find_habits(habits.workloads, local, event["workload"])
    if workload < 0:
        of = (event["workload"], habits.empty[1])
        workload = int(claim_habits(habits.workloads, habits.free, local, of))
    before = requests - 1 if event["kind"] == REQUEST else requests
    if habits.workloads[workload]["followed"] != before:
        begin_rates(habits.workloads[workload])
    habits.workloads[workload]["followed"] = requests
    refused = 1 if event["kind"] == REQUEST and effect < 0 else 0
    usual = _usual_in(local["peers"], entries, groups, habits.usual)
    known = (habits.usual[usual], refused, values)
    out = (bits[1], details[1], habits.scratch)
    ready = int(observe_workload(habits.workloads[workload], event, clock_ms, known, out))
    ready <<= CONTEXT_PARTS
    for part in range(CONTEXT_PARTS):
        bits[0][part] = 0
    if effect >= 0:
        context = (local["peers"], entries, asked, known[0])
        mine = (bits[0], details[0])
        ready |= int(follow_context(habits.contexts[place], event, effect, context, mine))
    for part in range(HABIT_PARTS):
        now = bits[0][part] if part < CONTEXT_PARTS else bits[1][part - CONTEXT_PARTS]
        shown[BITS, part] = now
        shown[RARITY, part] = rarity_of(habits.scales[part], now)
    return ready


@kernel
def rarest_of(shown: Any, first: int, end: int) -> int:
    """Return which of some parts is the rarest just now, NOBODY where none is rare."""
    best, most = NOBODY, 0
    for part in range(first, end):
        if shown[RARITY, part] > most:
            best, most = part, int(shown[RARITY, part])
    return best


def forget_unsound(table: ProfileTable, slot: int) -> None:
    """Let habits of a restored row that kernels must not follow be none. Mutates: table."""
    local = table.sections.local[slot]
    for context in np.flatnonzero(local["learned"] > 0).tolist():
        if not is_sound_context(table.learned.arrays[1][local["learned"][context] - 1]):
            end_learned(local, context)
    if local["habits"] > 0 and not is_sound_workload(table.habits.records[local["habits"] - 1]):
        end_habits(local)
