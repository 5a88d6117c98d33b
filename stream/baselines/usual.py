"""Calls that tasks of a purpose made just so: what says in one entry that all of a call is known.

Tasks that made a call with just these values used its operation, and each of the values there. So
where one entry is found no other needs to be, and most calls are such. It changes no evidence: a
call that is not found is looked up piece by piece, and comes to the same where it is known.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import routine

from .entries import (
    ENTRY,
    LARGEST,
    SUPPORT_MAX,
    USUAL,
    Entries,
    find_entry,
    key_of,
    place_of,
    whole,
)
from .expected import asked_of
from .tasks import Tasks, packed

USUAL_MIN: Final = 2  # tasks; what fewer made is not known well enough to need nothing else

MADE: Final = np.dtype([("key", np.uint64), ("largest", np.uint64), ("task", np.int64)])


@routine
def find_usual(entries: Any, place: np.uint64, own: int, asked: np.uint64) -> int:
    """Return the place of the entry of a call that USUAL_MIN other tasks made; -1 for none.

    It holds the largest result of such a read, see `is_larger`. `own` is what the asking
    task itself added.
    """
    found = find_entry(entries, key_of(place, USUAL, asked))
    if found >= 0 and whole(entries[found]["support"]) - own >= USUAL_MIN:
        return int(found)
    return -1


@routine
def _made(tasks: Any, calls: Any, values: Any, out: Any) -> None:
    """Write each call of each task. Mutates: out."""
    used = 0
    for number in range(len(tasks)):
        task = tasks[number]
        place = place_of(task["group"], task["purpose"])
        first = whole(task["calls_from"])
        for index in range(first, first + task["calls_count"]):
            asked = asked_of(calls[index], values)
            out[used]["key"] = key_of(place, USUAL, asked)
            out[used]["largest"] = key_of(task["group"], LARGEST, asked)
            out[used]["task"] = number
            used += 1


def usual_entries(of: Tasks, listed: Entries) -> Entries:
    """Return an entry for each call that USUAL_MIN tasks of a purpose made just so.

    Shapes: listed [n] of ENTRY, ascending by key: what else is known of the same tasks.
    """
    ours = packed(of)
    made = np.zeros(len(ours.calls), MADE)
    _made(ours.tasks, ours.calls, ours.values, made)
    made = np.unique(made)
    keys, first, supports = np.unique(made["key"], return_index=True, return_counts=True)
    is_usual = supports >= USUAL_MIN
    entries = np.zeros(int(is_usual.sum()), ENTRY)
    entries["key"] = keys[is_usual]
    entries["support"] = np.minimum(supports[is_usual], SUPPORT_MAX)
    entries["bits"] = 0xFFFF  # nothing is larger than what nobody read
    if len(listed):
        largest = made["largest"][first[is_usual]]
        at = np.minimum(np.searchsorted(listed["key"], largest), len(listed) - 1)
        is_read = listed["key"][at] == largest
        entries["bits"][is_read] = listed["bits"][at[is_read]]
    return entries
