"""Logs in memory: what Kafka is to the rest of the system, exact, small and without surprises.

One `MemoryLog` is the broker; sources, publishers, readers and admins are made on it. Nothing
happens by chance or by real time: append times come from the clock passed in, and waiting is the
event loop's business, so a loop in virtual time drives it. Groups rebalance eagerly, as Kafka's do
for this client: all members give up all, then all are given theirs, in the order they joined.

`cut` and `remake` are what a broker does to its logs, a `Group`'s `drop` and `join` what it does to
members; simulation and tests call them.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
    Sequence,
)
from typing import Any, Protocol

import msgspec

from stream.clock import Clock
from stream.errors import BusUnavailable, ConfigError, OwnershipLost
from stream.identity import home_partition

from . import topics
from .contract import Bounds, Record, Sending, TopicSpec, TopicState
from .reading import RECORDS_AT_ONCE

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
GROUP = "stream-enforcer"


class Member(Protocol):
    """What a group knows of one of its members."""

    def take(self) -> asyncio.Task[None]:
        """Let all partitions go; done when the listener did."""
        ...

    def give(self, partitions: Sequence[int]) -> None:
        """Have these partitions, once the listener says from where."""
        ...


class _Partition:
    """Records from offset `start` on."""

    def __init__(self) -> None:
        self.start = 0
        self.records: list[Record] = []

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    def between(self, start: int, end: int) -> list[Record]:
        first = max(start, self.start) - self.start
        return self.records[first : max(first, end - self.start)]


class _Topic:
    """A topic's description and partitions."""

    def __init__(self, state: TopicState) -> None:
        self.state = state
        self.partitions = [_Partition() for _ in range(state.partitions)]


class MemoryLog:
    """The broker: topics, the groups that read them, and append times from `clock`.

    `spawn` starts the broker's own tasks: in a simulation, no member's death ends them.
    """

    def __init__(self, clock: Clock, spawn: Spawn = asyncio.create_task) -> None:
        self._clock = clock
        self._spawn = spawn
        self._topics: dict[str, _Topic] = {}
        self._groups: dict[tuple[str, str], Group] = {}
        self._made = 0
        self.writers: dict[str, object] = {}
        self._grown: asyncio.Future[None] | None = None

    def create(self, spec: TopicSpec, settings: Mapping[str, str]) -> None:
        """Create a topic, unless it exists."""
        if spec.name not in self._topics:
            self._make(spec.name, spec.partitions, spec.replicas, dict(settings))

    def _make(self, name: str, partitions: int, replicas: int, config: dict[str, str]) -> None:
        self._made += 1
        self._topics[name] = _Topic(
            TopicState(
                name=name,
                id=f"memory-{self._made}",
                partitions=partitions,
                replicas=replicas,
                config=config,
            )
        )

    def states(self, names: Sequence[str]) -> list[TopicState]:
        """Return the states of the topics that exist."""
        return [self._topics[name].state for name in names if name in self._topics]

    def partitions(self, topic: str) -> list[_Partition]:
        """Return a topic's partitions.

        Errors: ConfigError when the topic does not exist.
        """
        if topic not in self._topics:
            raise ConfigError(
                f"topic {topic} does not exist", hint="`enforcer topics` creates what is missing"
            )
        return self._topics[topic].partitions

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        """Append a record and wake who waits; return its offset."""
        log = self.partitions(topic)[partition]
        record = Record(partition, log.end, self._clock.wall_ms(), key, value)
        log.records.append(record)
        if self._grown is not None and not self._grown.done():
            self._grown.set_result(None)
        return record.offset

    @property
    def grown(self) -> asyncio.Future[None]:
        """Done at the next append to any topic."""
        if self._grown is None or self._grown.done():
            self._grown = asyncio.get_running_loop().create_future()
        return self._grown

    def cut(self, topic: str, partition: int, start: int) -> None:
        """Forget the records before `start`, as retention does."""
        log = self.partitions(topic)[partition]
        assert log.start <= start <= log.end
        del log.records[: start - log.start]
        log.start = start

    def truncate(self, topic: str, partition: int, end: int) -> None:
        """Lose the records from `end` on, as an unclean election does."""
        log = self.partitions(topic)[partition]
        assert log.start <= end <= log.end
        del log.records[end - log.start :]

    def remake(self, topic: str) -> None:
        """Delete a topic and create it again: empty, with a new id."""
        state = self._topics[topic].state
        self._make(topic, state.partitions, state.replicas, state.config)

    def grow(self, topic: str, partitions: int) -> None:
        """Add empty partitions to a topic, up to so many; groups that read it are told."""
        held = self._topics[topic]
        held.partitions += [_Partition() for _ in range(partitions - len(held.partitions))]
        held.state = msgspec.structs.replace(held.state, partitions=len(held.partitions))
        for (_, read), group in self._groups.items():
            if read == topic:
                group.grow(partitions)

    def group(self, name: str, topic: str) -> Group:
        """Return the group of that name over a topic."""
        count = len(self.partitions(topic))
        return self._groups.setdefault((name, topic), Group(count, self._spawn))

    def committed(self, topic: str, group: str = GROUP) -> dict[int, int]:
        """Return what members have committed."""
        return dict(self.group(group, topic).committed)


class Group:
    """The members of a group over one topic.

    `drop` of a member that did not ask for it is the end of its session: others get its
    partitions, and it goes on without knowing, until `join` lets it find out.
    """

    def __init__(self, partitions: int, spawn: Spawn) -> None:
        self._spawn = spawn
        self.committed: dict[int, int] = {}
        self.notes: dict[int, str] = {}
        self._partitions = partitions
        self._members: dict[Member, asyncio.Future[None]] = {}
        self._is_stale = False
        self._rebalance: asyncio.Task[None] | None = None

    def __contains__(self, source: object) -> bool:
        return source in self._members

    def join(self, source: Member) -> None:
        """Let a member in; it gives up what it thinks it has, like all others."""
        if source not in self._members:
            self._members[source] = asyncio.get_running_loop().create_future()
            self._change()

    def drop(self, source: Member) -> None:
        """Let a member go, without asking it."""
        gone = self._members.pop(source, None)
        if gone is not None:
            gone.set_result(None)
            self._change()

    def grow(self, partitions: int) -> None:
        """Let there be more partitions; members give up all, and are given theirs."""
        if partitions > self._partitions:
            self._partitions = partitions
            self._change()

    def _change(self) -> None:
        self._is_stale = True
        if self._rebalance is None or self._rebalance.done():
            self._rebalance = self._spawn(self._rebalanced())

    async def _rebalanced(self) -> None:
        while self._is_stale:
            self._is_stale = False
            letting_go = [(member.take(), gone) for member, gone in self._members.items()]
            for task, gone in letting_go:
                await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not self._is_stale:
                members = list(self._members)
                for place, member in enumerate(members):
                    member.give(range(place, self._partitions, len(members)))


class _Acknowledged:
    """An offset that is known already."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def __await__(self) -> Generator[Any, None, int]:
        yield from ()
        return self._offset


class MemoryPublisher:
    """Appends at once."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def start(self) -> None:
        """Nothing to connect."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        """Append a record; the awaitable gives its offset."""
        assert key is not None or (partition is not None and value is not None)
        count = len(self._log.partitions(topic))
        if partition is None:
            partition = home_partition(key or b"", count)
        if not 0 <= partition < count:
            raise ConfigError(f"topic {topic} has {count} partitions, and no {partition}")
        limit = int(self._log.states([topic])[0].config["max.message.bytes"])
        if len(key or b"") + len(value or b"") > limit:
            raise ConfigError(f"send to {topic}: the record is too large, over {limit} bytes")
        return _Acknowledged(self._log.append(topic, partition, key, value))

    async def flush(self) -> None:
        """Nothing waits."""

    async def stop(self) -> None:
        """Nothing to disconnect."""


class MemoryTogether:
    """Appends groups at once; the latest started writer of a name is the only one."""

    def __init__(self, log: MemoryLog, name: str) -> None:
        self._log = log
        self._name = name

    async def start(self) -> None:
        """End every earlier writer of this name."""
        self._log.writers[self._name] = self

    async def send_all(self, sendings: Sequence[Sending]) -> list[int]:
        """Append all of these records or none; return their offsets."""
        if self._log.writers.get(self._name) is not self:
            raise OwnershipLost(f"another writer of the name {self._name} has started")
        for each in sendings:
            if not 0 <= each.partition < len(self._log.partitions(each.topic)):
                raise ConfigError(f"topic {each.topic} has no partition {each.partition}")
        return [
            self._log.append(each.topic, each.partition, each.key, each.value) for each in sendings
        ]

    async def stop(self) -> None:
        """Nothing to disconnect."""


class MemoryReader:
    """Reads outside any group."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._stopping: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Nothing to connect."""
        self._stopping = asyncio.get_running_loop().create_future()

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return what the log holds of each partition of a topic."""
        return {p: Bounds(x.start, x.end) for p, x in enumerate(self._log.partitions(topic))}

    async def read(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
        """Return the records in [start, end) that the log holds now, in order."""
        return self._log.partitions(topic)[partition].between(start, end)

    async def read_some(
        self, topic: str, partition: int, start: int, end: int, records_max: int
    ) -> tuple[list[Record], int]:
        """Return the first records of what `read` returns, and the offset to go on from."""
        log = self._log.partitions(topic)[partition]
        stop = min(end, max(start, log.start) + records_max)
        records = await self.read(topic, partition, start, stop)
        return records, stop if stop < log.end else end

    async def follow(
        self, topic: str, starts: Mapping[int, int], wait_s: float = 0.5
    ) -> AsyncGenerator[list[Record], None]:
        """Yield what comes from `starts` (partition -> offset) on, until the reader stops."""
        stopping = self._stopping
        assert stopping is not None, "not started"
        held = await self.bounds(topic)
        positions = {p: max(start, held[p].start) for p, start in starts.items()}
        while not stopping.done():
            grown = self._log.grown
            records = self._next(topic, positions)
            if not records:
                await asyncio.wait(
                    {grown, stopping}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
                )
                records = self._next(topic, positions)
            yield records

    def _next(self, topic: str, positions: dict[int, int]) -> list[Record]:
        """Return what stands at the positions, and move them behind it."""
        logs = self._log.partitions(topic)
        records: list[Record] = []
        for partition, position in positions.items():
            log = logs[partition]
            if not log.start <= position <= log.end:
                raise BusUnavailable(
                    f"follow {topic} {partition}: it holds [{log.start}, {log.end}),"
                    f" not {position}: the log is not the one it was",
                    hint="read its bounds again",
                )
            records += log.between(position, position + RECORDS_AT_ONCE)
        for record in records:
            positions[record.partition] = record.offset + 1
        return records

    async def stop(self) -> None:
        """End followers."""
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)


class MemoryTopics:
    """Creates topics, and judges them as the Kafka door does."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def start(self) -> None:
        """Nothing to connect."""

    async def ensure(self, specs: Sequence[TopicSpec]) -> list[TopicState]:
        """Create what is missing; return all states in the order of `specs`."""
        return await topics.ensure(self, specs)

    async def create(self, specs: Sequence[tuple[TopicSpec, dict[str, str]]]) -> None:
        """Create topics with these settings; one that exists is left alone."""
        for spec, settings in specs:
            self._log.create(spec, settings)

    async def describe(self, names: Sequence[str]) -> list[TopicState]:
        """Return the states of the topics that exist."""
        return self._log.states(names)

    async def grow(self, name: str, partitions: int) -> None:
        """Let a topic have so many partitions, more than it has."""
        topics.check_growth(name, len(self._log.partitions(name)), partitions)
        self._log.grow(name, partitions)

    async def stop(self) -> None:
        """Nothing to disconnect."""
