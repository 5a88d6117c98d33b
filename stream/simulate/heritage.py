"""What workloads take with them to another home, as the auditor has it.

A partition's expected commands and rows are told from its own log; what a new one begins with is
what the model of the one before had at the very offset that its journal names.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import NamedTuple

import msgspec

from stream.events import Ancestor, Owner, SubjectRecord, decode_entry, decode_value
from stream.identity import home_partition

from .estate import Estate
from .journeys import Journeys
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


def outlived(estate: Estate) -> set[tuple[int, int]]:
    """Return where the records lie that an owner wrote after another had taken the partition.

    What counts of them the heir writes again; gateways refuse the rest, which the heir erases.
    What an earlier home passed on is of no epoch, and is none of them.
    """
    epochs: dict[int, int] = defaultdict(int)
    found = set()
    for topic, _, record in estate.log.history:
        if topic == estate.topics.journal:
            entry = decode_entry(record.value or b"")
            if isinstance(entry, Owner):
                epochs[record.partition] = max(epochs[record.partition], entry.epoch)
        elif topic == estate.topics.enforcement and record.value is not None:
            value = decode_value(record.value)
            if isinstance(value, SubjectRecord) and 0 < value.epoch < epochs[value.partition]:
                found.add((record.partition, record.offset))
    return found


def longest(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The longer of two histories."""
    return max(one, other, key=len)


class Heritage:
    """All that was handed over, by whom, in which era, at which offset.

    `outlived` are the places of records of whoever had lost its partition, by enforcement's log;
    `journeys` follows events from home to home.
    """

    def __init__(self, outlived: set[tuple[int, int]], journeys: Journeys) -> None:
        self.outlived, self.journeys = outlived, journeys
        self.expected: dict[int, dict[int, Expected]] = {}
        self.gone: dict[tuple[int, str], Row] = {}
        self._ends: dict[tuple[int, ...], int] = {}
        self._left: dict[Ancestor, Left] = {}
        self._counts: dict[Ancestor, tuple[int, ...]] = {}

    def note_end(self, command: Held | None, append_ms: int) -> None:
        """Note when a command ends for gateways, whose time is that of the log it came from.

        What was waiting for long, as a forward of an older log, may have ended as it is decided.
        """
        if command is not None:
            body = command.body
            self._ends[self._name(command)] = append_ms + body.until_ms - body.clock_ms

    def end_of(self, command: Held) -> int:
        """When a command that was noted ends for gateways."""
        return self._ends[self._name(command)]

    def _name(self, command: Held) -> tuple[int, ...]:
        return (command.home, *msgspec.structs.astuple(command.version))

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
