"""Partitions stay with their members as far as they can, also beside members of older versions."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer

from stream.bus import KafkaSource, KafkaSpec, KafkaTopics, TopicSpec
from tests.buses import Member, kafka_spec, run, until
from tests.live import opened


@contextlib.asynccontextmanager
async def member_of(spec: KafkaSpec) -> AsyncIterator[Member]:
    """A member of a group that reads a topic of the same name."""
    source = KafkaSource(spec, spec.group)
    member = Member(source, {})
    await source.start(member)
    try:
        yield member
    finally:
        await source.stop()


async def topic_of(spec: KafkaSpec, partitions: int) -> None:
    """Make the topic."""
    async with opened(KafkaTopics(spec)) as topics:
        await topics.ensure([TopicSpec(name=spec.group, partitions=partitions)])


def test_as_few_move_as_can(servers: Any, fresh_name: str) -> None:
    """A third member gets two of six partitions, one of each other, and they return on its end."""
    spec = kafka_spec(servers.kafka, fresh_name)

    async def scene() -> None:
        await topic_of(spec, 6)
        async with member_of(spec) as first, member_of(spec) as second:
            await until(lambda: len(first.held) == len(second.held) == 3)
            had = set(first.held), set(second.held)
            async with member_of(spec) as third:
                await until(lambda: len(first.held) == len(second.held) == len(third.held) == 2)
                assert set(first.held) < had[0]
                assert set(second.held) < had[1]
                stayed = set(first.held), set(second.held)
            await until(lambda: len(first.held) == len(second.held) == 3)
            assert stayed[0] < set(first.held)
            assert stayed[1] < set(second.held)

    run(scene())


def test_beside_a_member_of_an_older_version(servers: Any, fresh_name: str) -> None:
    """One that knows only round robin joins, has its share, and goes; nobody is refused."""
    spec = kafka_spec(servers.kafka, fresh_name)

    async def scene() -> None:
        await topic_of(spec, 4)
        async with member_of(spec) as ours:
            await until(lambda: len(ours.held) == 4)
            older = AIOKafkaConsumer(
                spec.group,
                bootstrap_servers=spec.bootstrap,
                group_id=spec.group,
                heartbeat_interval_ms=spec.heartbeat_ms,
                enable_auto_commit=False,
            )
            await older.start()
            try:
                await until(lambda: len(ours.held) == 2 and len(older.assignment()) == 2)
                async with member_of(spec) as newer:
                    await until(
                        lambda: (
                            sorted(map(len, (ours.held, newer.held, older.assignment())))
                            == [1, 1, 2]
                        )
                    )
            finally:
                await older.stop()
            await until(lambda: len(ours.held) == 4)

    run(scene())
