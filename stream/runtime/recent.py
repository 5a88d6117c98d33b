"""What was newly enforced in a partition of late, by tier: enough to count a sliding window."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from stream.events import Conditions

BINS: Final = 16  # of a window; with one more it never counts too few


@dataclass(slots=True)
class Recent:
    """Counts by tier and by the start of a sixteenth of the window, in the log's clock.

    `began_ms` is that clock as the owner came to it, 0 before: what was before nobody counted here.
    `closed`: tiers that the owner has closed itself. `looked_ms`, `looked_s`, `under`: when the
    allowance was last computed, and under which conditions.
    """

    starts: dict[str, Counter[int]] = field(default_factory=dict)
    began_ms: int = 0
    closed: set[str] = field(default_factory=set)
    looked_ms: int = 0
    looked_s: float = 0.0
    under: Conditions | None = None

    def add(self, tier: str, at_ms: int, window_ms: int) -> None:
        """Count one, and forget what no window holds any more. Mutates: self."""
        size_ms = bin_ms(window_ms)
        counts = self.starts.setdefault(tier, Counter())
        counts[at_ms // size_ms * size_ms] += 1
        for start in [each for each in counts if each + size_ms <= at_ms - window_ms]:
            del counts[start]

    def count(self, tier: str, now_ms: int, window_ms: int) -> int:
        """Return how many there were in a window that ends now: never too few."""
        first_ms = now_ms - window_ms - bin_ms(window_ms)
        counts = self.starts.get(tier, Counter())
        return sum(count for start, count in counts.items() if start > first_ms)


def bin_ms(window_ms: int) -> int:
    """Return the length of a sixteenth of a window, rounded up."""
    return -(-window_ms // BINS)
