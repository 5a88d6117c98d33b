"""What learned detectors look up: bits by key, entries of a baseline as those of tasks are.

A fact's key mixes a place (a class, or ESTATE for all classes together), a kind and what it is
about, all keyed hashes; its bits were quantised to 1/1024 when the baseline was made, so kernels do
no arithmetic of probabilities. The learning functions of this room return facts to put into one. A
kernel that finds nothing at a class looks at ESTATE, then at what is asserted in its code, and says
which it was: CLASS, POOLED, ASSERTED, or UNREADY.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.baselines import ENTRY, SUPPORT_MAX, key_of

from .bits import BIT

Facts = npt.NDArray[np.void]
FACT_BITS_MAX: Final = 48 * BIT
NO_FACT: Final = -1
CLASS, POOLED, ASSERTED, UNREADY = range(4)

# Kinds. Numbers of other rooms' kinds are below 100.
(
    SEQUENCE_CALLS,
    SEQUENCE_NEW,
    SEQUENCE_ONE,
    SEQUENCE_PAIR,
    SEQUENCE_TRIPLE,
    AFTER_ONE,
    AFTER_PAIR,
    LOOP_LEVEL,
    FALLBACK_ANY,
    FALLBACK_FROM,
    FALLBACK_PAIR,
    SHARE,
) = (np.uint64(each) for each in range(100, 112))


def as_bits(probability: float) -> int:
    """Return the bits of a probability, quantised, within 0..FACT_BITS_MAX."""
    if probability <= 0.0:
        return FACT_BITS_MAX
    return min(FACT_BITS_MAX, max(0, math.floor(-math.log2(probability) * BIT + 0.5)))


Fact = tuple[int, tuple[int, int, int], int]
"""One fact as ENTRY has it: key, bits, support."""


def fact(place: int, kind: np.uint64, what: int, bits: tuple[int, ...], support: int) -> Fact:
    """Return one fact."""
    first, second, third = (*bits, 0, 0, 0)[:3]
    return _key_of(place, int(kind), what), (first, second, third), min(support, SUPPORT_MAX)


@lru_cache(1 << 16)  # Calibration learns from nearly the same tasks a dozen times.
def _key_of(place: int, kind: int, what: int) -> int:
    """Return what `key_of` returns, as a plain integer."""
    return int(key_of(np.uint64(place), np.uint64(kind), np.uint64(what)))


def as_facts(listed: list[Fact]) -> Facts:
    """Return facts as an array. Shapes: [fact] of ENTRY."""
    return np.array(listed, ENTRY)
