"""The ones that benchmarks compare, each in a process of its own.

    python -m benchmarks.contenders NAME SETTINGS.json

Prints one JSON object: events, wall seconds from the assignment of partitions to the last event
handled (for ours: applied, published, stored, and the checkpoint at the end of the log), and the
CPU-seconds of the process in between. Ours says more: seconds until all was applied, bytes of
memory, rows, commands, seconds by stage. With `warm` in the settings its clocks start once so
many records are applied, and `events` are those that were left, unless too few are. `baseline`
names a file: that baseline is in force from the first event on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from redis.asyncio import Redis

from stream.cli.doors import keys_of, settle, worker_doors
from stream.config import Config
from stream.events import decode_json
from stream.kernel import HashKey
from stream.metrics import Metrics
from stream.policy import load_policy
from stream.runtime import SystemClock, Worker
from stream.warm import warm

KEY_BYTES = b"benchmark key 16"
KEY = HashKey(KEY_BYTES)
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


def worker_of(settings: dict[str, Any], metrics: Metrics) -> Worker:
    """A worker as `enforcer run` makes it."""
    config = msgspec.convert(settings["config"], Config)
    specs = config.worker, config.topics
    worker = Worker(
        specs,
        worker_doors(config, metrics),
        (load_policy(settings["policy"], "benchmark"), load_policy),
        KEY,
        (SystemClock(), metrics, "bench"),
        keys_of(config, "worker"),
    )
    if "baseline" in settings:
        data = Path(settings["baseline"]).read_bytes()
        worker.baselines.offer(data, worker.baselines.made(data, "benchmark"))
    return worker


async def ours(settings: dict[str, Any]) -> dict[str, Any]:
    """The whole product: rows to Redis, commands to Kafka, checkpoints moving."""
    warm()
    settle()
    metrics = Metrics()
    worker = worker_of(settings, metrics)
    records, skipped = settings.get("records", settings["events"]), settings.get("warm", 0)
    empty_bytes = resident_bytes()
    task = asyncio.create_task(worker.run())
    meter = Meter()
    while len(worker.progress()) < worker.topics.partitions:
        await asyncio.sleep(0.005)
    meter.begin()
    before = 0
    while applied(worker) < skipped:
        await asyncio.sleep(0.005)
    # Of a few events none may be left by the time that this loop turns again.
    if skipped and 2 * (records - applied(worker)) >= records - skipped:
        before = applied(worker)
        meter.begin()
    while applied(worker) < records:
        await asyncio.sleep(0.005)
    applied_s = meter.result(0)["wall_s"]
    while sum(stored for _, stored in worker.progress().values()) < records:
        await asyncio.sleep(0.01)
    result = meter.result(settings["events"] - before)
    facts = facts_of(worker, metrics)
    worker.stop()
    await task
    return result | facts | {"applied_s": applied_s, "empty_bytes": empty_bytes}


def applied(worker: Worker) -> int:
    """How many records of the log are applied; those before a log's start count as applied."""
    return sum(position for position, _ in worker.progress().values())


def resident_bytes() -> int:
    """The memory that this process has, in pages that it has touched."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def facts_of(worker: Worker, metrics: Metrics) -> dict[str, Any]:
    """What a worker at the end of its log says of itself."""
    samples = [each for family in metrics.registry.collect() for each in family.samples]

    def total(name: str) -> int:
        return int(sum(each.value for each in samples if each.name == name))

    table = worker._session.state.table
    return {
        "stages_s": {
            each.labels["stage"]: round(each.value, 3)
            for each in samples
            if each.name == "enforcer_stage_seconds_total"
        },
        "commands": total("enforcer_commands_total"),
        "rows_saved": total("enforcer_rows_saved_total"),
        "rows_loaded": total("enforcer_rows_loaded_total"),
        "rows_evicted": total("enforcer_rows_evicted_total"),
        "rejects": total("enforcer_rejects_total"),
        "rows": len(table),
        "resident_bytes": resident_bytes(),
        "row_bytes": table.row_bytes,
        # Beside rows: the index, and a pointer a slot to the name.
        "index_bytes": table.keys.nbytes + table.slots.nbytes + 8 * table.slots_max,
    }


def read_by_msgspec() -> None:
    """Let no kernel read a payload in this process from now on."""
    from stream.profiles.gathering import Gathered

    assert callable(Gathered.read), "by what the decoder reads plain payloads has another name"
    Gathered.read = lambda *_: None  # type: ignore[method-assign]


async def ours_msgspec(settings: dict[str, Any]) -> dict[str, Any]:
    """Ours, with no payload read by the kernel: all by msgspec, as odd ones always are."""
    read_by_msgspec()
    return await ours(settings)


async def ours_public(settings: dict[str, Any]) -> dict[str, Any]:
    """Ours as it goes on with a client of unknown insides: `getmany`, and msgspec."""
    from stream.bus import kafka_whole

    kafka_whole.can_hand_over_whole = lambda _: False
    return await ours_msgspec(settings)


CONTENDERS = {
    "floor": floor,
    "decode": decode,
    "lua": lua,
    "ours": ours,
    "ours-msgspec": ours_msgspec,
    "ours-public": ours_public,
}


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
