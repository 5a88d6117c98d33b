"""The amounts of a workload by interval: where events become the values of a series.

An event falls into the interval of the row's clock. The first event of a later interval closes
the open one, whose amount is judged and learned as of its own beginning; what lay empty between
counts as zeros, at most GAP_MAX of them (a day of 5 minutes): of a longer silence the first day is
learned and the rest is as if it had not been, so an event costs at most GAP_MAX + 1 scores.
While an interval is open it is looked at whenever its amount is above what was expected and a
quarter above the last look: a flood is seen at an event within its first interval, not behind it.

Only more than expected is evidence here: what is missing is no deed of an event. (The score of an
interval with less than expected is in no part, but is learned.) Evidence is that of the closed
interval or the open one, whichever is larger; `parts` says of which and why. Cold as level.py says.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel, routine

from .level import (
    BITS,
    COUNTED,
    LEVEL_PARTS,
    REPORTED,
    counted,
    expected_of,
    is_warm,
    peek_level,
    score_level,
)

# What each event touches; the series lies elsewhere, as only the end of an interval needs it.
RATE: Final = np.dtype(
    [
        ("opened", np.int64),  # number of the open interval, plus 1; 0 for none
        ("amount", np.int64),  # in it so far; saturates at AMOUNT_MAX
        ("look_from", np.int64),  # amount at which to look again
        ("ready", np.int64),  # 1 where the series is warm
    ],
    align=True,
)
AMOUNT_MAX: Final = 1 << 62
GAP_MAX: Final = 288
LOOK_SHARE: Final = 4  # a quarter more
# Beside the parts of a level: what was seen, what was expected, and when the interval began.
OBSERVED, EXPECTED, SINCE_MS = LEVEL_PARTS, LEVEL_PARTS + 1, LEVEL_PARTS + 2
RATE_PARTS: Final = LEVEL_PARTS + 3


@kernel
def observe_rate(state: Any, clock_ms: int, amount: int, measure: Any, parts: Any) -> int:
    """Count an event's amount; return the evidence, in 1/1024 bit.

    Shapes:   state = (rate, series) of RATE and LEVEL; measure = (kind, interval_ms, scratch),
              scratch as parts; parts: [part] of int64, RATE_PARTS of them, all written.
    Units:    kind COUNTED or AMOUNTS; amount >= 0 requests, bytes, ...
    Requires: clock_ms not before that of the last call (the clock of a row never is).
    Mutates:  state, parts, scratch.
    """
    rate = state[0]
    for part in range(RATE_PARTS):
        parts[part] = 0
    # Within the open interval, as nearly all events are, without a division and without a call.
    if rate["opened"] != 0 and clock_ms < rate["opened"] * measure[1]:
        held = int(rate["amount"])
        total = held + min(amount, AMOUNT_MAX - held)
        if amount <= 0 or rate["ready"] == 0 or total < rate["look_from"]:
            rate["amount"] = total
            return 0
    return int(_observe(state, clock_ms, amount, measure, parts))


@kernel
def is_rate_ready(rate: Any) -> bool:
    """Tell whether evidence of 0 means "as expected" and not "not known yet"."""
    return bool(rate["ready"] != 0)


@routine
def _observe(state: Any, clock_ms: int, amount: int, measure: Any, parts: Any) -> int:
    """See `observe_rate`: where an interval closes or is judged. Mutates: state, parts, scratch."""
    rate = state[0]
    if rate["opened"] == 0 or clock_ms >= rate["opened"] * measure[1]:
        number = clock_ms // measure[1]
        if rate["opened"] != 0:
            _close(state, number, measure, parts)
        _open(state, number, measure)
    held = int(rate["amount"])
    rate["amount"] = held + min(amount, AMOUNT_MAX - held)
    if amount > 0 and rate["ready"] != 0 and rate["amount"] >= rate["look_from"]:
        _look(state, measure, parts)
    return int(parts[REPORTED])


@kernel
def _value_of(kind: int, amount: int) -> float:
    """Return an amount on the scale of its kind."""
    return counted(amount) if kind == COUNTED else float(amount)


@kernel
def _open(state: Any, number: int, measure: Any) -> None:
    """Begin an interval. Mutates: state (its rate)."""
    rate, series = state
    rate["opened"] = number + 1
    rate["amount"] = 0
    rate["look_from"] = expected_of(series, number * measure[1], measure[0]) + 1
    rate["ready"] = 1 if is_warm(series) else 0


@kernel
def _close(state: Any, number: int, measure: Any, parts: Any) -> None:
    """Judge and learn the open interval and the empty ones up to `number`. Mutates: all."""
    kind, interval_ms, scratch = measure
    rate, series = state
    since_ms = (int(rate["opened"]) - 1) * interval_ms
    expected = expected_of(series, since_ms, kind)
    score_level(series, _value_of(kind, int(rate["amount"])), since_ms, kind, scratch)
    if rate["amount"] > expected:
        _keep(scratch, (int(rate["amount"]), expected, since_ms), parts)
    for empty in range(min(number - int(rate["opened"]), GAP_MAX)):
        at_ms = since_ms + (empty + 1) * interval_ms
        score_level(series, _value_of(kind, 0), at_ms, kind, scratch)


@kernel
def _look(state: Any, measure: Any, parts: Any) -> None:
    """Judge the open interval so far. Mutates: state (when to look again), parts, scratch."""
    kind, interval_ms, scratch = measure
    rate, series = state
    amount = int(rate["amount"])
    rate["look_from"] = amount + amount // LOOK_SHARE + 1
    since_ms = (int(rate["opened"]) - 1) * interval_ms
    peek_level(series, _value_of(kind, amount), since_ms, kind, scratch)
    if scratch[REPORTED] > parts[REPORTED]:
        expected = expected_of(series, since_ms, kind)
        _keep(scratch, (amount, expected, since_ms), parts)


@kernel
def _keep(scratch: Any, seen: Any, parts: Any) -> None:
    """Keep the parts of an interval, and what was seen of it. Mutates: parts."""
    if scratch[BITS] == 0:
        return
    for part in range(LEVEL_PARTS):
        parts[part] = scratch[part]
    parts[OBSERVED], parts[EXPECTED], parts[SINCE_MS] = seen
