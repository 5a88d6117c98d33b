"""Declared sequences: an operation of `first`, then one of `then` within a span, in one context.

The order is that of the log, the distance that of event times in either direction; a denied
`first` gave nothing and does not count, a `then` counts whatever came of it except our own
refusal. The latest `first` is the one compared with, so a pair within the span is never missed
among events in order. A sequence is an edge (DESIGN 3.21): a new match renews, at most 16 times
in a command's duration.
"""

from __future__ import annotations

from typing import Any, Final

from stream.kernel import kernel

RENEWALS_MAX: Final = 16


@kernel
def is_match(mark: Any, within_ms: int, at_ms: int) -> bool:
    """Tell whether a marked `first` lies within the span of a time."""
    if mark["at_ms"] == 0:
        return False
    return bool(abs(at_ms - (mark["at_ms"] - 1)) <= within_ms)


@kernel
def set_mark(mark: Any, operation: Any, at_ms: int) -> None:
    """Keep the latest `first`. Mutates: mark (its time is stored plus 1; 0 means none)."""
    if at_ms + 1 > mark["at_ms"]:
        mark["at_ms"] = at_ms + 1
        mark["operation"] = operation


@kernel
def may_renew(entry: Any, clock_ms: int) -> bool:
    """Tell whether a sixteenth of an entry's duration is over since its last issue."""
    since = int(entry["since_ms"])
    return bool(RENEWALS_MAX * (clock_ms - since) >= entry["until_ms"] - since)
