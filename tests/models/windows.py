"""A slow model of a sliding window: every amount is kept, and summed anew at each question."""

from __future__ import annotations

BINS = 17


class WindowModel:
    """What a window saw. The clock is the largest time seen; bins are a sixteenth of the span."""

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms
        self.clock_ms = 0
        self.seen: list[tuple[int, int]] = []

    def add(self, at_ms: int, amount: int) -> bool:
        """Keep an amount; tell whether it came too late for the ring."""
        self.clock_ms = max(self.clock_ms, at_ms)
        self.seen.append((at_ms, amount))
        return amount > 0 and not self._is_held(at_ms)

    def total(self) -> int:
        """What the 17 bins up to the clock's hold; an amount too late never comes back."""
        return sum(amount for at_ms, amount in self.seen if self._is_held(at_ms))

    def least(self) -> int:
        """The true count of (t - W, t]."""
        return sum(amount for at_ms, amount in self.seen if at_ms > self.clock_ms - self.window_ms)

    def most(self) -> int:
        """The true count of (t - W - W/16, t]."""
        return sum(
            amount
            for at_ms, amount in self.seen
            if 16 * at_ms > 16 * self.clock_ms - 17 * self.window_ms
        )

    def _is_held(self, at_ms: int) -> bool:
        return self._bin(at_ms) > self._bin(self.clock_ms) - BINS

    def _bin(self, at_ms: int) -> int:
        return at_ms * (BINS - 1) // self.window_ms
