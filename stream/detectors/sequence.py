"""Sequence: is this order of operations that of the class, or one in which anything goes?

Per call, x = log2 q - log2 p. p is what the class expects of the call after the two before it, by
variable-order transitions with back-off; q = 1 / (V + 1), one of the V operations that the estate
knows or a new one, all alike. Evidence is W = max(W, 0) + x, a one-sided CUSUM: what is expected
pays back, so only a stretch of unexpected calls adds up. x is within -X_MAX..X_MAX, W within
-X_MAX..WEIGHT_MAX, both integers.

Learned with Witten-Bell weights, n(h, o) calls of o after h, n(h) of any, c(h) different ones:

    p(o | h) = (n(h, o) + c(h) p(o | h')) / (n(h) + c(h))        h' = h without its oldest call
    p(o) = (1 - p_new) n(o) / N      of an operation that the class has used
    p_new(effect) = (K + 1/2) / (N' + 1)   K first uses of an operation with that effect among N'
                                           calls of a class that already had WARM_CALLS

so a first change counts by how rarely benign tasks of the class do a first change, not by what a
read would. An operation that only others use is new to the class with rates of its own. A first
use is evidence by itself too, -log2 p_new(effect), whatever q says of it: one call may be all there
is of an attack (FIRST_PART; W is about order).
Tables hold the bits of p(o | h) and of the part c(h) / (n(h) + c(h)) left to what was not seen
after h, so a call costs at most six look-ups. What is known of an operation alone says what is
left after it too, and has a mark of each one that came after it, in MARKS places by its hash. A
context keeps both, and whether its last two calls ever followed each other, so that orders which
were never seen are mostly not looked for. A task begins with START behind it.
If p were exact, 2^x would be an e-value (its mean under p is at most 1); it is estimated, so
thresholds are calibrated as for all others.

Cold: a class without calls is judged by the estate's (POOLED). Of less than READY_CALLS no order
can be told from chance: W stays as it is and says UNREADY; a first use has bits as soon as there
is anything to compare with, few at first: half a first use among the calls so far.

Source: Witten, Bell, The zero-frequency problem, IEEE Trans. Information Theory 1991; Page,
Continuous inspection schemes, Biometrika 1954; Lorden 1971 for W.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.baselines import ESTATE, ask_entry, find_entry, key_of
from stream.kernel import kernel, mix64, routine

from .bits import BIT
from .facts import (
    AFTER_ONE,
    AFTER_PAIR,
    CLASS,
    NO_FACT,
    POOLED,
    SEQUENCE_CALLS,
    SEQUENCE_NEW,
    SEQUENCE_ONE,
    SEQUENCE_PAIR,
    SEQUENCE_TRIPLE,
    UNREADY,
)

START: Final = np.uint64(1)  # behind the first call of a task
READY_CALLS: Final = 300
X_MAX: Final = 12 * BIT
WEIGHT_MAX: Final = 1 << 20
SEQUENCE: Final = np.dtype(
    [
        ("before", np.uint64),  # the call before, 0 at the start
        ("earlier", np.uint64),  # and the one before that
        ("weight", np.int32),  # W, 1/1024 bit
        ("spare", np.int32),  # of the call before: what comes after it (WITH_...)
    ],
    align=True,
)
# Of what a class knows of one operation: its bits, what is left after it, marks of what came next.
ALONE, LEFT, NEXT = range(3)
MARKS: Final = 13
# What a context keeps of that, so that the next call needs one look-up. The field had room: another
# name would be another layout, and all contexts that are stored would begin anew.
IS_KEPT, WITH_PAIR, WITH_MARKS, WITH_LEFT = 1, 2, 4, 4 << MARKS
EVIDENCE_PART, X_PART, HOW_PART, ORDER_PART, FIRST_PART, FIRST_HOW_PART = range(6)
# W, x, how they are known, by how many calls before (-1: new), the bits of a first use, and how
# those are known.
SEQUENCE_PARTS: Final = 6
NEW_ORDER: Final = -1


@routine
def usual_order(group: np.uint64, facts: Any) -> tuple[int, int, int, int, int]:
    """Return how the order of a class's calls is known, of how many calls, and the bits of q.

    The same for all calls of a class: USUAL numbers, UNREADY and zeros where nothing is known.
    """
    found, how = find_entry(facts, key_of(group, SEQUENCE_CALLS, np.uint64(0))), CLASS
    if found == NO_FACT:
        found, how = find_entry(facts, key_of(ESTATE, SEQUENCE_CALLS, np.uint64(0))), POOLED
    if found == NO_FACT:
        return UNREADY, 0, 0, 0, 0
    return how, int(facts[found]["support"]), int(facts[found]["bits"][0]), 0, 0


@kernel
def follow_order(state: Any, call: Any, known: Any, usual: Any, parts: Any) -> int:
    """Judge one call by the calls before it, then remember it; return W in 1/1024 bit.

    Shapes:   state: SEQUENCE; call = (operation, effect); known = (class, facts); usual: what
              `usual_order` returns; parts [SEQUENCE_PARTS] of int64.
    Mutates:  state, parts.
    """
    operation, effect = call
    group, facts = known
    before = state["before"], state["earlier"], int(state["spare"])
    state["earlier"] = state["before"]
    state["before"] = operation
    state["spare"] = 0
    parts[X_PART], parts[ORDER_PART], parts[HOW_PART] = 0, 0, UNREADY
    parts[FIRST_PART], parts[FIRST_HOW_PART] = 0, UNREADY
    how, calls, bits_of_any = usual[0], usual[1], usual[2]
    bits = 0
    if how != UNREADY:
        place = ESTATE if how == POOLED else group
        parts[FIRST_HOW_PART] = how
        own = int(find_entry(facts, key_of(place, SEQUENCE_ONE, operation)))
        bits = int(_bits_after((operation, effect, own), before, (place, facts), parts))
        state["spare"] = _kept_of(own, facts, int(parts[ORDER_PART]))
    if how == UNREADY or calls < READY_CALLS:
        parts[EVIDENCE_PART] = max(0, int(state["weight"]))
        return int(parts[EVIDENCE_PART])
    parts[HOW_PART] = how
    x = min(X_MAX, max(-X_MAX, bits - bits_of_any))
    weight = min(WEIGHT_MAX, max(0, int(state["weight"])) + x)
    state["weight"] = weight
    parts[X_PART], parts[EVIDENCE_PART] = x, max(0, weight)
    return int(parts[EVIDENCE_PART])


@kernel
def mark_of(operation: np.uint64) -> int:
    """Return the bit that stands for an operation among those that came after another."""
    return 1 << int(operation % np.uint64(MARKS))


@kernel
def _kept_of(own: int, facts: Any, order: int) -> int:
    """Return what to keep of a call for the next one: of an operation at `own`, if it is known.

    `order` is by how many calls before it was expected.
    Nothing comes after one that is not known. One without marks says nothing: the next call looks.
    """
    kept = IS_KEPT + (WITH_PAIR if order > 0 else 0)
    if own == NO_FACT:
        return kept
    bits = facts[own]["bits"]
    if bits[NEXT] == 0 or bits[NEXT] >> MARKS != 0:
        return 0
    return kept + WITH_MARKS * int(bits[NEXT]) + WITH_LEFT * int(bits[LEFT])


@kernel
def _may_follow(kept: int, operation: np.uint64) -> bool:
    """Tell whether an operation may have come after the one that so much is kept of."""
    return kept == 0 or kept & (WITH_MARKS * mark_of(operation)) != 0


@kernel
def _may_be_pair(kept: int) -> bool:
    """Tell whether the two calls before may have followed each other in what was learned."""
    return kept == 0 or kept & WITH_PAIR != 0


@routine
def ask_sequence(state: Any, operation: np.uint64, group: np.uint64, facts: Any) -> None:
    """Ask for the memory of what `follow_order` is going to look up of a class."""
    one = state["before"] if state["before"] != np.uint64(0) else START
    two = state["earlier"] if state["earlier"] != np.uint64(0) else START
    kept = int(state["spare"])
    ask_entry(facts, key_of(group, SEQUENCE_ONE, operation))
    if kept == 0:
        ask_entry(facts, key_of(group, AFTER_ONE, one))
    if _may_follow(kept, operation):
        ask_entry(facts, key_of(group, SEQUENCE_PAIR, mix64(one, operation)))
    if _may_be_pair(kept):
        pair = mix64(two, one)
        ask_entry(facts, key_of(group, AFTER_PAIR, pair))
        if _may_follow(kept, operation):
            ask_entry(facts, key_of(group, SEQUENCE_TRIPLE, mix64(pair, operation)))


@kernel
def _bits_after(call: Any, before: Any, known: Any, parts: Any) -> int:
    """Return -log2 of how much a call is expected after two others.

    Shapes:  call = (operation, effect, where it is known); before = (the call before, the one
             before that, what is kept of them). Mutates: parts.
    """
    operation, effect, own = call
    last, earlier, kept = before
    one = last if last != np.uint64(0) else START
    two = earlier if earlier != np.uint64(0) else START
    place, facts = known
    follows, bits = _may_follow(kept, operation), 0
    if _may_be_pair(kept):
        pair = mix64(two, one)
        if follows:
            found = find_entry(facts, key_of(place, SEQUENCE_TRIPLE, mix64(pair, operation)))
            if found != NO_FACT:
                parts[ORDER_PART] = 2
                return int(facts[found]["bits"][0])
        left = find_entry(facts, key_of(place, AFTER_PAIR, pair))
        if left != NO_FACT:
            bits += int(facts[left]["bits"][0])
    if follows:
        found = find_entry(facts, key_of(place, SEQUENCE_PAIR, mix64(one, operation)))
        if found != NO_FACT:
            parts[ORDER_PART] = 1
            return bits + int(facts[found]["bits"][0])
    if kept != 0:
        bits += kept // WITH_LEFT
    else:
        left = find_entry(facts, key_of(place, AFTER_ONE, one))
        if left != NO_FACT:
            bits += int(facts[left]["bits"][0])
    parts[ORDER_PART] = 0
    if own != NO_FACT:
        return bits + int(facts[own]["bits"][ALONE])
    parts[ORDER_PART] = NEW_ORDER
    elsewhere = find_entry(facts, key_of(ESTATE, SEQUENCE_ONE, operation))
    found = find_entry(facts, key_of(place, SEQUENCE_NEW, np.uint64(1 + effect)))
    if found != NO_FACT:
        parts[FIRST_PART] = int(facts[found]["bits"][0 if elsewhere == NO_FACT else 1])
    return bits + int(parts[FIRST_PART])
