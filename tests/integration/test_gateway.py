"""Gateways on a real Kafka: they rebuild, obey, report."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from time import monotonic, time_ns

import msgspec
import pytest

from stream.bus import (
    KafkaPublisher,
    KafkaReader,
    KafkaTopics,
    Publisher,
    TopicSpec,
)
from stream.events import Request, Subject, decode_request, split_requests
from stream.gateway import ALLOW, Gateway, GatewaySpec
from stream.identity import home_partition
from stream.local import Addresses
from tests.buses import PATIENCE_S, kafka_spec, run, until
from tests.models.owner import AGENT, OTHER, Owner, Pair, act, command, operator_record

LOG_PARTITIONS = 3
HOMES = 6


class RealClock:
    """The clock of this machine."""

    def wall_ms(self) -> int:
        return time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return monotonic()


CLOCK = RealClock()


@dataclass
class Site:
    """Topics of one test, and the owners of its home partitions."""

    address: str
    name: str
    publisher: Publisher
    owners: list[Owner]

    @property
    def spec(self) -> GatewaySpec:
        topics = {"requests": f"{self.name}-requests", "enforcement": f"{self.name}-enforcement"}
        patient = {"kind": "gateway", "name": "edge", "close_s": PATIENCE_S}
        return msgspec.convert(patient | topics, GatewaySpec)

    def gateway(self, together_max: int = 1) -> Gateway:
        kafka = kafka_spec(self.address, self.name)
        report = msgspec.structs.replace(self.spec.report, together_max=together_max)
        spec = msgspec.structs.replace(self.spec, report=report)
        return Gateway(KafkaReader(kafka), KafkaPublisher(kafka), CLOCK, spec)

    async def publish(self, pairs: Sequence[Pair], home: int) -> None:
        topic, partition = self.spec.enforcement, home % LOG_PARTITIONS
        answers = [await self.publisher.send(topic, *pair, partition) for pair in pairs]
        for answer in answers:
            await answer

    async def beat(self) -> None:
        """Let each owner speak once; slow machines get a minute before that proves nothing."""
        for owner in self.owners:
            beat = owner.heartbeat(CLOCK.wall_ms(), every_ms=60_000)
            await self.publish([beat], owner.partition)

    async def revoke(self, workload: str, offset: int) -> None:
        owner = self.owners[home_partition(workload.encode(), HOMES)]
        subject = Subject(workload=workload)
        put = owner.put(subject, command(subject, offset=offset, caused_at_ms=CLOCK.wall_ms()))
        await self.publish([put], owner.partition)

    async def reported(self, count: int) -> list[tuple[int, bytes | None, Request]]:
        reader = KafkaReader(kafka_spec(self.address, self.name))
        await reader.start()
        try:
            starts = dict.fromkeys(range(HOMES), 0)
            found: list[tuple[int, bytes | None, Request]] = []
            async for records in reader.follow(self.spec.requests, starts):
                for record in records:
                    parts = map(decode_request, split_requests(record.value or b""))
                    found += [(record.partition, record.key, each) for each in parts]
                if len(found) >= count and not records:
                    return found
            raise AssertionError("the reader stopped")
        finally:
            await reader.stop()


@contextlib.asynccontextmanager
async def site_on(servers: Addresses, name: str) -> AsyncIterator[Site]:
    kafka = kafka_spec(servers.kafka, name)
    topics, publisher = KafkaTopics(kafka), KafkaPublisher(kafka)
    async with contextlib.AsyncExitStack() as undo:
        for door in (topics, publisher):
            await door.start()
            undo.push_async_callback(door.stop)
        owners = [Owner(home, HOMES) for home in range(HOMES)]
        site = Site(servers.kafka, name, publisher, owners)
        await topics.ensure(
            [
                TopicSpec(name=site.spec.requests, partitions=HOMES),
                TopicSpec(name=site.spec.enforcement, partitions=LOG_PARTITIONS, compacted=True),
            ]
        )
        yield site


def test_a_gateway_obeys_and_reports(servers: Addresses, fresh_name: str) -> None:
    """Ready by heartbeats, bound by a command a moment after it was published, heard by workers."""

    async def scene() -> None:
        async with site_on(servers, fresh_name) as site, site.gateway() as gateway:
            assert not await gateway.wait_ready(0.5)
            await site.beat()
            assert await gateway.wait_ready(PATIENCE_S)
            assert gateway.check(AGENT, "GET /x") is ALLOW
            await site.revoke(AGENT, 1)
            await until(lambda: gateway.check(AGENT, "GET /x").decision == "deny")
            for workload in (AGENT, OTHER):
                gateway.observe(Request(gateway.now_ms(), workload, "GET /x"))
            found = await site.reported(2)
        outcomes = {event.workload: event.outcome for _, _, event in found}
        assert outcomes == {AGENT: "refused", OTHER: "served"}
        for partition, key, event in found:
            assert key == event.workload.encode()
            assert partition == home_partition(key, HOMES)

    run(scene())


def test_a_late_gateway_rebuilds_the_whole_table(servers: Addresses, fresh_name: str) -> None:
    """A gateway that starts after thousands of commands has them all, and the digests prove it."""

    async def scene() -> None:
        async with site_on(servers, fresh_name) as site:
            at_ms = CLOCK.wall_ms()
            for owner in site.owners:
                pairs: list[Pair] = []
                for each in range(2_000):
                    subject = Subject(workload=f"{AGENT}/{owner.partition}/{each}")
                    pairs.append(
                        owner.put(subject, command(subject, offset=each, caused_at_ms=at_ms))
                    )
                pairs += [owner.drop(key) for key in list(owner.published)[::10]]
                await site.publish(pairs, owner.partition)
            await site.beat()
            async with site.gateway() as one, site.gateway() as other:
                for gateway in (one, other):
                    assert await gateway.wait_ready(PATIENCE_S)
                    assert gateway.state().records == HOMES * 1_800
                    assert gateway.check(f"{AGENT}/3/1999", "GET /x").decision == "deny"
                    assert gateway.check(f"{AGENT}/3/0", "GET /x") is ALLOW

    run(scene())


def test_an_erased_command_is_noticed(servers: Addresses, fresh_name: str) -> None:
    """A tombstone that no owner wrote makes the gateway say that it lacks something."""

    async def scene() -> None:
        async with site_on(servers, fresh_name) as site, site.gateway() as gateway:
            await site.revoke(AGENT, 1)
            await site.beat()
            assert await gateway.wait_ready(PATIENCE_S)
            owner = next(owner for owner in site.owners if owner.published)
            (key,) = owner.published
            await site.publish([(key, None)], owner.partition)
            await until(lambda: gateway.check(AGENT, "GET /x") is ALLOW)
            await site.beat()
            await until(lambda: gateway.state().state == "mismatch")

    run(scene())


def test_an_operator_stops_everything(servers: Addresses, fresh_name: str) -> None:
    """A stop reaches a gateway without any worker, and its end too."""

    async def scene() -> None:
        async with site_on(servers, fresh_name) as site, site.gateway() as gateway:
            await site.revoke(AGENT, 1)
            await until(lambda: gateway.check(AGENT, "GET /x").decision == "deny")
            stop = operator_record("", act("stop", CLOCK.wall_ms() + 60_000))
            await (await site.publisher.send(site.spec.enforcement, *stop))
            await until(lambda: gateway.check(AGENT, "GET /x").action == "stop")
            await (await site.publisher.send(site.spec.enforcement, stop[0], None))
            await until(lambda: gateway.check(AGENT, "GET /x").decision == "deny")

    run(scene())


@pytest.mark.parametrize("together_max", [1, 200])
def test_a_burst_is_reported_in_full(
    servers: Addresses, fresh_name: str, together_max: int
) -> None:
    """Every request of a burst beyond the buffer arrives, in events or in sums, exactly once.

    At the home of its workload, also where many share a record.
    """

    async def scene() -> None:
        async with site_on(servers, fresh_name) as site:
            async with site.gateway(together_max) as gateway:
                await site.beat()
                assert await gateway.wait_ready(PATIENCE_S)
                for each in range(30_000):
                    workload = f"{AGENT}/{each % 50}"
                    gateway.report(Request(gateway.now_ms(), workload, "GET /x", bytes=10))
                assert gateway.tallies()["report.summed"] > 0
            tallies = gateway.tallies()
            assert tallies["report.lost"] == tallies["report.unconfirmed"] == 0
            found = await site.reported(tallies["report.sent"])
        assert len(found) == tallies["report.sent"]
        assert sum(event.count for _, _, event in found) == 30_000
        assert sum(event.bytes for _, _, event in found) == 300_000
        homes = {(each[0], home_partition(each[2].workload.encode(), HOMES)) for each in found}
        assert all(partition == home for partition, home in homes)

    run(scene())
