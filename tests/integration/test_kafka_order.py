"""A worker's publisher: behind a record that was lost nothing is appended, whatever waits."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream.bus import KafkaPublisher, KafkaReader, KafkaSpec, KafkaTopics, TopicSpec
from stream.errors import BusUnavailable, ConfigError
from tests.buses import kafka_spec, run
from tests.live import opened


async def values(spec: KafkaSpec, topic: str) -> list[bytes | None]:
    """What a topic of one partition holds."""
    async with opened(KafkaReader(spec)) as reader:
        start, end = (await reader.bounds(topic))[0]
        return [each.value for each in await reader.read(topic, 0, start, end)]


@pytest.mark.parametrize("heals", [True, False])
def test_behind_a_refused_record(servers: Any, fresh_name: str, *, heals: bool) -> None:
    """One that heals goes on behind the gap; one that must not takes nothing more."""
    spec = kafka_spec(servers.kafka, fresh_name, record_bytes_max=200_000)

    async def scene() -> None:
        async with (
            opened(KafkaTopics(spec)) as topics,
            opened(KafkaPublisher(spec, heals=heals)) as publisher,
        ):
            await topics.ensure([TopicSpec(name=fresh_name, partitions=1, record_bytes_max=2_000)])
            await (await publisher.send(fresh_name, b"k", b"first"))
            with pytest.raises(ConfigError, match="too large"):
                await (await publisher.send(fresh_name, b"k", b"x" * 100_000))
            if heals:
                await (await publisher.send(fresh_name, b"k", b"last"))
            else:
                with pytest.raises(BusUnavailable, match="none may follow"):
                    await publisher.send(fresh_name, b"k", b"last")
        assert await values(spec, fresh_name) == [b"first", b"last"][: 1 + heals]

    run(scene())


@pytest.mark.parametrize("heals", [True, False])
def test_behind_an_expired_record(servers: Any, fresh_name: str, *, heals: bool) -> None:
    """Where a partition had no leader for too long, the client gives up its oldest batch only.

    What waits behind that one is appended once there is a leader again, which is a gap: the broker
    knows nothing yet of this producer there, so it takes any number for the first.
    """
    spec = kafka_spec(servers.kafka, fresh_name, batch_bytes=1_024)
    bodies = [b"%d" % each + b"x" * 900 for each in range(3)]

    async def scene() -> None:
        async with (
            opened(KafkaTopics(spec)) as topics,
            opened(KafkaPublisher(spec, heals=heals)) as publisher,
        ):
            await topics.ensure([TopicSpec(name=fresh_name, partitions=1)])
            await publisher._producer.partitions_for(fresh_name)
            waiting, place = publisher._producer._message_accumulator, TopicPartition(fresh_name, 0)
            knows = waiting._cluster.leader_for_partition
            # One batch each: the second send waits until the first has left, or has expired.
            waiting._cluster.leader_for_partition = lambda at: None if at == place else knows(at)
            oldest = await publisher.send(fresh_name, b"k", bodies[0])
            behind = asyncio.create_task(publisher.send(fresh_name, b"k", bodies[1]))
            await asyncio.sleep(0)
            waiting._batches[place][0].expired = lambda: True
            with pytest.raises(BusUnavailable):
                await oldest
            del waiting._cluster.leader_for_partition
            if heals:
                await (await behind)
            else:
                with pytest.raises(BusUnavailable):
                    await (await behind)
                with pytest.raises(BusUnavailable):
                    await publisher.send(fresh_name, b"k", bodies[2])
        assert await values(spec, fresh_name) == bodies[1 : 1 + heals]

    run(scene())
