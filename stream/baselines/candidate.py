"""What is being learned: the ended tasks of one class's members, bounded and mergeable.

A candidate is a set of tasks. Of a workload's tasks of one purpose it keeps at most
`OF_WORKLOAD_MAX` where other workloads have that purpose too, of a purpose `OF_PURPOSE_MAX`, of all
`TASKS_MAX`: always those whose hash is least, so that what is kept depends on the tasks and not on
their order, their batches or, since a workload has one home, on how partitions share them. So one
workload moves its purpose's expectation only so far, and no flood of tasks pushes out those of
others but by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from .rates import keys_of, places_of
from .tasks import Tasks, no_tasks, packed, together

OF_WORKLOAD_MAX: Final = 16
OF_PURPOSE_MAX: Final = 128
TASKS_MAX: Final = 200_000


def put_together(shares: Sequence[Tasks]) -> Tasks:
    """Return what a candidate keeps of several shares.

    A task that is in more than one counts once, as the longest of them. Putting shares together
    gives what one share of all their tasks would have, if each workload is in one share only.
    """
    every = together(list(shares))
    if not len(every.tasks):
        return no_tasks()
    tasks = every.tasks
    places, draw = places_of(tasks), _draws(tasks)
    order = np.lexsort((-tasks["calls_count"], tasks["task"], draw, tasks["workload"], places))
    ours, places, draw = tasks[order], places[order], draw[order]
    is_first = np.ones(len(ours), bool)
    is_first[1:] = (
        (places[1:] != places[:-1])
        | (ours["workload"][1:] != ours["workload"][:-1])
        | (ours["task"][1:] != ours["task"][:-1])
    )
    order, places, draw = order[is_first], places[is_first], draw[is_first]
    owners = tasks["workload"][order]
    kept = (_rank(places, owners) < OF_WORKLOAD_MAX) | _is_alone(places, owners)
    order, places, draw = order[kept], places[kept], draw[kept]
    again = np.lexsort((draw, places))
    order, places, draw = order[again], places[again], draw[again]
    kept = _rank(places, places) < OF_PURPOSE_MAX
    order, draw = order[kept], draw[kept]
    order = order[np.argsort(draw, kind="stable")[:TASKS_MAX]]
    return packed(every.chosen(np.sort(order)))


def _is_alone(places: Any, owners: Any) -> Any:
    """Tell of each element whether all at its place have one owner; equal places adjoin."""
    _, numbers = np.unique(places, return_inverse=True)
    pairs = np.unique(
        np.stack([numbers.reshape(-1), np.unique(owners, return_inverse=True)[1].reshape(-1)]),
        axis=1,
    )
    return (np.bincount(pairs[0]) < 2)[numbers.reshape(-1)]


def _draws(tasks: Any) -> Any:
    """Return a hash of each task that decides what is kept of too many."""
    return keys_of(tasks["workload"].copy(), np.uint64(0), tasks["task"].copy())


def _rank(first: Any, second: Any) -> Any:
    """Return for each element how many before it have the same two values; equal ones adjoin."""
    is_new = np.ones(len(first), bool)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    starts = np.flatnonzero(is_new)
    return np.arange(len(first)) - np.repeat(starts, np.diff(np.append(starts, len(first))))
