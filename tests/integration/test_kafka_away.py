"""What the doors of Kafka do while their broker is away: end in time, and say little."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from stream.bus import KafkaPublisher, KafkaTopics, TopicSpec
from stream.errors import BusUnavailable
from tests.brokers import running_cluster
from tests.buses import kafka_spec, run
from tests.live import opened

# What `stop` may take: flush, sender and connections, 5 s each, and a busy machine.
STOP_S_MAX = 20.0


def test_publisher_stops_in_time(
    fresh_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its broker killed a publisher gives up what it holds, soon, and its client is quiet."""
    with running_cluster(tmp_path / "broker") as cluster:
        spec = kafka_spec(cluster.plain, fresh_name)

        async def scene() -> None:
            async with opened(KafkaTopics(spec)) as topics:
                await topics.ensure([TopicSpec(name=spec.group, partitions=1)])
            publisher = KafkaPublisher(spec)
            await publisher.start()
            await (await publisher.send(spec.group, b"key", b"arrives"))
            await asyncio.to_thread(cluster.brokers[0].kill)
            sent = [await publisher.send(spec.group, b"key", b"lost") for _ in range(20)]
            began_s = time.monotonic()
            await publisher.stop()
            assert time.monotonic() - began_s < STOP_S_MAX
            for each in sent:
                with pytest.raises(BusUnavailable):
                    await each

        with caplog.at_level(logging.INFO):
            run(scene())
    theirs = [each.msg for each in caplog.records if each.name.startswith("aiokafka")]
    # Some ten attempts a second, three lines each, would be more than a hundred.
    assert len(theirs) < 40, theirs
