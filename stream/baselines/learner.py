"""Tasks as they end: the calls of batches gathered by workload and task.

A task ends with its completion, after `IDLE_MS` without a call, or with the end of a finite input;
calls without a task are gathered by workload and purpose, and end by idleness. Calls that we
refused teach nothing; those that were denied teach how calls are made, and no more (`promotion`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.profiles import COMPLETION, REFUSED, REQUEST, Batch

from .tasks import CALL, CALLS_MAX, RATES, TASK, Tasks, no_tasks, together

IDLE_MS: Final = 30 * 60_000
OPEN_MAX: Final = 100_000
_GATHERED: Final = 2_000  # ended tasks are put in one piece in so large parts


class _Open:
    """A task under way."""

    def __init__(self, purpose: int) -> None:
        self.purpose = purpose
        self.parts: list[Tasks] = []
        self.calls = 0
        self.rates = [0] * RATES
        self.last_ms = 0
        self.first_ms = -1


class Learner:
    """Gathers ended tasks; `groups` are looked up by whoever knows classes.

    At most OPEN_MAX tasks are open at the end of a batch; beyond that those longest without a
    call end, which alone depends on how events are cut into batches.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int, int], _Open] = {}
        self._groups: dict[int, int] = {}
        self._ended: list[Tasks] = []

    def add(
        self, batch: Batch, groups: dict[int, int], effects: Any, rates: Any | None = None
    ) -> None:
        """Gather the events of a batch.

        Shapes: groups: the class's hash by workload's hash; effects [event]: 0 read, 1 change;
                rates [event, rate]: as TASK has them, after each event; none where nobody knows.
        """
        self._groups.update(groups)
        events = batch.events
        is_call = (events["kind"] == REQUEST) & (events["authenticated"] != 0)
        is_call &= events["outcome"] != REFUSED
        has_rates = np.zeros(len(events), bool) if rates is None else rates.any(axis=1)
        calls = np.zeros(len(events), CALL)
        for name in ("operation", "bytes", "values_from", "values_count", "outcome"):
            calls[name] = events[name]
        calls["effect"] = effects
        columns = [
            events[name].tolist() for name in ("workload", "task", "purpose", "at_ms", "kind")
        ]
        for place, (workload, task, purpose, at_ms, kind) in enumerate(zip(*columns, strict=True)):
            key = workload, task, 0 if task else purpose
            found = self._open.get(key)
            if found is not None and (at_ms - found.last_ms > IDLE_MS or found.calls >= CALLS_MAX):
                self._end(key)
                found = None
            if found is None:
                if not is_call[place] and not (task and purpose):
                    continue
                found = self._open[key] = _Open(purpose)
                found.first_ms = at_ms
            found.purpose = found.purpose or purpose
            found.last_ms = max(found.last_ms, at_ms)
            if rates is not None and has_rates[place]:
                found.rates = [*map(max, found.rates, rates[place].tolist())]
            if is_call[place]:
                found.calls += 1
                found.parts.append(_one(calls[place : place + 1], batch))
            if kind == COMPLETION:
                self._end(key)
        self._end_oldest()

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
        name = task or done.first_ms + 1
        about = self._groups[workload], done.purpose, workload, name, done.last_ms
        tasks = np.array([(*about, 0, done.calls, done.rates)], TASK)
        self._ended.append(one._replace(tasks=tasks))
        if len(self._ended) > _GATHERED:
            self._ended = [together(self._ended)]


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
