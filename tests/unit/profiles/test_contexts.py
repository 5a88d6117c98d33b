"""Task contexts, place by place."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.profiles import (
    CONTEXTS,
    Layout,
    Sections,
    clear_context,
    find_context,
    open_context,
    remember_operation,
    sections,
)


def row_of() -> tuple[Any, Any, Any]:
    """The contexts, the marks and the head of an empty row."""
    views: Sections = sections(np.zeros(1, Layout((), (), (1, 2)).dtype))
    return views.contexts[0], views.marks[0], views.head[0]


def task(number: int) -> np.uint64:
    """The hash of a task."""
    return np.uint64(1_000 + number)


def test_no_task_is_the_workloads_own_context() -> None:
    """Place 0, always there; a task that has no context has no place."""
    contexts, _, _ = row_of()
    assert find_context(contexts, np.uint64(0)) == 0
    assert find_context(contexts, task(1)) == -1


def test_the_least_recently_used_makes_room() -> None:
    """Seven tasks fit; the eighth takes the place of the one used longest ago, with its marks."""
    contexts, marks, head = row_of()
    for number in range(1, CONTEXTS):
        assert open_context(contexts, marks, head, task(number)) == number
        contexts[number]["used_ms"] = 100 - number
        marks[number]["at_ms"] = number
    assert head[["tasks", "contexts_dropped"]].tolist() == (7, 0)
    assert open_context(contexts, marks, head, task(8)) == 7
    assert head[["tasks", "contexts_dropped"]].tolist() == (7, 1)
    assert find_context(contexts, task(7)) == -1
    assert marks[:, 0]["at_ms"].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def test_a_cleared_context_is_free_and_empty() -> None:
    """The next task takes it, and finds nothing of the last one."""
    contexts, marks, head = row_of()
    place = open_context(contexts, marks, head, task(1))
    remember_operation(contexts[place], np.uint64(5), 10)
    contexts[place]["granted"] = 1
    marks[place]["at_ms"], marks[place]["operation"] = 9, 9
    clear_context(contexts, marks, place)
    assert not contexts.tobytes().strip(b"\0")
    assert not marks.tobytes().strip(b"\0")
    assert open_context(contexts, marks, head, task(2)) == place


def test_the_last_three_operations_are_remembered() -> None:
    """Newest first; the time of use is kept plus one, so that time nought counts too."""
    contexts, _, _ = row_of()
    for number in range(1, 6):
        remember_operation(contexts[0], np.uint64(number), number * 10)
    assert contexts[0]["recent"].tolist() == [5, 4, 3]
    assert contexts[0][["used_ms", "events"]].tolist() == (51, 5)
