"""Records of several events through a worker: at home, away from it, from a zone, and bad ones."""

import asyncio
from collections.abc import Sequence

import pytest

from stream.bus import MemoryPublisher
from stream.events import DeadLetter, decode_letter, join_requests, unwrap
from stream.identity import home_partition
from stream.runtime import TopicsSpec
from tests.estate import KEY, TOPICS, Estate, busy, stored
from tests.live import differences, key_of, other_rows, placeless

ZONES = {"eu": ("spiffe://test.example/agents",)}
BAD = b'{"at_ms":1,"workload":"spiffe://test.example/agents/a0","operation":7}'
TEXT = b'"no event, but long enough for one"'
SIZE = 7


def groups(payloads: Sequence[bytes]) -> list[list[bytes]]:
    """Some payloads at a time, whoever they are of."""
    return [list(payloads[start : start + SIZE]) for start in range(0, len(payloads), SIZE)]


def home_of(payload: bytes) -> int:
    """Where a payload is to count."""
    return home_partition(key_of(payload), TOPICS.partitions)


def letters(estate: Estate) -> list[DeadLetter]:
    """All dead letters."""
    return [decode_letter(each) for each in estate.values(TOPICS.dead_letters)]


@pytest.mark.parametrize("zone", ["", "eu"])
def test_events_of_an_array_count_at_their_homes(zone: str) -> None:
    """Arrays of events of many homes, on one partition or in a zone: as if each came home alone.

    Each home gets one record of each array, and what another worker reads again changes nothing.
    """
    estate = Estate(topics=TopicsSpec(zone_partitions=1, zones=ZONES))
    payloads = busy(420, 13)
    arrays = [join_requests(each) for each in groups(payloads)]
    homes = [set(map(home_of, each)) - ({0} if not zone else set()) for each in groups(payloads)]
    total = sum(map(len, homes)) + (0 if zone else len(arrays))

    async def story() -> dict[int, bytes]:
        await estate.topics()
        topic = estate.names.zone_topic(zone) if zone else TOPICS.requests
        publisher = MemoryPublisher(estate.log)
        async with estate.worker(batch_events_max=5) as worker:
            for each in arrays:
                await publisher.send(topic, b"any", each, 0)
            await stored(worker, total)
        async with estate.worker() as worker:
            await stored(worker, total)
        return await estate.rows()

    rows = asyncio.run(story())
    bodies, expected = estate.replayed(arrays)
    assert len(bodies) > 5
    assert differences(estate.bodies(), bodies) == ""
    assert bodies == estate.replayed(payloads)[0]
    ours = {row: placeless(each) for row, each in rows.items()}
    assert other_rows(ours, {row: placeless(each) for row, each in expected.items()}) == []
    assert letters(estate) == []


@pytest.mark.parametrize("zone", ["", "eu"])
def test_a_bad_event_of_an_array_is_a_letter_of_its_own(zone: str) -> None:
    """With its ordinal and its bytes; the events beside it count, also where they go home first."""
    estate = Estate(topics=TopicsSpec(zone_partitions=1, zones=ZONES))
    good = busy(4, 2)
    array = b"[" + b",".join([BAD, good[0], good[1], BAD, TEXT, good[2], good[3]]) + b"]"

    async def story() -> None:
        await estate.topics()
        topic = estate.names.zone_topic(zone) if zone else TOPICS.requests
        async with estate.worker() as worker:
            await MemoryPublisher(estate.log).send(topic, b"any", array, 0)
            homes = set(map(home_of, good)) | (set() if zone else {0})
            await stored(worker, len(homes))

    asyncio.run(story())
    found = [(each.offset, each.ordinal, each.payload()) for each in letters(estate)]
    assert found == [(0, 0, BAD), (0, 3, BAD), (0, 4, TEXT)]
    values = [each for each in estate.values(TOPICS.requests) if each != array]
    sent = [unwrap(each, KEY.seal).payload for each in values]
    assert sum(each.count(b'"at_ms"') for each in sent) >= (4 if zone else 2)
