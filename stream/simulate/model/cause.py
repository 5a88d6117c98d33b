"""What the model passes on: lines of a log, rows, an event with all that was found out of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stream.enforcement import Expectation
from stream.events import Body, Conditions, Finding, Request, Version
from stream.policy import Policy

from .contexts import ContextsModel
from .learned import HabitsModel
from .ledger import LedgerModel
from .meaning import BINS, Line, Pair, bin_of


class Change(NamedTuple):
    """Conditions that hold in a partition from their `from_offset` on, and their policy."""

    partition: int
    conditions: Conditions
    policy: Policy


class Held(NamedTuple):
    """A command as the record of its subject carries it, and the home that it came from."""

    version: Version
    body: Body
    home: int = 0

    @property
    def cause(self) -> tuple[int, ...]:
        """What orders commands by their causes: a workload's later homes have higher numbers."""
        return self.version.era, self.home, self.version.offset, self.version.ordinal


class Newly(NamedTuple):
    """A workload on which a rule on learned evidence newly enforces, having been there for long."""

    append_ms: int
    offset: int
    tier: str
    policy: Policy


class Outcome(NamedTuple):
    """One decision: the finding, the command if there is one, and all its record carries."""

    finding: Finding
    command: Held | None
    record: tuple[Held, ...]


@dataclass
class Row:
    """All that is known of one workload."""

    workload: str
    clock_ms: int = 0
    first_ms: int | None = None
    events: int = 0
    late: int = 0
    policy: str = ""
    offset: int = -1
    lift_offset: int = 0
    windows: dict[Pair, list[tuple[int, int]]] = field(default_factory=dict)
    contexts: ContextsModel = field(default_factory=ContextsModel)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    ledger: LedgerModel = field(default_factory=LedgerModel)
    habits: HabitsModel = field(default_factory=HabitsModel)
    held: dict[Any, Held] = field(default_factory=dict)

    def total(self, pair: Pair) -> int:
        """What the 17 bins up to the clock's hold."""
        newest = bin_of(self.clock_ms, pair)
        return sum(n for at, n in self.windows.get(pair, []) if at > newest - BINS)


class Cause(NamedTuple):
    """An event with all that was found out about it, and what it came to so far.

    `task` is that in whose context it is judged, empty for the workload's own.
    """

    line: Line
    request: Request
    row: Row
    policy: Policy
    at_ms: int
    force: int
    era: int
    outcomes: list[Outcome]
    ordinals: list[int]
    baseline: str
    expected: Expectation | None
    braked: tuple[str, ...] = ()
    task: str = ""
