"""The broker of a simulation: the log in memory, which forgets nothing for the auditor.

`history` has every record ever appended, in order, also of logs that were cut or made anew; the
incarnation of a topic says which of them are of one log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from stream.bus import MemoryLog, Record
from stream.clock import Clock


class Appended(NamedTuple):
    """A record, and which incarnation of its topic it was appended to."""

    topic: str
    incarnation: int
    record: Record


class SimLog(MemoryLog):
    """A log whose groups run in the broker's own process."""

    def __init__(self, clock: Clock, spawn: Callable[[Any], Any]) -> None:
        super().__init__(clock, spawn)
        self.history: list[Appended] = []
        self.incarnations: dict[str, int] = {}

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        """Append a record and remember it."""
        offset = super().append(topic, partition, key, value)
        record = self.partitions(topic)[partition].records[-1]
        self.history.append(Appended(topic, self.incarnations.get(topic, 0), record))
        return offset

    def remake(self, topic: str) -> None:
        """Delete a topic and create it again."""
        super().remake(topic)
        self.incarnations[topic] = self.incarnations.get(topic, 0) + 1

    def of(self, topic: str) -> list[Record]:
        """Return every record ever appended to a topic, in order."""
        return [each.record for each in self.history if each.topic == topic]
