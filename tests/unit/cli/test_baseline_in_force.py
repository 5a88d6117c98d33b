"""Which baseline is in force is told by events, not by what is planned."""

from __future__ import annotations

import asyncio

import msgspec

from stream.bus import MemoryPublisher, MemoryReader
from stream.cli.baseline_live import _held
from stream.config import Config
from stream.events import InForce, encode_entry
from tests.estate import TOPICS, Estate, busy
from tests.unit.runtime.test_owned import conditions

OLD, NEW = InForce("old", "", 7), InForce("new", "old", 8)


def test_a_baseline_is_in_force_once_an_event_may_come_under_it() -> None:
    """Not while events are still to come before it; where nothing was said nobody says."""
    estate = Estate()

    async def told() -> None:
        await estate.topics()
        reader, publisher = MemoryReader(estate.log), MemoryPublisher(estate.log)
        config = Config(topics=TOPICS)
        for start, one in ((0, OLD), (3, NEW)):
            entry = msgspec.structs.replace(conditions(start), baseline=one, format=3)
            await publisher.send(TOPICS.journal, b"n", encode_entry(entry), 0)
        found = await _held(config, reader)
        assert found[0] == OLD
        assert set(found.values()) == {OLD, None}
        log = estate.log.partitions(TOPICS.requests)[0]
        while log.end < 3:
            await estate.feed(busy(6, 6))
        assert (await _held(config, reader))[0] == NEW

    asyncio.run(told())
