"""Task contexts: where a sequence lives, so that tasks running side by side do not mix.

Place 0 is the workload's own context; the others belong to tasks, found by the task's keyed hash.
When all are taken the least recently used is dropped and counted (DESIGN section 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.kernel import kernel

from .layout import CONTEXTS, RECENT


@kernel
def find_context(contexts: Any, task: Any) -> int:
    """Return the place of a task's context, -1 where it has none; 0 for no task."""
    if task == np.uint64(0):
        return 0
    for place in range(1, CONTEXTS):
        if contexts[place]["task"] == task:
            return place
    return -1


@kernel
def clear_context(contexts: Any, marks: Any, place: int) -> None:
    """Forget a context and its marks. Mutates: both."""
    contexts[place]["task"] = np.uint64(0)
    contexts[place]["used_ms"] = 0
    contexts[place]["events"] = 0
    contexts[place]["granted"] = 0
    recent = contexts[place]["recent"]
    for age in range(RECENT):
        recent[age] = np.uint64(0)
    for forbid in range(marks.shape[1]):
        marks[place, forbid]["at_ms"] = 0
        marks[place, forbid]["operation"] = np.uint64(0)


@kernel
def open_context(contexts: Any, marks: Any, head: Any, task: Any) -> int:
    """Return the place of a new context for a task; the least recently used makes room.

    Mutates: contexts, marks, and the head's counters of contexts.
    """
    oldest = 1
    for place in range(1, CONTEXTS):
        if contexts[place]["task"] == np.uint64(0):
            oldest = place
            break
        if contexts[place]["used_ms"] < contexts[oldest]["used_ms"]:
            oldest = place
    if contexts[oldest]["task"] != np.uint64(0):
        head["contexts_dropped"] += 1
    else:
        head["tasks"] += 1
    clear_context(contexts, marks, oldest)
    contexts[oldest]["task"] = task
    return oldest


@kernel
def remember_operation(context: Any, operation: Any, clock_ms: int) -> None:
    """Put an operation in front of the context's recent ones. Mutates: context."""
    recent = context["recent"]
    for age in range(RECENT - 1, 0, -1):
        recent[age] = recent[age - 1]
    recent[0] = operation
    context["used_ms"] = clock_ms + 1
    context["events"] += 1
