"""A million workloads: how fast, how large, and whether all is counted right.

    python -m benchmarks.scale [--short] [--json] [--only NAME ...]

All under the shipped default policy, each case beside the base in alternating rounds:

    base      10,000 workloads
    uniform   1,000,000 workloads, 2,000,000 slots, all equally busy
    zipf      the same, the n-th with a weight of 1 / n ** 1.1
    evicting  the uniform events with 100,000 slots: rows go and come back all the time

Each topic begins with one event of each workload, so that rows are there when the clocks start;
the rates that are judged are of what follows, until it is applied. Rows are stored behind that at
the pace of the row budget (`save_rows_max` every `save_every_ms`); when the last is, stands beside.
Bytes in the worker are what the process has grown by, a row; the same by arithmetic from the
table; bytes in Redis are by MEMORY USAGE of the buckets, all their fields sampled.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec
from redis.asyncio import Redis

from benchmarks.events import Draw, Load, draws, events, recent, workload_of
from benchmarks.figures import Figures, at_least, at_most, finish, informs, parser_of, say, table
from benchmarks.recount import Miscounted, expected, miscounted
from benchmarks.rounds import (
    Result,
    Scene,
    alternate,
    contend,
    cpu_us,
    filled,
    median,
    rate_per_s,
    scene,
    settings_of,
    with_topic,
)
from stream.config import Config
from stream.policy import default_policy

ZIPF = 1.1
BUCKETS_ASKED = 100
ROW_BYTES_MAX = 4_096
REDIS_BYTES_MAX = 1_024
TARGETS = {"uniform": 0.6, "zipf": 0.6, "evicting": 0.2}
# The name of a row: a Python text of its own, as long as those of the benchmark.
NAME_BYTES = sys.getsizeof(workload_of(0))


def with_all_first(load: Load) -> Iterator[Draw]:
    """Yield a draw of each workload, then those of the load."""
    first_ms = load.start_ms - load.workloads // load.per_ms - 1
    everyone = (
        Draw(first_ms + number // load.per_ms, workload_of(number), "tool:query_00", 1_000)
        for number in range(load.workloads)
    )
    return chain(everyone, draws(load))


def cases(args: argparse.Namespace) -> dict[str, tuple[Load, int]]:
    """The load of each case, and the slots of its worker."""
    many = recent(Load(args.events, args.workloads, per_ms=args.per_ms))
    found = {
        "base": (many._replace(workloads=args.base), 200_000),
        "uniform": (many, 2 * args.workloads),
        "zipf": (many._replace(zipf=ZIPF), 2 * args.workloads),
        "evicting": (many, args.workloads // 10),
    }
    return {name: each for name, each in found.items() if name == "base" or name in args.only}


def topic_of(name: str) -> str:
    """The topic that a case reads: evicting is about the same events."""
    return "uniform" if name == "evicting" else name


async def redis_bytes(config: Config) -> list[float]:
    """Bytes a row of some buckets, by MEMORY USAGE."""
    redis = Redis.from_url(config.redis.url)
    found = []
    async for key in redis.scan_iter(f"{config.redis.prefix}:*:rows:*", count=1_000):
        rows = await redis.hlen(key)
        found.append(await redis.memory_usage(key, samples=0) / rows)
        if len(found) == BUCKETS_ASKED:
            break
    await redis.aclose()
    return found


async def forget(config: Config) -> None:
    """Delete what a run has left in Redis, so that the next ones find the same server."""
    redis = Redis.from_url(config.redis.url)
    async for key in redis.scan_iter(f"{config.redis.prefix}:*", count=1_000):
        await redis.unlink(key)
    await redis.aclose()


def measure(args: argparse.Namespace, at: Scene) -> dict[str, Any]:
    """Fill the topics, run the rounds; return rates and figures."""
    chosen = cases(args)
    policy = default_policy().text
    configs: dict[str, Config] = {}
    for name, (load, _) in chosen.items():
        if topic_of(name) not in configs:
            here = with_topic(at.config, topic_of(name))
            configs[topic_of(name)] = filled(here, load, with_all_first(load))
    played = dict.fromkeys(chosen, 0)
    wrong: dict[str, Miscounted] = {}
    stored: dict[str, float] = {}

    def play(name: str) -> Result:
        load, slots = chosen[name]
        total = load.count + load.workloads
        worker = {"slots_max": slots}
        settings = settings_of("ours", configs[topic_of(name)], total, worker)
        settings |= {"policy": policy, "warm": load.workloads}
        result = contend("ours", settings, at.folder)
        own = msgspec.convert(settings["config"], Config)
        played[name] += 1
        if played[name] == args.rounds:
            say(f"counting {name}")
            some = events(load, with_all_first(load))
            wanted = expected(some, own.topics.partitions, load.workloads)
            wrong[name] = asyncio.run(miscounted(own, wanted, policy))
            stored[name] = statistics.median(asyncio.run(redis_bytes(own)))
        asyncio.run(forget(own))
        return result

    return report_of(alternate(chosen, args.rounds, play), wrong, stored)


def report_of(
    rounds: dict[str, list[Result]], wrong: dict[str, Miscounted], stored: dict[str, float]
) -> dict[str, Any]:
    """Figures from what was measured."""
    figures: Figures = {}
    base = rate_per_s(rounds["base"], "applied_s")
    for name, runs in rounds.items():
        figures[f"scale_{name}_miscounted"] = at_most(sum(wrong[name]), 0)
        figures[f"scale_{name}_stored_s"] = informs(median(runs, lambda each: each["wall_s"]))
        # Ten thousand busy workloads have more to remember: that is told, and not judged.
        judged = name != "base"
        figures[f"scale_{name}_redis_bytes"] = (
            at_most(stored[name], REDIS_BYTES_MAX) if judged else informs(stored[name])
        )
        if judged:
            ratio = rate_per_s(runs, "applied_s") / base
            figures[f"scale_{name}_to_base"] = at_least(ratio, TARGETS[name])
        if name in ("uniform", "zipf"):
            grown = median(
                runs, lambda each: (each["resident_bytes"] - each["empty_bytes"]) / each["rows"]
            )
            figures[f"scale_{name}_resident_bytes"] = at_most(grown, ROW_BYTES_MAX)
            figures[f"scale_{name}_table_bytes"] = at_most(median(runs, table_bytes), ROW_BYTES_MAX)
    return {
        "figures": figures,
        "miscounted": {name: each._asdict() for name, each in wrong.items()},
        "applied_per_s": {
            name: round(rate_per_s(runs, "applied_s")) for name, runs in rounds.items()
        },
        "cpu_us_per_event": {name: round(cpu_us(runs), 3) for name, runs in rounds.items()},
        "rounds": rounds,
    }


def table_bytes(result: Result) -> float:
    """Bytes of the table a row in use: the row, its share of the index, its name."""
    return result["row_bytes"] + result["index_bytes"] / result["rows"] + NAME_BYTES


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("scale", __doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workloads", type=int, default=1_000_000)
    parser.add_argument("--base", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.base, args.rounds = 50_000, 20_000, 1_000, 1
        args.only = ["evicting"] if args.only == list(TARGETS) else args.only
    # 20 requests a second and workload where there are fewest, so that no limit is passed.
    args.per_ms = args.base // 50
    with scene() as at:
        report = measure(args, at)
    wrong = report["miscounted"]
    assert not any(sum(each.values()) for each in wrong.values()), wrong
    rows = [
        (
            name,
            report["applied_per_s"][name],
            report["cpu_us_per_event"][name],
            runs[-1]["rows"],
            runs[-1]["rows_saved"],
            runs[-1]["rows_loaded"],
        )
        for name, runs in report["rounds"].items()
    ]
    columns = ("case", "applied/s", "us CPU an event", "rows", "saved", "loaded")
    return finish(report, args, table(columns, rows))


if __name__ == "__main__":
    sys.exit(main())
