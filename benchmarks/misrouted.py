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
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.events import Load, events
from benchmarks.figures import at_least, at_most, finish, parser_of
from benchmarks.rounds import (
    FOR_LOAD,
    Result,
    alternate,
    contend,
    create_topics,
    installed,
    rate_per_s,
    settings_of,
)
from stream.bus import KafkaPublisher
from stream.config import Config
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
    await create_topics(config)
    async with opened(KafkaPublisher(config.kafka)) as publisher:
        for key, payload in events(Load(args.events, args.workloads)):
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
    found: dict[str, list[Any]] = {way: [] for way in WAYS}

    def play(way: str) -> Result:
        config = installed(servers.kafka, servers.redis)
        asyncio.run(fill(config, args, way))
        settings = settings_of("ours", config, args.events)
        # Each stray is a record of the same topic once more.
        settings["records"] = args.events * (2 if way == "misrouted" else 1)
        result = contend("ours", settings, folder)
        own = msgspec.convert(settings["config"], Config)
        found[way].append(asyncio.run(results(own, servers)))
        return result

    rounds = alternate(WAYS, args.rounds, play)
    differing = sum(one != other for one, other in zip(*found.values(), strict=True))
    rates = {way: rate_per_s(runs) for way, runs in rounds.items()}
    return {
        "figures": {
            "misrouted_to_routed": at_least(rates["misrouted"] / rates["routed"], TARGET),
            "rounds_with_other_results": at_most(differing, 0),
        },
        "events_per_s": {way: round(rate) for way, rate in rates.items()},
        "rounds": rounds,
        "workloads": args.workloads,
    }


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("misrouted", __doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.rounds = 30_000, 2_000, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LocalServers(folder / "servers", FOR_LOAD) as servers:
            report = measure(args, servers.addresses, folder)
    lines = [f"{way:9} {rate:12,} events/s" for way, rate in report["events_per_s"].items()]
    return finish(report, args, lines)


if __name__ == "__main__":
    sys.exit(main())
