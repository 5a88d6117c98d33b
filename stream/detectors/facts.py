"""What learned detectors look up: bits by key, in one flat array with open addressing.

A fact's key mixes a place (a class, or ESTATE for all classes together), a kind and what it is
about, all keyed hashes; its bits were quantised to 1/1024 when the table was made, so kernels do
no arithmetic of probabilities. A table is immutable, its length a power of two, at least a quarter
of it free; it is what a promoted baseline holds, and the learning functions of this room return
facts to put into one. A kernel that finds nothing at a class looks at ESTATE, then at what is
asserted in its code, and says which it was: CLASS, POOLED, ASSERTED, or UNREADY.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel, mix64, prefetch_entry, routine

from .bits import BIT

FACT: Final = np.dtype(
    [("key", np.uint64), ("bits", np.uint16, (3,)), ("support", np.uint16)], align=True
)
Facts = npt.NDArray[np.void]
FACT_BITS_MAX: Final = 48 * BIT
SUPPORT_MAX: Final = 0xFFFF
PROBES_MAX: Final = 1 << 12
ESTATE: Final = np.uint64(0x9E3779B97F4A7C15)
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


@kernel
def fact_key(place: np.uint64, kind: np.uint64, what: np.uint64) -> np.uint64:
    """Return the key of a fact; never 0."""
    return mix64(mix64(place, kind), what) | np.uint64(1)


@kernel
def ask_fact(facts: Any, key: np.uint64) -> None:
    """Ask for the memory of a key's fact, which is to be found soon; waits for none."""
    place: Any = np.int64(key >> np.uint64(1)) & (len(facts) - 1)
    prefetch_entry(facts, place)


@routine
def find_fact(facts: Any, key: np.uint64) -> int:
    """Return the place of a key's fact, NO_FACT where there is none.

    Shapes: facts [place] of FACT, a power of two of them. At most PROBES_MAX are looked at.
    """
    mask = len(facts) - 1
    place: Any = np.int64(key >> np.uint64(1)) & mask
    for _ in range(min(len(facts), PROBES_MAX)):
        if facts[place]["key"] == key:
            return int(place)
        if facts[place]["key"] == np.uint64(0):
            return NO_FACT
        place = (place + 1) & mask
    return NO_FACT


@routine
def _put_all(facts: Any, listed: Any) -> int:
    """Put facts into an empty table; return how many found no place. Mutates: facts."""
    mask = len(facts) - 1
    lost = 0
    for number in range(len(listed)):
        place: Any = np.int64(listed[number]["key"] >> np.uint64(1)) & mask
        probes = 0
        while facts[place]["key"] != np.uint64(0) and probes < PROBES_MAX:
            place = (place + 1) & mask
            probes += 1
        if facts[place]["key"] == np.uint64(0):
            facts[place] = listed[number]
        else:
            lost += 1
    return lost


def facts_of(listed: Facts) -> Facts:
    """Return facts as a table that kernels search; of equal keys the first is found."""
    size = 16
    while 3 * size < 4 * (len(listed) + 1):
        size *= 2
    while True:
        facts = np.zeros(size, FACT)
        if _put_all(facts, listed) == 0:
            return facts
        size *= 2


def as_bits(probability: float) -> int:
    """Return the bits of a probability, quantised, within 0..FACT_BITS_MAX."""
    if probability <= 0.0:
        return FACT_BITS_MAX
    return min(FACT_BITS_MAX, max(0, math.floor(-math.log2(probability) * BIT + 0.5)))


Fact = tuple[int, tuple[int, int, int], int]
"""One fact as FACT has it: key, bits, support."""


def fact(place: int, kind: np.uint64, what: int, bits: tuple[int, ...], support: int) -> Fact:
    """Return one fact."""
    first, second, third = (*bits, 0, 0, 0)[:3]
    return _key_of(place, int(kind), what), (first, second, third), min(support, SUPPORT_MAX)


@lru_cache(1 << 16)  # Calibration learns from nearly the same tasks a dozen times.
def _key_of(place: int, kind: int, what: int) -> int:
    """Return what `fact_key` returns, as a plain integer."""
    return int(fact_key(np.uint64(place), np.uint64(kind), np.uint64(what)))


def as_facts(listed: list[Fact]) -> Facts:
    """Return facts as an array. Shapes: [fact] of FACT."""
    return np.array(listed, FACT)
