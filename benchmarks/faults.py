"""What is lost or wrong after real faults of real servers, and how soon all goes on.

    python -m benchmarks.faults [NAME ...] [--short] [--json]

Each scenario starts servers of its own, feeds events all the time, does what its name says, and
compares at the end the commands on Kafka and the rows in Redis with one undisturbed replay of the
log. Its first figure counts what is not as the replay has it (commands lost, commands wrong, and
one more where any row differs): the target is 0. Its second is the slowest recovery: seconds from
the end of a fault, or from the loss of a worker or of one of three brokers, until every partition
has applied and stored an event that was sent after it. --short is for CI: it shows that all of it
works; the figures of the full run are the proof.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import machine
from stream.local import Addresses
from tests.brokers import Cluster, running_cluster
from tests.faults import changed, grown, kafka, network, redis
from tests.faults.kafka import Scene
from tests.faults.run import Outcome
from tests.faults.story import Result, Unseen
from tests.valkey import running_valkey

SESSION_MS = 2_000
SEED = random.SystemRandom().randrange(10**6)


class Scenario(NamedTuple):
    """What to play: how many brokers, how soon it must be over, the story, short or long."""

    name: str
    brokers: int
    recovery_s: float
    play: Callable[[Scene, Cluster, bool], Result]


def of_redis(
    scene: Callable[..., Coroutine[Any, Any, Outcome]],
) -> Callable[[Scene, Cluster, bool], Result]:
    """A scenario of Redis, which starts the servers it is about, as one of these."""

    def play_it(at: Scene, *_: Any) -> Result:
        found = asyncio.run(scene(at.servers.kafka, at.name, at.folder))
        return Result(
            name=scene.__name__,
            recovery_s={"after promotion": round(found.recovery_s, 2)},
            lost=found.lost,
            wrong=found.wrong,
            rows_equal=found.rows_equal,
            commands=found.commands,
            events=0,
            notes={"writes_lost": found.writes_lost, "promotion_s": round(found.promotion_s, 2)},
        )

    return play_it


SCENARIOS = (
    Scenario("sigkill", 1, 30, lambda s, _, short: kafka.kills(s, 5 if short else 200, SEED)),
    Scenario("zombie", 1, 15, lambda s, _, short: kafka.zombie(s, SESSION_MS, 1 if short else 10)),
    Scenario(
        "broker_restarted", 1, 30,
        lambda s, c, short: kafka.broker(s, c, ("stop",) * (1 if short else 5)),
    ),
    Scenario(
        "broker_killed", 1, 30,
        lambda s, c, short: kafka.broker(s, c, ("kill",) * (1 if short else 10)),
    ),
    Scenario(
        "broker_one_of_three", 3, 30,
        lambda s, c, short: kafka.one_of_three(s, c, 1 if short else 6),
    ),
    Scenario("broker_disk_full", 1, 30, lambda s, c, _: kafka.disk_full(s, c)),
    Scenario(
        "links_cut", 1, 30,
        lambda s, c, short: network.cuts(s, c, network.FEW if short else network.ALL),
    ),
    Scenario(
        "far_away", 1, 10,
        lambda s, c, short: network.far_away(s, c, network.NARROW if short else network.NARROWEST),
    ),
    Scenario(
        "grow", 1, 60,
        lambda s, _, short: grown.grow(s, (12,) if short else (12, 24), 0 if short else 5, SEED),
    ),
    Scenario("topic_recreated", 1, 30, lambda s, _c, _s: changed.recreated(s)),
    Scenario("topic_truncated", 1, 30, lambda s, _c, _s: changed.truncated(s)),
    *(Scenario(f"redis_{each.__name__}", 1, 5, of_redis(each)) for each in redis.SCENARIOS),
)  # fmt: skip
# For --short: one of each kind.
REDIS_SHORT = {"redis_sentinel_primary_killed", "redis_emptied", "redis_cluster_primary_killed"}


def play(scenario: Scenario, *, is_short: bool) -> Result:
    """Play one scenario on servers of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("valkey", "workers"):
            (folder / part).mkdir()
        with (
            running_valkey(folder / "valkey") as valkey,
            running_cluster(folder / "brokers", scenario.brokers) as cluster,
        ):
            servers = Addresses(kafka=cluster.plain, redis=valkey.url)
            scene = Scene(servers, f"fault-{uuid.uuid4().hex[:12]}", folder / "workers")
            return scenario.play(scene, cluster, is_short)


def figures_of(scenario: Scenario, result: Result) -> dict[str, dict[str, Any]]:
    """What a scenario came to, beside what it must come to."""
    amiss = result.lost + result.wrong + (not result.rows_equal)
    figures = {
        f"{scenario.name}_lost_or_wrong": {"value": amiss, "target": 0, "met": result.is_right}
    }
    if result.recovery_s:
        slowest_s = max(result.recovery_s.values())
        figures[f"{scenario.name}_recovery_s"] = {
            "value": slowest_s,
            "target": scenario.recovery_s,
            "met": slowest_s <= scenario.recovery_s,
        }
    return figures


def main() -> None:
    """Play and print; exit 1 where a figure is missed."""
    names = [each.name for each in SCENARIOS]
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.faults")
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--short", action="store_true", help="few faults of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    args = parser.parse_args()
    if unknown := set(args.only) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    figures: dict[str, dict[str, Any]] = {}
    results = {}
    for scenario in SCENARIOS:
        if args.only and scenario.name not in args.only:
            continue
        is_redis = scenario.name.startswith("redis_")
        if args.short and not args.only and is_redis and scenario.name not in REDIS_SHORT:
            continue
        print(f"{scenario.name} ...", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        try:
            result = play(scenario, is_short=args.short)
        except Unseen as error:
            # The figure is missed; the other scenarios go on.
            print(f"{scenario.name}: FAILED: {error}", file=sys.stderr, flush=True)
            missed = {"value": f"failed: {error}"[:300], "target": 0, "met": False}
            figures[f"{scenario.name}_lost_or_wrong"] = missed
            continue
        took_s = round(time.monotonic() - began_s, 1)
        figures |= figures_of(scenario, result)
        results[scenario.name] = {**result._asdict(), "took_s": took_s}
        print(f"{scenario.name}: {results[scenario.name]}", file=sys.stderr, flush=True)
    report = {
        "figures": figures,
        "scenarios": results,
        "short": args.short,
        "seed": SEED,
        "machine": machine(),
    }
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        for name, figure in figures.items():
            met = "met" if figure["met"] else "MISSED"
            print(f"{name:34} {figure['value']!s:>8}  target {figure['target']}  {met}")
    sys.exit(0 if all(figure["met"] for figure in figures.values()) else 1)


if __name__ == "__main__":
    main()
