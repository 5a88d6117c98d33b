"""What each task does that no other did: every task of a set compared with all the others.

What a task adds itself does not count for it, so the rates are those of tasks to come, and do not
depend on an order. A task set aside adds nothing to what was seen, and is compared all the same:
leaving out the odd ones would make honest ones look odder than they are.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.kernel import mix64, routine
from stream.profiles import FOUND

from .entries import (
    NOWHERE,
    OPERATION,
    PURPOSES,
    TASKS,
    Entries,
    place_of,
    support_of,
    whole,
)
from .expected import level_of
from .tasks import Tasks, packed

# What one task showed at one place: its highest level at an operation's name, or a yes or no.
SHOWN: Final = np.dtype(
    [
        ("what", np.uint64),  # operation and name
        ("task", np.int64),
        ("level", np.int16),
        ("is_new", np.int8),  # levels against the class's other purposes
        ("effect", np.int8),
    ],
    align=True,
)
# Per task [its purpose or the class's others, effect, operation or found identifier]: was one new.
ODDITY: Final = np.dtype([("odd", np.int8, (2, 2, 2)), ("is_compared", np.int8, (2,))], align=True)


class Compared(NamedTuple):
    """What comparing showed. Shapes: shown [n] of SHOWN; oddities [task] of ODDITY."""

    shown: Any
    oddities: Any


@routine
def _compare_call(entries: Any, wheres: Any, call: Any, of: Any, oddity: Any, out: Any) -> int:
    """Compare a call with its purpose and its class. Mutates: oddity, out; returns how many."""
    values, tokens = of
    operation, effect, used = call["operation"], whole(call["effect"]), 0
    first = whole(call["values_from"])
    for is_new in range(2):
        where = wheres[is_new]
        is_odd = support_of(entries, where, OPERATION, operation) <= 0
        if is_odd:
            oddity["odd"][is_new, effect, 0] = 1
        for number in range(first, first + call["values_count"]):
            value = values[number]
            if is_odd and is_new == 0 and value["shape"] != FOUND:
                continue
            level = level_of(entries, where, operation, value, tokens)
            if value["shape"] == FOUND:
                if level >= 2:
                    oddity["odd"][is_new, effect, 1] = 1
                continue
            out[used]["what"] = mix64(operation, value["name"])
            out[used]["level"] = level
            out[used]["is_new"] = is_new
            out[used]["effect"] = effect
            used += 1
    return used


@routine
def _compare_all(entries: Any, tasks: Any, calls: Any, of: Any, owns: Any, out: Any) -> int:
    """Compare each task with the others; return how much was shown. Mutates: out."""
    shown, oddities = out
    used = 0
    for number in range(len(tasks)):
        task, oddity = tasks[number], oddities[number]
        place, own = place_of(task["group"], task["purpose"]), whole(owns[number])
        known = (place, NOWHERE, own)
        wheres = (known, (task["group"], place, whole(0)))
        oddity["is_compared"][0] = support_of(entries, known, TASKS, np.uint64(0)) > 0
        peers = (task["group"], place, whole(0))
        oddity["is_compared"][1] = support_of(entries, peers, PURPOSES, np.uint64(0)) > 1
        first = whole(task["calls_from"])
        for index in range(first, first + task["calls_count"]):
            more = _compare_call(entries, wheres, calls[index], of, oddity, shown[used:])
            for one in range(used, used + more):
                shown[one]["task"] = number
            used += more
    return used


def compared(entries: Entries, of: Tasks, owns: Any) -> Compared:
    """Return what comparing each task with the others shows.

    Shapes: owns [task]: 1 where what it did is counted among what is compared with, else 0.
    """
    ours = packed(of)
    shown = np.zeros(2 * len(ours.values), SHOWN)
    oddities = np.zeros(len(ours.tasks), ODDITY)
    used = _compare_all(
        *(entries, ours.tasks, ours.calls, (ours.values, ours.tokens)),
        *(np.asarray(owns, np.int64), (shown, oddities)),
    )
    return Compared(_highest(shown[:used]), oddities)


def _highest(shown: Any) -> Any:
    """Return for each task the highest level at each operation's name."""
    order = np.lexsort([shown[each] for each in ("level", "effect", "task", "what", "is_new")])
    shown = shown[order]
    is_last = np.ones(len(shown), bool)
    here = shown[["is_new", "what", "task", "effect"]]
    is_last[:-1] = here[1:] != here[:-1]
    return shown[is_last]
