"""What a series has cried before: peaks rest after they were reported, and usual ones weigh less.

Past peaks are counted by their height, in quarter octaves from 4 bits, and fade with a time
constant of some ten days. A peak within the last RESTS_MS silences all that does not exceed it.
This is about reporting: how often an operator hears of the same.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel, routine

from .bits import BIT, log2_of, quantised

HEIGHTS: Final = 16
PEAK: Final = 64  # what one peak adds to its height
PEAKS: Final = np.dtype(
    [
        ("rests_until_ms", np.int64),
        ("highest", np.int32),  # the last peak reported, 1/1024 bit
        ("faded", np.int32),  # the step of time up to which `heights` faded
        ("heights", np.uint16, (HEIGHTS,)),  # 1/PEAK of a peak; saturate
    ],
    align=True,
)
RESTS_MS: Final = 82_080_000  # 0.95 days: what comes daily is not news, and may come early
MORE: Final = 2 * BIT  # a new peak exceeds the one that silences it by so much
STEP_MS: Final = 28_800_000  # 8 hours: a 32nd is forgotten, that is 10.5 days for a factor e
STEPS_MAX: Final = 512  # after which nothing is left
U16_MAX: Final = 0xFFFF
LOWEST: Final = 4  # bits; what is lower is no peak
_ALIKE: Final = 0.9  # of its bits, from which on an earlier peak was as high
_HABIT: Final = 3.5  # bits for each doubling of earlier peaks


@kernel
def _height_of(bits: float) -> float:
    """Return the place of a peak among heights, with its fraction, within 0..HEIGHTS - 1."""
    place = 4.0 * log2_of(max(bits, LOWEST) / LOWEST)
    return min(place, HEIGHTS - 1.0)


@routine
def _fade(peaks: Any, at_ms: int) -> None:
    """Forget what the steps since the last call take. Mutates: peaks."""
    step = int(at_ms // STEP_MS)
    steps = min(step - peaks["faded"], STEPS_MAX)
    if steps <= 0:
        return
    peaks["faded"] = step
    heights = peaks["heights"]
    for place in range(HEIGHTS):
        height = int(heights[place])
        for _ in range(steps):
            if height == 0:
                break
            height -= (height + 31) >> 5
        heights[place] = height


@kernel
def _is_resting(peaks: Any, bits: int, at_ms: int) -> bool:
    """Tell whether an earlier peak silences this one."""
    return bool(at_ms < peaks["rests_until_ms"] and bits <= peaks["highest"] + MORE)


@routine
def reported_bits(peaks: Any, bits: int, at_ms: int) -> int:
    """Return what is reported of an interval's bits: less for what is usual, 0 for what rests.

    Units: 1/1024 bit. Mutates: peaks (they fade).
    """
    if bits <= LOWEST * BIT:
        return bits
    if _is_resting(peaks, bits, at_ms):
        return 0
    _fade(peaks, at_ms)
    height = _height_of(_ALIKE * bits / BIT)
    first = int(height)
    heights = peaks["heights"]
    alike = heights[first] * (1.0 - (height - first))
    for place in range(first + 1, HEIGHTS):
        alike += heights[place]
    return max(0, bits - quantised(_HABIT * log2_of(1.0 + alike / PEAK)))


@routine
def learn_peak(peaks: Any, bits: int, at_ms: int) -> None:
    """Keep a peak, unless it is none or rests. Mutates: peaks."""
    if bits <= LOWEST * BIT or _is_resting(peaks, bits, at_ms):
        return
    _fade(peaks, at_ms)
    place = int(_height_of(bits / BIT))
    heights = peaks["heights"]
    heights[place] = min(int(heights[place]) + PEAK, U16_MAX)
    peaks["highest"] = bits
    peaks["rests_until_ms"] = at_ms + RESTS_MS
