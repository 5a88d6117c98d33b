"""Slow models of learned detectors: loops, fallbacks, shares and sequences, in plain Python.

They keep all that happened, and count it anew each time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

History = tuple[int, ...]


def run_of(symbols: Sequence[int], period: int) -> int:
    """How many symbols at the end equal the one `period` places before."""
    run = 0
    while run + period < len(symbols) and symbols[-1 - run] == symbols[-1 - run - period]:
        run += 1
    return run


def retries_of(calls: Sequence[tuple[int, int]]) -> int:
    """How often a failed call was made again at the end, failing; calls are (symbol, failed)."""
    times = 0
    for symbol, failed in reversed(calls):
        if not failed or symbol != calls[-1][0]:
            break
        times += 1
    return max(0, times - 1)


def fallbacks_of(calls: Sequence[tuple[int, int, int]], within: int) -> list[int]:
    """For each call (operation, effect, outcome) the denied operation that it falls back from."""
    found = []
    used = -1  # the denial that was already fallen back from
    for place, (operation, effect, outcome) in enumerate(calls):
        denied = 0
        denials = [at for at in range(place) if calls[at][2] == 2]
        if denials and effect == 1 and outcome == 0:
            last = denials[-1]
            if place - last <= within and last != used and calls[last][0] != operation:
                denied, used = calls[last][0], last
        found.append(denied)
    return found


def share_weights(calls: Sequence[tuple[int, int]], steps: Sequence[tuple[int, int]]) -> int:
    """The larger weight of two suspicions after calls (failed, count).

    It is the largest sum over all beginnings of what steps came to, less twice what they came to on
    average before: each call moves that average by its part of the latest 256.
    """
    found = []
    for rise, fall in steps:
        mean, sums = 0, [0]
        for failed, count in calls:
            step = rise if failed else -fall
            sums.append(sums[-1] + count * (step - 2 * max(0, mean) // 256))
            mean += (step * 256 - mean) * min(count, 256) // 256
        found.append(max(sums[-1] - each for each in sums))
    return max(found)


class SequenceModel:
    """Counts of benign tasks (group, calls of (operation, effect)); probabilities as fractions."""

    def __init__(self, tasks: Sequence[tuple[int, Sequence[tuple[int, int]]]]) -> None:
        self.tasks = tasks
        self._calls: dict[int | None, list[tuple[History, int, int]]] = {}

    def calls(self, group: int | None) -> list[tuple[History, int, int]]:
        """The calls of a class, or of all: (two before, operation, effect)."""
        if group in self._calls:
            return self._calls[group]
        found = self._calls.setdefault(group, [])
        for owner, calls in self.tasks:
            before: History = (1, 1)
            for operation, effect in calls:
                if group is None or owner == group:
                    found.append((before, operation, effect))
                before = (before[1], operation)
        return found

    def knows(self, group: int | None) -> bool:
        """Whether there is anything to compare with."""
        return bool(self.calls(group))

    def share_new(self, group: int | None, effect: int, known_elsewhere: bool) -> Fraction:
        """How rarely a call is the first of an operation with an effect."""
        seen: set[int] = set()
        everywhere: set[int] = set()
        calls = compared = new = 0
        for owner, listed in self.tasks:
            for operation, of_call in listed:
                if group is None or owner == group:
                    if calls >= 20:
                        compared += 1
                        if operation not in seen and of_call == effect:
                            elsewhere = operation in everywhere if group is not None else False
                            new += elsewhere == known_elsewhere
                    calls += 1
                    seen.add(operation)
                everywhere.add(operation)
        return (new + Fraction(1, 2)) / (compared + 1)

    def expected(self, group: int | None, before: History, call: tuple[int, int]) -> float:
        """How much a call is expected after those before it."""
        operation, effect = call
        calls = self.calls(group)
        shares = [self.share_new(group, each, known) for each in (0, 1) for known in (False, True)]
        share_new = min(Fraction(1, 2), sum(shares, Fraction(0)))
        count = sum(each[1] == operation for each in calls)
        if count:
            share = (1 - share_new) * Fraction(count, len(calls))
        else:
            elsewhere = any(each[1] == operation for each in self.calls(None))
            share = self.share_new(group, effect, elsewhere)
        for length in (1, 2):
            alike = [each[1] for each in calls if each[0][2 - length :] == before[2 - length :]]
            if alike:
                different = len(set(alike))
                share = (alike.count(operation) + different * share) / (len(alike) + different)
        return float(share)

    def first(self, group: int | None, call: tuple[int, int]) -> float:
        """The bits of a first use; 0 of an operation that was used, or of nothing to compare."""
        operation, effect = call
        if not self.knows(None) or any(each[1] == operation for each in self.calls(group)):
            return 0.0
        elsewhere = any(each[1] == operation for each in self.calls(None))
        return -math.log2(self.share_new(group, effect, elsewhere))

    def x(self, group: int | None, before: History, call: tuple[int, int]) -> float:
        """The bits of one call."""
        known = len({each[1] for each in self.calls(None)})
        bits = -math.log2(self.expected(group, before, call)) - math.log2(known + 1)
        return max(-12.0, min(12.0, bits))
