"""The tail of benign evidence: fitted, so that a threshold can be set where few tasks reach.

Thresholds come from benign tasks alone, scored by a baseline that was not learned from their
workloads. Of the highest tenth the excess is taken as generalised Pareto and fitted by probability-
weighted moments, which need no search and never fail.
Source: Hosking, Wallis, Parameter and Quantile Estimation for the Generalized Pareto Distribution,
Technometrics 29 (1987).
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from .baseline import Tail
from .entries import BIT

BEYOND: Final = 0.03  # the share that the tail is fitted to, but at least so many tasks:
EXCESSES_MIN: Final = 20
SEEN: Final = 0.1  # from this rate on, and down to so many tasks, what was seen is what is said
SEEN_MIN: Final = 8
TASKS_MIN: Final = 40  # fewer say nothing about one in ten
SCALE_MIN: Final = 0.25  # bits: where all tasks show the same, a little more is not once in ever
_SHAPES: Final = (-0.5, 0.5)
NEVER: Final = (1 << 30) - 1  # a threshold that no evidence passes
ASSERTED_TASKS: Final = 5.0  # that an asserted tail weighs as
_RATES: Final = 32  # 1 in 2 .. 1 in 2^32
_GRID: Final = 4  # places a bit


class Prior(NamedTuple):
    """What is asserted of a tail: one task in 2^(bits / halving - offset) has so many bits.

    The offset grows by `doubling` each time that there are twice as many tasks.
    """

    offset: float
    halving: float
    doubling: float


def fit_tail(scores: Any) -> Tail:
    """Return the tail of scores, in 1/1024 bit; one that says nothing for too few."""
    count = len(scores)
    if count < TASKS_MIN:
        return Tail()
    falling = np.sort(np.asarray(scores, np.float64))[::-1] / BIT
    steps, step = [], max(int(count * SEEN), 4)
    while step >= SEEN_MIN:
        steps.append(step)
        step = min(step - 1, int(step / 1.3))
    excesses = min(max(int(count * BEYOND), EXCESSES_MIN), count // 2)
    start = float(falling[excesses])
    scale, shape = _pareto(falling[:excesses][::-1] - start)
    scale = max(scale, SCALE_MIN)
    return Tail(
        tasks=count,
        rates=tuple(each / count for each in steps),
        bits=tuple(float(falling[each]) for each in steps),
        beyond=excesses / count,
        from_bits=start,
        scale=scale,
        shape=shape,
    )


def _pareto(excess: Any) -> tuple[float, float]:
    """Return scale and shape of excesses, ascending, by probability-weighted moments."""
    mean = float(excess.mean())
    ranks = (np.arange(len(excess), dtype=np.float64) + 0.65) / len(excess)
    weighted = float((excess * (1.0 - ranks)).mean())
    if mean <= 0.0 or mean <= 2.0 * weighted:
        return max(mean, 0.0), 0.0
    shape = min(max(2.0 - mean / (mean - 2.0 * weighted), _SHAPES[0]), _SHAPES[1])
    return mean * (1.0 - shape), shape


def smoothed_tail(scores: Any, prior: Prior) -> Tail:
    """Return the tail of scores of which most are 0, in 1/1024 bit, with what is asserted of it.

    Each task with evidence stands for tasks that have a little more, half as many each `halving`
    bits, so the tail falls everywhere and neither begins nor ends at what was seen. What is
    asserted weighs as `ASSERTED_TASKS`; without scores it is all there is.
    """
    places = np.ceil(np.asarray(scores, np.float64) / BIT * _GRID)
    found, counts = np.unique(places, return_counts=True)
    counts, found = counts[found > 0], found[found > 0] / _GRID
    offset = prior.offset + prior.doubling * math.log2(len(scores) / 4.0 + 1.0)
    most = float(found.max()) if len(found) else 0.0
    most += (offset + 2 * _RATES) * prior.halving
    bits = np.arange(math.ceil(most * _GRID)) / _GRID
    rates = ASSERTED_TASKS * np.exp2(np.minimum(offset - bits / prior.halving, 0.0))
    for bits_of_some, count in zip(found, counts, strict=True):
        rates += count * np.exp2(np.minimum((bits_of_some - bits) / prior.halving, 0.0))
    rates /= len(scores) + ASSERTED_TASKS
    powers = np.arange(1, _RATES + 1)
    tail = np.interp(powers, -np.log2(rates), bits).tolist()
    return Tail(
        tasks=len(scores) + round(ASSERTED_TASKS),
        rates=tuple(np.exp2(-powers).tolist()),
        bits=tuple(tail),
        beyond=0.5**_RATES,
        from_bits=tail[-1],
        scale=prior.halving / math.log(2.0),
    )


def threshold_of(tail: Tail, rate: float) -> int:
    """Return the evidence that the given share of benign tasks exceeds, in 1/1024 bit.

    A higher rate than was looked at gets that of the highest. Requires: 0 < rate < 1.
    """
    if not tail.tasks:
        return NEVER
    bits = _beyond(tail, rate)
    if tail.rates and rate >= tail.rates[-1]:
        logs = [math.log(each) for each in reversed(tail.rates)]
        bits = float(np.interp(math.log(rate), logs, tail.bits[::-1]))
    elif tail.bits:
        bits = max(bits, tail.bits[-1])
    return min(max(math.ceil(bits * BIT), 0), NEVER)


def _beyond(tail: Tail, rate: float) -> float:
    """Return what the fitted tail says of a rate."""
    ratio = min(rate / tail.beyond, 1.0)
    if abs(tail.shape) < 1e-6:
        return tail.from_bits - tail.scale * math.log(ratio)
    return tail.from_bits + tail.scale * (math.pow(ratio, -tail.shape) - 1.0) / tail.shape


def rate_of(tail: Tail, bits: int) -> float:
    """Return the share of benign tasks with more evidence; bits in 1/1024.

    As `threshold_of` has it, found by halving; 0.1 where evidence is no higher than the usual.
    """
    if not tail.tasks:
        return 0.0
    low, high = 1e-9, SEEN
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if threshold_of(tail, middle) > bits else (low, middle)
    return high


def sureness(tail: Tail, rate: float) -> tuple[float, float]:
    """Return between which rates the true one lies, nine times of ten, by the number of tasks.

    So many tasks show a rate to within this, were the tail known.
    Source: Wilson, Probable Inference, JASA 22 (1927).
    """
    if not tail.tasks:
        return 0.0, 1.0
    z, count = 1.645, tail.tasks
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)
