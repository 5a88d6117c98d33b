"""The estate of a simulation: log and store in memory, and worker processes that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from stream.bus import MemoryReader, MemoryTopics, Record
from stream.enforcement import Expectation
from stream.errors import BusUnavailable
from stream.kernel import HashKey
from stream.metrics import Metrics
from stream.policy import Policy, load_policy
from stream.runtime import Doors, TopicsSpec, Worker, WorkerSpec
from stream.store import Checkpoint, MemoryStore

from .chance import GatePlan, Plan, stream
from .claims import SimMemoryStore, SimServer
from .doors import SimPublisher, SimReader, SimSource, SimStore
from .gate import Gate
from .log import SimLog
from .loop import Process, VirtualLoop
from .network import Network
from .traffic import placed, policies

KEY: Final = HashKey(b"a simulated key.")
BEGAN_MS: Final = 1_790_000_000_000
NEVER: Final = 1 << 62
SESSION_S: Final = 6.0
SLOTS: Final = 64


class SimClock:
    """A clock of virtual time that may step."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_ms = 0

    def wall_ms(self) -> int:
        """Return Unix milliseconds, as this clock has them."""
        return BEGAN_MS + self.offset_ms + int(self._loop.time() * 1_000)

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return self._loop.time()


class SimTopics(MemoryTopics):
    """An admin behind the network."""

    def __init__(self, log: SimLog, network: Network) -> None:
        super().__init__(log)
        self._network = network

    async def describe(self, names: Any) -> Any:
        """Return the states of the topics that exist."""
        ask = super().describe
        return await self._network.call(lambda: ask(names), BusUnavailable, "describe")


Image = Mapping[int, Any]


class Change(NamedTuple):
    """The log of requests before it became another, by partition.

    `journal_ends` tell which eras came before; `left` is where what was left of it ended.
    """

    records: list[list[Record]]
    journal_ends: list[int]
    left: list[int]


class Member:
    """One worker process: alive, frozen, or dead."""

    def __init__(self, name: str, estate: Estate) -> None:
        self.name = name
        self.estate = estate
        self.clock = SimClock(estate.loop)
        self.process = Process(name)
        self.source: SimSource | None = None
        self.worker: Worker | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start a process."""
        estate = self.estate
        self.process = Process(self.name)
        # That of a dead process finds out nothing any more.
        self.source = None
        self.worker = Worker(
            (estate.spec, estate.topics),
            self._doors(),
            (estate.policy, compiled),
            KEY,
            (self.clock, Metrics(), self.name),
        )
        estate.starts(self.worker)
        self.task = estate.loop.spawn(self.process, self.worker.run())

    def _doors(self) -> Doors:
        estate = self.estate
        log, network = estate.log, estate.network

        def source() -> SimSource:
            self.source = SimSource(log, estate.topics.requests, network)
            return self.source

        return Doors(
            source=source,
            publisher=lambda: SimPublisher(log, network),
            reader=lambda: SimReader(log, network),
            library=estate.library,
            admin=lambda: SimTopics(log, network),
            store=lambda: SimStore(SimMemoryStore(estate.server), network),
            nonce=estate.nonce,
            zone=lambda zone: estate.zone_source(self, zone),
        )

    def kill(self) -> None:
        """End the process as SIGKILL does; the group notices after the session's time."""
        self.process.is_dead = True
        self.estate.loop.run_in(self.estate.network.process, self._expire_later)

    def _expire_later(self) -> None:
        source = self.source
        if source is not None:
            self.estate.loop.call_later(SESSION_S, source.expire)

    def freeze(self, span_s: float, unaware_s: float, thaw: Callable[[Process], None]) -> None:
        """Stand still as after SIGSTOP, then go on; `thaw` lets it.

        If that was longer than its session lasts, it is a zombie for `unaware_s`.
        """
        process, source, loop = self.process, self.source, self.estate.loop
        process.freeze()

        def later() -> None:
            if source is not None and span_s > SESSION_S:
                loop.call_later(SESSION_S, source.expire)
                loop.call_later(span_s + unaware_s, self.notice, source)
            loop.call_later(span_s, thaw, process)

        loop.run_in(self.estate.network.process, later)

    def notice(self, source: SimSource) -> None:
        """Find out that the group goes on without this member, if it is still that member."""
        if self.source is source and not self.process.is_dead and source.is_member:
            source.notice()

    async def stop(self) -> None:
        """Stop in good order."""
        if self.worker is not None and self.task is not None:
            self.worker.stop()
            await asyncio.wait({self.task})

    @property
    def failure(self) -> BaseException | None:
        """What ended the worker, None while it runs or was stopped."""
        if self.task is None or not self.task.done() or self.task.cancelled():
            return None
        return self.task.exception()


class Estate:
    """A log, a store, a network between, and members."""

    def __init__(self, plan: Plan, loop: VirtualLoop, policy: Policy) -> None:
        self.plan = plan
        self.loop = loop
        self.policy = policy
        self.policies = policies()
        self.network = Network(loop, stream(plan.seed, "network"), plan.faults, plan.rate)
        self.broker_clock = SimClock(loop)
        self.log = SimLog(self.broker_clock, lambda coro: loop.spawn(self.network.process, coro))
        self.server = SimServer()
        self.topics = TopicsSpec(
            partitions=plan.partitions, enforcement_partitions=plan.enforcement_partitions
        )
        self.spec = WorkerSpec(
            slots_max=SLOTS,
            stored_rows_max=plan.stored_rows_max,
            stored_domains_max=plan.stored_domains_max,
            batch_events_max=plan.batch_events_max,
            save_every_ms=plan.save_every_ms,
            save_rows_max=plan.save_rows_max,
            save_slice_rows=plan.save_slice_rows,
            heartbeat_ms=500,
            tombstone_after_ms=5_000,
            sweep_every_ms=25_600,
            restart_wait_ms=200,
            stop_wait_ms=10_000,
        )
        self.changed: Change | None = None
        # What `zones` adds: who reports where, who reads it, when that is at rest, what must hold.
        self.route: Callable[[bytes, int], tuple[str, int]] = self._home
        self.zone_source: Callable[[Member, str], SimSource] = _no_zones
        # What `learned` adds: versions, how gateways write, what members know, what also happens.
        self.baselines: dict[str, Expectation] = {}
        self.dress: Callable[[bytes], bytes] = lambda value: value
        self.library: Callable[[], MemoryReader] = lambda: MemoryReader(self.log)
        self.starts: Callable[[Worker], None] = lambda worker: None
        self.promote: Callable[[bytes], Coroutine[None, None, None]] | None = None
        self.storms: list[Callable[[], Coroutine[None, None, None]]] = []
        self.rests: list[Callable[[], bool]] = []
        self.laws: list[Callable[[], list[str]]] = []
        self._nonces = 0
        self.members = [Member(f"w{each}", self) for each in range(plan.workers)]
        self.gates: list[Gate] = []

    def set_up(self, spec: WorkerSpec) -> None:
        """Let members be set up otherwise from now on, those that run too."""
        self.spec = spec
        for member in self.members:
            if member.worker is not None and member.worker._session is not None:  # noqa: SLF001
                member.worker._session.spec = spec  # noqa: SLF001 - no product sets up anew

    def open_gate(self, plan: GatePlan, network: Network | None = None) -> Gate:
        """Have a gateway, with a network of its own unless one is given."""
        chance = stream(self.plan.seed, "gate network")
        own = network or Network(self.loop, chance, plan.faults, plan.rate)
        gate = Gate(self.log, self.broker_clock, self.plan, plan, own)
        self.gates.append(gate)
        return gate

    def _home(self, key: bytes, count: int) -> tuple[str, int]:
        return self.topics.requests, placed(self.plan, key, count)

    def nonce(self) -> str:
        """Return a name that no owner had."""
        self._nonces += 1
        return f"n{self._nonces}"

    @property
    def partitions(self) -> int:
        """Return how many partitions there are now."""
        return len(self.log.partitions(self.topics.requests))

    async def has_grown(self) -> bool:
        """Tell whether every partition counts by as many as there are, new ones included."""
        store = MemoryStore(self.server)
        found = [await store.checkpoint(each) for each in range(self.partitions)]
        return all(
            each is not None and each.counts[-1] == self.partitions and each.birth is None
            for each in found
        )

    async def checkpoints(self) -> list[int]:
        """Return the stored checkpoint's offset of each partition, -1 where there is none."""
        store = MemoryStore(self.server)
        found = [await store.checkpoint(each) for each in range(self.partitions)]
        return [each.next_offset if each else -1 for each in found]

    def lines_of(self, partition: int, opened_at: int, ended_at: int) -> tuple[list[Record], bool]:
        """Return what the log of requests held in an era, between two offsets of the journal.

        Also what retention has cut from it, and whether the whole of it was applied in that era:
        the last one, and the one that the log was at rest in before it changed.
        """
        if self.changed is None or opened_at >= self.changed.journal_ends[partition]:
            return self.lines(partition), ended_at == NEVER
        is_whole = ended_at >= self.changed.journal_ends[partition]
        if ended_at == NEVER:
            return self.lines(partition), True
        return self.changed.records[partition], is_whole

    def lines(self, partition: int) -> list[Record]:
        """Return what the log of requests holds, and what retention has cut from it."""
        part = self.log.partitions(self.topics.requests)[partition]
        cut = [
            each.record
            for each in self.log.history
            if (each.topic, each.incarnation) == (self.topics.requests, self._incarnation())
            and (each.record.partition == partition and each.record.offset < part.start)
        ]
        return [*{each.offset: each for each in cut}.values(), *part.records]

    def _incarnation(self) -> int:
        return self.log.incarnations.get(self.topics.requests, 0)

    def note_change(self) -> None:
        """Remember the log of requests as it is, before it becomes another."""
        journal = self.log.partitions(self.topics.journal)
        self.changed = Change(
            [self.lines(each) for each in range(self.partitions)],
            [each.end for each in journal],
            [],
        )

    def latest_ms(self) -> int:
        """Return the latest time that any clock has shown."""
        members = [each.clock.wall_ms() for each in self.members]
        return max(self.broker_clock.wall_ms(), *members)

    def passed_by(self, partition: int, images: Sequence[Image]) -> int:
        """Return the offset that every checkpoint has passed, of the store and of its images."""
        found = []
        for image in [self.server.image(), *images]:
            held = image.get(partition)
            stored = held.checkpoint if held else None
            checkpoint = msgspec.json.decode(stored, type=Checkpoint) if stored else None
            found.append(checkpoint.next_offset if checkpoint else 0)
        return min(found)

    async def is_drained(self) -> bool:
        """Tell whether everything in the log is applied, stored and checkpointed."""
        logs = self.log.partitions(self.topics.requests)
        is_stored = await self.checkpoints() == [each.end for each in logs]
        is_applied = is_stored and await self.has_grown()
        return is_applied and all(is_at_rest() for is_at_rest in self.rests)


def _no_zones(member: Member, zone: str) -> SimSource:
    raise AssertionError(f"{member.name} has no zone {zone}")


@cache
def _load(text: str) -> Policy:
    return load_policy(text, "simulation")


def compiled(text: str, name: str) -> Policy:
    """Return the policy of a text, compiled once for all runs."""
    return _load(text)
