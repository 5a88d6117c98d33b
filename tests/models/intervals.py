"""A slow model of amounts by interval: a list of events, cut into intervals, zeros between."""

from __future__ import annotations

from itertools import pairwise

GAP_MAX = 288
AMOUNT_MAX = 1 << 62


def closed_intervals(
    events: list[tuple[int, int]], interval_ms: int
) -> tuple[list[tuple[int, int]], int]:
    """The (start, amount) of each interval that was closed and is learned, and what is open.

    `events` are (clock, amount) in order.
    """
    amounts: dict[int, int] = {}
    for clock_ms, amount in events:
        number = clock_ms // interval_ms
        amounts[number] = min(amounts.get(number, 0) + amount, AMOUNT_MAX)
    numbers = sorted(amounts)
    closed = []
    for number, later in pairwise(numbers):
        closed.append((number * interval_ms, amounts[number]))
        empty = range(number + 1, min(later, number + 1 + GAP_MAX))
        closed += [(each * interval_ms, 0) for each in empty]
    return closed, amounts[numbers[-1]]
