"""The gateway's client: a table that follows the topic `enforcement`, a reporter beside it.

    async with Gateway(reader, publisher, clock, spec) as gateway:
        verdict = gateway.check(workload, operation)
        ...
        gateway.report(Request(now_ms, workload, operation))

Neither call waits for anything. Two tasks do the waiting: one rebuilds the table from the start of
the log and then follows it, one sends events. Both heal by themselves when Kafka is away; the table
is `stale` meanwhile, because heartbeats stop, and `check` answers by the mode. A table that
disagrees with its heartbeats for long is read again from the start, beside the one in use.

Time is asked for at each check, so a command ends at its millisecond, whatever the loop is doing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from types import TracebackType
from typing import Final, Self

import msgspec

from stream.bus import LogReader, Publisher, Record
from stream.clock import Clock
from stream.errors import BusUnavailable, ConfigError
from stream.events import Command, OperatorRecord, Request, TokenRef

from .homes import HomeState, StateName
from .intake import Verify
from .reporter import Reporter
from .spec import GatewayMode, GatewaySpec
from .table import CommandTable
from .verdict import ALLOW, Verdict

READ_OFFSETS: Final = 10_000
"""Offsets asked for at once in the initial read, so that it never holds the whole log."""

APPLY_SLICE: Final = 100
"""Records applied before the loop's other tasks have their turn: about a millisecond."""

PAUSE_S: Final = 0.1
PAUSE_MAX_S: Final = 5.0
RELOAD_MAX_S: Final = 3_600.0


class GatewayState(msgspec.Struct, frozen=True, kw_only=True):
    """What `/readyz` says: whether the table is known to be true, and what is missing if not.

    `fault` is the last error of Kafka's, empty while all is well.
    """

    state: StateName
    ready: bool
    mode: GatewayMode
    records: int
    bytes_held: int
    waiting: int
    fault: str
    homes: tuple[HomeState, ...]


class Gateway:
    """One gateway: `check`, `report`, `state`; an async context, which starts and stops its doors.

    The reader and the publisher are the gateway's own: it starts them when Kafka can be reached
    and stops them at the end. All calls come from the thread of the event loop.
    """

    def __init__(
        self,
        reader: LogReader,
        publisher: Publisher,
        clock: Clock,
        spec: GatewaySpec,
        verify: Verify | None = None,
    ) -> None:
        self._reader = reader
        self._publisher = publisher
        self._clock = clock
        self._wall_ms = clock.wall_ms
        self._spec = spec
        self._verify = verify
        # Nothing is known of the log yet; what loads replaces this.
        self._table = CommandTable(spec.table, 1, verify)
        self._reporter = Reporter(spec.requests, clock, spec.report, spec.io_s)
        self._next: dict[int, int] = {}
        self._reload_s = spec.reload_s
        self._fault = ""
        self._counts: Counter[str] = Counter()
        self._tasks = asyncio.TaskGroup()
        self._following: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._turned = asyncio.Event()

    @property
    def spec(self) -> GatewaySpec:
        """Return what this gateway was set to."""
        return self._spec

    def check(
        self, workload: str, operation: str, task: str = "", token: TokenRef | None = None
    ) -> Verdict:
        """Return what holds for a request now.

        Requires: `workload` is canonical (`stream.identity.canonical_workload`), `operation` within
                  its bound (`clip_operation`).
        """
        verdict = self._table.check(self._wall_ms(), workload, operation, task, token)
        if verdict is not ALLOW:
            self._count(verdict)
        return verdict

    def report(self, request: Request) -> None:
        """Report one event; returns at once, and never raises for what the event holds.

        Requires: `request.workload` is canonical.
        """
        self._reporter.offer(request)

    def observe(self, request: Request) -> Verdict:
        """Check a request and report it: as `refused` if it may not pass, else as it is.

        For who hears of a request once only, before it is served.
        """
        token = request.token
        verdict = self.check(
            request.workload,
            request.operation,
            request.task,
            TokenRef(token.issuer, token.id) if token is not None else None,
        )
        if not verdict.is_allowed:
            request = msgspec.structs.replace(request, outcome="refused", status=verdict.status)
        self.report(request)
        return verdict

    def state(self) -> GatewayState:
        """Return what is known now."""
        now_ms = self._wall_ms()
        state = self._table.state(now_ms)
        return GatewayState(
            state=state,
            ready=state == "ready",
            mode=self._spec.table.mode,
            records=len(self._table),
            bytes_held=self._table.bytes_held,
            waiting=len(self._reporter),
            fault=self._fault,
            homes=self._table.homes(now_ms),
        )

    def tallies(self) -> dict[str, int]:
        """Return all counters by name: `log.*`, `check.*`, `report.*`, `records.*`."""
        report = {f"report.{name}": count for name, count in self._reporter.counts.items()}
        records = {f"records.{name}": count for name, count in self._table.counts.items()}
        return dict(self._counts) | report | records

    def in_force(self) -> Iterator[Command]:
        """Return the commands that bind now, those in shadow too."""
        return self._table.in_force(self._wall_ms())

    def operators(self) -> Iterator[OperatorRecord]:
        """Return the operators' acts held, ended ones too."""
        return self._table.operators()

    async def wait_ready(self, within_s: float) -> bool:
        """Wait until the state is `ready`; return False if it is not within that time."""
        try:
            async with asyncio.timeout(within_s):
                while not self.state().ready:
                    self._turned.clear()
                    await self._turned.wait()
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._following = self._tasks.create_task(self._keep_table(), name="gateway-table")
        self._reporting = self._tasks.create_task(self._keep_reporting(), name="gateway-report")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._following is not None, "entered before it is left"
        assert self._reporting is not None, "entered before it is left"
        try:
            self._following.cancel()
            self._reporter.close()
            await asyncio.wait([self._reporting], timeout=self._spec.close_s)
        finally:
            self._reporting.cancel()
            try:
                await self._tasks.__aexit__(kind, error, trace)
            finally:
                self._reporter.abandon()
                await self._stop_doors()

    def _count(self, verdict: Verdict) -> None:
        if verdict.action:
            self._counts[f"check.{verdict.decision}.{verdict.action}"] += 1
        for would_have in verdict.shadow:
            self._counts[f"check.would_{would_have.decision}"] += 1

    async def _keep_reporting(self) -> None:
        """Start the publisher, then send what is offered until closed."""
        pauses = _Pauses()
        while True:
            try:
                async with asyncio.timeout(self._spec.io_s):
                    await self._publisher.start()
            except (BusUnavailable, ConfigError, TimeoutError) as fault:
                await self._pause(pauses, fault)
                continue
            await self._reporter.run(self._publisher)
            return

    async def _keep_table(self) -> None:
        """Start the reader, then load and follow the log for ever."""
        pauses = _Pauses()
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
                self._counts["log.reloads"] += 1
            except (BusUnavailable, ConfigError, TimeoutError) as fault:
                await self._pause(pauses, fault)

    async def _pause(self, pauses: _Pauses, fault: Exception) -> None:
        self._fault = str(fault) or "Kafka did not answer in time"
        self._counts["log.faults"] += 1
        self._turned.set()
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
        table = CommandTable(self._spec.table, max(1, len(bounds)), self._verify)
        if self._table.is_loading:
            self._table = table
        for partition, (start, end) in sorted(bounds.items()):
            for offset in range(start, end, READ_OFFSETS):
                async with asyncio.timeout(self._spec.io_s):
                    records = await self._reader.read(
                        topic, partition, offset, min(end, offset + READ_OFFSETS)
                    )
                await _apply(table, records)
        table.finish_loading()
        if table is not self._table:
            table.inherit(self._table)
            table.counts.update(self._table.counts)
            self._table = table
        self._next = {partition: end for partition, (_, end) in bounds.items()}
        self._counts["log.loads"] += 1
        self._turned.set()

    async def _follow(self, pauses: _Pauses) -> None:
        """Apply what comes; return when the table should be read again from the start."""
        doubts_since_s: float | None = None
        batches = self._reader.follow(self._spec.enforcement, self._next)
        try:
            while True:
                async with asyncio.timeout(self._spec.io_s):
                    records = await anext(batches)
                pauses.reset()
                self._fault = ""
                await _apply(self._table, [r for r in records if r.offset >= self._next_of(r)])
                for record in records:
                    self._next[record.partition] = max(self._next_of(record), record.offset + 1)
                self._turned.set()
                state = self._table.state(self._wall_ms())
                now_s = self._clock.monotonic_s()
                if state == "ready":
                    self._reload_s = self._spec.reload_s
                if state not in {"mismatch", "overflow"}:
                    doubts_since_s = None
                elif doubts_since_s is None:
                    doubts_since_s = now_s
                elif now_s - doubts_since_s >= self._reload_s:
                    self._reload_s = min(RELOAD_MAX_S, self._reload_s * 2)
                    return
        finally:
            if isinstance(batches, AsyncGenerator):
                await batches.aclose()

    def _next_of(self, record: Record) -> int:
        return self._next.get(record.partition, 0)

    async def _stop_doors(self) -> None:
        """Stop both doors; what cannot be reached any more is left."""
        for stop in (self._publisher.stop, self._reader.stop):
            with contextlib.suppress(BusUnavailable, TimeoutError):
                async with asyncio.timeout(self._spec.io_s):
                    await stop()


class _Pauses:
    """How long to wait before the next attempt: doubled each time, up to PAUSE_MAX_S."""

    def __init__(self) -> None:
        self._next_s = PAUSE_S

    def next_s(self) -> float:
        """Return the next pause, and double the one after."""
        pause_s = self._next_s
        self._next_s = min(PAUSE_MAX_S, pause_s * 2)
        return pause_s

    def reset(self) -> None:
        """Start again with the shortest, because something has worked."""
        self._next_s = PAUSE_S


async def _apply(table: CommandTable, records: list[Record]) -> None:
    """Apply records in order, in slices, so that requests are served between them."""
    for at in range(0, len(records), APPLY_SLICE):
        for record in records[at : at + APPLY_SLICE]:
            table.apply(record)
        await asyncio.sleep(0)
