"""The state of one series of values, in integers: a fixed point that finds its place.

Levels, profile and spreads are integers in units of 2^unit. The unit belongs to the series and
follows its spread, which stays within 2^12..2^26 units: learning rounds at 2^-12 of the spread or
finer, and no scale is asked of anybody. It becomes coarser, by powers of 4, at a value that is
further away than 2^26 units, and finer by 16 when the spread is under 2^12 and all has room. Values
of tails are square roots, in units of 2^(unit/2 - 14); hence the powers of 4: the unit is even.
So a series that is scaled by 4^n has the same integers, and by any factor the same up to rounding.
Why not binary32: sixteen more bits of range than needed and eight fewer of precision, and integers
compare, copy and explain themselves.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from stream.kernel import kernel, routine

from .bits import exponent_of, nearest, power_of_2
from .peaks import PEAKS
from .tail import I32_MAX, TAIL, rescale_tail

HOURS: Final = 24
TAILS: Final = 3
LEVEL: Final = np.dtype(
    [
        ("level", np.int64),  # in units, as are the next two
        ("highest", np.int64),
        ("lowest", np.int64),
        ("tails", TAIL, (TAILS,)),  # of sudden, sustained and drifting change
        ("peaks", PEAKS),
        ("profile", np.int32, (HOURS,)),  # in units, beside the level
        ("spreads", np.int32, (HOURS,)),  # in units
        ("spread", np.int32),  # in units, of all hours
        ("drift", np.int32),  # in units
        ("sustained", np.int32),  # in units of tails
        ("points", np.int32),  # saturates at POINTS_MAX
        ("seen", np.uint8, (HOURS,)),  # points by hour, see `seen_at`
        ("unit", np.int32),  # even
        ("spare", np.int32),
    ],
    align=True,
)
SEEN_EXACT: Final = 128  # points of an hour are counted one by one, beyond that by SEEN_STEP
SEEN_STEP: Final = 16
SEEN_MAX: Final = 255  # stands for 2,160 points
POINTS_MAX: Final = 1 << 30
LEVEL_MAX: Final = 1 << 52  # what a float holds exactly
RESIDUAL_MAX: Final = 1 << 26
SPREAD_MIN: Final = 1 << 12
FINER: Final = 4  # powers of 2 at once
UNIT_MIN: Final = -200
UNIT_FIRST: Final = 40  # powers of 2 in the first value
ROOT_BITS: Final = 14
_TINIEST: Final = 1e-60  # nearer to 0 nothing is told apart


@kernel
def seen_at(series: Any, hour: int) -> int:
    """Return about how many points an hour of the day has had."""
    seen = int(series["seen"][hour])
    return seen + max(0, seen - SEEN_EXACT) * (SEEN_STEP - 1)


@kernel
def count_point(series: Any, hour: int) -> None:
    """Count a point of an hour of the day. Mutates: series."""
    points, seen = int(series["points"]), int(series["seen"][hour])
    series["points"] = min(points + 1, POINTS_MAX)
    if seen < SEEN_EXACT or (seen < SEEN_MAX and points % SEEN_STEP == 0):
        series["seen"][hour] = seen + 1


@kernel
def scaled(series: Any, value: float) -> float:
    """Return a value in units of its series, after the unit was fitted to it; begin with it.

    Requires: |value| < 2^100. Mutates: series.
    """
    if series["points"] == 0:
        return float(_begin(series, value))
    held = value * power_of_2(-int(series["unit"]))
    away = abs(held - series["level"])
    if away > RESIDUAL_MAX or abs(held) > LEVEL_MAX:
        return float(_coarser(series, value))
    if 0 < series["spread"] < SPREAD_MIN and series["unit"] > UNIT_MIN:
        return float(_finer(series, value))
    return held


@routine
def _begin(series: Any, value: float) -> float:
    """Take the unit and the level from a first value; return it in units. Mutates: series."""
    unit = UNIT_MIN
    if abs(value) > _TINIEST:
        power = exponent_of(abs(value))
        unit = max(UNIT_MIN, (power - UNIT_FIRST) // 2 * 2)
    series["unit"] = unit
    held = math.floor(value * power_of_2(-unit))
    series["level"] = nearest(held, LEVEL_MAX)
    series["highest"] = series["level"]
    series["lowest"] = series["level"]
    return held


@routine
def _coarser(series: Any, value: float) -> float:
    """Let the unit grow until a value is within reach; return it in units. Mutates: series."""
    held = value * power_of_2(-int(series["unit"]))
    away = max(abs(held - series["level"]) / RESIDUAL_MAX, abs(held) / LEVEL_MAX)
    power = exponent_of(away)
    by = (power + 1) // 2 * 2
    _rescale(series, by)
    return value * power_of_2(-int(series["unit"]))


@routine
def _finer(series: Any, value: float) -> float:
    """Let the unit shrink if all has room; return the value in units. Mutates: series."""
    held = value * power_of_2(-int(series["unit"]))
    away = abs(held - series["level"])
    most = max(abs(held), float(abs(series["highest"])), float(abs(series["lowest"])))
    room = away < RESIDUAL_MAX >> FINER and most < LEVEL_MAX >> FINER
    most_small = abs(int(series["drift"]))
    for hour in range(HOURS):
        most_small = max(most_small, abs(int(series["profile"][hour])))
        most_small = max(most_small, int(series["spreads"][hour]))
    if not room or most_small > I32_MAX >> FINER:
        return held
    _rescale(series, -FINER)
    return held * (1 << FINER)


@kernel
def _shifted(value: int, by: int) -> int:
    """Return an integer in a unit that is 2^by times as large."""
    if by >= 62:
        return 0
    if by > 0:
        return (value + (1 << (by - 1))) >> by
    return value << -by


@routine
def _rescale(series: Any, by: int) -> None:
    """Let the unit be 2^by times as large; `by` is even. Mutates: series."""
    series["unit"] += by
    series["level"] = _shifted(int(series["level"]), by)
    series["highest"] = _shifted(int(series["highest"]), by)
    series["lowest"] = _shifted(int(series["lowest"]), by)
    series["spread"] = _shifted(int(series["spread"]), by)
    series["drift"] = _shifted(int(series["drift"]), by)
    for hour in range(HOURS):
        series["profile"][hour] = _shifted(int(series["profile"][hour]), by)
        series["spreads"][hour] = _shifted(int(series["spreads"][hour]), by)
    series["sustained"] = nearest(series["sustained"] * power_of_2(-(by // 2)), I32_MAX)
    for tail in range(TAILS):
        rescale_tail(series["tails"][tail], by // 2)
