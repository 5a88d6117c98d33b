"""What only a real Kafka does to its clients: kick out, refuse, forget, compact, hold back."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from stream.bus import (
    Bounds,
    KafkaPublisher,
    KafkaReader,
    KafkaSource,
    KafkaSpec,
    KafkaTopics,
    TopicSpec,
)
from stream.errors import BusUnavailable, ConfigError
from tests.buses import PATIENCE_S, Member, kafka_spec, run, send_all, until


@pytest.fixture
def spec(servers: Any, fresh_name: str) -> KafkaSpec:
    return kafka_spec(servers.kafka, fresh_name)


@contextlib.asynccontextmanager
async def opened(*doors: Any) -> AsyncIterator[None]:
    """Doors that are started, and stopped afterwards."""
    async with contextlib.AsyncExitStack() as undo:
        for door in doors:
            await door.start()
            undo.push_async_callback(door.stop)
        yield


@contextlib.asynccontextmanager
async def topic_of(
    spec: KafkaSpec, partitions: int = 2, **settings: Any
) -> AsyncIterator[tuple[str, KafkaPublisher, KafkaReader]]:
    """A topic named as the group, with a publisher and a reader."""
    topics, publisher, reader = KafkaTopics(spec), KafkaPublisher(spec), KafkaReader(spec)
    async with opened(topics, publisher, reader):
        await topics.ensure([TopicSpec(name=spec.group, partitions=partitions, **settings)])
        yield spec.group, publisher, reader


@contextlib.asynccontextmanager
async def vendor_client(spec: KafkaSpec) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=spec.bootstrap)
    await client.bootstrap()
    yield client
    await client.close()


@contextlib.asynccontextmanager
async def member_of(
    spec: KafkaSpec, checkpoints: dict[int, int], kind: type[Member] = Member
) -> AsyncIterator[Member]:
    member = kind(KafkaSource(spec, spec.group), checkpoints)
    await member.source.start(member)
    try:
        yield member
    finally:
        await member.source.stop()


def test_member_kicked_out_hears_of_it_and_comes_back(spec: KafkaSpec) -> None:
    """A member that the group has thrown out loses all, then joins again as a new one."""

    async def scene() -> None:
        async with topic_of(spec) as (topic, publisher, _), member_of(spec, {}) as member:
            await send_all(publisher, topic, [(n % 2, b"%d" % n) for n in range(20)])
            await member.read(lambda: len(member.seen) == 20)
            coordinator = member.source._consumer._coordinator
            async with vendor_client(spec) as client:
                request = LeaveGroupRequest(spec.group, coordinator.member_id)
                answer = await client.send(coordinator.coordinator_id, request)
                assert answer.error_code == 0
            await member.source.commit({0: 10, 1: 10})
            await until(lambda: len(member.calls) == 3 and len(member.held) == 2)
            assert [call for call, _ in member.calls] == ["assigned", "revoked", "assigned"]
            await send_all(publisher, topic, [(0, b"later")])
            await member.read(lambda: len(member.seen) == 21)
            assert member.seen[-1] == (0, 10, b"later")

    run(scene())


def test_slow_listener_stays_in_the_group(spec: KafkaSpec) -> None:
    """Heartbeats go on while the listener takes its time, and no record comes before it answers."""
    may_answer = asyncio.Event()

    class Slow(Member):
        async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
            await may_answer.wait()
            return await super().assigned(partitions)

    async def scene() -> None:
        async with topic_of(spec) as (topic, publisher, _), member_of(spec, {}, Slow) as member:
            await send_all(publisher, topic, [(0, b"x")] * 5)
            await until(lambda: member.source._consumer._coordinator.generation > 0)
            coordinator = member.source._consumer._coordinator
            beats = 0
            beat = coordinator._do_heartbeat

            async def counted() -> bool:
                nonlocal beats
                beats += await beat()
                return True

            coordinator._do_heartbeat = counted
            await until(lambda: beats >= 5)
            assert await member.step() == []
            may_answer.set()
            await member.read(lambda: len(member.seen) == 5)
            assert coordinator.generation == 1

    run(scene())


def test_group_that_refuses_is_said(spec: KafkaSpec, servers: Any) -> None:
    """A session the broker does not allow is the operator's to change, and fetching says so."""

    async def scene() -> None:
        hasty = kafka_spec(servers.kafka, spec.group, session_ms=100, heartbeat_ms=10)
        async with topic_of(spec), member_of(hasty, {}) as member:
            with pytest.raises(ConfigError, match="group does not take us"):
                await member.read(lambda: False)

    run(scene())


def test_static_member_returns_without_a_rebalance(spec: KafkaSpec, servers: Any) -> None:
    """A worker with a static id that restarts quickly gets its partitions, and moves no other's."""

    def named(name: str) -> KafkaSpec:
        return kafka_spec(servers.kafka, spec.group, member_id=name)

    async def scene() -> None:
        async with topic_of(spec), member_of(named("b"), {}) as other:
            async with member_of(named("a"), {}) as first:
                await until(lambda: len(first.held) == len(other.held) == 1)
                held, calls = set(first.held), list(other.calls)
            async with member_of(named("a"), {}) as again:
                await until(lambda: again.held == held)
                assert other.calls == calls

    run(scene())


async def produce_raw(spec: KafkaSpec, topic: str, partition: int, values: list[bytes]) -> None:
    """Append a batch in which the header of each record has a name that is no text."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 100_000)
    for offset, value in enumerate(values):
        builder.append(offset, 1, b"key", value, [("mark-0f7", b"")])
    raw = bytearray(bytes(builder.build()).replace(b"mark-0f7", b"mark-\xff\xfe\xfd"))
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    async with vendor_client(spec) as client:
        await client._wait_on_metadata(topic)
        node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(None, -1, 5_000, [(topic, [(partition, bytes(raw))])])
        answer = await client.send(node, request)
        assert answer.topics[0][1][0][1] == 0


def test_record_with_an_odd_header_stops_nobody(spec: KafkaSpec) -> None:
    """A header that the client cannot read costs nothing but time: its record and others come."""

    async def scene() -> None:
        async with topic_of(spec) as (topic, publisher, reader), member_of(spec, {}) as member:
            await send_all(publisher, topic, [(n % 2, b"a%d" % n) for n in range(4)])
            await produce_raw(spec, topic, 0, [b"odd 0", b"odd 1", b"odd 2"])
            await send_all(publisher, topic, [(n % 2, b"b%d" % n) for n in range(4)])
            await produce_raw(spec, topic, 0, [b"last"])
            wanted = [b"a0", b"a2", b"odd 0", b"odd 1", b"odd 2", b"b0", b"b2", b"last"]

            async with asyncio.timeout(PATIENCE_S):
                while len(member.seen) < 12:
                    assert sum(await member.step(2)) <= 2
            assert [v for p, _, v in member.seen if p == 0] == wanted
            assert [o for p, o, _ in member.seen if p == 0] == list(range(8))
            assert [r.value for r in await reader.read(topic, 0, 3, 7)] == wanted[3:7]
            followed: list[bytes | None] = []
            async with contextlib.aclosing(reader.follow(topic, {0: 0, 1: 4})) as following:
                while len(followed) < 8:
                    followed += [record.value for record in await anext(following)]
            assert followed == wanted

    run(scene())


def test_position_that_retention_passed_is_given_again(spec: KafkaSpec) -> None:
    """When the log has lost its beginning, the listener is asked again, and can see the bounds."""

    class Careful(Member):
        async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
            starts = dict(await super().assigned(partitions))
            if len(self.calls) > 1:
                bounds = await self.source.bounds(partitions)
                starts = {p: max(start, bounds[p].start) for p, start in starts.items()}
            return starts

    async def scene() -> None:
        async with topic_of(spec) as (topic, publisher, reader):
            await send_all(publisher, topic, [(n % 2, b"%d" % n) for n in range(40)])
            admin = AIOKafkaAdminClient(bootstrap_servers=spec.bootstrap)
            await admin.start()
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(15)})
            await admin.close()
            async with member_of(spec, {0: 3, 1: 3}, Careful) as member:
                await member.read(lambda: len(member.seen) == 5 + 17)
                assert member.calls[1:] == [("revoked", [0]), ("assigned", [0])]
                assert await member.source.bounds([0]) == {0: Bounds(15, 20)}
            assert [r.offset for r in await reader.read(topic, 0, 0, 17)] == [15, 16]
            async with contextlib.aclosing(reader.follow(topic, {0: 0})) as following:
                assert (await anext(following))[0].offset == 15

    run(scene())


async def end_of(reader: KafkaReader, topic: str, end: int) -> None:
    """Wait until partition 0 can be read up to an end."""
    async with asyncio.timeout(PATIENCE_S):
        while (await reader.bounds(topic))[0].end != end:
            pass


def test_open_transaction_ends_what_can_be_read(spec: KafkaSpec) -> None:
    """Bounds end where an open transaction begins; its records come when it is committed."""

    async def scene() -> None:
        async with topic_of(spec, partitions=1) as (topic, publisher, reader):
            await send_all(publisher, topic, [(0, b"plain")])
            bound = AIOKafkaProducer(
                bootstrap_servers=spec.bootstrap, transactional_id=topic, linger_ms=0
            )
            await bound.start()
            # Offsets: plain 0, dropped 1, behind 2, its marker 3, kept 4, behind 5, its marker 6.
            for is_kept, first in ((False, 1), (True, 4)):
                await bound.begin_transaction()
                await bound.send_and_wait(topic, b"kept" if is_kept else b"dropped", partition=0)
                await send_all(publisher, topic, [(0, b"behind")])
                assert (await reader.bounds(topic))[0].end == first
                assert len(await reader.read(topic, 0, 0, 99)) == (2 if is_kept else 1)
                await (bound.commit_transaction() if is_kept else bound.abort_transaction())
                await end_of(reader, topic, first + 3)
            await bound.stop()
            values = [r.value for r in await reader.read(topic, 0, 0, 99)]
            assert values == [b"plain", b"behind", b"kept", b"behind"]
            assert await reader.read(topic, 0, 6, 7) == []

    run(scene())


async def hurry_the_cleaner(spec: KafkaSpec) -> None:
    """Let the broker look for logs to compact all the time, not every 15 seconds."""
    async with vendor_client(spec) as client:
        names = [str(broker.nodeId) for broker in client.cluster.brokers()]
    admin = AIOKafkaAdminClient(bootstrap_servers=spec.bootstrap)
    await admin.start()
    setting = {"log.cleaner.backoff.ms": "50"}
    await admin.alter_configs([ConfigResource("BROKER", name, setting) for name in names])
    await admin.close()


def test_range_may_end_in_a_hole(spec: KafkaSpec) -> None:
    """A range of a compacted log is complete with what is left of it, be that nothing."""
    always = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.0",
        "segment.ms": "100",
        "max.compaction.lag.ms": "100",
    }

    async def scene() -> None:
        async with topic_of(spec, partitions=1) as (topic, publisher, reader):
            await hurry_the_cleaner(spec)
            topics, holed = KafkaTopics(spec), topic + "-holed"
            async with opened(topics):
                await topics.create([(TopicSpec(name=holed, partitions=1), always)])
            await send_all(publisher, holed, [(0, b"%d" % n) for n in range(60)])
            first = 0
            async with asyncio.timeout(PATIENCE_S):
                while first < 60:
                    # Each record rolls the segment, so that those before it can be compacted.
                    await send_all(publisher, holed, [(0, b"newer")])
                    first = (await reader.read(holed, 0, 0, 10_000))[0].offset
            assert await reader.read(holed, 0, 0, 60) == []
            assert await reader.read(holed, 0, 20, 40) == []
            assert await reader.read_some(holed, 0, 0, 60, 5) == ([], 60)
            (record,), next_offset = await reader.read_some(holed, 0, 0, 10_000, 1)
            assert next_offset == record.offset + 1 > 60
            assert (await reader.bounds(holed))[0].start == 0
            async with contextlib.aclosing(reader.follow(holed, {0: 5})) as following:
                assert (await anext(following))[0].offset >= 60

    run(scene())


def test_publisher_goes_on_after_a_refused_batch(spec: KafkaSpec, servers: Any) -> None:
    """A record that the broker refuses fails alone: what is sent afterwards arrives, in order."""

    async def scene() -> None:
        generous = kafka_spec(servers.kafka, spec.group, record_bytes_max=5_000_000)
        greedy = KafkaPublisher(generous)
        async with topic_of(spec, record_bytes_max=10_000) as (topic, _, reader), opened(greedy):
            before = await send_all(greedy, topic, [(0, b"a"), (1, b"b")])
            refused = await greedy.send(topic, b"key", bytes(200_000), 0)
            with pytest.raises(ConfigError, match="too large"):
                await refused
            after = await send_all(greedy, topic, [(0, b"c"), (0, b"d"), (1, b"e")])
            assert (before, after) == ([0, 0], [1, 2, 1])
            assert [r.value for r in await reader.read(topic, 0, 0, 9)] == [b"a", b"c", b"d"]

    run(scene())


def test_topic_made_anew_has_another_id(spec: KafkaSpec) -> None:
    """The broker's id of a topic tells that it is not the one it was."""

    async def scene() -> None:
        topics = KafkaTopics(spec)
        admin = AIOKafkaAdminClient(bootstrap_servers=spec.bootstrap)
        async with opened(topics):
            await admin.start()
            wanted = TopicSpec(name=spec.group, partitions=1)
            (first,) = await topics.ensure([wanted])
            await admin.delete_topics([wanted.name])
            async with asyncio.timeout(PATIENCE_S):
                while await topics.describe([wanted.name]):
                    pass
            (second,) = await topics.ensure([wanted])
            await admin.close()
            assert len(first.id) == len(second.id) == 22
            assert first.id != second.id

    run(scene())


def test_asking_creates_no_topic(spec: KafkaSpec) -> None:
    """Nobody creates a topic by asking for it, even where the broker would let them."""

    async def scene() -> None:
        missing = spec.group + "-missing"
        topics, reader, publisher = KafkaTopics(spec), KafkaReader(spec), KafkaPublisher(spec)
        source = KafkaSource(spec, missing)
        async with opened(topics, reader, publisher):
            for asking in (
                reader.bounds(missing),
                publisher.send(missing, b"k", b"v"),
                source.start(Member(source, {})),
                anext(reader.follow(missing, {0: 0})),
            ):
                with pytest.raises(ConfigError, match="does not exist"):
                    await asking
            assert await topics.describe([missing]) == []

    run(scene())


def test_two_may_make_the_same_topics_at_once(spec: KafkaSpec) -> None:
    """Workers that start together agree on the topics, whoever made them."""

    async def scene() -> None:
        both = [KafkaTopics(spec), KafkaTopics(spec)]
        specs = [TopicSpec(name=f"{spec.group}-{n}", partitions=2) for n in range(3)]
        async with opened(*both):
            first, second = await asyncio.gather(*(topics.ensure(specs) for topics in both))
            assert first == second

    run(scene())


@pytest.mark.parametrize("door", [KafkaPublisher, KafkaReader, KafkaTopics, KafkaSource])
def test_absent_broker_is_said_in_time(door: type, fresh_name: str) -> None:
    """Where no broker answers, starting says so within its time, and leaves nothing behind."""

    async def scene() -> None:
        spec = kafka_spec(
            "127.0.0.1:9", fresh_name, request_ms=1_000, rebalance_ms=900, heartbeat_ms=10
        )
        made = KafkaSource(spec, "requests") if door is KafkaSource else door(spec)
        starting = made.start(Member(made, {})) if door is KafkaSource else made.start()
        with pytest.raises(BusUnavailable):
            await starting
        await made.stop()

    run(scene())
