"""Task novelty: is this call what tasks of this purpose do?

Evidence of a call is a weighted sum of parts, each the bits of how rarely a benign task is as new
at that place (`baselines.expected`): a new operation; the newest value of each shape; an identifier
in free text. Values that the purpose is known for speak for the call, and so do errors and
wandering before it: an agent that is lost tries many things. Weights are larger for changes than
for reads, and stand in `WEIGHTS`; trials on recorded agents chose them, and are flat around them.

A purpose that too few tasks had is compared with the other purposes of its class; a class that has
none, with the estate. Without a declared purpose a task is compared with each of its class, weighed
by how well they explained it so far; in a class where nobody declares any, with all its tasks.
Where there is nothing to compare with, the detector is not ready and says so; it never returns 0
for what it does not know.

Units: 1/1024 bit, integers; weights in percent. Trials: DETECTION in benchmarks/README.md.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.baselines import (
    BIT,
    BITS_MAX,
    CHANGE,
    DEEDS_KIND,
    ESTATE,
    EXPOSED,
    LARGEST,
    NEW_ODD,
    NEW_RATE,
    NOWHERE,
    ODD,
    OPERATION,
    RATE,
    READ,
    ask_unknown,
    ask_unusual,
    asked_of,
    find_entry,
    find_group,
    find_usual,
    is_larger,
    is_of_all,
    key_of,
    level_of,
    odd_bits,
    place_of,
    rate_bits,
    support_of,
    whole,
)
from stream.kernel import kernel, mix64, routine
from stream.profiles import (
    DEEDS,
    ENTITY,
    FOUND,
    IDENTIFIER,
    NOVEL,
    PARTS,
    SERVED,
)

from .bits import odds_of
from .modes import KNOWN, KNOWN_TASKS, NEW, NOT_READY, mode_of, peers_of

PART_NAMES: Final = (
    "operation",
    "identifier",
    "entity",
    "detail",
    "found",
    "deeds",
    "ungranted",
    "known",
    "errors",
    "wander",
)
(
    P_OPERATION,
    P_IDENTIFIER,
    P_ENTITY,
    P_DETAIL,
    P_FOUND,
    P_DEEDS,
    P_UNGRANTED,
    P_KNOWN,
    P_ERRORS,
    P_WANDER,
) = range(PARTS)

# Percent, [read or change]: a new operation, then values by shape, then found identifiers.
W_OPERATION: Final = (15, 40)
W_IDENTIFIER: Final = (80, 110)
W_ENTITY: Final = (10, 50)
W_DETAIL: Final = (0, 60)
W_FOUND: Final = (0, 20)
# Of a purpose that is new itself: changes, and an identifier in what is read.
N_IDENTIFIER, N_ENTITY, N_DEEDS, N_FOUND = 75, 120, 75, 15
N_READ: Final = 40
FOR_KNOWN: Final = 3 * BIT  # each of at most two
FOR_ERROR: Final = BIT  # each of at most four
FOR_WANDER: Final = 20  # percent, of at most
WANDER_MAX: Final = 30 * BIT
WANDER_FROM, WANDER_EACH = 2 * BIT, 8 * BIT
UNGRANTED_BITS: Final = 4 * BIT
EXPOSED_MAX: Final = (4 * BIT, 8 * BIT, 4 * BIT)  # [mode]
LIKELY_MAX: Final = 1 << 24


@kernel
def _newest(parts: Any, value: Any, bits: int) -> None:
    """Keep the most bits of a value's shape. Mutates: parts."""
    part = P_DETAIL
    if value["shape"] == IDENTIFIER:
        part = P_IDENTIFIER
    elif value["shape"] == ENTITY:
        part = P_ENTITY
    elif value["shape"] == FOUND:
        part = P_FOUND
    parts[part] = max(parts[part], bits)


@routine
def judge_known(call: Any, effect: int, of: Any, entries: Any, who: Any, parts: Any) -> int:
    """Return the evidence of a call under one purpose, what came before not counted.

    Shapes: of = (values, tokens); who = (class, purpose's place, own, how many tasks of the
            purpose called this operation); parts [PARTS].
    Mutates: parts.
    """
    values, tokens = of
    group, place, own, known = who
    where = (place, NOWHERE, own)
    operation = call["operation"]
    for part in range(P_ERRORS):
        parts[part] = 0
    is_odd = known <= 0
    if is_odd:
        if call["values_count"]:
            ask_unknown(entries, (place, group, effect), call, of)
        parts[P_OPERATION] = odd_bits(entries, place, ODD, effect, 0)
    first = whole(call["values_from"])
    for number in range(first, first + call["values_count"]):
        value = values[number]
        level = level_of(entries, where, operation, value, tokens)
        if value["shape"] == FOUND:
            if level >= 2:
                _newest(parts, value, odd_bits(entries, place, ODD, effect, 1))
        elif level == 0:
            if value["shape"] == IDENTIFIER or value["shape"] == ENTITY:
                parts[P_KNOWN] += 1
        elif level >= 2 or not is_odd:
            what = mix64(operation, value["name"])
            places = (place, group, effect)
            _newest(parts, value, rate_bits(entries, places, RATE, what, level))
    bits = (
        W_OPERATION[effect] * whole(parts[P_OPERATION])
        + W_IDENTIFIER[effect] * whole(parts[P_IDENTIFIER])
        + W_ENTITY[effect] * whole(parts[P_ENTITY])
        + W_DETAIL[effect] * whole(parts[P_DETAIL])
        + W_FOUND[effect] * whole(parts[P_FOUND])
    ) // 100
    return int(bits - FOR_KNOWN * min(whole(parts[P_KNOWN]), 2))


@kernel
def _judge_usual(call: Any, values: Any, parts: Any) -> int:
    """Return the evidence of a call that tasks of its purpose make just so, as `judge_known` does.

    Mutates: parts.
    """
    for part in range(P_ERRORS):
        parts[part] = 0
    first = whole(call["values_from"])
    for number in range(first, first + call["values_count"]):
        shape = values[number]["shape"]
        parts[P_KNOWN] += int(shape in (IDENTIFIER, ENTITY))
    return int(-FOR_KNOWN * min(whole(parts[P_KNOWN]), 2))


@routine
def judge_new(call: Any, effect: int, of: Any, entries: Any, who: Any, parts: Any) -> int:
    """Return the evidence of a call of a purpose that is new, compared with its class's others.

    Shapes: of = (values, tokens); who = (peers' place, own place, different changes so far).
    Mutates: parts.
    """
    values, tokens = of
    peers, besides, deeds = who
    where = (peers, besides, whole(0))
    operation = call["operation"]
    for part in range(P_ERRORS):
        parts[part] = 0
    if support_of(entries, where, OPERATION, operation) <= 0:
        parts[P_OPERATION] = odd_bits(entries, ESTATE, NEW_ODD, effect, 0)
    first = whole(call["values_from"])
    for number in range(first, first + call["values_count"]):
        value = values[number]
        level = level_of(entries, where, operation, value, tokens)
        if value["shape"] == FOUND:
            if level >= 2:
                _newest(parts, value, odd_bits(entries, ESTATE, NEW_ODD, effect, 1))
        elif level >= 1:
            what = mix64(operation, value["name"])
            places = (peers, peers, effect)
            _newest(parts, value, rate_bits(entries, places, NEW_RATE, what, level))
    if effect == READ:
        return int(N_READ * whole(parts[P_IDENTIFIER]) // 100)
    if deeds >= 2:
        found = find_entry(entries, key_of(peers, DEEDS_KIND, np.uint64(deeds)))
        parts[P_DEEDS] = entries[found]["bits"][0] if found >= 0 else BITS_MAX
    return (
        int(
            N_IDENTIFIER * whole(parts[P_IDENTIFIER])
            + N_ENTITY * whole(parts[P_ENTITY])
            + N_DEEDS * whole(parts[P_DEEDS])
            + N_FOUND * whole(parts[P_FOUND])
        )
        // 100
    )


@kernel
def _judge_undeclared(call: Any, effect: int, of: Any, view: Any, state: Any) -> int:
    """Return the evidence of a call whose purpose nobody declared. Mutates: state.

    It is -log2 of the call's likelihood under all purposes of the class, each weighed by what
    it explained before. The parts are those of the purpose that explains the task best. What all
    purposes do, naming nothing, is likely under each: it says nothing, and changes nothing.
    """
    entries, groups, places = view.entries, view.groups, view.places
    if call["values_count"] == 0 and is_of_all(entries, state["group"], call["operation"]):
        for part in range(P_ERRORS):
            state["parts"][part] = 0
        return 0
    found = int(find_group(groups, state["group"]))
    first, count = whole(groups[found]["first"]), whole(groups[found]["count"])
    least = whole(LIKELY_MAX)
    for candidate in range(count):
        least = min(least, whole(state["likely"][candidate]))
    above, below = 0.0, 0.0
    best, best_after = whole(0), whole(LIKELY_MAX + 1)
    for candidate in range(count):
        before = whole(state["likely"][candidate])
        place, bits = places[first + candidate], whole(0)
        known = support_of(entries, (place, NOWHERE, whole(0)), OPERATION, call["operation"])
        # Nothing speaks against or for a call that is known and names nothing, as most are.
        if known <= 0 or call["values_count"] > 0:
            who = (state["group"], place, whole(0), known)
            bits = whole(judge_known(call, effect, of, entries, who, state["parts"]))
        weight = odds_of(2 * (before - least))
        below += weight
        above += weight * odds_of(bits)
        after = min(max(before + bits, -LIKELY_MAX), LIKELY_MAX)
        state["likely"][candidate] = after
        if after < best_after:
            best, best_after = whole(candidate), after
    if count > 0:
        place = places[first + best]
        known = support_of(entries, (place, NOWHERE, whole(0)), OPERATION, call["operation"])
        who = (state["group"], place, whole(0), known)
        judge_known(call, effect, of, entries, who, state["parts"])
    bits = whole(60 * BIT)
    if above > 0.0:
        bits = min(bits, whole(np.rint(-np.log2(above / below) * BIT)))
    return int(bits)


@routine
def _known_of(call: Any, asked: np.uint64, values: Any, view: Any, state: Any) -> tuple[int, int]:
    """Return the place of a call's entry where it is usual, -1 for none, and else the tasks.

    Those are the other tasks of the context's purpose that called the operation.
    """
    entries, group, own = view.entries, state["group"], whole(state["own"])
    place = place_of(group, state["purpose"])
    usual = whole(find_usual(entries, place, own, asked))
    if usual >= 0:
        return usual, whole(0)
    ask_unusual(entries, (place, group), call, asked, values)
    return usual, whole(support_of(entries, (place, NOWHERE, own), OPERATION, call["operation"]))


@kernel
def _is_listed(listed: Any, count: int, what: Any) -> bool:
    is_listed = False
    for seat in range(count):
        is_listed = is_listed or listed[seat] == what
    return is_listed


@routine
def _count_deed(state: Any, operation: np.uint64) -> int:
    """Count a changing operation; return how many different ones there are. Mutates: state."""
    count = whole(state["deeds_count"])
    if not _is_listed(state["deeds"], count, operation) and count < DEEDS:
        state["deeds"][count] = operation
        count += 1
        state["deeds_count"] = count
    return int(count)


@kernel
def _judge(call: Any, effect: int, of: Any, view: Any, found: Any, state: Any) -> int:
    """Return a call's evidence in the mode of its context, without exposure. Mutates: state.

    `found` is of the declared purpose (the place of a usual call's entry, -1 for none; how many
    other tasks called the operation).
    """
    usual, known = found
    parts, operation = state["parts"], call["operation"]
    place = place_of(state["group"], state["purpose"])
    deeds = whole(0)
    if effect == CHANGE:
        deeds = whole(_count_deed(state, operation))
    if state["mode"] == NEW:
        peers = peers_of(view, state)
        bits = whole(judge_new(call, effect, of, view.entries, (peers, place, deeds), parts))
        granted = whole(state["granted_count"])
        if (
            effect == CHANGE
            and granted > 0
            and not _is_listed(state["granted"], granted, operation)
        ):
            parts[P_UNGRANTED] = UNGRANTED_BITS
            bits += UNGRANTED_BITS
        return int(bits)
    if usual >= 0:
        bits = whole(_judge_usual(call, of[0], parts))
    elif state["mode"] == KNOWN:
        who = (state["group"], place, whole(state["own"]), known)
        bits = whole(judge_known(call, effect, of, view.entries, who, parts))
    else:
        bits = whole(_judge_undeclared(call, effect, of, view, state))
    parts[P_ERRORS] = FOR_ERROR * min(whole(state["errors"]), 4)
    parts[P_WANDER] = FOR_WANDER * min(whole(state["wander"]), WANDER_MAX) // 100
    return int(bits - parts[P_ERRORS] - parts[P_WANDER])


@kernel
def score_call(call: Any, effect: int, of: Any, view: Any, state: Any) -> np.uint64:
    """Score a call in its context, let the context remember it, and return what names the call.

    Shapes: call has `operation bytes outcome values_from values_count`; of = (values, tokens);
            view of baselines.View; state of profiles.LEARNED.
    Mutates: state.
    """
    values, _ = of
    asked = asked_of(call, values)
    usual, known = whole(-1), whole(0)
    if state["purpose"] != NOWHERE:
        usual, known = _known_of(call, asked, values, view, state)
    # Tasks that did this are tasks of the purpose, so mostly those need not be looked up.
    state["mode"] = KNOWN if usual >= 0 or known >= KNOWN_TASKS else mode_of(view, state)
    if state["mode"] == KNOWN and state["purpose"] == NOWHERE:
        usual, known = _known_of(call, asked, values, view, state)
    state["calls"] = min(whole(state["calls"]) + 1, 1 << 30)
    mode = whole(state["mode"])
    if mode == NOT_READY:
        return asked
    exposed = min(whole(state["exposed"]), EXPOSED_MAX[mode])
    bits = whole(_judge(call, effect, of, view, (usual, known), state)) + exposed
    parts = state["parts"]
    state["bits"] = bits
    if bits > state["bits_max"]:
        state["bits_max"] = bits
        for part in range(PARTS):
            state["parts_max"][part] = parts[part]
    newest = max(parts[P_IDENTIFIER], parts[P_ENTITY], parts[P_DETAIL])
    wandered = whole(parts[P_OPERATION]) + newest
    seats = whole(state["novel_count"])
    if wandered > WANDER_FROM and not _is_listed(state["novel"], seats, asked):
        state["wander"] = min(whole(state["wander"]) + min(wandered, WANDER_EACH), 1 << 20)
        if seats < NOVEL:
            state["novel"][seats] = asked
            state["novel_count"] = seats + 1
    if call["outcome"] != SERVED:
        state["errors"] = min(whole(state["errors"]) + 1, 1 << 20)
    if effect == READ:
        found = usual
        if found < 0:
            found = whole(find_entry(view.entries, key_of(state["group"], LARGEST, asked)))
        if found >= 0 and is_larger(call["bytes"], view.entries[found]):
            rate = find_entry(view.entries, key_of(ESTATE, EXPOSED, np.uint64(1)))
            state["exposed"] = view.entries[rate]["bits"][0] if rate >= 0 else 0
    return asked
