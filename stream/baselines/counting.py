"""What tasks were seen to do, as entries: counted once a task, and of a class once a purpose.

Hygiene counts once a speaker instead (`speakers_of`): a workload that does the same three times has
said it once.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel, routine

from .entries import (
    ENTRY,
    ESTATE,
    OPERATION,
    PURPOSES,
    SUPPORT_MAX,
    TASKS,
    TOKEN_SEEN,
    USE,
    VALUE_SEEN,
    Entries,
    key_of,
    place_of,
    whole,
)
from .expected import use_of
from .tasks import Tasks, packed


@kernel
def _put(out: Any, used: int, key: Any, owner: int) -> int:
    out[used]["key"] = key
    out[used]["owner"] = owner
    return used + 1


SEEN: Final = np.dtype([("key", np.uint64), ("owner", np.int64)])


@routine
def _see(place: Any, owner: int, of: Any, call: Any, used: int, out: Any) -> int:
    """Write what a call shows at a place; return how much is used. Mutates: out."""
    values, tokens = of
    operation = call["operation"]
    used = _put(out, used, key_of(place, OPERATION, operation), owner)
    first = whole(call["values_from"])
    for number in range(first, first + call["values_count"]):
        value = values[number]
        used = _put(out, used, key_of(place, USE, use_of(operation, value)), owner)
        used = _put(out, used, key_of(place, VALUE_SEEN, value["value"]), owner)
        start = whole(value["tokens_from"])
        for token in range(start, start + value["tokens_count"]):
            used = _put(out, used, key_of(place, TOKEN_SEEN, tokens[token]), owner)
    return used


@routine
def _see_all(tasks: Any, calls: Any, of: Any, owners: Any, out: Any) -> int:
    """Write what all tasks show, at their purpose, class and the estate.

    Shapes: owners = (purpose, speaker), both [task]. Mutates: out.
    """
    purposes, speakers = owners
    used = 0
    for number in range(len(tasks)):
        task = tasks[number]
        group, purpose, speaker = task["group"], whole(purposes[number]), whole(speakers[number])
        place = place_of(group, task["purpose"])
        used = _put(out, used, key_of(place, TASKS, np.uint64(0)), number)
        used = _put(out, used, key_of(group, PURPOSES, np.uint64(0)), purpose)
        used = _put(out, used, key_of(ESTATE, PURPOSES, np.uint64(0)), purpose)
        first = whole(task["calls_from"])
        for index in range(first, first + task["calls_count"]):
            used = _see(place, speaker, of, calls[index], used, out)
            used = _see(group, purpose, of, calls[index], used, out)
            used = _see(ESTATE, purpose, of, calls[index], used, out)
    return used


def purpose_numbers(tasks: Any) -> Any:
    """Return a number for the purpose of each task, 0 up, classes kept apart."""
    pairs = np.stack([tasks["group"], tasks["purpose"]], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)


def speakers_of(tasks: Any) -> Any:
    """Return a number for who vouches with each task for what it did.

    That is its workload, as far as others have the same purpose, so that nobody vouches for
    himself; where a workload has a purpose alone nobody else can, and each task speaks.
    """
    purposes = purpose_numbers(tasks)
    workloads = np.unique(tasks["workload"], return_inverse=True)[1].reshape(-1)
    pairs, numbers = np.unique(np.stack([purposes, workloads], axis=1), axis=0, return_inverse=True)
    is_alone = (np.bincount(pairs[:, 0]) < 2)[purposes] if len(tasks) else np.zeros(0, bool)
    speakers = numbers.reshape(-1).copy()
    speakers[is_alone] = len(pairs) + np.arange(int(is_alone.sum()))
    return speakers


def weights_of(tasks: Any, speakers: Any) -> Any:
    """Return how much each task weighs where speakers of a purpose weigh alike; 1 at most.

    A task of one who has many weighs less, so many alike make nothing usual. [task] of float64.
    """
    if not len(tasks):
        return np.zeros(0)
    purposes = purpose_numbers(tasks)
    pairs = np.unique(np.stack([purposes, speakers], axis=1), axis=0)
    many = np.bincount(pairs[:, 0])[purposes] * np.bincount(speakers)[speakers]
    return np.minimum(np.bincount(purposes)[purposes] / many, 1.0)


def seen_entries(of: Tasks, speakers: Any) -> Entries:
    """Return an entry for each thing that tasks did, with how many speakers (purposes) did it.

    Shapes: speakers [task], the task's own number where each speaks for itself. How many tasks a
    purpose has is counted by tasks in any case.
    """
    ours = packed(of)
    room = 3 * (len(ours.tasks) + len(ours.calls) + 2 * len(ours.values) + len(ours.tokens))
    out = np.zeros(room, SEEN)
    owners = purpose_numbers(of.tasks), np.asarray(speakers, np.int64)
    used = _see_all(ours.tasks, ours.calls, (ours.values, ours.tokens), owners, out)
    ordered = out[:used][np.lexsort((out["owner"][:used], out["key"][:used]))]
    is_other = np.ones(used, bool)
    is_other[1:] = ordered[1:] != ordered[:-1]
    keys, supports = np.unique(ordered["key"][is_other], return_counts=True)
    entries = np.zeros(len(keys), ENTRY)
    entries["key"] = keys
    entries["support"] = np.minimum(supports, SUPPORT_MAX)
    return entries
