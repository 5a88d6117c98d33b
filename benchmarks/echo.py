"""An echo by plain aiokafka: keys `echo-...` of one topic go to another, until stdin ends.

    python -m benchmarks.echo BOOTSTRAP FROM TO

All else on the topic is read and left, so an echo can carry a load as a pipeline does.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

MARK = b"echo-"
FETCH_BYTES = 4 * 1_048_576  # of a partition, as the floor of the throughput benchmark has it


async def echo(bootstrap: str, source: str, target: str) -> None:
    """Consume, produce; say `ready` once both are connected."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def look() -> None:
        if not os.read(0, 4_096):
            over.set()

    loop.add_reader(0, look)
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        auto_offset_reset="latest",
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await consumer.start()
    await producer.start()
    for at in consumer.assignment():
        await consumer.position(at)
    print("ready", flush=True)
    while not over.is_set():
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                if record.key.startswith(MARK):
                    await producer.send(target, record.value, record.key)
    await producer.stop()
    await consumer.stop()


if __name__ == "__main__":
    uvloop.run(echo(*sys.argv[1:]))
