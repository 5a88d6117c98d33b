"""From ended tasks to a baseline: count, compare, set aside what is suspicious, calibrate.

A pure function of a set of tasks: their order, batches and shares do not matter. `Score` is handed
in, because detectors stand above this room.

Hygiene: each task is scored against all the others, and against what other workloads do; those that
stand out are set aside, at most ASIDE_MAX of all, and the rest is counted anew, a few times over.
What is aside teaches nothing.

Calibration is cross-fitted: workloads are dealt into `folds`, and those of a fold are scored by a
baseline of all other folds, as a workload to come will be. New purposes are dealt likewise.

How calls are made (`HabitFacts`) is learned beside it from the same tasks, denied calls included;
what calls do is learned from those that were not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from .baseline import CANDIDATES_MAX, GROUP, GROUPS_MAX, MODES, Baseline, Facts, Tail
from .budget import apart_ms
from .comparing import compared
from .counting import purpose_numbers, seen_entries, speakers_of, weights_of
from .entries import BIT, ENTRIES_MAX, Entries, table_of
from .folds import FOLDS, folds_by_purpose, folds_by_workload
from .rates import places_of, rate_entries
from .sizes import size_entries
from .tail import Prior, fit_tail, smoothed_tail
from .tasks import Tasks, done
from .usual import usual_entries

ASIDE_MAX: Final = 0.12
SUPPORTED_MIN: Final = 5
# Of each round: how many supporters beyond one, and from which evidence on a task is set aside.
ROUNDS: Final = ((1, 7 * BIT // 2), (1, 7 * BIT // 2), (0, 2 * BIT))

Score = Callable[[Baseline, Tasks, Any], tuple[Any, Any]]
"""(baseline, tasks, own [task]: 1 where it learned from it) -> most evidence, mode [task]."""


class HabitFacts(NamedTuple):
    """How habits are learned.

    `learn` returns entries of tasks; `most` the most bits of each part in each task, [task, part]
    of int64, -1 where it did not know; `priors` is what is asserted of each part.
    """

    learn: Callable[[Tasks], Entries]
    most: Callable[[Entries, Tasks], Any]
    priors: Sequence[Prior]


def promote(
    tasks: Tasks,
    key_id: int,
    judges: tuple[Score, HabitFacts],
    names: Mapping[str, str],
    *,
    calibrated: bool = True,
    seen: int = 0,
) -> Baseline:
    """Return the baseline of a set of tasks; `seen` of them ended, where not all were kept.

    Without thresholds, and so in less time, where it need not be calibrated.

    Errors: ValueError when it would have more than ENTRIES_MAX entries, or GROUPS_MAX classes.
    """
    score, habits = judges
    every = ordered(tasks)
    tasks, is_task = done(every)
    is_aside = suspicious(tasks, key_id, score)
    tails = _tails(tasks, key_id, score, is_aside) if calibrated else ()
    made = counted(tasks, key_id, is_aside)
    teaches = np.ones(len(every.tasks), bool)
    teaches[np.flatnonzero(is_task)[is_aside]] = False
    usual = usual_entries(tasks.chosen(np.flatnonzero(~is_aside)), made.listed)
    learned = habits.learn(every.chosen(np.flatnonzero(teaches)))
    listed = _together(made.listed, np.concatenate([usual, learned]))
    facts = Facts(
        key_id=key_id,
        tasks=len(tasks.tasks),
        seen=max(seen, len(tasks.tasks)),
        aside=int(is_aside.sum()),
        workloads=len(np.unique(tasks.tasks["workload"])),
        from_ms=int(tasks.tasks["ended_ms"].min()) if len(tasks.tasks) else 0,
        until_ms=int(tasks.tasks["ended_ms"].max()) if len(tasks.tasks) else 0,
        apart_ms=apart_ms(tasks.tasks["ended_ms"]),
        tails=tails,
        habits=_habit_tails(every, habits, teaches) if calibrated else (),
        names=dict(sorted(names.items())),
    )
    return made._replace(facts=facts, listed=listed)


def ordered(tasks: Tasks) -> Tasks:
    """Return the same tasks in the one order that does not depend on how they came."""
    names = ("group", "purpose", "workload", "task", "ended_ms")
    return tasks.chosen(np.lexsort([tasks.tasks[each] for each in reversed(names)]))


def counted(tasks: Tasks, key_id: int, is_aside: Any, speakers: Any | None = None) -> Baseline:
    """Return a baseline of tasks without thresholds; those aside teach nothing.

    Shapes: speakers [task], see `speakers_of`; each task speaks for itself unless told otherwise.
    """
    if speakers is None:
        speakers = np.arange(len(tasks.tasks))
    kept = np.flatnonzero(~is_aside)
    taught = tasks.chosen(kept)
    seen = seen_entries(taught, speakers[kept])
    shown = compared(table_of(seen), tasks, _owns(speakers, is_aside))
    rates = rate_entries(tasks, shown, weights_of(tasks.tasks, speakers))
    every = _together(seen, np.concatenate([rates, size_entries(tasks, is_aside)]))
    return Baseline(_facts(key_id), every, *_groups(taught))


def _owns(speakers: Any, is_aside: Any) -> Any:
    """Return 1 for each task whose speaker is counted, 0 where all of it is aside.

    A task aside whose speaker still speaks by others counts as if those had done the same: so it
    comes back by what two others did, and never by its own workload's word.
    """
    return np.isin(speakers, speakers[~is_aside]).astype(np.int64)


def _together(one: Entries, other: Entries) -> Entries:
    """Return the entries of both, ascending. Errors: ValueError when there are too many."""
    every = np.concatenate([one, other])
    if len(every) > ENTRIES_MAX:
        raise ValueError(f"a baseline has at most {ENTRIES_MAX} entries, this one {len(every)}")
    return every[np.argsort(every["key"], kind="stable")]


def suspicious(tasks: Tasks, key_id: int, score: Score) -> Any:
    """Tell of each task whether it stands out so far from all others that it teaches nothing.

    First it needs the support of two others, so that a few tasks with the same oddity do not speak
    for one another; then what one trusted task supports comes back. A purpose of few tasks has no
    support to ask for. Others are other tasks, and besides other workloads, where a purpose has
    two or more: however often a workload does the same, it does not support itself, weighs in the
    rates as each of the others does, and counts by as much where ASIDE_MAX bounds what is aside.
    Of fewer workloads than SUPPORTED_MIN one other is enough, as long as two other tasks are.
    """
    count = len(tasks.tasks)
    is_aside = np.zeros(count, bool)
    if not int(count * ASIDE_MAX):
        return is_aside
    purposes, by_workload = purpose_numbers(tasks.tasks), speakers_of(tasks.tasks)
    is_able = (np.bincount(purposes) >= SUPPORTED_MIN)[purposes]
    weights = weights_of(tasks.tasks, by_workload)
    ways = [np.arange(count)]
    if len(np.unique(by_workload)) < count:
        ways.append(by_workload)
    for more, bits in ROUNDS:
        scores = np.zeros(count, np.int64)
        for speakers in ways:
            made = counted(tasks, key_id, is_aside, speakers)
            pairs = np.unique(np.stack([purposes, speakers], axis=1), axis=0)
            is_rich = (np.bincount(pairs[:, 0]) >= SUPPORTED_MIN)[purposes]
            owns = _owns(speakers, is_aside) + np.where(is_rich, more, 0)
            scores = np.maximum(scores, score(made, tasks, owns)[0])
        scores = np.where(is_able, scores, 0)
        order = np.argsort(-scores, kind="stable")
        is_aside = np.zeros(count, bool)
        is_aside[order[np.cumsum(weights[order]) <= count * ASIDE_MAX]] = True
        is_aside &= scores > bits
    return is_aside


def _facts(key_id: int) -> Facts:
    return Facts(key_id=key_id, tasks=0)


def _groups(tasks: Tasks) -> tuple[Any, Any]:
    """Return the classes, and the places of each one's purposes of most tasks."""
    places, given = places_of(tasks.tasks), tasks.tasks["group"]
    if len(found := np.unique(given)) > GROUPS_MAX:
        raise ValueError(f"a baseline has at most {GROUPS_MAX:,} classes, this one {len(found):,}")
    order = np.argsort(given, kind="stable")
    groups: list[tuple[int, ...]] = []
    places_all: list[int] = []
    for mine in np.split(order, np.flatnonzero(np.diff(given[order])) + 1) if len(order) else ():
        declared = mine[tasks.tasks["purpose"][mine] != 0]
        purposes, counts = np.unique(places[declared], return_counts=True)
        best = np.lexsort((purposes, -counts))[:CANDIDATES_MAX]
        if len(best):
            group = given[mine[0]]
            groups.append((group, len(places_all), len(best), len(purposes), len(mine)))
            places_all.extend(purposes[best].tolist())
    return np.array(groups, GROUP), np.array(places_all, np.uint64)


def _tails(tasks: Tasks, key_id: int, score: Score, is_aside: Any) -> tuple[Tail, ...]:
    """Return the tail of each mode: known purposes, new ones, undeclared ones."""
    undeclared = tasks.tasks.copy()
    undeclared["purpose"] = 0
    says = tasks.tasks["purpose"] != 0
    by_mode: list[list[Any]] = [[] for _ in range(MODES)]
    for folds, is_by_workload in (
        (folds_by_workload(tasks.tasks), True),
        (folds_by_purpose(tasks.tasks), False),
    ):
        for fold in range(FOLDS):
            mine = np.flatnonzero(folds == fold)
            others = np.flatnonzero(folds != fold)
            if not len(mine) or not len(others):
                continue
            made = counted(tasks.chosen(others), key_id, is_aside[others])
            asked = [tasks.chosen(mine)]
            if is_by_workload:
                asked.append(tasks._replace(tasks=undeclared).chosen(mine[says[mine]]))
            for each in asked:
                bits, modes = score(made, each, np.zeros(len(each.tasks), np.int64))
                for mode in range(MODES):
                    by_mode[mode].append(bits[modes == mode])
    return tuple(fit_tail(np.concatenate(each) if each else ()) for each in by_mode)


def _habit_tails(tasks: Tasks, habits: HabitFacts, teaches: Any) -> tuple[Tail, ...]:
    """Return the tail of each part of habits; `teaches` [task]: what the others learn from.

    A task counts with the most that it shows as one of a new workload or of a new purpose.
    """
    most = np.full((len(tasks.tasks), len(habits.priors)), -1, np.int64)
    for folds in (folds_by_workload(tasks.tasks), folds_by_purpose(tasks.tasks)):
        for fold in range(FOLDS):
            mine = np.flatnonzero(folds == fold)
            others = np.flatnonzero((folds != fold) & teaches)
            if len(mine):
                entries = table_of(habits.learn(tasks.chosen(others)))
                most[mine] = np.maximum(most[mine], habits.most(entries, tasks.chosen(mine)))
    return habit_tails(most, habits.priors)


def habit_tails(most: Any, priors: Sequence[Prior]) -> tuple[Tail, ...]:
    """Return the tail of each part of habits.

    Shapes: most [task, part], the most bits of each part in each task, -1 where it did not know.
    """
    return tuple(
        smoothed_tail(column[column >= 0], prior)
        for column, prior in zip(most.T, priors, strict=True)
    )
