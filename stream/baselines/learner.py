"""Tasks as they end: the calls of batches gathered by workload and task.

A task ends with its completion, after `IDLE_MS` without a call, or with the end of a finite input;
calls without a task are gathered by workload and purpose, and end by idleness. Calls that we
refused teach nothing; those that were denied teach how calls are made, and no more (`promotion`).
Only a call begins a task, or a grant that says what for; one that ends without a call is none.
A task that a command was for, or in which one held, is held aside, with all its parts: it teaches
nothing unless somebody releases it. A name that comes again after hours names another run of it,
told apart by the day on which it began: what is done each day under one name is many tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream.profiles import COMPLETION, GRANT, REFUSED, REQUEST, Batch

from .tasks import CALL, CALLS_MAX, DAY_MS, RATES, TASK, Tasks, no_tasks, packed, together

IDLE_MS: Final = 30 * 60_000
RUN_GAP_MS: Final = 6 * 3_600_000
OPEN_MAX: Final = 100_000
ASIDE_MAX: Final = 100_000
SPANS_MAX: Final = 16  # of a workload's alarms; of more the oldest become one
_OF_PART: Final = ["workload", "task", "ended_ms", "calls_count"]
_GATHERED: Final = 2_000  # ended tasks are put in one piece in so large parts


class Alarm(NamedTuple):
    """A command that an event was answered with: for its task, or for all of its workload a while.

    Units: `until_ms` Unix milliseconds.
    """

    rule: str
    of_task: bool
    until_ms: int


class Aside(NamedTuple):
    """A task that is held aside: hashes and texts of what it is, and the rules it broke.

    `name` tells it from the workload's others. A long task ends in parts: it is one here, from the
    first of them on, or from the end of one that had taught already, and without the calls of what
    no candidate keeps. Units: times Unix milliseconds, `run_ms` when the run of that name began.
    """

    workload: int
    name: int
    texts: tuple[str, str, str]
    calls: int
    first_ms: int
    ended_ms: int
    rules: tuple[str, ...]
    run_ms: int


Texts = Callable[[int], tuple[str, str, str]]
"""Workload, task and purpose of an event of a batch, as their texts."""


def _no_texts(event: int) -> tuple[str, str, str]:
    return "", "", ""


def run_name(task: int, run_ms: int) -> int:
    """Return what tells a run from others of its workload: its task's hash and the day it began."""
    return task ^ (run_ms // DAY_MS * 0x9E3779B97F4A7C15 & 0xFFFF_FFFF_FFFF_FFFF)


class _Open:
    """A task under way; `run_ms` is when its first part began."""

    def __init__(self, purpose: int, texts: tuple[str, str, str], run_ms: int) -> None:
        self.run_ms = run_ms
        self.purpose = purpose
        self.texts = texts
        self.rules: set[str] = set()
        self.parts: list[Tasks] = []
        self.calls = 0
        self.rates = [0] * RATES
        self.last_ms = 0
        self.first_ms = -1


class Learner:
    """Gathers ended tasks; `groups` are looked up by whoever knows classes.

    At most OPEN_MAX tasks are open at the end of a batch; beyond that those longest without a
    call end, which alone depends on how events are cut into batches. `released` are tasks, by
    workload and name, that are not held aside whatever they broke; `aside` are at most ASIDE_MAX of
    those that are, and `aside_count` counts all; of the others a later part teaches again.
    """

    def __init__(self, released: Collection[tuple[int, int]] = ()) -> None:
        self.aside_count = 0
        self._aside: dict[tuple[int, int], Aside] = {}
        self._released = released
        self._alarmed: dict[int, list[tuple[int, int, str]]] = {}
        self._open: dict[tuple[int, int, int], _Open] = {}
        self._groups: dict[int, int] = {}
        self._runs: dict[tuple[int, int], tuple[int, int]] = {}
        self._ended: list[Tasks] = []

    def add(
        self,
        batch: Batch,
        groups: dict[int, int],
        effects: Any,
        rates: Any | None = None,
        judged: tuple[Mapping[int, Sequence[Alarm]], Texts] | None = None,
    ) -> None:
        """Gather the events of a batch.

        Requires: events that are authenticated: others say nothing of the workload that they name.
        Shapes: groups: the class's hash by workload's hash; effects [event]: 0 read, 1 change;
                rates [event, rate]: as TASK has them, after each event; none where nobody knows;
                judged: what events were answered with, by event, and the texts of any event.
        """
        alarms, texts = judged or ({}, _no_texts)
        self._groups.update(groups)
        events = batch.events
        is_call = (events["kind"] == REQUEST) & (events["outcome"] != REFUSED)
        has_rates = np.zeros(len(events), bool) if rates is None else rates.any(axis=1)
        calls = np.zeros(len(events), CALL)
        for name in ("operation", "bytes", "values_from", "values_count", "outcome"):
            calls[name] = events[name]
        calls["effect"] = effects
        columns = [
            events[name].tolist() for name in ("workload", "task", "purpose", "at_ms", "kind")
        ]
        for place, (workload, task, purpose, at_ms, kind) in enumerate(zip(*columns, strict=True)):
            self._alarm(workload, at_ms, alarms.get(place, ()))
            key = workload, task, 0 if task else purpose
            found = self._open.get(key)
            if found is not None and (at_ms - found.last_ms > IDLE_MS or found.calls >= CALLS_MAX):
                self._end(key)
                found = None
            if found is None:
                if not is_call[place] and not (kind == GRANT and task and purpose):
                    continue
                run_ms = self._run_of(workload, task, at_ms)
                found = self._open[key] = _Open(purpose, texts(place), run_ms)
                found.first_ms = at_ms
            found.purpose = found.purpose or purpose
            found.last_ms = max(found.last_ms, at_ms)
            if rates is not None and has_rates[place]:
                found.rates = [*map(max, found.rates, rates[place].tolist())]
            found.rules.update(each.rule for each in alarms.get(place, ()))
            if is_call[place]:
                found.calls += 1
                found.parts.append(_one(calls[place : place + 1], batch))
            if kind == COMPLETION:
                self._end(key)
        self._end_oldest()

    @property
    def aside(self) -> list[Aside]:
        """Return the tasks that are held aside, in the order in which they began to be."""
        return list(self._aside.values())

    def untaught(self, tasks: Tasks) -> Tasks:
        """Return the tasks without parts of any that is held aside by now; those are aside, too."""
        named = tasks.tasks
        pairs = zip(named["workload"].tolist(), named["task"].tolist(), strict=True)
        is_aside = np.fromiter((each in self._aside for each in pairs), bool, len(named))
        for workload, name, ended_ms, count in named[is_aside][_OF_PART].tolist():
            held = self._aside[workload, name]
            self._hold(held._replace(calls=count, first_ms=ended_ms, ended_ms=ended_ms))
        return packed(tasks.chosen(~is_aside)) if is_aside.any() else tasks

    def ended(self) -> Tasks:
        """Return the tasks that ended so far, and forget them."""
        tasks = together(self._ended)
        self._ended = []
        return tasks

    def finish(self) -> Tasks:
        """End all tasks, the input being over; return those not yet returned."""
        for key in list(self._open):
            self._end(key)
        return self.ended()

    def _run_of(self, workload: int, task: int, at_ms: int) -> int:
        """Return when the run of a name began that a part beginning now belongs to."""
        run_ms, last_ms = self._runs.get((workload, task), (at_ms, at_ms)) if task else (at_ms,) * 2
        return run_ms if at_ms - last_ms <= RUN_GAP_MS else at_ms

    def _note_run(self, workload: int, task: int, done: _Open) -> None:
        """Remember the last part of a run; at most OPEN_MAX, of more the latest half."""
        self._runs.pop((workload, task), None)
        self._runs[workload, task] = done.run_ms, done.last_ms
        if len(self._runs) > OPEN_MAX:
            for each in list(self._runs)[: OPEN_MAX // 2]:
                del self._runs[each]

    def _alarm(self, workload: int, at_ms: int, alarms: Sequence[Alarm]) -> None:
        """Let what a workload does for a while teach nothing."""
        for alarm in alarms:
            if not alarm.of_task:
                spans = self._alarmed.setdefault(workload, [])
                spans.append((at_ms, alarm.until_ms, alarm.rule))
                if len(spans) > SPANS_MAX:
                    (begun, until_ms, rule), (_, other_ms, _) = spans[:2]
                    spans[:2] = [(begun, max(until_ms, other_ms), rule)]

    def _end_oldest(self) -> None:
        """End those longest without a call, of too many."""
        if len(self._open) > OPEN_MAX:
            oldest = sorted(self._open, key=lambda key: (self._open[key].last_ms, key))
            for key in oldest[: len(self._open) - OPEN_MAX // 2]:
                self._end(key)

    def _end(self, key: tuple[int, int, int]) -> None:
        done = self._open.pop(key)
        workload, task, _ = key
        one = together(done.parts) if done.parts else no_tasks()
        name = done.first_ms + 1
        if task:
            name = run_name(task, done.run_ms)
            self._note_run(workload, task, done)
        if not done.calls and not done.rules:
            return
        rules = done.rules | {
            rule
            for begun_ms, until_ms, rule in self._alarmed.get(workload, ())
            if begun_ms <= done.last_ms and done.first_ms < until_ms
        }
        if (rules or (workload, name) in self._aside) and (workload, name) not in self._released:
            self._hold(
                Aside(
                    *(workload, name, done.texts, done.calls, done.first_ms, done.last_ms),
                    rules=tuple(sorted(rules)),
                    run_ms=done.run_ms,
                )
            )
            return
        if not done.calls:
            return
        about = self._groups[workload], done.purpose, workload, name
        times = done.run_ms, done.last_ms
        tasks = np.array([(*about, *times, 0, done.calls, done.rates)], TASK)
        self._ended.append(one._replace(tasks=tasks))
        if len(self._ended) > _GATHERED:
            self._ended = [together(self._ended)]

    def _hold(self, one: Aside) -> None:
        """Hold a part of a task aside, with others of the same task."""
        key = one.workload, one.name
        held = self._aside.get(key)
        if held is not None:
            self._aside[key] = held._replace(
                calls=held.calls + one.calls,
                first_ms=min(held.first_ms, one.first_ms),
                ended_ms=max(held.ended_ms, one.ended_ms),
                rules=tuple(sorted({*held.rules, *one.rules})),
            )
            return
        self.aside_count += 1
        if len(self._aside) < ASIDE_MAX:
            self._aside[key] = one


def _one(call: Any, batch: Batch) -> Tasks:
    """Return one call with its own values and tokens, and no task."""
    part = no_tasks()._replace(calls=call.copy())
    if not call["values_count"][0]:
        part.calls["values_from"] = 0
        return part
    first = int(call["values_from"][0])
    values = batch.values[first : first + int(call["values_count"][0])].copy()
    token = int(values["tokens_from"][0])
    tokens = batch.tokens[token : int(values["tokens_from"][-1] + values["tokens_count"][-1])]
    values["tokens_from"] -= token
    part.calls["values_from"] = 0
    return part._replace(values=values, tokens=tokens.copy())
