"""Evidence in bits, as integers; and logarithms that are the same on every machine.

A decision can be re-derived bit for bit elsewhere only if no number in it came from a library of
mathematics: those differ in the last place. IEEE 754 defines + - * / and the square root to the
last bit, and those of two numbers are all that is used here.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from stream.kernel import kernel, routine

BIT: Final = 1024  # units of evidence in one bit
BITS_MAX: Final = 1 << 20  # 1,024 bits: no evidence is larger
BIT_SHIFT: Final = 10
_FRACTIONS: Final = np.array([2.0 ** (-place / BIT) for place in range(BIT)])
_HALF_ROOT: Final = math.sqrt(0.5)
_TWICE_PER_LOG: Final = 2.0 / math.log(2.0)


@kernel
def power_of_2(exponent: int) -> float:
    """Return 2^exponent. Requires: -1022 <= exponent <= 1023.

    Source: IEEE 754, binary64: eleven bits of exponent, biased by 1023, above 52 of fraction. The
    library's ldexp takes as long as all the rest of a score.
    """
    return np.int64((exponent + 1023) << 52).view(np.float64)


@kernel
def exponent_of(value: float) -> int:
    """Return e of a number in [2^(e-1), 2^e). Requires: a normal number > 0."""
    return (np.float64(value).view(np.int64) >> 52) - 1022  # type: ignore[return-value]


@routine
def log2_of(value: float) -> float:
    """Return the binary logarithm of a normal number > 0, within 1e-11.

    Source: ln m = 2 artanh((m - 1) / (m + 1)), by its series; |m - 1| / (m + 1) <= 0.172 here.
    """
    exponent = exponent_of(value)
    mantissa = value * power_of_2(-exponent)
    if mantissa < _HALF_ROOT:
        mantissa *= 2.0
        exponent -= 1
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = 1.0 / 13.0
    for place in range(5, -1, -1):
        series = series * square + 1.0 / (2.0 * place + 1.0)
    return float(exponent) + _TWICE_PER_LOG * ratio * series


@kernel
def odds_of(bits: int) -> float:
    """Return 2^-bits. Units: 1/1024 bit; 0 below 2^-1000.

    Requires: -1000 * BIT <= bits. The library's power takes as long as comparing a call.
    """
    if bits == 0:
        return 1.0
    if bits > 1000 * BIT:
        return 0.0
    return float(_FRACTIONS[bits & (BIT - 1)] * power_of_2(-(bits >> BIT_SHIFT)))


@kernel
def nearest(value: float, ceiling: int) -> int:
    """Return the nearest integer to a number, halves upward, within -ceiling..ceiling.

    Requires: a number that is not NaN; a ceiling that a float holds exactly, or below 2^53.
    """
    if value >= ceiling:
        return ceiling
    if value <= -ceiling:
        return -ceiling
    return np.int64(math.floor(value + 0.5))  # type: ignore[return-value]


@kernel
def quantised(bits: float) -> int:
    """Return bits as evidence: a multiple of 1/1024 bit, within 0..BITS_MAX."""
    return max(0, nearest(bits * BIT, BITS_MAX))
