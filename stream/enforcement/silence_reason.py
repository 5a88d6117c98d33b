"""Why a silence was too long: in words, and the same as data."""

from __future__ import annotations

from typing import Any, Final

from stream.baselines import BIT
from stream.detectors import MISSED, SILENCES, SILENT_FROM_MS
from stream.events import Reason
from stream.policy import spell_duration

from .habit_reason import BITS

_SPELLED_MS: Final = 60_000  # spans are told in whole minutes


def silence_reason(decision: Any) -> Reason:
    """Return why a workload should have called by the tick that the decision was made at."""
    bits, allowed = int(decision["observed"]), int(decision["demand"])
    missed, since_ms, before = (
        int(decision["details"][part]) for part in (MISSED, SILENT_FROM_MS, SILENCES)
    )
    span_ms = (int(decision["clock_ms"]) - since_ms) // _SPELLED_MS * _SPELLED_MS
    how = f"{before:,} silences of its own" if before else "a past of its own without any"
    return Reason(
        text=(
            f"no event for {spell_duration(span_ms)}, where {missed:,} requests or more were"
            f" expected ({bits / BIT:.1f} bits beside {how})"
        ),
        detector="silence",
        measure=BITS,
        observed=bits,
        expected=allowed,
        window_ms=span_ms,
        otherwise=f"evidence of {allowed / BIT:.1f} bits or less would not have fired",
    )
