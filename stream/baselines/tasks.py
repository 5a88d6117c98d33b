"""Ended tasks: what a baseline is learned from, and what thresholds are measured on.

A task is short: who did it for what purpose, and its calls with their values and tokens, all as
keyed hashes. Learning is a function of a set of ended tasks, whatever order or batches they came
in; so shares of several partitions are put together by putting their tasks together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream.profiles import DENIED, VALUE

CALLS_MAX: Final = 256  # of one task; a longer one goes on as another
READ, CHANGE = 0, 1
DAY_MS: Final = 86_400_000
RATES: Final = 6  # of a workload, by interval

CALL: Final = np.dtype(
    [
        ("operation", np.uint64),
        ("bytes", np.int64),
        ("values_from", np.int32),
        ("values_count", np.int32),
        ("effect", np.uint8),  # READ or CHANGE
        ("outcome", np.uint8),
    ],
    align=True,
)
TASK: Final = np.dtype(
    [
        ("group", np.uint64),  # hash of the class
        ("purpose", np.uint64),  # hash of the declared purpose, 0 for none
        ("workload", np.uint64),
        ("task", np.uint64),  # hash that tells it from the workload's others
        ("run_ms", np.int64),  # when its run began: the same for each part of it
        ("ended_ms", np.int64),
        ("calls_from", np.int32),
        ("calls_count", np.int32),
        # The most bits that each rate of the workload had while the task ran, plus 1; 0 where the
        # workload's past was too short to say.
        ("rates", np.int32, (RATES,)),
    ],
    align=True,
)


class Tasks(NamedTuple):
    """Ended tasks in one piece.

    Shapes: tasks [task] of TASK; calls [call] of CALL, a task's from its `calls_from` on; values
            [value] of profiles.VALUE, a call's from its `values_from` on; tokens [token], likewise.
    """

    tasks: Any
    calls: Any
    values: Any
    tokens: Any

    def chosen(self, places: Any) -> Tasks:
        """Return the tasks at these places, with the same calls."""
        return self._replace(tasks=self.tasks[places])


def no_tasks() -> Tasks:
    """Return no tasks."""
    return Tasks(np.zeros(0, TASK), np.zeros(0, CALL), np.zeros(0, VALUE), np.zeros(0, np.uint64))


def together(parts: Sequence[Tasks]) -> Tasks:
    """Return the tasks of all parts as one piece, in their order."""
    calls = values = tokens = 0
    moved = []
    for part in parts:
        ours = Tasks(part.tasks.copy(), part.calls.copy(), part.values.copy(), part.tokens)
        ours.tasks["calls_from"] += calls
        ours.calls["values_from"] += values
        ours.values["tokens_from"] += tokens
        calls, values, tokens = (
            calls + len(part.calls),
            values + len(part.values),
            tokens + len(part.tokens),
        )
        moved.append(ours)
    return Tasks(*(np.concatenate(each) for each in zip(*(moved or [no_tasks()]), strict=True)))


def packed(tasks: Tasks) -> Tasks:
    """Return the same tasks with only what they name, each one's calls behind one another's."""
    calls, call_starts = _gathered(tasks.tasks["calls_from"], tasks.tasks["calls_count"])
    ours = Tasks(tasks.tasks.copy(), tasks.calls[calls].copy(), tasks.values, tasks.tokens)
    ours.tasks["calls_from"] = call_starts
    values, value_starts = _gathered(ours.calls["values_from"], ours.calls["values_count"])
    ours = ours._replace(values=tasks.values[values].copy())
    ours.calls["values_from"] = value_starts
    tokens, token_starts = _gathered(ours.values["tokens_from"], ours.values["tokens_count"])
    ours.values["tokens_from"] = token_starts
    return ours._replace(tokens=tasks.tokens[tokens].copy())


def without_denied(tasks: Tasks) -> Tasks:
    """Return the same tasks without calls that their targets denied."""
    is_done = tasks.calls["outcome"] != DENIED
    if is_done.all():
        return tasks
    before = np.concatenate([[0], np.cumsum(is_done)])
    ours = tasks.tasks.copy()
    first = tasks.tasks["calls_from"].astype(np.int64)
    ours["calls_from"] = before[first]
    ours["calls_count"] = before[first + tasks.tasks["calls_count"]] - before[first]
    return tasks._replace(tasks=ours, calls=tasks.calls[is_done])


def done(tasks: Tasks) -> tuple[Tasks, Any]:
    """Return tasks of the calls that their targets let through, and which they are.

    Where all calls were denied there was no task: of what it does nothing is known.

    Shapes: which [task] of bool, of the tasks given.
    """
    served = without_denied(tasks)
    is_task = served.tasks["calls_count"] > 0
    return served.chosen(np.flatnonzero(is_task)), is_task


def _gathered(starts: Any, counts: Any) -> tuple[Any, Any]:
    """Return all places of ranges one behind another, and where each range begins there."""
    ends = np.cumsum(counts, dtype=np.int64)
    begins = ends - counts
    places = np.arange(ends[-1] if len(ends) else 0) - np.repeat(begins - starts, counts)
    return places, begins
