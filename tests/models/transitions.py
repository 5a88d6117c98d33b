"""A slow model of the counts of transitions: exact truth, and sets that give way to newcomers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

WAYS = 4
Pair = tuple[int, int]


class TransitionsModel:
    """Counts exactly, and beside that keeps 4 pairs a set, the lightest giving way."""

    def __init__(self, set_of: Callable[[Pair], int], ceiling: int) -> None:
        self._set_of = set_of
        self._ceiling = ceiling
        self.truth: Counter[Pair] = Counter()
        self.seen: Counter[int] = Counter()
        self.kept: dict[int, list[tuple[Pair, int, int]]] = {}

    def count(self, pair: Pair, amount: int) -> bool:
        """Count a pair; tell whether another had to make room."""
        chosen = self._set_of(pair)
        self.truth[pair] += amount
        self.seen[chosen] += amount
        ways = self.kept.setdefault(chosen, [])
        for place, (other, count, error) in enumerate(ways):
            if other == pair:
                ways[place] = pair, min(count + amount, self._ceiling), error
                return False
        if len(ways) < WAYS:
            ways.append((pair, min(amount, self._ceiling), 0))
            return False
        lightest = min(range(WAYS), key=lambda place: ways[place][1])
        floor = ways[lightest][1]
        ways[lightest] = pair, min(floor + amount, self._ceiling), floor
        return True

    def is_heavy(self, pair: Pair) -> bool:
        """Tell whether a pair outweighs a quarter of what its set has seen."""
        return WAYS * self.truth[pair] > self.seen[self._set_of(pair)]
