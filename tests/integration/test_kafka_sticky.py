"""Partitions stay with their members as far as they can, also beside members of older versions."""

import asyncio
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


def test_members_that_begin_together_come_to_rest(servers: Any, fresh_name: str) -> None:
    """Static members that join at the same moment share the partitions, and nothing moves again."""

    async def scene() -> None:
        for turn in range(8):
            name = f"{fresh_name}-{turn}"
            specs = [kafka_spec(servers.kafka, name, member_id=f"m-{each}") for each in range(2)]
            await topic_of(specs[0], 6)
            sources = [KafkaSource(each, name) for each in specs]
            members = [Member(each, {}) for each in sources]
            pairs = zip(sources, members, strict=True)
            async with asyncio.TaskGroup() as group:
                for source, member in pairs:
                    group.create_task(source.start(member))
            await until(lambda members=members: [len(each.held) for each in members] == [3, 3])
            calls = [list(each.calls) for each in members]
            for _ in range(5):
                for each in members:
                    await each.step(wait_s=specs[0].heartbeat_ms / 1_000)
            assert [each.calls for each in members] == calls
            # One that came first had all, and gave up what the other was to have.
            assert min(map(len, calls)) == 1
            assert max(map(len, calls)) <= 3
            for source in sources:
                await source.stop()

    run(scene())
