"""Whether alarms keep the budget they were promised: of late, beside what it allows.

A budget of false alarms says how many contexts of a thousand may alarm although all is well. So
where all is well, about as many do; many more are an attack, a change that nobody announced, or a
baseline that is out of date, and somebody had better look. Counted is by the hour, over a day, in
this worker: what it has seen since it started.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, NamedTuple

BUCKET_S: Final = 3_600.0
BUCKETS: Final = 24
ALARMS_MIN: Final = 5
UNLIKELY: Final = 1e-4
LIKELY: Final = 0.05
LARGE: Final = 10_000.0  # means from which on a Poisson count is taken for a normal one


class Spent(NamedTuple):
    """Contexts that were compared, that alarmed, and that the budget allows to."""

    compared: int
    alarmed: int
    allowed: float


class Spending:
    """Alarms of the last day beside their budget.

    It is overspent where so many are less likely than UNLIKELY by chance, at least ALARMS_MIN; and
    is so until they are likely again.
    """

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, list[float]]] = deque(maxlen=BUCKETS)
        self._is_over = False

    def add(self, now_s: float, compared: int, alarmed: int, allowed_ppm: int) -> None:
        """Add what a step counted."""
        bucket = int(now_s // BUCKET_S)
        if not self._buckets or self._buckets[-1][0] != bucket:
            self._buckets.append((bucket, [0.0, 0.0, 0.0]))
        counts = self._buckets[-1][1]
        for place, amount in enumerate((compared, alarmed, allowed_ppm / 1e6)):
            counts[place] += amount

    def spent(self, now_s: float) -> Spent:
        """Return what was counted within the last day."""
        oldest = int(now_s // BUCKET_S) - BUCKETS
        held = [counts for bucket, counts in self._buckets if bucket > oldest]
        compared, alarmed, allowed = (
            (sum(each) for each in zip(*held, strict=True)) if held else (0, 0, 0.0)
        )
        return Spent(int(compared), int(alarmed), float(allowed))

    def is_over(self, now_s: float) -> bool:
        """Tell whether there were more alarms than the budget allows and chance explains."""
        _, alarmed, allowed = self.spent(now_s)
        chance = at_least(alarmed, allowed)
        self._is_over = alarmed >= ALARMS_MIN and chance < (LIKELY if self._is_over else UNLIKELY)
        return self._is_over


def at_least(count: int, mean: float) -> float:
    """Return how likely a Poisson count of this mean is at least so many."""
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0
    if mean > LARGE:
        return math.erfc((count - 0.5 - mean) / math.sqrt(2 * mean)) / 2
    if count < mean:
        return 1.0 - sum(_term(each, mean) for each in range(count))
    total, term, each = 0.0, _term(count, mean), count
    while term > total * 1e-12:
        total += term
        each += 1
        term *= mean / each
    return total


def _term(count: int, mean: float) -> float:
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
