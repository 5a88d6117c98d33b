"""Fallback: an operation is denied, and soon another one changes something instead.

After a denied call a context is watched for WITHIN calls; the first changing call of another
operation that is served is the fallback (the same operation again is a retry: loops.py). Evidence,
once, at that call: -log2 of how usual that is, learned from benign tasks and backed off. Of D
denials of A, K were followed so by any other change, and K_B of them by B:

    p(estate) = (K + p0) / (D + 1)        p(A) = (K_A + 2 p(class)) / (D_A + 2)
    p(class) = (K + 4 p(estate)) / (D + 4)    p(A, B) = (K_AB + p(A) / 2) / (D_A + 1)

Cold: p0 = .1 is asserted (3.3 bits) and weighs as one denial; evidence then says ASSERTED. A single
fallback proves little, so bits stay small until some thirty denials were seen without one.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np

from stream.baselines import ESTATE, find_entry, key_of
from stream.kernel import kernel, mix64, routine
from stream.profiles import DENIED, SERVED

from .facts import (
    ASSERTED,
    CLASS,
    FALLBACK_ANY,
    FALLBACK_FROM,
    FALLBACK_PAIR,
    NO_FACT,
    POOLED,
    Fact,
    Facts,
    as_bits,
    as_facts,
    fact,
)

WITHIN: Final = 5
ASSERTED_SHARE: Final = 0.1
ASSERTED_BITS: Final = as_bits(ASSERTED_SHARE)
FALLBACK: Final = np.dtype(
    [
        ("denied", np.uint64),  # the operation last denied; 0 for none
        ("left", np.int32),  # calls for which it is still watched
        ("spare", np.int32),  # not followed here: of a context, whether it alarmed (`enforcement`)
    ],
    align=True,
)
BITS_PART, HOW_PART = range(2)
FALLBACK_PARTS: Final = 2
CHANGE: Final = 1


@kernel
def follow_fallback(state: Any, call: Any) -> np.uint64:
    """Follow one call; return the operation that was denied if this call falls back, else 0.

    Shapes: state: FALLBACK; call = (operation, effect, outcome). Mutates: state.
    """
    operation, effect, outcome = call
    denied = state["denied"]
    if outcome == DENIED:
        state["denied"] = operation
        state["left"] = WITHIN
        return np.uint64(0)
    if state["left"] <= 0:
        return np.uint64(0)
    state["left"] -= 1
    if effect == CHANGE and outcome == SERVED and operation != denied:
        state["left"] = 0
        return np.uint64(denied)
    return np.uint64(0)


@routine
def fallback_bits(
    denied: np.uint64, operation: np.uint64, group: np.uint64, facts: Any, parts: Any
) -> int:
    """Return the evidence of falling back from one operation to another, in 1/1024 bit.

    Shapes: parts [FALLBACK_PARTS] of int64: bits, how they are known. Mutates: parts.
    """
    pair = mix64(denied, operation)
    parts[BITS_PART], parts[HOW_PART] = ASSERTED_BITS, ASSERTED
    for turn in range(2):
        place = group if turn == 0 else ESTATE
        found = find_entry(facts, key_of(place, FALLBACK_PAIR, pair))
        if found == NO_FACT:
            found = find_entry(facts, key_of(place, FALLBACK_FROM, denied))
        if found == NO_FACT:
            found = find_entry(facts, key_of(place, FALLBACK_ANY, np.uint64(0)))
        if found != NO_FACT:
            parts[BITS_PART] = int(facts[found]["bits"][0])
            parts[HOW_PART] = CLASS if turn == 0 else POOLED
            break
    return int(parts[BITS_PART])


def learn_fallbacks(denials: Any) -> Facts:
    """Return the facts of benign denials.

    Shapes: denials [denial] of (class, denied operation, operation fallen back to or 0), uint64.
    """
    rows = [(int(group), int(denied), int(other)) for group, denied, other in denials]
    estate = _share(rows, ASSERTED_SHARE, 1.0)
    made = _of_place(int(ESTATE), rows, estate)
    for group in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == group]
        made += _of_place(group, own, _share(own, estate, 4.0))
    return as_facts(made)


def _share(rows: list[tuple[int, int, int]], behind: float, weight: float) -> float:
    """Return the share of denials that were followed by another change."""
    fell = sum(other != 0 for _, _, other in rows)
    return (fell + weight * behind) / (len(rows) + weight)


def _of_place(where: int, rows: list[tuple[int, int, int]], any_share: float) -> list[Fact]:
    """Return the facts of a class, or of the estate."""
    made = [fact(where, FALLBACK_ANY, 0, (as_bits(any_share),), len(rows))]
    for denied in sorted({row[1] for row in rows}):
        own = [row for row in rows if row[1] == denied]
        share = _share(own, any_share, 2.0)
        unseen = share / 2 / (len(own) + 1)
        made.append(fact(where, FALLBACK_FROM, denied, (as_bits(unseen),), len(own)))
        for other, count in sorted(Counter(row[2] for row in own if row[2]).items()):
            bits = as_bits((count + share / 2) / (len(own) + 1))
            pair = int(mix64(np.uint64(denied), np.uint64(other)))
            made.append(fact(where, FALLBACK_PAIR, pair, (bits,), len(own)))
    return made
