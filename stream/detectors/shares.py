"""Errors and denials: is their share that of the class, or far above it?

Calls either fail or not, with probability p0 in the class. Two suspicions are held against that,
p1 = min(.9, 4 p0) and p2 = .9: somewhat more failures, and hardly anything else. Each is followed
by the one-sided CUSUM of its log-likelihood ratio,

    W = max(W, 0) + log2(p1 / p0) at a failure, + log2((1 - p1) / (1 - p0)) otherwise,

and the evidence is the larger, less one bit for having had two: under independent failures at p0
the mean of 2^x is 1 for each, so their mean is an e-detector (DESIGN section 4). Failures come in
bursts, so in truth p0 is learned with what bursts do to it: it is the class's share plus one
standard deviation between its tasks, backed off with BEHIND_CALLS calls of the estate.
A workload that has always failed more often than its class is no news: what its steps came to on
average of late is taken off twice, so only a rise against its own past goes on to weigh. It is said
at the calls that fail: the others are nobody's fault.
Errors are outcome `failed`, denials outcome `denied`; each has a state of its own.
Cold: ASSERTED_SHARES, and it says ASSERTED.

Source: Page, Biometrika 1954; Shin, Ramdas, Rinaldo, E-detectors, 2023.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from stream.baselines import ESTATE, find_entry, key_of
from stream.kernel import routine

from .bits import BIT
from .facts import ASSERTED, CLASS, NO_FACT, POOLED, SHARE, Fact, Facts, as_facts, fact

ERROR, DENIAL = 0, 1
ASSERTED_SHARES: Final = (0.1, 0.02)
BEHIND_CALLS: Final = 50.0
SHARE_MIN: Final = 0.001
SHARE_MAX: Final = 0.5
SUSPICIONS: Final = 2
USUAL: Final = 1 + 2 * SUSPICIONS
WEIGHT_MAX: Final = 1 << 20
COUNT_MAX: Final = 1 << 20
# Of the mean step of a workload's own past, which weighs its latest so many calls.
PAST_CALLS: Final = 256
PAST_WEIGHT: Final = 2
SHARES: Final = np.dtype(
    [
        ("weights", np.int32, (SUSPICIONS,)),
        ("means", np.int32, (SUSPICIONS,)),  # of a call's step so far, 1/1024/PAST_CALLS bit
    ],
    align=True,
)
BITS_PART, HOW_PART = range(2)
SHARE_PARTS: Final = 2


def steps_of(share: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return by how much each suspicion rises at a failure and falls otherwise, in 1/1024 bit.

    Both are rounded against the suspicion.
    """
    base = min(SHARE_MAX, max(SHARE_MIN, share))
    steps = []
    for suspected in (min(0.9, 4.0 * base), 0.9):
        rise = math.floor(math.log2(suspected / base) * BIT)
        fall = math.ceil(math.log2((1.0 - base) / (1.0 - suspected)) * BIT)
        steps.append((rise, fall))
    return steps[0], steps[1]


ASSERTED_STEPS: Final = tuple(steps_of(each) for each in ASSERTED_SHARES)


@routine
def usual_share(which: int, group: np.uint64, facts: Any) -> tuple[int, int, int, int, int]:
    """Return how a class's share is known, and by how much each suspicion rises and falls.

    The same for all calls of a class, so that who follows many looks it up once: USUAL numbers.
    """
    place, how = group, CLASS
    found = find_entry(facts, key_of(place, SHARE, np.uint64(1 + SUSPICIONS * which)))
    if found == NO_FACT:
        place, how = ESTATE, POOLED
        found = find_entry(facts, key_of(place, SHARE, np.uint64(1 + SUSPICIONS * which)))
    (rise, fall), (steep, back) = ASSERTED_STEPS[which]
    if found == NO_FACT:
        return ASSERTED, rise, fall, steep, back
    rise, fall = int(facts[found]["bits"][0]), int(facts[found]["bits"][1])
    found = find_entry(facts, key_of(place, SHARE, np.uint64(2 + SUSPICIONS * which)))
    if found != NO_FACT:
        steep, back = int(facts[found]["bits"][0]), int(facts[found]["bits"][1])
    return how, rise, fall, steep, back


@routine
def follow_usual(state: Any, call: Any, usual: Any, parts: Any) -> int:
    """Follow a call by what is usual; return the evidence in 1/1024 bit.

    Shapes:  state: SHARES; call = (failed, count): 1 or 0, and how many calls an event stands for;
             usual: what `usual_share` returns; parts [SHARE_PARTS] of int64: bits, how they are
             known.
    Mutates: state, parts.
    """
    failed, count = call
    times = min(count, COUNT_MAX)
    parts[HOW_PART] = usual[0]
    most = 0
    for suspicion in range(SUSPICIONS):
        step = usual[1 + 2 * suspicion] if failed != 0 else -usual[2 + 2 * suspicion]
        mean = int(state["means"][suspicion])
        past = PAST_WEIGHT * max(0, mean) // PAST_CALLS
        weight = max(0, int(state["weights"][suspicion])) + times * (step - past)
        state["weights"][suspicion] = min(WEIGHT_MAX, max(0, weight))
        news = (step * PAST_CALLS - mean) * min(times, PAST_CALLS)
        state["means"][suspicion] = mean + news // PAST_CALLS
        most = max(most, int(state["weights"][suspicion]))
    parts[BITS_PART] = max(0, most - BIT) if failed != 0 else 0
    return int(parts[BITS_PART])


def learn_shares(groups: Any, calls: Any, failures: Any) -> Facts:
    """Return the facts of ended tasks.

    Shapes: groups, calls [task]; failures [task, which], at most `calls`.
    """
    parts: list[Fact] = []
    for which in range(2):
        failed = failures[:, which]
        estate = _share(calls, failed, ASSERTED_SHARES[which])
        parts += _facts_of(int(ESTATE), which, estate, int(calls.sum()))
        for group in np.unique(groups):
            own = groups == group
            share = _share(calls[own], failed[own], estate)
            parts += _facts_of(int(group), which, share, int(calls[own].sum()))
    return as_facts(parts)


def _share(calls: Any, failed: Any, behind: float) -> float:
    """Return a share with what stands behind it, plus its standard deviation between tasks.

    The variance of tasks' failures beyond a binomial's, by moments; none of it is negative.
    """
    every = float(calls.sum())
    share = (float(failed.sum()) + BEHIND_CALLS * behind) / (every + BEHIND_CALLS)
    beyond = float(((failed - calls * share) ** 2 - calls * share * (1.0 - share)).sum())
    pairs = float((calls * (calls - 1.0)).sum())
    between = max(0.0, beyond / pairs) if pairs > 0.0 else 0.0
    share = min(1.0, share)
    return min(SHARE_MAX, share + math.sqrt(min(between, share * (1.0 - share))))


def _facts_of(place: int, which: int, share: float, calls: int) -> list[Fact]:
    """Return the facts of a class, or of the estate."""
    return [
        fact(place, SHARE, 1 + SUSPICIONS * which + suspicion, steps, calls)
        for suspicion, steps in enumerate(steps_of(share))
    ]
