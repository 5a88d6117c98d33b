"""The ones compared in benchmarks.throughput, each in a process of its own.

    python -m benchmarks.contenders NAME SETTINGS.json

Prints one JSON object: events, wall seconds from the assignment of partitions to the last event
handled (for ours: applied, published, stored, and the checkpoint at the end of the log), and the
CPU-seconds of the process in between.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from redis.asyncio import Redis

from stream.bus import KafkaPublisher, KafkaReader, KafkaSource, KafkaTopics
from stream.cli.doors import keys_of, settle
from stream.config import Config
from stream.events import decode_json
from stream.kernel import HashKey
from stream.metrics import Metrics
from stream.policy import load_policy
from stream.runtime import Doors, SystemClock, Worker, WorkerSpec
from stream.store import RedisStore
from stream.warm import warm

KEY = HashKey(b"benchmark key 16")
FETCH = 20_000

# A sliding window of 17 bins a workload, as one would write it: one call an event.
LUA = """
local bin = math.floor(tonumber(ARGV[1]) * 16 / 10000)
local count = redis.call('HINCRBY', KEYS[1], bin % 17, ARGV[2])
local last = tonumber(redis.call('HGET', KEYS[1], 'last') or bin)
if bin > last then
  for old = last + 1, math.min(bin, last + 17) do
    if old ~= bin then redis.call('HDEL', KEYS[1], old % 17) end
  end
  redis.call('HSET', KEYS[1], 'last', bin)
end
local total = 0
local all = redis.call('HVALS', KEYS[1])
for place = 1, #all do total = total + tonumber(all[place]) end
return total > 1000000
"""


class Meter:
    """Wall and CPU time from `begin` on."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def begin(self) -> None:
        self.wall_s, self.cpu_s = time.perf_counter(), time.process_time()

    def result(self, events: int) -> dict[str, float]:
        wall_s = time.perf_counter() - self.wall_s
        cpu_s = time.process_time() - self.cpu_s
        return {"events": events, "wall_s": wall_s, "cpu_s": cpu_s}


async def bare(settings: dict[str, Any], handle: Any) -> dict[str, float]:
    """An aiokafka loop: getmany, and whatever `handle` does with the records of a partition."""
    consumer = AIOKafkaConsumer(
        settings["topic"],
        bootstrap_servers=settings["kafka"],
        group_id=settings["group"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1_048_576,
    )
    await consumer.start()
    while not consumer.assignment():
        await asyncio.sleep(0.01)
    meter, seen = Meter(), 0
    meter.begin()
    while seen < settings["events"]:
        for records in (await consumer.getmany(timeout_ms=1_000, max_records=FETCH)).values():
            seen += len(records)
            if handle is not None:
                await handle(records)
    result = meter.result(seen)
    await consumer.stop()
    return result


async def floor(settings: dict[str, Any]) -> dict[str, float]:
    """Bare getmany: nothing is done with the records."""
    return await bare(settings, None)


async def decode(settings: dict[str, Any]) -> dict[str, float]:
    """Bare getmany, and each payload decoded by msgspec."""

    async def handle(records: list[Any]) -> None:
        for record in records:
            decode_json(record.value)

    return await bare(settings, handle)


async def lua(settings: dict[str, Any]) -> dict[str, float]:
    """Bare getmany, each payload decoded, and one Lua call an event, pipelined."""
    redis = Redis.from_url(settings["redis"])
    script = await redis.script_load(LUA)

    async def handle(records: list[Any]) -> None:
        for start in range(0, len(records), 1_000):
            pipeline = redis.pipeline(transaction=False)
            for record in records[start : start + 1_000]:
                event = decode_json(record.value)
                key = f"{settings['group']}:{event.workload}"
                pipeline.evalsha(script, 1, key, event.at_ms, event.count)
            await pipeline.execute()

    result = await bare(settings, handle)
    await redis.aclose()
    return result


async def ours(settings: dict[str, Any]) -> dict[str, float]:
    """The whole product: rows to Redis, commands to Kafka, checkpoints moving."""
    config = msgspec.convert(settings["config"], Config)
    policy = load_policy(settings["policy"], "benchmark")
    doors = Doors(
        source=lambda: KafkaSource(config.kafka, config.topics.requests),
        publisher=lambda: KafkaPublisher(config.kafka),
        reader=lambda: KafkaReader(config.kafka),
        admin=lambda: KafkaTopics(config.kafka),
        store=lambda: RedisStore(config.redis),
    )
    warm()
    settle()
    metrics = Metrics()
    specs = WorkerSpec(**settings.get("worker", {})), config.topics
    shown = SystemClock(), metrics, "bench"
    worker = Worker(specs, doors, (policy, load_policy), KEY, shown, keys_of(config, "worker"))
    task = asyncio.create_task(worker.run())
    meter = Meter()
    while len(worker.progress()) < config.topics.partitions:
        await asyncio.sleep(0.005)
    meter.begin()
    records = settings.get("records", settings["events"])
    while sum(stored for _, stored in worker.progress().values()) < records:
        await asyncio.sleep(0.01)
    result = meter.result(settings["events"])
    samples = [each for family in metrics.registry.collect() for each in family.samples]
    stages = {
        each.labels["stage"]: round(each.value, 3)
        for each in samples
        if each.name == "enforcer_stage_seconds_total"
    }
    commands = sum(each.value for each in samples if each.name == "enforcer_commands_total")
    worker.stop()
    await task
    return result | {"stages_s": stages, "commands": int(commands)}


CONTENDERS = {"floor": floor, "decode": decode, "lua": lua, "ours": ours}


def main() -> None:
    """Run one contender."""
    name, file = sys.argv[1:3]
    settings = json.loads(Path(file).read_text())
    if settings.get("profile") and name == "ours":
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
        result = uvloop.run(ours(settings))
        profile.disable()
        profile.dump_stats(settings["profile"])
    else:
        result = uvloop.run(CONTENDERS[name](settings))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
