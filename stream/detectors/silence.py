"""How unlike itself it is for a workload to say nothing for so long, in bits.

A silence is two numbers: how long it is, and how many requests were to be expected in it by the
level and the hours of the day (level.py). Both are judged against the silences of the same workload
so far, on a logarithmic scale, since silences are spread over many orders of magnitude: a job that
comes each hour is missed after a few hours, one that is steady within minutes, and one that rests
at night or over weekends is not missed there once it has rested there before. Evidence is the less
of both: who is quiet for longer than ever while nothing was to be expected shows nothing.

    y1 = log2(1 + requests expected),  y2 = log2(1 + intervals),  bits = min(T1(y1), T2(y2))

Each T is a tail of its own past (tail.py). Its floors are those of a past that had no silence worth
the name, and give way to what was seen: (4.1, 0.5) and (1, 0.5) octaves where there was none, each
with the weight of 64 silences, to (0, 0.15). Any event ends a silence, also one that counts for
nothing: whoever is refused is not silent.

Silence is no deed of an event, so it is judged when somebody asks, at a time that the log knows of,
and learned at the event that ends it: asking changes nothing, so it may be done late, twice or not
at all. A silence begins with the first interval without an event and is whole intervals long.
Cold: it learns once the series of requests is warm, and abstains for a week of intervals from then
on, so that whoever rests over weekends has done so before.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel, routine

from .bits import log2_of, nearest, quantised
from .level import HOUR_MS, is_warm, requests_at
from .series import POINTS_MAX
from .tail import EXCEEDED_MAX, TAIL, learn_tail, tail_bits

SILENCE: Final = np.dtype(
    [
        ("tails", TAIL, (2,)),  # of requests expected, of intervals: logarithms in units of 2^-18
        ("count", np.int64),  # of silences learned; saturates at COUNT_MAX
        ("begun", np.int64),  # points of the series when learning began, plus 1; 0 before
    ],
    align=True,
)
BY_EXPECTED, BY_LENGTH = range(2)
COLD_POINTS: Final = 2_016  # a week of five minutes
COUNT_MAX: Final = 1 << 30
# What is shown beside the bits: requests expected, when the silence began, silences before.
MISSED, SILENT_FROM_MS, SILENCES = range(3)
SILENCE_PARTS: Final = 3

_OCTAVE: Final = float(1 << 18)
_PRIOR: Final = 64.0  # silences
_FLOORS: Final = ((4.1, 0.5), (1.0, 0.5))  # octaves: threshold, mean excess
_EXCESS_MIN: Final = 0.15
_MISSED_MAX: Final = 1 << 53
_DAY_MS: Final = 24 * HOUR_MS
_ALLOWED_MIN: Final = 8.0  # bits: of a past with few silences not much is known


def is_sound_silence(silence: Any) -> bool:
    """Tell whether kernels may follow what a stored SILENCE says."""
    exceeded = silence["tails"]["exceeded"]
    return bool(
        0 <= silence["count"] <= COUNT_MAX
        and 0 <= silence["begun"] <= POINTS_MAX
        and (exceeded >= 0).all()
        and (exceeded <= EXCEEDED_MAX).all()
    )


@kernel
def _learned_for(silence: Any, series: Any) -> int:
    """Return over how many intervals silences were learned."""
    begun = int(silence["begun"])
    return int(series["points"]) - (begun - 1) if begun > 0 else 0


@kernel
def is_silence_ready(silence: Any, series: Any) -> bool:
    """Tell whether enough of a workload was seen to miss it."""
    return bool(_learned_for(silence, series) >= COLD_POINTS)


@kernel
def silent_intervals(rate: Any, at_ms: int, interval_ms: int) -> int:
    """Return how many whole intervals without an event there were between the last and a time."""
    if rate["opened"] == 0:
        return 0
    return int(max(0, at_ms // interval_ms - int(rate["opened"])))


@routine
def silence_allowed(state: Any, alarms: int, per_ms: int, interval_ms: int) -> int:
    """Return the bits by which so many silences of a workload in a span are taken for too long.

    Of its silences one in 2^bits is as odd, so it follows from how many there were in how long.
    Shapes: state = (silence, series). Units: 1/1024 bit.
    """
    silence, series = state
    span_ms = max(1.0, float(_learned_for(silence, series))) * interval_ms
    silences = float(silence["count"]) * (per_ms / span_ms)
    return int(quantised(max(_ALLOWED_MIN, log2_of(max(1.0, silences / alarms)))))


@kernel
def silence_bits(state: Any, at_ms: int, interval_ms: int, out: Any) -> int:
    """Judge the silence that lasts at a time; return its evidence, in 1/1024 bit.

    Shapes:   state = (silence, rate, series): SILENCE, and RATE and LEVEL of the requests; out:
              [SILENCE_PARTS] of int64, all written.
    Requires: at_ms not before the last event.
    Mutates:  out.
    """
    return int(_silence_bits(state, at_ms, interval_ms, out))


@routine
def _silence_bits(state: Any, at_ms: int, interval_ms: int, out: Any) -> int:
    """See `silence_bits`. Mutates: out."""
    silence, rate, series = state
    for part in range(SILENCE_PARTS):
        out[part] = 0
    count = int(silent_intervals(rate, at_ms, interval_ms))
    if count == 0 or not is_silence_ready(silence, series):
        return 0
    since_ms = int(rate["opened"]) * interval_ms
    expected = _expected(series, since_ms, count, interval_ms)
    out[MISSED] = nearest(expected, _MISSED_MAX)
    out[SILENT_FROM_MS] = since_ms
    out[SILENCES] = silence["count"]
    by_expected = _bits(silence, BY_EXPECTED, expected)
    by_length = _bits(silence, BY_LENGTH, float(count))
    return int(quantised(min(by_expected, by_length)))


@kernel
def learn_silence(state: Any, clock_ms: int, interval_ms: int) -> None:
    """Learn the silence that an event ends, if there was one.

    Shapes:   state = (silence, rate, series), as they are before the event.
    Requires: clock_ms not before that of the last event.
    Mutates:  silence.
    """
    silence, rate, series = state
    # Nearly all events are of the open interval: those cost nothing.
    if rate["opened"] == 0 or clock_ms < rate["opened"] * interval_ms or not is_warm(series):
        return
    count = int(silent_intervals(rate, clock_ms, interval_ms))
    if silence["begun"] == 0:
        silence["begun"] = series["points"] + 1
    elif count > 0:
        _learn(silence, _expected(series, rate["opened"] * interval_ms, count, interval_ms), count)


@routine
def _learn(silence: Any, expected: float, count: int) -> None:
    """Learn a silence. Mutates: silence."""
    before = int(silence["count"])
    learn_tail(silence["tails"][BY_EXPECTED], _OCTAVE * log2_of(1.0 + expected), before)
    learn_tail(silence["tails"][BY_LENGTH], _OCTAVE * log2_of(1.0 + count), before)
    silence["count"] = min(before + 1, COUNT_MAX)


@kernel
def _bits(silence: Any, which: int, value: float) -> float:
    """Return how rare a number of a silence is among those before it."""
    share = _PRIOR / (_PRIOR + float(silence["count"]))
    threshold, excess = _FLOORS[which]
    floors = (
        _OCTAVE * share * threshold,
        _OCTAVE * (share * excess + (1.0 - share) * _EXCESS_MIN),
    )
    return float(tail_bits(silence["tails"][which], _OCTAVE * log2_of(1.0 + value), floors))


@routine
def _expected(series: Any, since_ms: int, count: int, interval_ms: int) -> float:
    """Return how many requests so many intervals from a time on are expected to bring."""
    of_day = _DAY_MS // interval_ms
    days, rest = count // of_day, count % of_day
    total = _within_a_day(series, since_ms, rest, interval_ms)
    if days > 0:
        total += days * _within_a_day(series, since_ms, of_day, interval_ms)
    return total


@routine
def _within_a_day(series: Any, since_ms: int, count: int, interval_ms: int) -> float:
    """Return the same of at most a day, hour by hour."""
    total, at_ms, left = 0.0, since_ms, count
    while left > 0:
        hour_end_ms = (at_ms // HOUR_MS + 1) * HOUR_MS
        some = min(left, (hour_end_ms - at_ms + interval_ms - 1) // interval_ms)
        total += some * requests_at(series, at_ms)
        at_ms += some * interval_ms
        left -= some
    return total
