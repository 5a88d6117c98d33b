"""Large answers of a real broker come into arrays of their own, over TLS too."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.bus import KafkaSpec, KafkaTopics, TopicSpec, kafka_whole
from stream.bus.kafka import client_options
from stream.bus.kafka_frames import Frames
from stream.bus.kafka_whole import open_whole
from tests.buses import kafka_spec
from tests.live import opened
from tests.secure import Acl, SecureKafka

LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)
EACH = 2_000
PARTITIONS = 2
WANTED = {partition: [b"%d-%d " % (partition, n) * 40 for n in range(EACH)] for partition in (0, 1)}


async def fill(spec: KafkaSpec, topic: str) -> None:
    """Write records that make answers of 160 kilobytes, half of them compressed."""
    async with opened(KafkaTopics(spec)) as topics:
        await topics.ensure([TopicSpec(name=topic, partitions=PARTITIONS)])
    for start, codec in ((0, None), (EACH // 2, "gzip")):
        producer = AIOKafkaProducer(**client_options(spec), compression_type=codec)
        await producer.start()
        for partition, values in WANTED.items():
            for value in values[start : start + EACH // 2]:
                await producer.send(topic, value, partition=partition)
        await producer.stop()


@contextlib.asynccontextmanager
async def consumer_of(spec: KafkaSpec, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the topic from its start."""
    consumer = AIOKafkaConsumer(**client_options(spec), max_partition_fetch_bytes=80_000)
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
    for at in consumer.assignment():
        consumer.seek(at, 0)
    yield consumer
    await consumer.stop()


def connections_of(consumer: AIOKafkaConsumer) -> list[Any]:
    """Its connections that are open."""
    return [each for each in consumer._client._conns.values() if each.connected()]


async def read(consumer: AIOKafkaConsumer, cuts: int) -> tuple[dict[int, list[Any]], list[Any]]:
    """Read all records, cutting the connection so often; return them, and the protocols met."""
    drain = open_whole(consumer)
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    found: dict[int, list[Any]] = {partition: [] for partition in range(PARTITIONS)}
    protocols: list[Any] = []
    async with asyncio.timeout(40):
        while sum(map(len, found.values())) < EACH * PARTITIONS:
            for columns in await drain.take(500):
                found[columns.at.partition] += columns.values
            here = [each._writer.transport.get_protocol() for each in connections_of(consumer)]
            fresh = [each for each in here if each not in protocols]
            protocols += fresh
            if any(isinstance(each, Frames) for each in fresh) and cuts:
                cuts -= 1
                for each in connections_of(consumer):
                    each._writer.transport.abort()
            await drain.wait(0.1, never)
    return found, protocols


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("listener", ["", "MTLS"])
def test_large_answers_are_the_same(
    servers: Any, secure_kafka: SecureKafka, fresh_name: str, listener: str, new_loop: Any
) -> None:
    """Read whole from both loops with and without TLS, and on after a connection was cut."""
    spec = kafka_spec(servers.kafka, fresh_name)
    if listener:
        spec = secure_kafka.spec(listener, "nobody", group=fresh_name)

    async def scene() -> None:
        for right in ("Create", "Read", "Write", "DescribeConfigs") if listener else ():
            await secure_kafka.allow([Acl("User:nobody", "topic", fresh_name, right)])
        await fill(spec, fresh_name)
        for cuts in (0, 2):
            async with consumer_of(spec, fresh_name) as consumer:
                found, protocols = await read(consumer, cuts)
            assert found == WANTED
            taken = [each for each in protocols if isinstance(each, Frames)]
            assert len(taken) >= max(1, cuts)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scene())


def test_other_connections_are_left_alone(
    servers: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where aiokafka's connection is another one, all comes as before, and the log says so once."""
    spec = kafka_spec(servers.kafka, fresh_name)

    async def scene() -> None:
        await fill(spec, fresh_name)
        monkeypatch.setattr(kafka_whole, "can_take_over", lambda _: False)
        async with consumer_of(spec, fresh_name) as consumer:
            found, protocols = await read(consumer, 0)
        assert found == WANTED
        assert not any(isinstance(each, Frames) for each in protocols)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scene())
    assert len([each for each in caplog.messages if "copied four times" in each]) == 1
