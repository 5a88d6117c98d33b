"""Spread: how many different operations, or resources, a workload touches in an interval.

A resource is a name and a value that an event names, found in a text or not: one operation on five
thousand customers is one operation and five thousand resources.

A set of CELLS bits a hash each: with z bits still clear, about CELLS ln(CELLS / z) different ones
were seen, within 4 % for up to 500, by a table. It begins anew with each interval, and its amount
is that of a rate (interval.py), with the same level, hour profile, records and cold start: three
hundred customers in five minutes are as unusual as the workload's own past says.

Above FULL (some 3,500) no more are told apart: far above what most workloads have, and a reason
says "or more"; of one that always touches more, more is no evidence.
The state is 72 bytes beside the rate and its series. An attacker cannot aim at cells: hashes are
keyed.

Source: Whang, Vander-Zanden, Taylor, A linear-time probabilistic counting algorithm for database
applications, ACM TODS 1990.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from stream.kernel import kernel, mix64

from .interval import observe_rate

WORDS: Final = 8
CELLS: Final = 64 * WORDS
SPREAD: Final = np.dtype(
    [
        ("cells", np.uint64, (WORDS,)),
        ("filled", np.int32),
        ("spare", np.int32),
    ],
    align=True,
)
_SALT: Final = np.uint64(0x5BD1E9955BD1E995)
# Different ones by filled cells; all filled counts as all but half a cell.
AMOUNTS: Final = tuple(
    round(-CELLS * math.log((CELLS - min(filled, CELLS - 0.5)) / CELLS))
    for filled in range(CELLS + 1)
)
FULL: Final = AMOUNTS[-1]
_AMOUNTS: Final = np.array(AMOUNTS, np.int64)


@kernel
def observe_spread(state: Any, clock_ms: int, symbol: np.uint64, measure: Any, parts: Any) -> int:
    """See one operation; return the evidence in 1/1024 bit.

    Shapes, Units, Requires: as `observe_rate` with kind COUNTED; state = (spread, rate, series);
    symbol: a keyed hash, 0 for none (the clock alone goes on). Mutates: state, parts, scratch.
    """
    spread, rate, series = state
    _begin(spread, rate["opened"] * measure[1], clock_ms, measure[1])
    before = int(_AMOUNTS[spread["filled"]])
    if symbol != np.uint64(0):
        _add(spread, symbol)
    more = int(_AMOUNTS[spread["filled"]]) - before
    return int(observe_rate((rate, series), clock_ms, more, measure, parts))


@kernel
def observe_resources(state: Any, clock_ms: int, named: Any, measure: Any, parts: Any) -> int:
    """See the resources that an event names; return the evidence in 1/1024 bit.

    Shapes: as `observe_spread`; named = (values, first, end): [value] of VALUE, and which of them.
    Mutates: state, parts, scratch.
    """
    spread, rate, series = state
    values, first, end = named
    _begin(spread, rate["opened"] * measure[1], clock_ms, measure[1])
    before = int(_AMOUNTS[spread["filled"]])
    for number in range(first, end):
        value = values[number]
        _add(spread, mix64(value["name"], value["value"]))
    more = int(_AMOUNTS[spread["filled"]]) - before
    return int(observe_rate((rate, series), clock_ms, more, measure, parts))


@kernel
def _begin(spread: Any, end_ms: int, clock_ms: int, interval_ms: int) -> None:
    """Forget what was seen, unless the clock is in the interval that ends then. Mutates: spread."""
    if clock_ms >= end_ms or clock_ms < end_ms - interval_ms:
        for word in range(WORDS):
            spread["cells"][word] = np.uint64(0)
        spread["filled"] = 0


@kernel
def _add(spread: Any, symbol: np.uint64) -> None:
    """Mark a symbol as seen. Mutates: spread."""
    cells = spread["cells"]
    cell: Any = np.int64(mix64(symbol, _SALT) % np.uint64(CELLS))
    bit = np.uint64(1) << np.uint64(cell % 64)
    if cells[cell // 64] & bit == np.uint64(0):
        cells[cell // 64] |= bit
        spread["filled"] += 1
