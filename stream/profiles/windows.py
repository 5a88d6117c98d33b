"""Sliding windows: 17 bins of W/16, positioned by the row's clock.

At clock t the newest bin is `16 t // W` and the ring holds it and the 16 before, so a window
reports at least the true count of (t - W, t] and at most that of (t - W - W/16, t] (DESIGN 3.5;
held by tests/property/test_windows.py). Which bins the ring holds follows from the row's clock
alone, so a window that has slid out is all zero and is not stored.
"""

from __future__ import annotations

from typing import Any, Final

from stream.kernel import kernel

from .layout import BINS, U32_MAX

SUM_BIN_MAX: Final = 5 * 10**17  # 17 of them fit an i64


@kernel
def bin_of(at_ms: int, window_ms: int) -> int:
    """Return the index of the bin that holds a time; bins are W/16 wide, never rounded."""
    return at_ms * (BINS - 1) // window_ms


@kernel
def slide(window: Any, old_bin: int, new_bin: int) -> None:
    """Drop the bins that leave the ring when the newest bin moves from old to new.

    Requires: old_bin <= new_bin. Mutates: window.
    """
    bins = window["bins"]
    if window["total"] == 0:
        return
    if new_bin - old_bin >= BINS:
        for place in range(BINS):
            bins[place] = 0
        window["total"] = 0
        return
    dropped = 0
    place = old_bin % BINS
    for _ in range(new_bin - old_bin):
        place += 1
        if place == BINS:
            place = 0
        dropped += int(bins[place])
        bins[place] = 0
    window["total"] -= dropped


@kernel
def add_count(window: Any, at_bin: int, amount: int) -> None:
    """Add to the bin of a time that the ring still holds; a u32 bin saturates.

    Mutates: window. Requires: amount >= 0.
    """
    bins = window["bins"]
    place = at_bin % BINS
    old = int(bins[place])
    new = old + amount
    new = min(new, U32_MAX)
    bins[place] = new
    window["total"] += new - old


@kernel
def add_sum(window: Any, at_bin: int, amount: int) -> None:
    """Add to the bin of a time that the ring still holds; a bin saturates at SUM_BIN_MAX.

    Mutates: window. Requires: 0 <= amount <= 2^62.
    """
    bins = window["bins"]
    place = at_bin % BINS
    old = int(bins[place])
    new = min(old + amount, SUM_BIN_MAX)
    bins[place] = new
    window["total"] += new - old


@kernel
def clear(window: Any) -> None:
    """Forget everything a window counted. Mutates: window."""
    bins = window["bins"]
    for place in range(BINS):
        bins[place] = 0
    window["total"] = 0
