"""What is being learned: the ended tasks of one class's members, bounded and mergeable.

A candidate is a set of tasks. Of a workload's tasks of one purpose it learns from at most
`OF_WORKLOAD_MAX` where other workloads have that purpose too, of a purpose `OF_PURPOSE_MAX`, of all
`TASKS_MAX`: always those whose hash is least, so that what is kept depends on the tasks and not on
their order, their batches or, since a workload has one home, on how partitions share them. So one
workload moves its purpose's expectation only so far, and no flood of tasks pushes out those of
others but by chance.

Nor does one day: where tasks of a purpose began on `DAYS_MIN` days (UTC) or more, one of them has
at most `OF_DAY_MAX`, an equal share of so many. Of fewer days none is cut: that would only let the
quietest, which may be an hour before midnight, weigh more than it did. Caps of workloads and of
days cross, so they are applied once, when all tasks are known (`learned_from`); until then a
candidate keeps, beside what it would learn from without days, so much of each day, by caps that
only nest, that no busy day can have pushed out what others did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from .rates import keys_of, places_of
from .tasks import DAY_MS, Tasks, no_tasks, packed, together

OF_WORKLOAD_MAX: Final = 16
OF_PURPOSE_MAX: Final = 128
DAYS_MIN: Final = 4
OF_DAY_MAX: Final = OF_PURPOSE_MAX // DAYS_MIN
TASKS_MAX: Final = 200_000


def put_together(shares: Sequence[Tasks]) -> Tasks:
    """Return what a candidate keeps of several shares.

    A task that is in more than one counts once, as the longest of them. Putting shares together
    gives what one share of all their tasks would have, if each workload is in one share only.
    """
    every = _once(together(list(shares)))
    places, owners, days, draws = _sides(every.tasks)
    is_alone = _is_alone(places, owners)
    # Of a purpose, whatever the day; and of which no day has more than its part.
    whole = (_ranks(draws, places, owners) < OF_WORKLOAD_MAX) | is_alone
    whole = _least(whole, OF_PURPOSE_MAX, draws, places)
    daily = (_ranks(draws, places, days, owners) < OF_WORKLOAD_MAX) | is_alone
    daily = _least(daily, OF_DAY_MAX, draws, places, days)
    daily = _least(daily, OF_PURPOSE_MAX, draws, places)
    kept = _least(whole | daily, TASKS_MAX, draws)
    return packed(every.chosen(np.flatnonzero(kept)))


def learned_from(tasks: Tasks) -> Tasks:
    """Return those of all that a candidate keeps that are learned from, no day having too many.

    Requires: what `put_together` gave of all tasks there are.
    """
    places, owners, days, draws = _sides(tasks.tasks)
    kept = (_ranks(draws, places, owners) < OF_WORKLOAD_MAX) | _is_alone(places, owners)
    most = np.where(_counts(places, days) < DAYS_MIN, OF_PURPOSE_MAX, OF_DAY_MAX)
    kept = _least(kept, most, draws, places, days)
    kept = _least(kept, OF_PURPOSE_MAX, draws, places)
    return packed(tasks.chosen(np.flatnonzero(kept))) if not kept.all() else tasks


def _once(every: Tasks) -> Tasks:
    """Return each task once: the longest of equal ones, and the earliest of equally long ones."""
    tasks = every.tasks
    if not len(tasks):
        return no_tasks()
    places, draws = places_of(tasks), _draws(tasks)
    keys = (tasks["ended_ms"], -tasks["calls_count"], tasks["task"], draws, tasks["workload"])
    order = np.lexsort((*keys, places))
    sides = places[order], tasks["workload"][order], tasks["task"][order]
    return every.chosen(order[_is_new(*sides)])


def _sides(tasks: Any) -> tuple[Any, Any, Any, Any]:
    """Return of each task the place of its purpose, its workload, its day, and its draw."""
    return places_of(tasks), tasks["workload"], tasks["run_ms"] // DAY_MS, _draws(tasks)


def _is_alone(places: Any, owners: Any) -> Any:
    """Tell of each element whether all at its place have one owner."""
    return _counts(places, owners) < 2


def _counts(places: Any, values: Any) -> Any:
    """Return for each element how many different values there are at its place."""
    order = np.lexsort((values, places))
    is_first = _is_new(places[order], values[order])
    numbers = np.unique(places, return_inverse=True)[1].reshape(-1)
    return np.bincount(numbers[order][is_first], minlength=1)[numbers]


def _draws(tasks: Any) -> Any:
    """Return a hash of each task that decides what is kept of too many."""
    return keys_of(tasks["workload"].copy(), np.uint64(0), tasks["task"].copy())


def _least(among: Any, most: Any, draws: Any, *sides: Any) -> Any:
    """Return those of some whose draws are the least, so many of each group of equal sides."""
    places = np.flatnonzero(among)
    ranks = _ranks(draws[places], *(each[places] for each in sides))
    limits = np.broadcast_to(most, among.shape)[places]
    kept = np.zeros(len(among), bool)
    kept[places[ranks < limits]] = True
    return kept


def _ranks(draws: Any, *sides: Any) -> Any:
    """Return for each element how many of equal sides have a lesser draw."""
    order = np.lexsort((draws, *sides))
    starts = np.flatnonzero(_is_new(*(each[order] for each in sides or (np.zeros(len(draws)),))))
    ranks = np.empty(len(draws), np.int64)
    counted = np.arange(len(draws))
    ranks[order] = counted - np.repeat(starts, np.diff(np.append(starts, len(draws))))
    return ranks


def _is_new(*sides: Any) -> Any:
    """Tell of each element whether it differs in a side from the one before it."""
    is_new = np.ones(len(sides[0]), bool)
    is_new[1:] = np.any([each[1:] != each[:-1] for each in sides], axis=0)
    return is_new
