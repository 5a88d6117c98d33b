"""Topics that become more partitions, over every bus: nothing moves, everybody hears of it."""

import asyncio

import pytest

from stream.bus import TopicSpec
from stream.errors import ConfigError
from tests.buses import PATIENCE_S, Bus, joined, run, send_all


def test_a_topic_grows_under_its_readers(bus: Bus) -> None:
    """Records stay; a publisher that knew fewer partitions writes to new ones; members get them."""

    async def scene() -> None:
        topics = bus.topics()
        async with bus.open(partitions=2) as (topic, publisher, reader):
            await topics.start()
            try:
                await send_all(publisher, topic, [(0, b"a"), (1, b"b")])
                async with joined(bus, topic, {}) as member:
                    await member.read(lambda: len(member.seen) == 2)
                    await topics.grow(topic, 4)
                    await topics.grow(topic, 4)
                    assert await member.source.partition_count() == 4
                    assert (await send_all(publisher, topic, [(3, b"c")])) == [0]
                    await member.read(lambda: (3, 0, b"c") in member.seen)
                    assert member.calls[-1] == ("assigned", [0, 1, 2, 3])
                bounds = await reader.bounds(topic)
                assert [each.end for each in bounds.values()] == [1, 1, 0, 1]
                with pytest.raises(ConfigError, match="has 4 partitions"):
                    await topics.grow(topic, 2)
                with pytest.raises(ConfigError, match="does not exist"):
                    await topics.grow(f"{topic}-other", 2)
                spec = TopicSpec(name=topic, partitions=2, may_grow=True)
                assert (await topics.ensure([spec]))[0].partitions == 4
                with pytest.raises(ConfigError, match="partitions is 4"):
                    await topics.ensure([TopicSpec(name=topic, partitions=2)])
            finally:
                await topics.stop()

    run(scene())


def test_what_a_listener_leaves_out_waits_until_it_is_offered(bus: Bus) -> None:
    """No record of it comes before, all of them after, and the others do not wait."""

    async def scene() -> None:
        async with bus.open(partitions=2) as (topic, publisher, _):
            await send_all(publisher, topic, [(0, b"a"), (1, b"b")])
            async with joined(bus, topic, {}) as member:
                taken = member.assigned
                left_out = {1}

                async def assigned(partitions: list[int]) -> dict[int, int]:
                    starts = await taken(partitions)
                    return {each: at for each, at in starts.items() if each not in left_out}

                member.assigned = assigned
                await member.read(lambda: (0, 0, b"a") in member.seen)
                for _ in range(5):
                    await member.step()
                assert member.seen == [(0, 0, b"a")]
                left_out.clear()
                member.source.offer(1)
                async with asyncio.timeout(PATIENCE_S):
                    await member.read(lambda: (1, 0, b"b") in member.seen)
                assert member.calls[-2:] == [("revoked", [1]), ("assigned", [1])]

    run(scene())
