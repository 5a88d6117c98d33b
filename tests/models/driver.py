"""Feeds a log to the engine as a worker does: batches, a store in memory, rows that come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import Any

from stream.enforcement import TALLIES, Outgoing
from stream.engine import State, make_room, missing, step
from stream.events import Finding, RejectCode
from stream.identity import home_partition
from stream.kernel import HashKey
from stream.profiles import Arrival, Batch, Decoder
from tests.models.logs import Change, Line, Log

KEY = HashKey(b"a key for tests.")


class Driver:
    """A process: its rows in memory, and the store it saves them to and loads them from.

    One that is forgetful has no store, and never makes room.
    """

    def __init__(
        self,
        log: Log,
        slots_max: int = 64,
        store: dict[str, bytes] | None = None,
        starts: dict[int, int] | None = None,
        *,
        is_forgetful: bool = False,
    ) -> None:
        self.state = State(KEY, slots_max, log.partitions)
        self.decoder = Decoder(KEY, log.partitions)
        self.store = {} if store is None else store
        self.outgoing: list[Outgoing] = []
        self.findings: list[Finding] = []
        self.names: list[tuple[int, int, str]] = []
        self.refused: list[tuple[int, int, RejectCode]] = []
        self.tallies: Counter[str] = Counter()
        self._is_forgetful = is_forgetful
        self._coming: dict[int, list[Change]] = {}
        for change in log.changes:
            self._coming.setdefault(change.partition, []).append(change)
        for partition in self._coming:
            self._adopt(partition, (starts or {}).get(partition, 0))

    def adopt_anew(self) -> None:
        """Bind the policies in force once more."""
        policies = {name: bound.policy for name, bound in self.state.bound.items()}
        self.state.bound.clear()
        for partition, conditions in self.state.conditions.items():
            self.state.adopt(partition, conditions, policies[conditions.policy_hash])

    def run(self, lines: Sequence[Line], cuts: Iterable[int] = ()) -> Driver:
        """Apply lines in batches that end at the cuts, and where conditions change."""
        edges = [0, *sorted(set(cuts)), len(lines)]
        for start, end in pairwise(edges):
            batch: list[Line] = []
            for line in lines[start:end]:
                if self._is_due(line.partition, line.offset):
                    self._apply(batch)
                    batch = []
                    self._adopt(line.partition, line.offset)
                batch.append(line)
            self._apply(batch)
        return self

    def save(self, slots: Sequence[int] | None = None) -> None:
        """Store rows, all unless told which; they are clean from here on."""
        table = self.state.table
        chosen = table.used_slots().tolist() if slots is None else list(slots)
        for slot, row in zip(chosen, self.state.stored(chosen), strict=True):
            self.store[table.names[slot]] = row
        table.sections.local["unsaved_from"][chosen] = 0

    def evict(self) -> None:
        """Store all rows and forget them."""
        self.save()
        for slot in self.state.table.used_slots().tolist():
            self.state.evict(slot)

    def rows(self) -> dict[str, bytes]:
        """The stored form of every row there is, in memory or not."""
        table = self.state.table
        slots = table.used_slots().tolist()
        stored = zip(slots, self.state.stored(slots), strict=True)
        return self.store | {table.names[slot]: row for slot, row in stored}

    def of(self, partition: int) -> tuple[list[Outgoing], list[Finding], list[Any]]:
        """The records, the findings and the names of operations that came of one partition."""
        homes = {
            each.workload: home_partition(each.workload.encode(), self.state.partitions)
            for each in self.findings
        }
        return (
            [each for each in self.outgoing if each.partition == partition],
            [each for each in self.findings if homes[each.workload] == partition],
            [each for each in self.names if each[0] == partition],
        )

    def records(self) -> dict[bytes, bytes]:
        """The last record of each subject."""
        return {each.key: each.value for each in self.outgoing}

    def _is_due(self, partition: int, offset: int) -> bool:
        coming = self._coming[partition]
        return bool(coming) and coming[0].conditions.from_offset <= offset

    def _adopt(self, partition: int, offset: int) -> None:
        while self._is_due(partition, offset):
            change = self._coming[partition].pop(0)
            self.state.adopt(partition, change.conditions, change.policy)

    def _apply(self, lines: Sequence[Line]) -> None:
        """Apply one batch: a run of lines of one partition is an arrival."""
        arrivals = []
        for partition, run in groupby(lines, key=lambda each: each.partition):
            group = list(run)
            arrivals.append(
                Arrival(
                    "t",
                    partition,
                    [each.offset for each in group],
                    [each.append_ms for each in group],
                    [each.value for each in group],
                )
            )
        batch, rejects = self.decoder.decode(arrivals)
        assert not rejects, rejects
        self._step(batch)

    def _step(self, batch: Batch) -> None:
        """Bring in the rows of a batch and apply it, in halves where not all fit."""
        absent = [] if self._is_forgetful else missing(self.state, batch)
        if self.state.table.free < len(absent):
            self.save()
            make_room(self.state, batch, len(absent))
        half = len(batch.events) // 2
        if self.state.table.free < len(absent) and half:
            self._step(batch.part(0, half))
            self._step(batch.part(half, len(batch.events)))
            return
        for event in absent:
            name, one = batch.workload(event), batch.events[event]
            if name in self.store and self.state.table.free:
                ids = int(one["workload"]), int(one["home"]), int(one["partition"])
                self.state.restore(name, ids, self.store[name])
        result = step(self.state, batch)
        self.outgoing += result.outgoing
        self.findings += result.findings
        self.names += result.names
        for event, code in result.refused:
            one = batch.events[event]
            self.refused.append((int(one["partition"]), int(one["offset"]), code))
        self.tallies.update(dict(zip(TALLIES, result.tallies.tolist(), strict=True)))
