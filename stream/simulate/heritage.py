"""What workloads take with them to another home, as the auditor has it.

A partition's expected commands and rows are told from its own log; what a new one begins with is
what the model of the one before had at the very offset that its journal names.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

from stream.events import Ancestor
from stream.identity import home_partition

from .model import Held, Row

Records = dict[bytes, tuple[Held, ...]]


class Expected(NamedTuple):
    """What an era must have published: commands by offset and ordinal, and the last records."""

    commands: dict[tuple[int, int], Held]
    records: dict[bytes, tuple[Held, ...]]
    is_whole: bool


class Left(NamedTuple):
    """Rows and records that left for another home."""

    rows: dict[str, Row]
    records: Records


def longest(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The longer of two histories."""
    return max(one, other, key=len)


class Heritage:
    """All that was handed over, by whom, in which era, at which offset."""

    def __init__(self) -> None:
        self.expected: dict[int, dict[int, Expected]] = {}
        self.gone: dict[tuple[int, str], Row] = {}
        self._left: dict[Ancestor, Left] = {}
        self._counts: dict[Ancestor, tuple[int, ...]] = {}

    def hand_over(
        self, here: Ancestor, counts: tuple[int, ...], rows: dict[str, Row], records: Records
    ) -> None:
        """Take rows away whose home is elsewhere by now. Mutates: rows."""
        gone = {
            name: row
            for name, row in rows.items()
            if home_partition(name.encode(), counts[-1]) != here.partition
        }
        for name, row in gone.items():
            del rows[name]
            self.gone[here.partition, name] = row
        mine = {key: held for key, held in records.items() if _workload(held) in gone}
        self._counts[here] = counts
        self._left[here] = Left(copy.deepcopy(gone), mine)

    def left(self, here: Ancestor, partition: int) -> Left | None:
        """What a partition begins with: of what was handed over, that which is on its way there.

        Offsets are those of the new home: all that was applied lies before its first one.
        """
        if here not in self._left:
            return None
        rows, records = copy.deepcopy(self._left[here])
        mine = {
            name: row
            for name, row in rows.items()
            if self._heir(here, home_partition(name.encode(), self._counts[here][-1])) == partition
        }
        for row in mine.values():
            row.offset = -1
            row.lift_offset -= here.shift
        return Left(mine, {key: held for key, held in records.items() if _workload(held) in mine})

    def _heir(self, here: Ancestor, home: int) -> int:
        """The next partition on the way from one to a later home."""
        while (parent := _parent(self._counts[here], home)) != here.partition:
            home = parent
        return home


def _parent(counts: tuple[int, ...], partition: int) -> int:
    return partition % [count for count in counts if count <= partition][-1]


def _workload(held: tuple[Held, ...]) -> str:
    return held[-1].body.subject.workload
