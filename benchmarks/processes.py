"""What several processes cost beside one: CPU-seconds an event, on the same topic.

    python -m benchmarks.processes [--short] [--json]

`enforcer run --processes N` reads a topic that was filled before, in a group of its own. So that
all begin with the partitions that they keep, their static names join the group beforehand, by a
consumer that reads nothing. CPU is that of all processes, of the one that watches too, from when
each has its partitions (its start is not in it) until the last row is stored and every checkpoint
stands at the log's end. Rounds alternate, medians are compared; rows and command bodies of all must
be equal.

On two cores, which broker and Redis share, wall time can show nothing: it is printed, no figure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer

from benchmarks.events import Load, events
from benchmarks.figures import machine
from benchmarks.rounds import FOR_LOAD, POLICY, fill, settings_of
from stream.bus import KafkaTopics
from stream.bus.kafka_sticky import Sticky
from stream.config import Config, with_prefix
from stream.events import encode
from stream.local import Addresses, LocalServers
from stream.store import RedisStore
from tests.live import Installation, opened

COUNTS = (1, 2, 3)
TARGET = 1.15
SESSION_MS = 600_000  # what joined beforehand is not forgotten until its process is there
TOOK = re.compile(rb"took partitions \[([\d, ]+)\]")
TOOK_BY = re.compile(rb"\[(\d+)\] [\w.]+: took partitions")
POLL_S = 0.01
WITHIN_S = 900.0


def cpu_s(process: int) -> float:
    """The CPU-seconds of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at_work(parent: int, log: Path, count: int) -> set[int]:
    """The processes, by their ids, whose lines say that they have their partitions."""
    lines = log.read_bytes()
    if count == 1:
        return {parent} if TOOK.search(lines) else set()
    numbers = {int(found[1]) for found in TOOK_BY.finditer(lines)}
    found = set()
    for folder in Path("/proc").iterdir() if numbers else ():
        with contextlib.suppress(OSError, ValueError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_ours = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if is_ours and int(words[words.index(b"--as-process") + 1]) in numbers:
                found.add(int(folder.name))
    return found


async def join(config: Config, names: list[str]) -> None:
    """Let static members of the group have their partitions, and go without leaving it."""
    async with contextlib.AsyncExitStack() as stack:
        members = []
        for name in names:
            member = AIOKafkaConsumer(
                config.topics.requests,
                bootstrap_servers=config.kafka.bootstrap,
                group_id=config.kafka.group,
                group_instance_id=name,
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=config.kafka.heartbeat_ms,
                enable_auto_commit=False,
                partition_assignment_strategy=Sticky().assignors(),
            )
            stack.push_async_callback(member.stop)
            await member.start()
            members.append(member)
        share = -(-config.topics.partitions // len(members))
        async with asyncio.timeout(60):
            while any(not 0 < len(each.assignment()) <= share for each in members):
                await asyncio.sleep(0.05)


@contextlib.contextmanager
def running(count: int, config: Config, folder: Path) -> Iterator[tuple[int, Path]]:
    """`enforcer run` with so many processes; yield its id and its log."""
    kafka = {"bootstrap": config.kafka.bootstrap, "group": config.kafka.group}
    settings = {
        "kafka": kafka | {"session_ms": SESSION_MS},
        "redis": {"url": config.redis.url, "prefix": config.redis.prefix},
        "topics": {
            name: getattr(config.topics, name)
            for name in ("requests", "enforcement", "journal", "dead_letters", "partitions")
        },
        "policy": str(POLICY),
    }
    if count == 1:
        settings["kafka"]["member_id"] = "bench-0"
    file, log = folder / "settings.json", folder / f"{config.kafka.group}.log"
    file.write_text(json.dumps(settings))
    kept = {name: value for name, value in os.environ.items() if "ENFORCER" not in name}
    environment = kept | {
        "ENFORCER_CONFIG": str(file),
        "ENFORCER_HASH_KEY": b"benchmark key 16".hex(),
        "ENFORCER_METRICS": "127.0.0.1:0",
    }
    command = [sys.executable, "-m", "stream.cli", "run", "--name", "bench"]
    command += ["--processes", str(count)]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    try:
        yield process.pid, log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def stored(store: RedisStore, partitions: int) -> int:
    """How many events need no replay."""
    found = [await store.checkpoint(each) for each in range(partitions)]
    return sum(each.next_offset for each in found if each)


async def watched(count: int, config: Config, events: int, folder: Path) -> dict[str, Any]:
    """Run so many processes over the topic; return the CPU and wall seconds it took."""
    async with opened(KafkaTopics(config.kafka)) as admin:
        await admin.ensure(config.topics.specs())
    await join(config, [f"bench-{number}" for number in range(count)])
    with running(count, config, folder) as (parent, log):
        deadline_s = time.monotonic() + WITHIN_S
        begun: dict[int, float] = {}
        async with opened(RedisStore(config.redis)) as store:
            while len(begun) < count:
                assert time.monotonic() < deadline_s, log.read_text()[-2_000:]
                for each in at_work(parent, log, count) - begun.keys():
                    begun[each] = cpu_s(each)
                    if len(begun) == 1:
                        began_s, watching_s = time.perf_counter(), cpu_s(parent)
                await asyncio.sleep(POLL_S)
            while await stored(store, config.topics.partitions) < events:
                assert time.monotonic() < deadline_s, log.read_text()[-2_000:]
                await asyncio.sleep(5 * POLL_S)
        wall_s = time.perf_counter() - began_s
        spent_s = sum(cpu_s(each) - before for each, before in begun.items())
        if count > 1:
            spent_s += cpu_s(parent) - watching_s
        taken = [len(each.split(b",")) for each in TOOK.findall(log.read_bytes())]
    # Nothing moved meanwhile: each took its own, once.
    assert (sum(taken), len(taken)) == (config.topics.partitions, count), taken
    return {"events": events, "cpu_s": spent_s, "wall_s": wall_s, "partitions": taken}


async def left(config: Config, servers: Addresses) -> tuple[list[bytes], dict[int, bytes]]:
    """The command bodies, in order, and the rows that a run has left."""
    installation = Installation(servers, "unused")
    installation.config = config
    bodies = sorted(encode(each.body) for each in await installation.commands())
    return bodies, await installation.rows()


def measure(args: argparse.Namespace, config: Config, folder: Path) -> dict[str, Any]:
    """Run the rounds; return figures."""
    servers = Addresses(kafka=config.kafka.bootstrap, redis=config.redis.url)
    rounds: dict[int, list[dict[str, Any]]] = {count: [] for count in COUNTS}
    differing = 0
    expected = None
    for number in range(args.rounds):
        for count, results in rounds.items():
            settings = settings_of(f"processes-{count}", config, args.events)
            own = msgspec.convert(settings["config"], Config)
            results.append(asyncio.run(watched(count, own, args.events, folder)))
            found = asyncio.run(left(own, servers))
            expected = found if expected is None else expected
            differing += found != expected
            cpu_us = results[-1]["cpu_s"] / args.events * 1e6
            said = f"round {number + 1}: {count} processes {cpu_us:8.3f} us CPU an event"
            print(f"{said}, {results[-1]['wall_s']:.1f} s", file=sys.stderr)
    cpu_us = {
        count: statistics.median(each["cpu_s"] / each["events"] * 1e6 for each in results)
        for count, results in rounds.items()
    }
    figures: dict[str, dict[str, Any]] = {}
    for count in COUNTS[1:]:
        ratio = cpu_us[count] / cpu_us[1]
        figures[f"cpu_{count}_to_1"] = {
            "value": round(ratio, 3), "target": TARGET, "met": ratio <= TARGET,
        }  # fmt: skip
    figures["runs_with_other_results"] = {"value": differing, "target": 0, "met": not differing}
    return {
        "figures": figures,
        "cpu_us_per_event": {str(count): round(each, 3) for count, each in cpu_us.items()},
        "commands": len(expected[0]) if expected else 0,
        "wall_time": "no figure: the cores are shared with broker and Redis",
        "rounds": {str(count): results for count, results in rounds.items()},
        "workloads": args.workloads,
        "machine": machine(),
    }


def main() -> None:
    """Measure and print; exit 1 where a figure is missed in a full run."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.processes")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="a smoke test: few events, one round")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.rounds = 200_000, 2_000, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LocalServers(folder / "servers", FOR_LOAD) as servers:
            config = with_prefix(Config(), f"bench-{uuid.uuid4().hex[:6]}")
            config = msgspec.structs.replace(
                config,
                kafka=msgspec.structs.replace(config.kafka, bootstrap=servers.addresses.kafka),
                redis=msgspec.structs.replace(config.redis, url=servers.addresses.redis),
            )
            print(f"writing {args.events:,} events", file=sys.stderr)
            asyncio.run(fill(config, events(Load(args.events, args.workloads))))
            report = measure(args, config, folder)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        for count, each in report["cpu_us_per_event"].items():
            print(f"{count} processes {each:8.3f} us CPU an event")
        for name, figure in report["figures"].items():
            met = "met" if figure["met"] else "MISSED"
            print(f"{name:24} {figure['value']:8.3f}  target {figure['target']}  {met}")
    missed = [each for each, figure in report["figures"].items() if not figure["met"]]
    sys.exit(1 if missed and not args.short else 0)


if __name__ == "__main__":
    main()
