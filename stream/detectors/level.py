"""Rate and level of a workload: how unlike its own past one interval's value is, in bits.

A series is one value per interval: requests, errors, bytes, cost, distinct resources. With level g,
hour profile p[h], spreads s[h] and sg, and c[h] points seen in an hour of the day, a value v gives

    r = v - g - p[h] c/(c + 5),  sd = ws s[h] + (1 - ws) sg + sg/1000, ws = c/(c + 40)
    rr = r max(sg, sf)/max(sd, sf),  x = sqrt|rr|,  z: x smoothed (.06),  u: rr smoothed (.1)
    bits = T1(x) + .8 T2(z) + .25 T3(sqrt|u|) + record

Each T is a tail of its own past (tail.py): a sudden, a sustained and a signed change. `record` is
1.5 log2 k min(1, beyond / (.07 range)) for what passes all k values before it. Then all is learned.
The parts are added, so bits here are a score and not the logarithm of a probability: how often a
sum is passed is measured (`python -m benchmarks.quality.nab` has the table) and calibrated.
What is reported is less (peaks.py): a peak of late silences what does not exceed it, and what was
often as high counts for less. That is for reporting; whether a throttle stays goes by BITS.

Counts go through 2 sqrt(v + 3/8), which gives every Poisson rate a spread of 1, and have floors
(sf, those of the tails, of the range and of what a record must pass) in that unit, so that a
perfectly steady past is no blind spot. AMOUNTS (bytes, cost) have the same floors in units of a
16th of their level, or 1,024 where that is more. MEASURED values have no unit of their own, hence
no floors: all is relative to their spread, and a past without any is a blind spot.

State: integers, see series.py. Floats appear between loading and storing only; they are IEEE
additions, multiplications, divisions and square roots, so state and evidence are the same bit for
bit on every machine.
Cold: 100 points before it speaks (ready = 0), until then whoever asks must look at its class.

Source: Freeman, Tukey, Transformations related to the angular and the square root, 1950, and
Anscombe, Biometrika 1948, for the square root; the rest as found on the Numenta Anomaly Benchmark.
"""

from __future__ import annotations

import math
from typing import Any, Final

from stream.kernel import kernel, routine

from .bits import log2_of, nearest, power_of_2, quantised
from .peaks import learn_peak, reported_bits
from .series import HOURS, LEVEL_MAX, ROOT_BITS, count_point, scaled, seen_at
from .tail import I32_MAX, learn_tail, tail_bits

HOUR_MS: Final = 3_600_000
COLD_POINTS: Final = 100
COUNTED, MEASURED, AMOUNTS = range(3)  # kinds of series
SUDDEN, SUSTAINED, DRIFTING, RECORD, BITS, REPORTED = range(6)  # parts, in 1/1024 bit
LEVEL_PARTS: Final = 6

_LEARNING: Final = 0.002
_HOUR_LEARNING: Final = 0.035
_SUDDEN_CAP: Final = 1.5
_SUSTAINED_WEIGHT: Final = 0.8
_DRIFT_WEIGHT: Final = 0.25
_RECORD_BITS: Final = 1.5
_RECORD_SHARE: Final = 0.07
_FORGETTING: Final = 1e-6  # of a record, a point
_RANGE_MIN: Final = 4.0  # in least spreads
_SPREAD_FLOOR: Final = 0.8  # the same
# Floors of tails in roots of least spreads: threshold and mean excess of x, z and sqrt|u|.
_FLOORS: Final = ((1.47, 0.07), (0.94, 0.02), (0.70, 0.035))
_AMOUNT_SHARE: Final = 1.0 / 16.0  # of the level, as a Poisson count of 64 has
_AMOUNT_MIN: Final = 1024.0


@kernel
def is_warm(series: Any) -> bool:
    """Tell whether a series has seen enough to speak."""
    return bool(series["points"] > COLD_POINTS)


@kernel
def counted(amount: int) -> float:
    """Return a count on the scale on which every Poisson rate has a spread of 1."""
    return 2.0 * math.sqrt(float(amount) + 0.375)


@routine
def expected_of(series: Any, at_ms: int, kind: int) -> int:
    """Return the amount that is expected of the interval that begins at a time, rounded.

    0 before the first value. Units: requests, bytes, ... as before `counted`.
    """
    value = _value_at(series, at_ms)
    if kind == COUNTED:
        value = _requests(value)
    return max(0, nearest(value, 1 << 62))


@routine
def requests_at(series: Any, at_ms: int) -> float:
    """Return the number that is expected of the interval that begins at a time, for COUNTED."""
    return max(0.0, _requests(_value_at(series, at_ms)))


@kernel
def _value_at(series: Any, at_ms: int) -> float:
    """Return level and hour profile at a time, on the scale of values."""
    hour = int(at_ms // HOUR_MS % HOURS)
    seen = float(seen_at(series, hour))
    profile = series["profile"][hour] * (seen / (seen + 5.0))
    return float((series["level"] + profile) * power_of_2(int(series["unit"])))


@kernel
def _requests(value: float) -> float:
    """Return the count that stands on the scale of `counted` where a value does, as a number."""
    return 0.25 * max(0.0, value) * max(0.0, value) - 0.375


@kernel
def score_level(series: Any, value: float, at_ms: int, kind: int, parts: Any) -> int:
    """Judge the value of a closed interval, then learn it; return the bits reported.

    Shapes:   series: LEVEL; parts: [part] of int64, all written, in 1/1024 bit.
    Units:    at_ms begins the interval (its hour of day is the profile's), value as `counted` gives
              it for COUNTED; 1/1024 bit is returned.
    Requires: |value| < 2^100, no NaN; at_ms not before that of the last call.
    Mutates:  series, parts.
    """
    return int(_score(series, value, at_ms, kind, parts))


@routine
def _score(series: Any, value: float, at_ms: int, kind: int, parts: Any) -> int:
    """See `score_level`. Mutates: series, parts."""
    value = scaled(series, value)
    hour = int(at_ms // HOUR_MS % HOURS)
    residual = _residual(series, value, hour)
    relative = _relative(series, residual, hour, kind)
    sudden = _root(relative)
    kept = sudden
    if is_warm(series):
        floor = _floors(0, _least(series, kind))[0]
        kept = min(sudden, _SUDDEN_CAP * max(floor, float(series["tails"][0]["threshold"])))
    sustained = series["sustained"] + 0.06 * (kept - series["sustained"])
    drift = series["drift"] + 0.1 * (relative - series["drift"])
    _judge(series, value, (sudden, sustained, _root(drift)), kind, parts)
    peaks = series["peaks"]
    parts[REPORTED] = reported_bits(peaks, parts[BITS], at_ms)
    learn_peak(peaks, parts[BITS], at_ms)
    points = int(series["points"])
    learn_tail(series["tails"][0], sudden, points)
    learn_tail(series["tails"][1], sustained, points)
    learn_tail(series["tails"][2], _root(drift), points)
    series["sustained"] = nearest(sustained, I32_MAX)
    series["drift"] = nearest(drift, I32_MAX)
    _learn(series, value, residual, hour)
    return int(parts[REPORTED])


@kernel
def peek_level(series: Any, value: float, at_ms: int, kind: int, parts: Any) -> int:
    """Judge what an interval that is still open holds so far; return bits, and learn nothing.

    An amount can only grow until the interval closes, so only what is above all expectation
    counts: 0 if the value is not above level and profile.
    Shapes, Units, Requires: as `score_level`. Mutates: parts (and past peaks fade).
    """
    return int(_peek(series, value, at_ms, kind, parts))


@routine
def _peek(series: Any, value: float, at_ms: int, kind: int, parts: Any) -> int:
    """See `peek_level`. Mutates: parts."""
    for part in range(LEVEL_PARTS):
        parts[part] = 0
    value = _in_units(series, value)
    hour = int(at_ms // HOUR_MS % HOURS)
    residual = _residual(series, value, hour)
    if not is_warm(series) or residual <= 0.0:
        return 0
    relative = _relative(series, residual, hour, kind)
    sudden = _root(relative)
    floor = _floors(0, _least(series, kind))[0]
    kept = min(sudden, _SUDDEN_CAP * max(floor, float(series["tails"][0]["threshold"])))
    sustained = series["sustained"] + 0.06 * (kept - series["sustained"])
    drift = series["drift"] + 0.1 * (relative - series["drift"])
    _judge(series, value, (sudden, sustained, _root(drift)), kind, parts)
    parts[REPORTED] = reported_bits(series["peaks"], parts[BITS], at_ms)
    return int(parts[REPORTED])


@kernel
def _root(value: float) -> float:
    """Return the square root of a distance, in units of tails."""
    return math.sqrt(abs(value)) * (1 << ROOT_BITS)


@kernel
def _in_units(series: Any, value: float) -> float:
    """Return a number in units of the series."""
    return float(value * power_of_2(-int(series["unit"])))


@kernel
def _least(series: Any, kind: int) -> float:
    """Return the spread that a series of this kind has at least, in its units."""
    if kind == COUNTED:
        return float(_in_units(series, 1.0))
    if kind == AMOUNTS:
        least = float(_in_units(series, _AMOUNT_MIN))
        return max(abs(float(series["level"])) * _AMOUNT_SHARE, least)
    return 0.0


@kernel
def _floors(tail: int, least: float) -> tuple[float, float]:
    """Return the floors of a tail in its units, where spreads are at least so much."""
    scale = _root(least)
    return _FLOORS[tail][0] * scale, _FLOORS[tail][1] * scale


@kernel
def _residual(series: Any, value: float, hour: int) -> float:
    """Return what level and hour profile leave unexplained of a value in units."""
    seen = float(seen_at(series, hour))
    return float(value - series["level"] - series["profile"][hour] * (seen / (seen + 5.0)))


@kernel
def _relative(series: Any, residual: float, hour: int, kind: int) -> float:
    """Return a residual as it would be at an hour of average spread."""
    seen = float(seen_at(series, hour))
    spread = float(series["spread"])
    share = seen / (seen + 40.0)
    own = share * float(series["spreads"][hour]) + (1.0 - share) * spread + 0.001 * spread
    floor = _SPREAD_FLOOR * float(_least(series, kind))
    own = max(own, floor)
    return residual * max(spread, floor) / own if own > 0.0 else 0.0


@routine
def _judge(series: Any, value: float, roots: Any, kind: int, parts: Any) -> None:
    """Write all parts but what is reported. Shapes: roots = (x, z, sqrt|u|). Mutates: parts."""
    for part in range(LEVEL_PARTS):
        parts[part] = 0
    if not is_warm(series):
        return
    tails = series["tails"]
    least = float(_least(series, kind))
    parts[SUDDEN] = quantised(tail_bits(tails[0], roots[0], _floors(0, least)))
    sustained = tail_bits(tails[1], roots[1], _floors(1, least))
    parts[SUSTAINED] = quantised(_SUSTAINED_WEIGHT * sustained)
    drifting = tail_bits(tails[2], roots[2], _floors(2, least))
    parts[DRIFTING] = quantised(_DRIFT_WEIGHT * drifting)
    parts[RECORD] = quantised(_record_bits(series, value, least))
    parts[BITS] = parts[SUDDEN] + parts[SUSTAINED] + parts[DRIFTING] + parts[RECORD]


@kernel
def _record_bits(series: Any, value: float, least: float) -> float:
    """Return the bits of having passed everything before, where spreads are at least so much."""
    beyond = max(value - float(series["highest"]), float(series["lowest"]) - value)
    if beyond <= 0.0:
        return 0.0
    width = max(float(series["highest"] - series["lowest"]), _RANGE_MIN * least)
    if width <= 0.0:
        return 0.0
    full = _RECORD_SHARE * width
    if least > 0.0:
        full = max(full, float(series["spread"]), least)
    return _RECORD_BITS * log2_of(series["points"] + 1.0) * min(1.0, beyond / full)


@routine
def _learn(series: Any, value: float, residual: float, hour: int) -> None:
    """Learn one value in units. Mutates: series."""
    points, seen = int(series["points"]), int(seen_at(series, hour))
    level, profile = float(series["level"]), float(series["profile"][hour])
    beside = value - level - profile
    weight = max(_LEARNING, 1.0 / (points + 2.0))
    of_hour = max(_HOUR_LEARNING, 1.0 / (seen + 1.0))
    own, spread = float(series["spreads"][hour]), float(series["spread"])
    distance = abs(residual)
    series["spread"] = nearest(spread + weight * (distance - spread), I32_MAX)
    series["spreads"][hour] = nearest(own + of_hour * (distance - own), I32_MAX)
    series["profile"][hour] = nearest(profile + of_hour * beside, I32_MAX)
    highest, lowest = max(float(series["highest"]), value), min(float(series["lowest"]), value)
    highest -= _FORGETTING * (highest - level)
    lowest += _FORGETTING * (level - lowest)
    series["highest"] = nearest(highest, LEVEL_MAX)
    series["lowest"] = nearest(lowest, LEVEL_MAX)
    series["level"] = nearest(level + weight * residual, LEVEL_MAX)
    count_point(series, hour)
