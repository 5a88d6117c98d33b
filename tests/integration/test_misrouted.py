"""A gateway that hashes otherwise: events off their homes give what well-routed ones give."""

import asyncio
import zlib
from collections.abc import Callable

import pytest

from benchmarks.misrouted import elsewhere
from stream.bus import KafkaPublisher, KafkaReader
from stream.events import encode
from stream.identity import home_partition
from stream.local import Addresses
from stream.runtime import SystemClock
from stream.warm import warm
from tests.faults.run import traffic
from tests.live import Installation, differences, key_of, opened, other_rows, placeless, wait_until


def by_crc32(key: bytes, partitions: int) -> int:
    """Where librdkafka's default partitioner puts a key."""
    return zlib.crc32(key) % partitions


@pytest.mark.parametrize("partitioner", [elsewhere, by_crc32])
def test_another_partitioner_gives_the_same_results(
    servers: Addresses, fresh_name: str, partitioner: Callable[[bytes, int], int]
) -> None:
    """Two workers forward what is not at home: bodies and rows equal an undisturbed replay's."""
    warm()  # Compiling holds up everything else for longer than a group waits for a member.
    installation = Installation(servers, fresh_name, slots_max=64, batch_events_max=100)
    payloads = traffic(3, 1_200, SystemClock().wall_ms())
    topics = installation.config.topics
    places = [partitioner(key_of(each), topics.partitions) for each in payloads]
    strays = sum(
        place != home_partition(key_of(each), topics.partitions)
        for place, each in zip(places, payloads, strict=True)
    )

    async def story() -> tuple[list[bytes], dict[int, bytes]]:
        await installation.topics()
        async with installation.workers(2):
            async with opened(KafkaPublisher(installation.config.kafka)) as publisher:
                for payload, place in zip(payloads, places, strict=True):
                    await publisher.send(topics.requests, key_of(payload), payload, place)
                await publisher.flush()
            # A stray is a record of its home's partition once more, or twice after a restart.
            async with opened(KafkaReader(installation.config.kafka)) as reader:

                async def is_done() -> bool:
                    ends = {
                        n: each.end for n, each in (await reader.bounds(topics.requests)).items()
                    }
                    is_home = sum(ends.values()) >= len(payloads) + strays
                    return is_home and ends == await installation.positions()

                await wait_until(is_done, bool)
        found = await installation.commands()
        return [encode(each.body) for each in found], await installation.rows()

    bodies, rows = asyncio.run(story())
    expected, images = installation.replayed(payloads)
    assert strays == len(payloads) if partitioner is elsewhere else strays > len(payloads) / 2
    assert len(expected) > 50
    assert differences(bodies, expected) == ""
    assert (
        other_rows(
            *({name: placeless(row) for name, row in each.items()} for each in (rows, images))
        )
        == []
    )
