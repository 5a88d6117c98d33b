"""A slow model of task contexts: a list of places, searched anew at each event."""

from __future__ import annotations

from dataclasses import dataclass, field

from .learned import LearnedModel

TASKS = 7
RECENT = 3


@dataclass
class ContextModel:
    """What one context remembers; `used` is the row's clock at its last use."""

    task: str = ""
    used: int = -1
    events: int = 0
    is_granted: bool = False
    recent: list[str] = field(default_factory=list)
    marks: dict[tuple[str, ...], tuple[int, str]] = field(default_factory=dict)
    learned: LearnedModel = field(default_factory=LearnedModel)

    def remember(self, operation: str, clock_ms: int) -> None:
        """Put an operation in front of the recent ones."""
        self.recent = [operation, *self.recent][:RECENT]
        self.events += 1
        self.used = clock_ms


class ContextsModel:
    """The workload's own context and those of at most seven tasks, each in its place."""

    def __init__(self) -> None:
        self.own = ContextModel()
        self.tasks: list[ContextModel | None] = [None] * TASKS
        self.dropped = 0

    def all(self) -> list[ContextModel]:
        """Every context there is, the workload's own first."""
        return [self.own, *(each for each in self.tasks if each is not None)]

    def find(self, task: str) -> ContextModel | None:
        """The context of a task, if it has one."""
        return next((each for each in self.tasks if each is not None and each.task == task), None)

    def of(self, kind: str, task: str, clock_ms: int, *, is_vouched: bool) -> ContextModel:
        """The context an event belongs to, opened or closed as the event asks."""
        if not task:
            return self.own
        found = self.find(task)
        if kind == "completion":
            if found is not None:
                self.tasks[self.tasks.index(found)] = None
            return self.own
        if found is None:
            if kind != "grant" and not is_vouched:
                return self.own
            found = self._open(task)
        found.is_granted = found.is_granted or kind == "grant"
        found.used = clock_ms
        return found

    def _open(self, task: str) -> ContextModel:
        if None in self.tasks:
            place = self.tasks.index(None)
        else:
            used = {place: each.used for place, each in enumerate(self.tasks) if each is not None}
            place = min(used, key=lambda each: used[each])
            self.dropped += 1
        fresh = ContextModel(task)
        self.tasks[place] = fresh
        return fresh
