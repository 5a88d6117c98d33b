"""What it costs when every event is on another partition than its workload's home.

    python -m benchmarks.misrouted [--short] [--json]

The same events are written to two topics: by home partition, and by another hash of the key that
never finds the home, as the default partitioner of librdkafka (CRC32) mostly does not. The worker
forwards the latter, so each passes through Kafka twice, and is counted at home. Rounds alternate,
medians are compared, both start from an empty topic of their own, and the clock stops when the last
row is stored. At the end rows (but for offsets) and command bodies of both are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import uuid
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.events import small_events
from benchmarks.throughput import contend, machine, settings_of
from stream.bus import KafkaPublisher, KafkaTopics
from stream.config import Config, with_prefix
from stream.events import encode
from stream.identity import home_partition
from stream.local import Addresses, LocalServers
from tests.live import Installation, opened, placeless

WAYS = ("routed", "misrouted")
# Two passes through Kafka, and a record made in Python for the second: see benchmarks/README.md.
TARGET = 0.05


def elsewhere(key: bytes, partitions: int) -> int:
    """A partition for a key that is never its home, and always the same one."""
    home = home_partition(key, partitions)
    return (home + 1 + zlib.crc32(key) % (partitions - 1)) % partitions


async def fill(config: Config, args: argparse.Namespace, way: str) -> None:
    """Create the topics and write the events."""
    async with opened(KafkaTopics(config.kafka)) as admin:
        await admin.ensure(config.topics.specs())
    async with opened(KafkaPublisher(config.kafka)) as publisher:
        for key, payload in small_events(args.events, args.workloads):
            place = elsewhere(key, config.topics.partitions) if way == "misrouted" else None
            await publisher.send(config.topics.requests, key, payload, place)
        await publisher.flush()


async def results(config: Config, servers: Addresses) -> tuple[Counter[bytes], dict[int, bytes]]:
    """The bag of command bodies, and the rows, that a run has left."""
    left = Installation(servers, "unused")
    left.config = config
    commands = await left.commands()
    rows = {name: placeless(row) for name, row in (await left.rows()).items()}
    return Counter(encode(each.body) for each in commands), rows


def measure(args: argparse.Namespace, servers: Addresses, folder: Path) -> dict[str, Any]:
    """Run the rounds; return rates and figures."""
    rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    differing = 0
    for number in range(args.rounds):
        found = {}
        for way in WAYS:
            config = with_prefix(Config(), f"bench-{uuid.uuid4().hex[:6]}")
            config = msgspec.structs.replace(
                config,
                kafka=msgspec.structs.replace(config.kafka, bootstrap=servers.kafka),
                redis=msgspec.structs.replace(config.redis, url=servers.redis),
            )
            asyncio.run(fill(config, args, way))
            settings = settings_of("ours", config, args.events)
            # Each stray is a record of the same topic once more.
            settings["records"] = args.events * (2 if way == "misrouted" else 1)
            rounds[way].append(contend("ours", settings, folder))
            rate = args.events / rounds[way][-1]["wall_s"]
            print(f"round {number + 1}: {way:9} {rate:12,.0f} events/s", file=sys.stderr)
            own = msgspec.convert(settings["config"], Config)
            found[way] = asyncio.run(results(own, servers))
        differing += found["routed"] != found["misrouted"]
    rates = {
        way: statistics.median(args.events / each["wall_s"] for each in runs)
        for way, runs in rounds.items()
    }
    ratio = rates["misrouted"] / rates["routed"]
    return {
        "figures": {
            "misrouted_to_routed": {
                "value": round(ratio, 3),
                "target": TARGET,
                "met": ratio >= TARGET,
            },
            "rounds_with_other_results": {"value": differing, "target": 0, "met": not differing},
        },
        "events_per_s": {way: round(rate) for way, rate in rates.items()},
        "rounds": rounds,
        "workloads": args.workloads,
        "machine": machine(),
    }


def main() -> None:
    """Measure and print; exit 1 where a figure is missed in a full run."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.misrouted")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="a smoke test: few events, one round")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.rounds = 30_000, 2_000, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LocalServers(folder / "servers") as servers:
            report = measure(args, servers.addresses, folder)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        for way, rate in report["events_per_s"].items():
            print(f"{way:9} {rate:12,} events/s")
        for each, figure in report["figures"].items():
            met = "met" if figure["met"] else "MISSED"
            print(f"{each:26} {figure['value']:8}  target {figure['target']}  {met}")
    missed = [each for each, figure in report["figures"].items() if not figure["met"]]
    sys.exit(1 if missed and not args.short else 0)


if __name__ == "__main__":
    main()
