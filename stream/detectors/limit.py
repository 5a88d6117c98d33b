"""Frequency limit (declared): a count in a window over its limit. No statistics; over is over.

A limit is a level (DESIGN 3.21): a command is issued at the contributing event that goes over,
renewed after half its duration while demand (served + refused) is over, and released when demand
is under 80 % of the limit; a revoked token is never released.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel
from stream.profiles import (
    BINS,
    BYTES,
    COST,
    DENIALS,
    DENIED,
    ERRORS,
    FAILED,
    REFUSED_REQUESTS,
    REQUEST,
    REQUESTS,
    add_count,
    add_sum,
    bin_of,
    slide,
)

RELEASE_PERCENT: Final = 80


@kernel
def amount_of(measure: int, event: Any, refused: int) -> int:
    """Return what an event adds to a measure; `refused` is 1 for a refusal that is believed."""
    if event["kind"] != REQUEST:
        return 0
    if refused != 0:
        return int(event["count"]) if measure == REFUSED_REQUESTS else 0
    if measure == REQUESTS:
        return int(event["count"])
    if measure == BYTES:
        return int(event["bytes"])
    if measure == COST:
        return int(event["cost"])
    if measure == ERRORS and event["outcome"] == FAILED:
        return int(event["count"])
    if measure == DENIALS and event["outcome"] == DENIED:
        return int(event["count"])
    return 0


@kernel
def belongs(operations: int, sets: Any) -> bool:
    """Tell whether an event whose set mask is `sets` is in an operation set; -1 holds all."""
    if operations < 0:
        return True
    return bool((sets >> np.uint64(operations)) & np.uint64(1) == np.uint64(1))


@kernel
def count_windows(table: Any, policy: Any, event: Any, times: Any, flags: Any) -> bool:
    """Slide a row's windows to its new clock and count the event; tell whether it was late.

    Shapes: times = (slot, old clock, new clock, event time); flags = (sets, refused).
    Mutates: table.counts, table.sums of the slot.
    """
    slot, old_ms, clock_ms, at_ms = times
    sets, refused = flags
    group = policy.classes[table.local[slot]["class_index"]]
    late = False
    for number in range(group["pairs_start"], group["pairs_end"]):
        pair = policy.pairs[policy.class_pairs[number]]
        window_ms = pair["window_ms"]
        new_bin = bin_of(clock_ms, window_ms)
        amount = 0
        if belongs(pair["operations"], sets):
            amount = int(amount_of(pair["measure"], event, refused))
        at_bin = new_bin if at_ms == clock_ms else bin_of(at_ms, window_ms)
        if amount > 0 and new_bin - at_bin >= BINS:
            late = True
            amount = 0
        if pair["is_sum"] != 0:
            total = table.sums[slot, pair["place"]]
            if old_ms != clock_ms:
                slide(total, bin_of(old_ms, window_ms), new_bin)
            if amount > 0:
                add_sum(total, at_bin, amount)
        else:
            count = table.counts[slot, pair["place"]]
            if old_ms != clock_ms:
                slide(count, bin_of(old_ms, window_ms), new_bin)
            if amount > 0:
                add_count(count, at_bin, amount)
    return late


@kernel
def total_of(table: Any, slot: int, pair: Any) -> int:
    """Return what a window holds."""
    if pair["is_sum"] != 0:
        return int(table.sums[slot, pair["place"]]["total"])
    return int(table.counts[slot, pair["place"]]["total"])


@kernel
def is_under(demand: int, at_most: int) -> bool:
    """Tell whether demand is under RELEASE_PERCENT of a limit; no product leaves an i64."""
    whole, rest = at_most // 100, at_most % 100
    return bool(demand < whole * RELEASE_PERCENT + (rest * RELEASE_PERCENT + 99) // 100)


@kernel
def demand_of(table: Any, slot: int, policy: Any, limit: Any) -> int:
    """Return served + refused, which decides whether a limit's reason lasts."""
    demand = total_of(table, slot, policy.pairs[limit["pair"]])
    if limit["demand"] >= 0:
        demand += total_of(table, slot, policy.pairs[limit["demand"]])
    return demand
