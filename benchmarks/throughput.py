"""How many events a second: bare getmany, the usual ways, and the whole product, in one run.

    python -m benchmarks.throughput [--short] [--json]

All read the same topic on a real Kafka; ours also writes rows to a real Redis and commands to
Kafka. Rounds alternate, medians are compared, and ratios are what counts: machines differ, and
this one may be busy. Each contender runs in a process of its own (benchmarks.contenders).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.events import small_events
from stream.bus import KafkaPublisher, KafkaTopics
from stream.config import Config, with_prefix
from stream.local import LocalServers

POLICY = Path(__file__).with_name("policy.yaml")
ORDER = ("floor", "decode", "ours", "lua")
TARGETS = {"ours_to_floor": 0.8, "ours_to_lua": 8.0}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names = ("aiokafka", "redis", "numpy", "numba", "msgspec", "uvloop")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "versions": {name: metadata.version(name) for name in names},
    }


async def fill(config: Config, count: int, workloads: int) -> None:
    """Create the topics and write the events."""
    admin = KafkaTopics(config.kafka)
    await admin.start()
    await admin.ensure(config.topics.specs())
    await admin.stop()
    publisher = KafkaPublisher(config.kafka)
    await publisher.start()
    for key, payload in small_events(count, workloads):
        await publisher.send(config.topics.requests, key, payload)
    await publisher.flush()
    await publisher.stop()


def contend(name: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run one contender in a process of its own."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders", name, str(file)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=900,
    )
    return json.loads(done.stdout.splitlines()[-1])


def settings_of(name: str, config: Config, events: int) -> dict[str, Any]:
    """What a contender needs: a group of its own, so that it starts at the beginning."""
    fresh = uuid.uuid4().hex[:8]
    kafka = msgspec.structs.replace(config.kafka, group=f"{name}-{fresh}")
    redis = msgspec.structs.replace(config.redis, prefix=f"bench-{fresh}")
    topics = msgspec.structs.replace(
        config.topics,
        journal=f"{config.topics.journal}-{fresh}",
        enforcement=f"{config.topics.enforcement}-{fresh}",
    )
    own = msgspec.structs.replace(config, kafka=kafka, redis=redis, topics=topics)
    return {
        "topic": config.topics.requests,
        "kafka": config.kafka.bootstrap,
        "redis": config.redis.url,
        "group": kafka.group,
        "events": min(events, 100_000) if name == "lua" else events,
        "config": msgspec.to_builtins(own),
        "policy": POLICY.read_text(),
    }


def measure(args: argparse.Namespace, config: Config, folder: Path) -> dict[str, Any]:
    """Run the rounds; return rates, ratios and figures."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in args.only or ORDER}
    for number in range(args.rounds):
        for name, results in rounds.items():
            settings = settings_of(name, config, args.events)
            if args.profile:
                settings["profile"] = args.profile
            results.append(contend(name, settings, folder))
            rate = results[-1]["events"] / results[-1]["wall_s"]
            print(f"round {number + 1}: {name:7} {rate:12,.0f} events/s", file=sys.stderr)
    rates = {
        name: statistics.median(each["events"] / each["wall_s"] for each in results)
        for name, results in rounds.items()
    }
    cpu_us = {
        name: statistics.median(each["cpu_s"] / each["events"] * 1e6 for each in results)
        for name, results in rounds.items()
    }
    figures = {}
    for key, target in TARGETS.items():
        ours, _, other = key.partition("_to_")
        if ours in rates and other in rates:
            value = rates[ours] / rates[other]
            figures[key] = {"value": round(value, 3), "target": target, "met": value >= target}
    return {
        "figures": figures,
        "events_per_s": {name: round(rate) for name, rate in rates.items()},
        "cpu_us_per_event": {name: round(each, 3) for name, each in cpu_us.items()},
        "rounds": rounds,
        "workloads": args.workloads,
        "machine": machine(),
    }


def main() -> None:
    """Measure and print; exit 1 where a figure is missed in a full run."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.throughput")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="a smoke test: few events, one round")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--only", nargs="+", choices=ORDER)
    parser.add_argument("--profile", help="write a cProfile of ours to this file")
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.rounds = 100_000, 2_000, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LocalServers(folder / "servers") as servers:
            config = with_prefix(Config(), f"bench-{uuid.uuid4().hex[:6]}")
            config = msgspec.structs.replace(
                config,
                kafka=msgspec.structs.replace(config.kafka, bootstrap=servers.addresses.kafka),
                redis=msgspec.structs.replace(config.redis, url=servers.addresses.redis),
            )
            print(f"writing {args.events:,} events", file=sys.stderr)
            asyncio.run(fill(config, args.events, args.workloads))
            report = measure(args, config, folder)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        for each, rate in report["events_per_s"].items():
            cpu = report["cpu_us_per_event"][each]
            print(f"{each:7} {rate:12,} events/s {cpu:8.2f} us CPU an event")
        for each, figure in report["figures"].items():
            met = "met" if figure["met"] else "MISSED"
            print(f"{each:16} {figure['value']:8.2f}  target {figure['target']}  {met}")
    missed = [each for each, figure in report["figures"].items() if not figure["met"]]
    sys.exit(1 if missed and not args.short else 0)


if __name__ == "__main__":
    main()
