"""A log in memory with the topics of a gateway, and doors to it that fail on demand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any

import msgspec

from stream.bus import (
    Bounds,
    MemoryLog,
    MemoryPublisher,
    MemoryReader,
    MemoryTopics,
    Record,
    TopicSpec,
)
from stream.errors import BusUnavailable, ConfigError
from stream.events import Request, decode_request
from stream.gateway import Gateway, GatewaySpec, ReportSpec
from tests.buses import WallClock
from tests.models.owner import Owner


class Site:
    """A broker in memory with its clock; `bus_is_down` makes every call to it fail.

    `repeats` are records that a follower is given once more.
    """

    def __init__(self) -> None:
        self.clock = WallClock()
        self.log = MemoryLog(self.clock)
        self.bus_is_down = False
        self.refuses = False
        self.repeats: list[Record] = []

    async def make_topics(self, *names: str, partitions: int = 1) -> None:
        specs = [TopicSpec(name=name, partitions=partitions) for name in names]
        await MemoryTopics(self.log).ensure(specs)

    def gateway(self, **settings: Any) -> Gateway:
        spec = msgspec.convert({"kind": "gateway", "name": "edge-1"} | settings, GatewaySpec)
        return Gateway(ShakyReader(self), ShakyPublisher(self), self.clock, spec)

    def publish(self, key: bytes, value: bytes | None, partition: int = 0) -> None:
        self.log.append("enforcement", partition, key, value)

    def reported(self) -> list[Request]:
        """What gateways have reported, in order."""
        records = self.log.partitions("requests")[0].records
        return [decode_request(record.value or b"") for record in records]

    def look(self) -> None:
        if self.bus_is_down:
            raise BusUnavailable("the broker is away")


class ShakyReader(MemoryReader):
    """A reader that fails while the broker is away."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.log)
        self._site = site

    async def start(self) -> None:
        self._site.look()
        await super().start()

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        self._site.look()
        return await super().bounds(topic)

    async def read(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
        self._site.look()
        return await super().read(topic, partition, start, end)

    async def follow(
        self, topic: str, starts: Mapping[int, int], wait_s: float = 0.5
    ) -> AsyncIterator[list[Record]]:
        async for records in super().follow(topic, starts, 0.01):
            self._site.look()
            yield self._site.repeats + records
            self._site.repeats = []


class ShakyPublisher(MemoryPublisher):
    """A publisher that fails while the broker is away; `lost_answers` of its answers get lost."""

    def __init__(self, site: Site, lost_answers: int = 0) -> None:
        super().__init__(site.log)
        self._site = site
        self._lost_answers = lost_answers

    async def start(self) -> None:
        self._site.look()

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        self._site.look()
        if self._site.refuses:
            raise ConfigError("the record is too large")
        answer = await super().send(topic, key, value, partition)
        if self._lost_answers:
            self._lost_answers -= 1
            lost: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            lost.set_exception(BusUnavailable("no answer"))
            return lost
        return answer


class SlowPublisher(ShakyPublisher):
    """A publisher whose answers come when the test gives them."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.answers: list[asyncio.Future[int]] = []

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        await super().send(topic, key, value, partition)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


def report_spec(**settings: Any) -> ReportSpec:
    return msgspec.convert({"kind": "report"} | settings, ReportSpec)


def soon(site: Site, **changes: Any) -> dict[str, Any]:
    """Fields of a command that is caused now."""
    return {"caused_at_ms": site.clock.at_ms} | changes


def beat(site: Site, owner: Owner, **changes: Any) -> None:
    site.publish(*owner.heartbeat(site.clock.at_ms, **changes))


@contextlib.asynccontextmanager
async def opened(site: Site, owner: Owner | None = None, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway on its topics, ready if an owner has spoken."""
    await site.make_topics("enforcement", "requests")
    if owner is not None:
        beat(site, owner)
    async with site.gateway(**settings) as gateway:
        if owner is not None:
            assert await gateway.wait_ready(10)
        yield gateway
