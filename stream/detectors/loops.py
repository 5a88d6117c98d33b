"""Loops and retry storms: how rarely a benign task repeats itself so often.

A context's last eight symbols are kept (an operation, or operation and values: whoever calls
decides; the same call again is a symbol of both). For each period 1..8 the run counts how many
symbols in a row equalled the one that many places before; run // period is how often the cycle was
repeated. A retry storm is a run of one symbol of which each call failed; it has a place of its own
(RETRY). Per event: eight comparisons.

Evidence is -log2 of the share of benign tasks that came so far at that period, by level of
repetitions (LEVELS), the largest over periods. Learned: with K of D tasks at a level,

    p(estate) = (K + 4 p0) / (D + 4),  p(class) = (K + 4 p(estate)) / (D + 4)

Cold: p0, asserted. So many repetitions are as rare as SHARES says, by our judgement of agents that
page through lists; it weighs as four tasks, and says ASSERTED where nothing was learned.
Long-lived contexts without tasks count each STRETCH calls as one task.

Source: periods by comparison with what came k places before is the run form of autocorrelation;
the back-off is that of DETECTION in benchmarks/README.md.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.baselines import ESTATE, find_entry, key_of
from stream.kernel import kernel, routine

from .bits import BIT
from .facts import (
    ASSERTED,
    CLASS,
    LOOP_LEVEL,
    NO_FACT,
    POOLED,
    Fact,
    Facts,
    as_bits,
    as_facts,
    fact,
)

PERIODS: Final = 8
RETRY: Final = 0  # the place of retries; 1..8 are periods
PLACES: Final = PERIODS + 1
STRETCH: Final = 64
RUN_MAX: Final = 0xFFFF
# Repetitions from which on a level begins, and the share of tasks asserted to come so far.
LEVELS: Final = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60)
SHARES: Final = (0.5, 0.3, 0.2, 0.08, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
RETRY_SHARES: Final = (0.2, 0.08, 0.04, 0.015, 0.005, 0.002, 0.0007, 0.0003, 0.0001, 0.00005)
ASSERTED_BITS: Final = tuple(round(-np.log2(each) * BIT) for each in SHARES)
RETRY_BITS: Final = tuple(round(-np.log2(each) * BIT) for each in RETRY_SHARES)
BEHIND_TASKS: Final = 4.0

LOOPS: Final = np.dtype(
    [
        ("recent", np.uint64, (PERIODS,)),  # last symbols, a ring; 0 for none
        ("runs", np.uint16, (PLACES,)),  # symbols in a row, by period; saturate
        ("levels", np.uint8, (PLACES,)),  # highest of this task or stretch, plus 1
        ("next", np.uint8),  # where the next symbol goes
        ("calls", np.uint32),  # of this task or stretch
    ],
    align=True,
)
BITS_PART, PLACE_PART, REPEATS_PART, HOW_PART = range(4)
LOOP_PARTS: Final = 4


@kernel
def follow_loops(loops: Any, symbol: np.uint64, failed: int) -> None:
    """Follow one call. Requires: symbol != 0; failed is 1 for a failed or denied one, else 0.

    Mutates: loops.
    """
    recent, runs = loops["recent"], loops["runs"]
    turn = int(loops["next"])
    for period in range(1, PERIODS + 1):
        if recent[(turn + PERIODS - period) % PERIODS] == symbol:
            runs[period] = min(int(runs[period]) + 1, RUN_MAX)
        else:
            runs[period] = 0
    if failed == 0:
        runs[RETRY] = 0
    elif runs[1] > 0:
        runs[RETRY] = min(int(runs[RETRY]) + 1, RUN_MAX)
    else:
        runs[RETRY] = 1
    recent[turn] = symbol
    loops["next"] = (turn + 1) % PERIODS
    loops["calls"] = min(int(loops["calls"]) + 1, STRETCH)
    for place in range(PLACES):
        run = int(runs[place])
        if run > 0:
            level = int(level_of_run(place, run))
            loops["levels"][place] = max(int(loops["levels"][place]), level + 1)


@kernel
def repeats_of(place: int, run: int) -> int:
    """Return how often a cycle was repeated after its first time."""
    return max(0, run - 1) if place == RETRY else run // place


@kernel
def level_of_run(place: int, run: int) -> int:
    """Return the level of a run, -1 for none."""
    repeats = repeats_of(place, run)
    level = -1
    for each in range(len(LEVELS)):
        if repeats >= LEVELS[each]:
            level = each
    return level


@kernel
def repeated_bits(loops: Any, how: int, known: Any, parts: Any) -> int:
    """Return the evidence of what a context repeats just now, in 1/1024 bit.

    Shapes: loops: LOOPS; how: what `usual_loops` returns; known = (class, facts), facts [place] of
            ENTRY; parts [LOOP_PARTS] of int64: bits, the place that decided (RETRY or a period),
            repetitions, and how it is known.
    Mutates: parts.
    """
    group, facts = known
    for part in range(LOOP_PARTS):
        parts[part] = 0
    parts[HOW_PART] = how
    where = group if how == CLASS else ESTATE
    for place in range(PLACES):
        run = int(loops["runs"][place])
        level = int(level_of_run(place, run)) if run > 0 else -1
        if level < 0:
            continue
        bits = RETRY_BITS[level] if place == RETRY else ASSERTED_BITS[level]
        if how != ASSERTED:
            found = find_entry(facts, key_of(where, LOOP_LEVEL, _what(place, level)))
            if found != NO_FACT:
                bits = int(facts[found]["bits"][0])
        if bits > parts[BITS_PART]:
            parts[BITS_PART], parts[PLACE_PART] = bits, place
            parts[REPEATS_PART] = repeats_of(place, run)
    return int(parts[BITS_PART])


@kernel
def _what(place: int, level: int) -> np.uint64:
    return np.uint64(1 + place * len(LEVELS) + level)


@routine
def usual_loops(group: np.uint64, facts: Any) -> int:
    """Return how loops of a class are known; the same for all of its calls."""
    if find_entry(facts, key_of(group, LOOP_LEVEL, np.uint64(0))) != NO_FACT:
        return CLASS
    if find_entry(facts, key_of(ESTATE, LOOP_LEVEL, np.uint64(0))) != NO_FACT:
        return POOLED
    return ASSERTED


@kernel
def end_stretch(loops: Any, levels: Any) -> None:
    """Hand over how far a task or stretch came, and begin the next; runs go on.

    Shapes: levels [PLACES] of uint8: highest level plus 1, what `learn_loops` takes a row of.
    Mutates: loops, levels.
    """
    for place in range(PLACES):
        levels[place] = loops["levels"][place]
        loops["levels"][place] = 0
    loops["calls"] = 0


def learn_loops(groups: Any, levels: Any) -> Facts:
    """Return the facts of ended tasks.

    Shapes: groups [task] of uint64; levels [task, place] of uint8, from `end_stretch`.
    """
    parts = [*_of_place(int(ESTATE), levels, _asserted())]
    estate = _shares(levels, _asserted())
    for group in np.unique(groups):
        parts += _of_place(int(group), levels[groups == group], estate)
    return as_facts(parts)


def _asserted() -> Any:
    """Return the asserted shares. Shapes: [place, level]."""
    return np.array([RETRY_SHARES, *[SHARES] * PERIODS])


def _shares(levels: Any, behind: Any) -> Any:
    """Return the shares of tasks that came to each level. Shapes: [place, level]."""
    counts = np.stack([(levels > level).sum(axis=0) for level in range(len(LEVELS))], axis=1)
    return (counts + BEHIND_TASKS * behind) / (len(levels) + BEHIND_TASKS)


def _of_place(where: int, levels: Any, behind: Any) -> list[Fact]:
    """Return the facts of a class, or of the estate."""
    shares, tasks = _shares(levels, behind), len(levels)
    made = [fact(where, LOOP_LEVEL, 0, (), tasks)]
    for place in range(PLACES):
        for level in range(len(LEVELS)):
            bits = as_bits(float(shares[place, level]))
            made.append(fact(where, LOOP_LEVEL, int(_what(place, level)), (bits,), tasks))
    return made
