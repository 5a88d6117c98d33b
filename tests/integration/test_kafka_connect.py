"""Connecting to a real Kafka, and giving it up."""

import asyncio
import contextlib
import gc
import warnings
from typing import Any

import pytest

from stream.bus import KafkaPublisher, KafkaReader, KafkaSpec, KafkaTopics
from tests.buses import kafka_spec, run


@pytest.fixture
def spec(servers: Any, fresh_name: str) -> KafkaSpec:
    return kafka_spec(servers.kafka, fresh_name)


def test_a_connection_given_up_at_any_moment_is_closed(spec: KafkaSpec) -> None:
    """Whenever a door is cancelled while it connects, no socket of it stays open."""

    async def cut_short(door: Any, after_s: float) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            task = asyncio.ensure_future(door.start())
            await asyncio.wait({task}, timeout=after_s)
            task.cancel()
            await task
        await door.stop()

    async def story() -> None:
        for turn in range(60):
            for kind in (KafkaReader, KafkaPublisher, KafkaTopics):
                await cut_short(kind(spec), turn * 0.000_2)
        await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        run(story())
        gc.collect()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == []
