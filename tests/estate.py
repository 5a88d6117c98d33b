"""A whole installation in memory: a log, a store, and workers on them; no server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from stream.bus import (
    MemoryLog,
    MemoryPublisher,
    MemoryReader,
    MemorySource,
    MemoryTopics,
)
from stream.events import Request, SubjectRecord, decode_value, encode, encode_request
from stream.gateway import CommandTable, TableSpec
from stream.metrics import Metrics
from stream.policy import load_policy
from stream.runtime import NO_KEYS, Doors, SystemClock, TopicsSpec, Worker, WorkerSpec
from stream.store import BUCKETS, MemoryServer, MemoryStore
from tests.live import KEY, POLICY, fixed_part, key_of, replayed, wait_until

TOPICS = TopicsSpec()
START_MS = 1_790_000_000_000
Settings = Any


class Estate:
    """A log and a store in memory, and workers on them; doors may be replaced."""

    def __init__(self, policy: str = POLICY, topics: TopicsSpec = TOPICS) -> None:
        self.names = topics
        self.log = MemoryLog(SystemClock())
        self.server = MemoryServer()
        self.publisher: Callable[[MemoryLog], MemoryPublisher] = MemoryPublisher
        self.zone: Callable[[str], MemorySource] = self.zone_source
        self.store: Callable[[MemoryServer], MemoryStore] = MemoryStore
        self.admin: Callable[[MemoryLog], MemoryTopics] = MemoryTopics
        self.source: Callable[[MemoryLog, str], MemorySource] = MemorySource
        self.keys = NO_KEYS
        self.policy = load_policy(policy, "test")
        self.metrics = Metrics()

    def made(self, **settings: Settings) -> Worker:
        """A worker that does not run yet."""
        doors = Doors(
            source=lambda: self.source(self.log, TOPICS.requests),
            publisher=lambda: self.publisher(self.log),
            reader=lambda: MemoryReader(self.log),
            library=lambda: MemoryReader(self.log),
            admin=lambda: self.admin(self.log),
            store=lambda: self.store(self.server),
            zone=self.zone,
        )
        spec = WorkerSpec(**({"slots_max": 64, "save_every_ms": 20, "heartbeat_ms": 20} | settings))
        self.metrics = Metrics()
        shown = (SystemClock(), self.metrics, "test")
        policy = self.policy, load_policy
        return Worker((spec, self.names), doors, policy, KEY, shown, self.keys)

    def zone_source(self, zone: str) -> MemorySource:
        """A member of the group that reads a zone."""
        return MemorySource(self.log, self.names.zone_topic(zone), f"zone.{zone}")

    @contextlib.asynccontextmanager
    async def worker(self, **settings: Settings) -> AsyncIterator[Worker]:
        """A worker, stopped at the end."""
        worker = self.made(**settings)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task

    async def topics(self) -> None:
        """Create the topics."""
        await MemoryTopics(self.log).ensure(self.names.specs())

    async def feed(self, payloads: Iterable[bytes], zone: str = "") -> None:
        """Send payloads as gateways do, those of a zone to its topic."""
        publisher = MemoryPublisher(self.log)
        topic = self.names.zone_topic(zone) if zone else self.names.requests
        for payload in payloads:
            await publisher.send(topic, key_of(payload), payload)

    def values(self, topic: str) -> list[bytes]:
        """All values of a topic, tombstones left out."""
        parts = self.log.partitions(topic)
        return [each.value for part in parts for each in part.records if each.value is not None]

    def bodies(self) -> list[bytes]:
        """The bodies of all commands ever published, once each."""
        found = {}
        for data in self.values(TOPICS.enforcement):
            value = decode_value(data)
            if isinstance(value, SubjectRecord):
                found |= {each.id: encode(each.body) for each in value.commands}
        return list(found.values())

    def table(self) -> CommandTable:
        """What a gateway knows that has read the topic to its end."""
        parts = self.log.partitions(TOPICS.enforcement)
        table = CommandTable(TableSpec(heartbeats_missed_max=1_000), len(parts))
        for part in parts:
            for record in part.records:
                table.apply(record)
        table.finish_loading()
        return table

    async def rows(self) -> dict[int, bytes]:
        """All stored rows, without what differs between a log and a file."""
        store = MemoryStore(self.server)
        return {
            row_id: fixed_part(row)
            for partition in range(TOPICS.partitions)
            for bucket in range(BUCKETS)
            for row_id, row in await store.scan(partition, bucket)
        }

    def replayed(self, payloads: Iterable[bytes]) -> tuple[list[bytes], dict[int, bytes]]:
        """The command bodies and the rows of an undisturbed replay."""
        return replayed(self.policy, TOPICS.partitions, payloads)


def busy(count: int, agents: int) -> list[bytes]:
    """Events of some agents, some of which fail, send and flood."""
    return [
        encode_request(
            Request(
                at_ms=START_MS + each * 40,
                workload=f"spiffe://test.example/agents/a{each * each % agents}",
                operation=f"tool:{('get', 'send', 'delete')[each % 3]}_{each % 5}",
                outcome=("served", "failed", "denied")[each % 7 % 3],
                task=f"t{each % 4}",
            )
        )
        for each in range(count)
    ]


async def stored(worker: Worker, count: int) -> None:
    """Wait until so many events are applied and stored."""

    async def ask() -> int:
        return sum(position for _, position in worker.progress().values())

    await wait_until(ask, lambda position: position >= count)
