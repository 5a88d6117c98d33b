"""Counts of operation -> operation, the heaviest pairs only.

The 32 entries are 8 sets of 4, chosen by a hash of the pair. In a full set the lightest pair makes
room, and the newcomer starts at its count + 1 with that count as its error: so `count` is never
below the truth, `count - error` never above it, and a pair that outweighs a quarter of what its
set has seen is never dropped.
Source: Metwally, Agrawal, El Abbadi, Efficient Computation of Frequent and Top-k Elements in Data
Streams (Space-Saving), ICDT 2005; here per set of a cache-like table, to keep the search short.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.kernel import kernel, mix64, prefetch_line

from .layout import TRANSITION_SETS, TRANSITION_WAYS, U32_MAX


@kernel
def _set_of(source: Any, target: Any) -> int:
    """Return where the set of a pair begins."""
    chosen: Any = np.int64(mix64(source, target) % np.uint64(TRANSITION_SETS))
    return chosen * TRANSITION_WAYS  # type: ignore[no-any-return]


@kernel
def ask_transition(entries: Any, source: Any, target: Any) -> None:
    """Ask for the memory of a pair's set, which is to be counted soon; waits for none."""
    start = _set_of(source, target)
    # Of 24 bytes each: every line that the four lie on.
    prefetch_line(entries, start, 0)
    prefetch_line(entries, start + 2, 0)
    prefetch_line(entries, start + 3, 0)


@kernel
def count_transition(entries: Any, source: Any, target: Any, amount: int) -> int:
    """Count one pair; return 1 where another pair had to make room, else 0.

    Shapes: entries [entry] of one row. Mutates: entries.
    """
    start = _set_of(source, target)
    lightest = start
    for place in range(start, start + TRANSITION_WAYS):
        entry = entries[place]
        if entry["source"] == source and entry["target"] == target:
            entry["count"] = min(int(entry["count"]) + amount, U32_MAX)
            return 0
        if entry["count"] < entries[lightest]["count"]:
            lightest = place
    entry = entries[lightest]
    floor = int(entry["count"])
    entry["source"] = source
    entry["target"] = target
    entry["count"] = min(floor + amount, U32_MAX)
    entry["error"] = floor
    return 1 if floor > 0 else 0
