"""What the suite over every bus runs on: both buses alike, and a worker without a head."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream.bus import (
    EventSource,
    KafkaPublisher,
    KafkaReader,
    KafkaSource,
    KafkaSpec,
    KafkaTopics,
    LogReader,
    MemoryLog,
    MemoryPublisher,
    MemoryReader,
    MemorySource,
    MemoryTopics,
    Publisher,
    TopicAdmin,
    TopicSpec,
)

PATIENCE_S = 30.0


class WallClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at_ms = 1_700_000_000_000

    def wall_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return self.at_ms / 1_000


@dataclass
class Bus:
    """The makers of one bus, and a name for this test's topics."""

    name: str
    source: Callable[[str], EventSource]
    publisher: Callable[[], Publisher]
    reader: Callable[[], LogReader]
    topics: Callable[[], TopicAdmin]

    @contextlib.asynccontextmanager
    async def open(
        self, partitions: int = 3, **settings: Any
    ) -> AsyncIterator[tuple[str, Publisher, LogReader]]:
        """A topic made for the test, with a publisher and a reader."""
        topics, publisher, reader = self.topics(), self.publisher(), self.reader()
        async with contextlib.AsyncExitStack() as undo:
            for door in (topics, publisher, reader):
                await door.start()
                undo.push_async_callback(door.stop)
            await topics.ensure([TopicSpec(name=self.name, partitions=partitions, **settings)])
            yield self.name, publisher, reader


def memory_bus(name: str) -> Bus:
    log = MemoryLog(WallClock())
    return Bus(
        name=name,
        source=lambda topic: MemorySource(log, topic),
        publisher=lambda: MemoryPublisher(log),
        reader=lambda: MemoryReader(log),
        topics=lambda: MemoryTopics(log),
    )


def kafka_spec(address: str, group: str, **settings: Any) -> KafkaSpec:
    """Settings of a test: quick to notice a change of the group, without lingering."""
    quick = {"kind": "kafka", "bootstrap": address, "group": group, "heartbeat_ms": 100}
    return msgspec.convert(quick | {"linger_ms": 0} | settings, KafkaSpec)


def kafka_bus(name: str, address: str) -> Bus:
    spec = kafka_spec(address, name, record_bytes_max=2_000_000)
    return Bus(
        name=name,
        source=lambda topic: KafkaSource(spec, topic),
        publisher=lambda: KafkaPublisher(spec),
        reader=lambda: KafkaReader(spec),
        topics=lambda: KafkaTopics(spec),
    )


def run(scene: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, and fail it rather than wait for ever."""

    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await scene

    asyncio.run(bounded())


async def until(is_so: Callable[[], bool]) -> None:
    """Let others run until a condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # what is waited for is in the room, without an event
            await asyncio.sleep(0.005)


async def send_all(
    publisher: Publisher, topic: str, records: Sequence[tuple[int, bytes]]
) -> list[int]:
    """Publish (partition, value) pairs in order; return their offsets."""
    acks = [await publisher.send(topic, b"key", value, partition) for partition, value in records]
    return [await ack for ack in acks]


@dataclass
class Member:
    """A worker without a head: reads, remembers, and moves the shared checkpoints."""

    source: EventSource
    checkpoints: dict[int, int]
    seen: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    calls: list[tuple[str, list[int]]] = field(default_factory=list)
    held: set[int] = field(default_factory=set)

    async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        self.calls.append(("assigned", list(partitions)))
        self.held |= set(partitions)
        return {partition: self.checkpoints.get(partition, 0) for partition in partitions}

    async def revoked(self, partitions: Sequence[int]) -> None:
        self.calls.append(("revoked", list(partitions)))
        self.held -= set(partitions)

    async def step(self, records_max: int = 100, wait_s: float = 0.05) -> list[int]:
        """Fetch once; return how many records came of each chunk."""
        chunks = await self.source.fetch(records_max, wait_s)
        for chunk in chunks:
            assert chunk.partition in self.held
            assert len(chunk.offsets) == len(chunk.append_ms) == len(chunk.values) > 0
            self.seen += [
                (chunk.partition, int(offset), value)
                for offset, value in zip(chunk.offsets, chunk.values, strict=True)
            ]
            self.checkpoints[chunk.partition] = int(chunk.offsets[-1]) + 1
        return [len(chunk.offsets) for chunk in chunks]

    async def read(self, is_enough: Callable[[], bool]) -> None:
        """Fetch until it is enough."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_enough():
                await self.step()


@contextlib.asynccontextmanager
async def joined(bus: Bus, topic: str, checkpoints: dict[int, int]) -> AsyncIterator[Member]:
    """A member of the group, reading nothing yet."""
    member = Member(bus.source(topic), checkpoints)
    await member.source.start(member)
    try:
        yield member
    finally:
        await member.source.stop()
