"""How new something is at a place of a baseline, and how seldom benign tasks are as new there.

The novelty level of a value at an operation's name is 0 where it was seen just there; 1 where it
was seen anywhere at the place, or all its tokens were; 2 where half of its tokens were; 3
otherwise. The bits of a level say how rarely a benign task is at least as new at that name:
counted at the purpose, backed off to the class, and from there to all calls of the effect.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.kernel import kernel, minus64, mix64, routine

from .entries import (
    BITS_MAX,
    ESTATE,
    LARGEST,
    NOWHERE,
    ODD,
    OPERATION,
    PURPOSES,
    RATE,
    SUPPORT_MAX,
    TOKEN_SEEN,
    USE,
    USUAL,
    VALUE_SEEN,
    ask_entry,
    find_entry,
    key_of,
    place_of,
    support_of,
    whole,
)


@kernel
def use_of(operation: np.uint64, value: Any) -> np.uint64:
    """Return what names a value at an operation's name."""
    return mix64(mix64(operation, value["name"]), value["value"])


@routine
def level_of(entries: Any, where: Any, operation: np.uint64, value: Any, tokens: Any) -> int:
    """Return the novelty level of a value, 0..3.

    Shapes: entries [place] of ENTRY; where as `support_of` takes it; value of VALUE.
    """
    if support_of(entries, where, USE, use_of(operation, value)) > 0:
        return 0
    if support_of(entries, where, VALUE_SEEN, value["value"]) > 0:
        return 1
    count, known = whole(value["tokens_count"]), 0
    first = whole(value["tokens_from"])
    for token in range(first, first + count):
        ask_entry(entries, key_of(where[0], TOKEN_SEEN, tokens[token]))
    for token in range(first, first + count):
        if support_of(entries, where, TOKEN_SEEN, tokens[token]) > 0:
            known += 1
    if known == count:
        return 1
    return 2 if 2 * known >= count else 3


@routine
def rate_bits(entries: Any, places: Any, kind: np.uint64, what: np.uint64, level: int) -> int:
    """Return the bits of a level at an operation's name, from the first place that knows it.

    `places` is (purpose's place, class's place, effect): the last resort is the estate's rate for
    the effect.
    """
    purpose, group, effect = places
    found = find_entry(entries, key_of(purpose, kind, what))
    if found < 0:
        found = find_entry(entries, key_of(group, kind, what))
    if found < 0:
        found = find_entry(entries, key_of(ESTATE, kind, np.uint64(effect + 1)))
    return int(entries[found]["bits"][level - 1]) if found >= 0 else int(BITS_MAX)


@routine
def odd_bits(entries: Any, place: np.uint64, kind: np.uint64, effect: int, which: int) -> int:
    """Return the bits of a new operation (`which` 0) or a new found identifier (1)."""
    what = np.uint64(effect + 1)
    found = find_entry(entries, key_of(place, kind, what))
    if found < 0:
        found = find_entry(entries, key_of(ESTATE, kind, what))
    return int(entries[found]["bits"][which]) if found >= 0 else int(BITS_MAX)


@routine
def find_group(groups: Any, group: np.uint64) -> int:
    """Return the place of a class among the sorted ones, -1 where a baseline has none."""
    # Halves whose choice is a number and no branch: hashes are halved as nobody foresees.
    first, count = 0, len(groups)
    while count > 1:
        half = count // 2
        first += half * int(groups[first + half]["group"] <= group)
        count -= half
    return first if count == 1 and groups[first]["group"] == group else -1


@routine
def is_of_all(entries: Any, group: np.uint64, operation: np.uint64) -> bool:
    """Tell whether tasks of every purpose of a class called an operation; no if that is unknown."""
    all_of = find_entry(entries, key_of(group, PURPOSES, np.uint64(0)))
    known = find_entry(entries, key_of(group, OPERATION, operation))
    if all_of < 0 or known < 0:
        return False
    count = int(entries[all_of]["support"])
    return 0 < count < SUPPORT_MAX and entries[known]["support"] == count


@routine
def asked_of(call: Any, values: Any) -> np.uint64:
    """Return what names a call by its operation and values, whatever their order.

    A sum, not an exclusive or: a value that stands twice must not vanish.
    """
    asked = call["operation"]
    first = whole(call["values_from"])
    for number in range(first, first + call["values_count"]):
        asked = minus64(asked, use_of(call["operation"], values[number]))
    return asked  # type: ignore[no-any-return]


@routine
def ask_call(entries: Any, group: np.uint64, call: Any, values: Any) -> None:
    """Ask for the memory of what a call is going to be compared with, if it is a usual one.

    A large baseline is in no cache: waiting for each look-up in turn would take most of the time.
    """
    asked = asked_of(call, values)
    if call["purpose"] != NOWHERE:
        ask_entry(entries, key_of(place_of(group, call["purpose"]), USUAL, asked))
    else:
        ask_entry(entries, key_of(group, LARGEST, asked))


@kernel
def ask_unusual(entries: Any, places: Any, call: Any, asked: np.uint64, values: Any) -> None:
    """Ask for the memory of what a call is compared with that is not a usual one of its purpose.

    `places` is (purpose's place, class's place); `asked` what names the call.
    """
    purpose, group = places
    operation = call["operation"]
    ask_entry(entries, key_of(purpose, OPERATION, operation))
    first = whole(call["values_from"])
    for number in range(first, first + call["values_count"]):
        ask_entry(entries, key_of(purpose, USE, use_of(operation, values[number])))
    ask_entry(entries, key_of(group, LARGEST, asked))


@kernel
def ask_unknown(entries: Any, places: Any, call: Any, of: Any) -> None:
    """Ask for the memory of what a call is compared with whose operation its purpose does not know.

    `places` is (purpose's place, class's place, effect), `of` (values, tokens).
    """
    purpose, group, effect = places
    values, tokens = of
    ask_entry(entries, key_of(purpose, ODD, np.uint64(effect + 1)))
    first = whole(call["values_from"])
    for number in range(first, first + call["values_count"]):
        value = values[number]
        ask_entry(entries, key_of(purpose, VALUE_SEEN, value["value"]))
        what = mix64(call["operation"], value["name"])
        ask_entry(entries, key_of(purpose, RATE, what))
        ask_entry(entries, key_of(group, RATE, what))
        token = whole(value["tokens_from"])
        for each in range(token, token + whole(value["tokens_count"])):
            ask_entry(entries, key_of(purpose, TOKEN_SEEN, tokens[each]))
