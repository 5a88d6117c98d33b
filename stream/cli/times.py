"""Times and spans as a person reads them."""

from __future__ import annotations

import datetime as dt

from stream.policy import spell_duration


def moment(at_ms: int) -> str:
    """Return Unix milliseconds as local time with its offset: `2026-01-31 12:00:00 +0100`.

    Others may have written any number: one that is no time stays that.
    """
    try:
        at = dt.datetime.fromtimestamp(at_ms / 1_000, dt.UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return str(at_ms)
    return at.strftime("%Y-%m-%d %H:%M:%S %z")


def span(ms: int) -> str:
    """Return a span in its two largest units: `3m12s`, `2d4h`; seconds from one second on."""
    for unit_ms in (86_400_000, 3_600_000, 60_000, 1_000):
        if ms >= unit_ms:
            step = max(1_000, {86_400_000: 3_600_000, 3_600_000: 60_000}.get(unit_ms, 1_000))
            return spell_duration(ms // step * step)
    return spell_duration(max(0, ms))


def ago(at_ms: int, now_ms: int) -> str:
    """Return how long ago a time was, or in how long it comes."""
    if at_ms <= 0:
        return "never"
    return f"{span(now_ms - at_ms)} ago" if at_ms <= now_ms else f"in {span(at_ms - now_ms)}"
