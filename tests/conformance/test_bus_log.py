"""What stands in a log, over every bus: records as sent, ranges, followers, topics."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stream.bus import Record, TopicSpec
from stream.errors import BusUnavailable, ConfigError
from tests.buses import PATIENCE_S, Bus, run, send_all


def test_record_comes_back_as_sent(bus: Bus) -> None:
    """An acknowledged offset is where the record stands, with its key, value and append time."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, reader):
            ack = await publisher.send(topic, b"key", b"value", 1)
            tombstone = await publisher.send(topic, b"key", None, 1)
            assert (await ack, await tombstone, await ack) == (0, 1, 0)
            first, second = await reader.read(topic, 1, 0, 2)
            assert first == Record(1, 0, first.append_ms, b"key", b"value")
            assert second == Record(1, 1, second.append_ms, b"key", None)
            assert second.append_ms >= first.append_ms > 1_600_000_000_000

    run(scene())


def test_partition_keeps_the_order_sent(bus: Bus) -> None:
    """Records of one partition are appended in the order sent, without gaps, all acknowledged."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, reader):
            sent = [(n % 3, b"%d" % n) for n in range(3_000)]
            offsets = await send_all(publisher, topic, sent)
            for partition in range(3):
                stands = await reader.read(topic, partition, 0, 1_000)
                assert [r.value for r in stands] == [v for p, v in sent if p == partition]
                acked = [o for o, (p, _) in zip(offsets, sent, strict=True) if p == partition]
                assert [record.offset for record in stands] == acked == list(range(1_000))

    run(scene())


# (key, murmur2), from Kafka's own UtilsTest.
JAVA_MURMUR2 = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


def test_key_chooses_the_partition_as_java_does(bus: Bus) -> None:
    """Without a partition, a key's record stands where a Java producer would have put it."""

    async def scene() -> None:
        async with bus.open(partitions=7) as (topic, publisher, reader):
            for key, _ in JAVA_MURMUR2:
                await (await publisher.send(topic, key, b"v"))
            for key, hashed in JAVA_MURMUR2:
                home = (hashed & 0x7FFFFFFF) % 7
                assert key in [record.key for record in await reader.read(topic, home, 0, 9)]

    run(scene())


def test_publisher_refuses_what_cannot_be_right(bus: Bus) -> None:
    """A missing topic or partition and a record too large are the operator's, said at once."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, _):
            with pytest.raises(ConfigError, match="does not exist"):
                await publisher.send(topic + "-missing", b"key", b"value")
            with pytest.raises(ConfigError, match="has 3 partitions, and no 3"):
                await publisher.send(topic, b"key", b"value", 3)
            with pytest.raises(ConfigError, match="too large"):
                await (await publisher.send(topic, b"key", bytes(1_100_000), 0))
            assert await send_all(publisher, topic, [(0, b"a"), (0, b"b")]) == [0, 1]
            await publisher.flush()

    run(scene())


def test_reader_reads_ranges(bus: Bus) -> None:
    """A range is what the log holds of it now, in order; nothing is waited for."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, reader):
            await send_all(publisher, topic, [(1, b"%d" % n) for n in range(100)])
            for start, end in [(0, 100), (10, 20), (99, 100), (0, 5_000), (50, 50), (200, 300)]:
                got = await reader.read(topic, 1, start, end)
                assert [r.offset for r in got] == list(range(start, min(end, 100)))
                assert all(r.value == b"%d" % r.offset for r in got)
            assert await reader.read(topic, 0, 0, 10) == []
            assert await reader.read_some(topic, 0, 0, 10, 5) == ([], 10)
            with pytest.raises(ConfigError, match="does not exist"):
                await reader.bounds(topic + "-missing")

    run(scene())


def test_reader_reads_so_many_and_goes_on(bus: Bus) -> None:
    """A range is read in pieces of so many records, each from where the last one got to."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, reader):
            await send_all(publisher, topic, [(1, b"%d" % n) for n in range(100)])
            for start, end, records_max in [
                (0, 100, 7),
                (10, 20, 10),
                (3, 5_000, 40),
                (99, 100, 1),
            ]:
                whole = await reader.read(topic, 1, start, end)
                read, at = [], start
                while at < end:
                    records, at = await reader.read_some(topic, 1, at, end, records_max)
                    assert len(records) <= records_max
                    assert all(record.offset < at for record in records)
                    read += records
                assert read == whole
                assert at == end

    run(scene())


async def follow_to(following: AsyncIterator[list[Record]], count: int) -> list[Record]:
    """Take so many records from a follower."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += await anext(following)
    return records


def test_follower_sees_what_is_there_and_what_comes(bus: Bus) -> None:
    """A follower begins where it is told, sees each record once, and looks up when none comes."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, reader):
            await send_all(publisher, topic, [(n % 3, b"%d" % n) for n in range(30)])
            async with contextlib.aclosing(reader.follow(topic, {0: 8, 2: 0}, 0.05)) as following:
                first = await follow_to(following, 12)
                assert await anext(following) == []
                await send_all(publisher, topic, [(0, b"new"), (1, b"not ours"), (2, b"new")])
                second = await follow_to(following, 2)
            assert Counter(r.partition for r in first) == {0: 2, 2: 10}
            assert sorted(r[:2] for r in second) == [(0, 10), (2, 10)]

    run(scene())


def test_follower_ends_with_its_reader(bus: Bus) -> None:
    """Stopping a reader ends its followers."""

    async def scene() -> None:
        async with bus.open() as (topic, _, reader):
            following = reader.follow(topic, {0: 0}, 0.05)
            assert await anext(following) == []
            await reader.stop()
            async with asyncio.timeout(PATIENCE_S):
                assert [records async for records in following if records] == []

    run(scene())


def test_follower_does_not_guess(bus: Bus) -> None:
    """A start beyond the end means another log, which the follower says instead of waiting."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, reader):
            await send_all(publisher, topic, [(0, b"x")] * 3)
            with pytest.raises(BusUnavailable, match="not the one it was"):
                await anext(reader.follow(topic, {0: 4}))

    run(scene())


def test_topics_are_made_once(bus: Bus) -> None:
    """What is missing is created as specified; asking again changes nothing."""

    async def scene() -> None:
        topics = bus.topics()
        await topics.start()
        specs = [
            TopicSpec(name=f"{bus.name}-journal", partitions=2, outlives=f"{bus.name}-requests"),
            TopicSpec(name=f"{bus.name}-requests", partitions=2, retention_ms=10 * 86_400_000),
            TopicSpec(name=f"{bus.name}-enforcement", partitions=1, compacted=True),
            TopicSpec(name=f"{bus.name}-own-time", partitions=1, append_time=False),
        ]
        assert await topics.describe([spec.name for spec in specs]) == []
        made = await topics.ensure(specs)
        assert [state.name for state in made] == [spec.name for spec in specs]
        journal, requests, enforcement, own_time = (state.config for state in made)
        assert [state.partitions for state in made] == [2, 2, 1, 1]
        assert requests["cleanup.policy"] == journal["cleanup.policy"] == "delete"
        assert requests["retention.ms"] == journal["retention.ms"] == "864000000"
        assert enforcement["cleanup.policy"] == "compact"
        assert enforcement["message.timestamp.type"] == "LogAppendTime"
        assert own_time["message.timestamp.type"] == "CreateTime"
        assert await topics.ensure(specs) == made
        assert len({state.id for state in made} | {""}) == 5
        await topics.stop()

    run(scene())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"partitions": 4}, "partitions is 2, must be 4"),
        ({"compacted": True}, "cleanup.policy is delete, must be compact"),
        ({"append_time": False}, "message.timestamp.type is LogAppendTime, must be CreateTime"),
        ({"retention_ms": 10**10}, "retention.ms is 604800000, must be at least 10000000000"),
        ({"record_bytes_max": 10**7}, "max.message.bytes is 1048576, must be at least 10000000"),
        ({"replicas": 3}, "replicas is 1, must be at least 3"),
        (
            {"outlives": "-long"},
            "retention.ms is 604800000, must be at least 864000000, as long as",
        ),
        ({"outlives": "-compact"}, r"retention.ms is 604800000, must be -1 \(for ever\)"),
    ],
)
def test_topic_that_is_otherwise_is_refused(bus: Bus, wrong: dict[str, Any], said: str) -> None:
    """An existing topic with a wrong setting is refused: what it is, what it must be, a repair."""

    async def scene() -> None:
        async with bus.open(partitions=2) as (topic, _, _):
            topics = bus.topics()
            await topics.start()
            long = TopicSpec(name=topic + "-long", partitions=1, retention_ms=10 * 86_400_000)
            compact = TopicSpec(name=topic + "-compact", partitions=1, compacted=True)
            await topics.ensure([long, compact])
            settings = {"name": topic, "partitions": 2} | wrong
            if "outlives" in settings:
                settings["outlives"] = topic + settings["outlives"]
            with pytest.raises(ConfigError, match=said) as refused:
                await topics.ensure([TopicSpec(**settings)])
            assert refused.value.message.startswith(f"topic {topic}: ")
            assert topic in refused.value.hint
            # More than is needed is fine.
            (state,) = await topics.ensure(
                [TopicSpec(name=topic, partitions=2, retention_ms=1_000, record_bytes_max=1_000)]
            )
            assert state.config["retention.ms"] == "604800000"
            await topics.stop()

    run(scene())
