"""An echo: what comes on one topic is produced to another, by plain aiokafka, until stdin ends.

python -m benchmarks.echo BOOTSTRAP FROM TO
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


async def echo(bootstrap: str, source: str, target: str) -> None:
    """Consume, produce; say `ready` once both are connected."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def look() -> None:
        if not os.read(0, 4_096):
            over.set()

    loop.add_reader(0, look)
    consumer = AIOKafkaConsumer(source, bootstrap_servers=bootstrap, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await consumer.start()
    await producer.start()
    for at in consumer.assignment():
        await consumer.position(at)
    print("ready", flush=True)
    while not over.is_set():
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                await producer.send(target, record.value, record.key)
    await producer.stop()
    await consumer.stop()


if __name__ == "__main__":
    uvloop.run(echo(*sys.argv[1:]))
