"""The gateway's client: a table that follows the topic `enforcement`, a reporter beside it.

    async with Gateway(reader, publisher, clock, spec) as gateway:
        verdict = gateway.check(workload, operation)
        ...
        gateway.report(Request(now_ms, workload, operation))

Neither call waits for anything. Two tasks do the waiting: one keeps the table true (`Follower`),
one sends events (`Reporter`). Both heal by themselves when Kafka is away; `check` answers meanwhile
by the mode.

Time is asked for at each check, so a command ends at its millisecond, whatever the loop is doing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Literal, Self, get_args

import msgspec

from stream.bus import LogReader, Publisher
from stream.clock import Clock
from stream.errors import BusUnavailable, ConfigError
from stream.events import Command, OperatorRecord, Outcome, Request, TokenRef, encode_request
from stream.signing import SigningMode, Trust

from .binding import RANKS
from .fitting import BYTES_MAX, STATUS_MAX, clip_operation
from .follower import Follower
from .homes import HomeState, StateName
from .pauses import Pauses
from .reporter import Reporter
from .spec import GatewayMode, GatewaySpec
from .verdict import ALLOW, Verdict

DECIDING: Final = (
    "",
    *RANKS,
    "stop",
    "exempt",
    *get_args(StateName),
    "would_deny",
    "would_throttle",
)
"""Whatever a verdict may rest on, counted from 0 so that counting is one addition."""


class GatewayState(msgspec.Struct, frozen=True, kw_only=True):
    """What `/readyz` says: whether the table is known to be true, and what is missing if not.

    `fault` is the last error of Kafka's, empty while all is well. `signing` is the mode where keys
    are configured; `refused` counts records by why they were, `signed_by` those that are held by
    the id of the key they are signed with, empty for none.
    """

    state: StateName
    ready: bool
    mode: GatewayMode
    records: int
    bytes_held: int
    waiting: int
    fault: str
    homes: tuple[HomeState, ...]
    signing: SigningMode | Literal["off"] = "off"
    refused: dict[str, int] = {}
    signed_by: dict[str, int] = {}


class Gateway:
    """One gateway: `check`, `report`, `state`; an async context, which starts and stops its doors.

    The reader and the publisher are the gateway's own: it starts them when Kafka can be reached
    and stops them at the end. All calls come from the thread of the event loop. With `trust` it
    believes only what its keys have signed (`stream.signing.trust_of`).
    """

    def __init__(
        self,
        reader: LogReader,
        publisher: Publisher,
        clock: Clock,
        spec: GatewaySpec,
        trust: Trust | None = None,
    ) -> None:
        self._reader = reader
        self._publisher = publisher
        self._wall_ms = clock.wall_ms
        self._spec = spec
        self._follower = Follower(reader, clock, spec, trust)
        self._trust = trust
        self._reporter = Reporter(spec.reports_to, clock, spec.report, spec.io_s, self._home_count)
        self._fault = ""
        self._verdicts: dict[str, int] = dict.fromkeys(DECIDING, 0)
        self._tasks = asyncio.TaskGroup()
        self._following: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None

    @property
    def spec(self) -> GatewaySpec:
        """Return what this gateway was set to."""
        return self._spec

    def now_ms(self) -> int:
        """Return the gateway's wall time in Unix milliseconds."""
        return self._wall_ms()

    def check(
        self, workload: str, operation: str, task: str = "", token: TokenRef | None = None
    ) -> Verdict:
        """Return what holds for a request now.

        Requires: `workload` is canonical (`stream.identity.canonical_workload`).
        """
        verdict = self._follower.table.check(self._wall_ms(), workload, operation, task, token)
        if verdict is not ALLOW:
            self._verdicts[verdict.source.action] += 1
            if verdict.shadow:
                self._count_shadow(verdict)
        return verdict

    def report(self, request: Request) -> None:
        """Report one event; returns at once, and never raises for what the event holds.

        One that names no gateway gets this one's name. Requires: `request.workload` is canonical.
        """
        if self._spec.name and not request.gateway:
            request = msgspec.structs.replace(request, gateway=self._spec.name)
        self._reporter.offer(request)

    def report_plain(
        self, workload: str, operation: str, outcome: Outcome, status: int, size: int
    ) -> None:
        """Report a request of which nothing more is known, as it ends.

        Units:    `size` bytes of the response. Requires: `workload` is canonical.
        Cost:     half of `report`, which looks at every field of an event that anybody made.
        """
        if not 0 <= status <= STATUS_MAX:
            status = max(0, min(status, STATUS_MAX))
        request = Request(
            self._wall_ms(),
            workload,
            clip_operation(operation),
            outcome=outcome,
            status=status,
            bytes=size if size < BYTES_MAX else BYTES_MAX,
            gateway=self._spec.name,
        )
        self._reporter.offer(request, encode_request)

    def observe(self, request: Request) -> Verdict:
        """Check a request and report it: as `refused` if it may not pass, else as it is.

        For who hears of a request once only, before it is served.

        Requires: `request.workload` is canonical.
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
        table = self._follower.table
        state = table.state(now_ms)
        return GatewayState(
            state=state,
            ready=state == "ready",
            mode=self._spec.table.mode,
            records=len(table),
            bytes_held=table.bytes_held,
            waiting=len(self._reporter),
            fault=self._follower.fault or self._fault,
            homes=table.homes(now_ms),
            signing=_mode_of(self._trust),
            refused=dict(self._follower.refused),
            signed_by=table.signed_by,
        )

    def tallies(self) -> dict[str, int]:
        """Return all counters by name.

        `check.X`: verdicts by action (`revoke`, `hold`, `throttle`, `stop`, `exempt`, the states of
        a gateway that does not know), and `would_deny`, `would_throttle` of commands in shadow;
        those that have occurred. `log.X`: how the log was read. `records.X`: what became of
        records, from 0 when the table is read again. `refused.X`: what keys refused, over all
        tables; `warned.X`: what they would refuse in mode `require`. `report.X`: what became of
        events.
        """
        sources = {
            "check": {name: count for name, count in self._verdicts.items() if name and count},
            "log": self._follower.counts,
            "records": self._follower.table.counts,
            "refused": self._follower.refused,
            "warned": self._follower.table.warned,
            "report": self._reporter.counts,
        }
        return {
            f"{source}.{name}": count
            for source, counts in sources.items()
            for name, count in counts.items()
        }

    def in_force(self) -> Iterator[Command]:
        """Return the commands that bind now, those in shadow too."""
        return self._follower.table.in_force(self._wall_ms())

    def operators(self) -> Iterator[OperatorRecord]:
        """Return the operators' acts held, ended ones too."""
        return self._follower.table.operators()

    async def wait_ready(self, within_s: float) -> bool:
        """Wait until the state is `ready`; return False if it is not within that time."""
        try:
            async with asyncio.timeout(within_s):
                while not self.state().ready:
                    self._follower.turned.clear()
                    await self._follower.turned.wait()
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._following = self._tasks.create_task(self._follower.run(), name="gateway-table")
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
                # An error of the block stays itself; only a fault of our own tasks, which cancels
                # the block, leaves as a group.
                is_ours = kind is asyncio.CancelledError
                await self._tasks.__aexit__(*(kind, error, trace) if is_ours else (None,) * 3)
            finally:
                self._reporter.abandon()
                await self._stop_doors()

    def _home_count(self) -> int:
        return self._follower.table.home_count(self._wall_ms())

    def _count_shadow(self, verdict: Verdict) -> None:
        for would_have in verdict.shadow:
            self._verdicts[f"would_{would_have.decision}"] += 1

    async def _keep_reporting(self) -> None:
        """Start the publisher, then send what is offered until closed."""
        pauses = Pauses()
        while True:
            try:
                async with asyncio.timeout(self._spec.io_s):
                    await self._publisher.start()
            except (BusUnavailable, ConfigError, TimeoutError) as fault:
                self._fault = str(fault) or "Kafka did not answer in time"
                await asyncio.sleep(pauses.next_s())
                continue
            self._fault = ""
            await self._reporter.run(self._publisher)
            return

    async def _stop_doors(self) -> None:
        """Stop both doors; what cannot be reached in the time to leave is left."""
        for stop in (self._publisher.stop, self._reader.stop):
            with contextlib.suppress(BusUnavailable, TimeoutError):
                async with asyncio.timeout(max(1.0, self._spec.close_s)):
                    await stop()


def _mode_of(trust: Trust | None) -> SigningMode | Literal["off"]:
    if trust is None:
        return "off"
    return "require" if trust.is_strict else "warn"
