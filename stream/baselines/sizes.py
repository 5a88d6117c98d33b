"""The largest results that benign reads came to, by what was asked for.

A read that brings much more than anybody's same read did before may have brought words of
somebody else. It shows exposure, not behaviour, so it weighs little and only on what follows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import routine

from .entries import BIT, BITS_MAX, ENTRY, ESTATE, EXPOSED, LARGEST, Entries, key_of, whole
from .expected import asked_of
from .tasks import READ, Tasks, packed

LARGER_BYTES: Final = 48  # by so little more says nothing
_WORD: Final = 16  # bits of one of the three words that hold a size

SIZE: Final = np.dtype([("key", np.uint64), ("bytes", np.int64), ("task", np.int64)])


@routine
def _sizes(tasks: Any, calls: Any, values: Any, out: Any) -> int:
    """Write the size of each read's result; return how many. Mutates: out."""
    used = 0
    for number in range(len(tasks)):
        first = whole(tasks[number]["calls_from"])
        for index in range(first, first + tasks[number]["calls_count"]):
            call = calls[index]
            if call["effect"] == READ:
                key = key_of(tasks[number]["group"], LARGEST, asked_of(call, values))
                out[used]["key"] = key
                out[used]["bytes"] = call["bytes"]
                out[used]["task"] = number
                used += 1
    return used


def size_entries(of: Tasks, is_aside: Any) -> Entries:
    """Return the largest result of each read, and how rarely a task exceeds all the others."""
    ours = packed(of)
    sizes = np.zeros(len(ours.calls), SIZE)
    sizes = sizes[: _sizes(ours.tasks, ours.calls, ours.values, sizes)]
    sizes = sizes[~np.asarray(is_aside, bool)[sizes["task"]]]
    # Of each task only its largest, then the largest task of each read last.
    sizes = np.sort(sizes, order=["key", "task", "bytes"])
    sizes = sizes[_is_last(sizes, ["key", "task"])]
    sizes = np.sort(sizes, order=["key", "bytes"])
    is_last = _is_last(sizes, ["key"])
    largest = sizes[is_last]
    entries = np.zeros(len(largest) + 1, ENTRY)
    entries["key"][:-1] = largest["key"]
    for word in range(3):
        entries["bits"][:-1, word] = largest["bytes"] >> (_WORD * word) & 0xFFFF
    entries["support"] = 1
    second = np.flatnonzero(is_last) - 1
    has_other = (second >= 0) & (sizes["key"][second] == largest["key"])
    is_more = has_other & (largest["bytes"] > sizes["bytes"][second] + LARGER_BYTES)
    exposed, tasks = len(np.unique(largest["task"][is_more])), len(ours.tasks)
    rate = (exposed + 0.5) / (tasks + 1)
    entries["key"][-1] = key_of(ESTATE, EXPOSED, np.uint64(1))
    entries["bits"][-1, 0] = np.clip(np.rint(-np.log2(rate) * BIT), 0, BITS_MAX)
    return entries


def _is_last(sizes: Any, names: list[str]) -> Any:
    """Tell of each whether the next one differs in one of these."""
    last = np.ones(len(sizes), bool)
    here = sizes[names]
    last[:-1] = here[1:] != here[:-1]
    return last


@routine
def is_larger(size: int, entry: Any) -> bool:
    """Tell whether a result is larger, and not by little, than the largest that an entry holds."""
    largest = whole(0)
    for word in range(3):
        largest |= whole(entry["bits"][word]) << whole(_WORD * word)
    return bool(whole(size) > largest + LARGER_BYTES)
