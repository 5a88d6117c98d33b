"""Keeps a table true: rebuilds it from the start of the topic `enforcement`, then follows that.

It heals by itself. While Kafka is away the table goes `stale`, because heartbeats stop; afterwards
the log is followed on from where the table left it, or read again from the start if it does not
hold that place any more. A table that disagrees with its heartbeats for long is read again too,
beside the one in use.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Final

from stream.bus import LogReader, Rarely, Record
from stream.clock import Clock
from stream.errors import BusUnavailable, ConfigError
from stream.signing import Trust

from .guard import REFUSALS
from .pauses import Pauses
from .spec import GatewaySpec
from .table import CommandTable

READ_RECORDS: Final = 10_000
"""Records asked for at once in the initial read, so that it never holds the whole log."""

APPLY_SLICE: Final = 100
APPLY_SLICE_KEYED: Final = 10
"""Records applied before the loop's other tasks have their turn: about a millisecond."""

REFUSED_EVERY_S: Final = 60.0
log = logging.getLogger(__name__)

RELOAD_MAX_S: Final = 3_600.0

rarely = Rarely(logging.getLogger(__name__), every_s=60.0)


class Follower:
    """A table and the loop that keeps it true.

    `turned` is set whenever the state may have changed; `fault` is Kafka's last error, empty while
    all is well. `counts`: `loads`, `reloads` (for disagreement), `faults`. `refused` counts the
    records that keys refused, by why, over all tables.
    """

    def __init__(
        self, reader: LogReader, clock: Clock, spec: GatewaySpec, trust: Trust | None
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._spec = spec
        self._trust = trust
        # Nothing is known of the log yet; what loads replaces this.
        self.table = CommandTable(spec.table, 1, trust)
        self.turned = asyncio.Event()
        self.fault = ""
        self.counts: Counter[str] = Counter({"loads": 0, "reloads": 0, "faults": 0})
        self.refused: Counter[str] = Counter()
        self._rarely = Rarely(log, REFUSED_EVERY_S)
        self._next: dict[int, int] = {}
        self._reload_s = spec.reload_s
        self._doubted_since_s: float | None = None

    async def run(self) -> None:
        """Start the reader, then load and follow the log until cancelled."""
        pauses = Pauses()
        is_started = False
        while True:
            try:
                if not is_started:
                    async with asyncio.timeout(self._spec.io_s):
                        await self._reader.start()
                    is_started = True
                if not await self._can_go_on():
                    await self._load()
                await self._follow(pauses)
                self._next = {}
                self.counts["reloads"] += 1
            except (BusUnavailable, ConfigError, TimeoutError) as fault:
                self.fault = str(fault) or "Kafka did not answer in time"
                self.counts["faults"] += 1
                self.turned.set()
                await asyncio.sleep(pauses.next_s())

    async def _can_go_on(self) -> bool:
        """Tell whether the log still holds all from where the table left it."""
        if not self._next:
            return False
        async with asyncio.timeout(self._spec.io_s):
            bounds = await self._reader.bounds(self._spec.enforcement)
        return bounds.keys() == self._next.keys() and all(
            bounds[partition].start <= offset <= bounds[partition].end
            for partition, offset in self._next.items()
        )

    async def _load(self) -> None:
        """Rebuild the table from the start of the log to its end as of now.

        The table in use stays in use meanwhile, unless it has never been complete itself.
        """
        topic = self._spec.enforcement
        async with asyncio.timeout(self._spec.io_s):
            bounds = await self._reader.bounds(topic)
        table = CommandTable(self._spec.table, max(1, len(bounds)), self._trust)
        if self.table.is_loading:
            self.table = table
        for partition, (start, end) in sorted(bounds.items()):
            offset = start
            while offset < end:
                # Not by offsets: a compacted log of a year is little but gaps.
                async with asyncio.timeout(self._spec.io_s):
                    records, offset = await self._reader.read_some(
                        topic, partition, offset, end, READ_RECORDS
                    )
                await self._apply(table, records)
        table.finish_loading()
        if table is not self.table:
            table.inherit(self.table)
            self.table = table
        self._note_newer()
        self._next = {partition: end for partition, (_, end) in bounds.items()}
        self.counts["loads"] += 1
        self.turned.set()

    async def _follow(self, pauses: Pauses) -> None:
        """Apply what comes; return when the table should be read again from the start."""
        batches = self._reader.follow(self._spec.enforcement, self._next)
        try:
            while not self._note_doubt():
                async with asyncio.timeout(self._spec.io_s):
                    records = await anext(batches)
                pauses.reset()
                self.fault = ""
                # What comes twice was applied; a tombstone applied again could end a later record.
                new = [each for each in records if each.offset >= self._next_of(each)]
                await self._apply(self.table, new)
                self._note_newer()
                for record in records:
                    self._next[record.partition] = max(self._next_of(record), record.offset + 1)
                self.turned.set()
        except StopAsyncIteration as end:
            raise BusUnavailable("the reader has stopped") from end
        finally:
            if isinstance(batches, AsyncGenerator):
                await batches.aclose()

    def _note_doubt(self) -> bool:
        """Note since when the table disagrees with its heartbeats; tell if that is long enough.

        Mutates: what is noted, and how long is long: doubled each time, until they agree.
        """
        state = self.table.state(self._clock.wall_ms())
        now_s = self._clock.monotonic_s()
        if state == "ready":
            self._reload_s = self._spec.reload_s
        if state not in {"mismatch", "overflow"}:
            self._doubted_since_s = None
        elif self._doubted_since_s is None:
            self._doubted_since_s = now_s
        elif now_s - self._doubted_since_s >= self._reload_s:
            self._doubted_since_s = None
            self._reload_s = min(RELOAD_MAX_S, self._reload_s * 2)
            return True
        return False

    def _note_newer(self) -> None:
        """Say that records are there which only a newer version can read."""
        count = self.table.counts["foreign_format"]
        if count:
            rarely.warning("%d records are of a newer version, upgrade this gateway", count)

    def _next_of(self, record: Record) -> int:
        return self._next.get(record.partition, 0)

    async def _apply(self, table: CommandTable, records: list[Record]) -> None:
        """Apply records in order, in slices, so that requests are served between them."""
        length = APPLY_SLICE if self._trust is None else APPLY_SLICE_KEYED
        for at in range(0, len(records), length):
            for record in records[at : at + length]:
                outcome = table.apply(record)
                if outcome in REFUSALS:
                    self.refused[outcome] += 1
                    self._rarely.warning(
                        "refused a record of %s (%s); so far: %s",
                        self._spec.enforcement,
                        outcome,
                        dict(self.refused),
                    )
            await asyncio.sleep(0)
