"""How sure a threshold is: by other workloads that might have come, and by those left out.

Tasks of one workload are alike, so workloads are drawn, not tasks: drawn anew with repetition a
threshold is fitted each time (a bootstrap), and its spread says how well history determines it.
Dealt into folds, the threshold of all other folds is passed by some tasks of each: as many of so
many tasks never seen, with the exact interval of such a count.

The draws are hashes of numbers, so the same history gives the same answer.
Source: Clopper, Pearson, Biometrika 26 (1934); Efron, Tibshirani, An Introduction to the Bootstrap,
1993, section 8.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from .tail import fit_tail, threshold_of

ROUNDS: Final = 200
FOLDS: Final = 10
LEVEL: Final = 0.9
_STEPS: Final = 60  # of halving: to the last bit of a share


class Certain(NamedTuple):
    """A threshold for a share of benign tasks, and how sure it is.

    Units: bits in 1/1024. `least` and `most` hold the threshold nine times of ten, `over` of
    `tasks` left-out tasks passed one, which nine times of ten means a rate `low` to `high`.
    """

    share: float
    bits: int
    least: int
    most: int
    tasks: int
    over: int
    low: float
    high: float


def certain(scores: Any, owners: Any, share: float) -> Certain:
    """Return the threshold of a share. Shapes: scores in 1/1024 bit, owners [task], of uint64."""
    groups = _by_owner(np.asarray(scores, np.float64), np.asarray(owners, np.uint64))
    drawn = sorted(
        threshold_of(fit_tail(np.concatenate(_drawn(groups, turn))), share)
        for turn in range(ROUNDS if len(groups) else 0)
    )
    over = sum(_over(groups, fold, share) for fold in range(FOLDS))
    edge = round(len(drawn) * (1 - LEVEL) / 2)
    bits = threshold_of(fit_tail(scores), share)
    low, high = exact_interval(over, len(scores))
    return Certain(
        share=share,
        bits=bits,
        least=min(drawn[edge], bits) if drawn else bits,
        most=max(drawn[-edge - 1], bits) if drawn else bits,
        tasks=len(scores),
        over=over,
        low=low,
        high=high,
    )


def exact_interval(seen: int, count: int, level: float = LEVEL) -> tuple[float, float]:
    """Return between which rates the true one lies when `seen` of `count` were so."""
    if not count:
        return 0.0, 1.0
    rest = (1 - level) / 2
    low = _rate_where(lambda rate: 1 - _at_most(seen - 1, count, rate), rest) if seen else 0.0
    high = _rate_where(lambda rate: -_at_most(seen, count, rate), -rest) if seen < count else 1.0
    return low, high


def _rate_where(rising: Any, value: float) -> float:
    """Return where a function that rises with the rate reaches a value."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) >= value else (middle, high)
    return (low + high) / 2


def _at_most(seen: int, count: int, rate: float) -> float:
    """Return how likely at most `seen` of `count` are so, at a rate strictly within 0 and 1."""
    numbers = np.arange(seen + 1)
    logs = (
        _log_choices(count, seen) + numbers * math.log(rate) + (count - numbers) * math.log1p(-rate)
    )
    return float(min(np.exp(logs).sum(), 1.0))


def _log_choices(count: int, most: int) -> Any:
    """Return the logarithms of how many ways there are to choose 0 .. `most` of `count`."""
    numbers = np.arange(1, most + 1)
    return np.concatenate([[0.0], np.cumsum(np.log(count + 1 - numbers) - np.log(numbers))])


def _by_owner(scores: Any, owners: Any) -> list[Any]:
    """Return the scores of each owner; of each task where there is but one owner."""
    found, numbers = np.unique(owners, return_inverse=True)
    if len(found) < 2:
        return [scores[place : place + 1] for place in range(len(scores))]
    order = np.argsort(numbers, kind="stable")
    return np.split(scores[order], np.cumsum(np.bincount(numbers))[:-1])


def _drawn(groups: list[Any], turn: int) -> list[Any]:
    """Return as many groups as there are, drawn with repetition."""
    count = len(groups)
    # A multiplier and mixing of SplitMix64: good enough to choose, and the same everywhere.
    words = np.arange(turn * count + 1, (turn + 1) * count + 1, dtype=np.uint64)
    words *= np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return [groups[place] for place in (words % np.uint64(count)).tolist()]


def _over(groups: list[Any], fold: int, share: float) -> int:
    """Return how many scores of a fold pass the threshold of all others."""
    mine, others = (
        groups[fold::FOLDS],
        [each for place, each in enumerate(groups) if place % FOLDS != fold],
    )
    if not mine or not others:
        return 0
    bits = threshold_of(fit_tail(np.concatenate(others)), share)
    return int((np.concatenate(mine) > bits).sum())
