"""What it costs when events are not spread evenly, when each tenth is an alarm, or when all is old.

    python -m benchmarks.hot [--short] [--json] [--only NAME ...]

Each case is a topic of its own with as many events, read by the whole product in alternating
rounds, beside the uniform case:

    uniform   10,000 workloads, event times up to now
    all       every event is of one workload, so of one partition
    half      every second event is
    alarms    every tenth event completes a forbidden sequence, and causes a command
    apart     the clocks of two gateways differ by 100 ms
    old       events of a week ago, as after a long outage
    late      one gateway of two delivers what it has kept for an hour, among what is new

In the last round of each case rows and commands are compared with a count of all events and a
replay of some workloads.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from benchmarks.events import (
    ALARM_EVERY,
    Draw,
    Load,
    draws,
    events,
    recent,
    with_alarms,
    with_clocks_apart,
    with_late,
)
from benchmarks.figures import Figures, at_least, at_most, finish, parser_of, say, table
from benchmarks.recount import Miscounted, expected, miscounted
from benchmarks.rounds import (
    POLICY,
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

TARGET = 0.8
APART_MS = 100
LATE_MS = 3_600_000
# Less than a row may be idle (8 days): what is older is forgotten meanwhile, as it should be.
OLD_MS = 7 * 86_400_000

Drawn = Callable[[Load], Iterator[Draw]]


def cases(count: int, workloads: int) -> dict[str, tuple[Load, Drawn]]:
    """The load of each case, and how its events are drawn."""
    load = recent(Load(count, workloads))
    return {
        "uniform": (load, draws),
        "all": (load._replace(share=1.0), draws),
        "half": (load._replace(share=0.5), draws),
        "alarms": (load, with_alarms),
        "apart": (load, lambda some: with_clocks_apart(some, APART_MS)),
        "old": (load._replace(start_ms=load.start_ms - OLD_MS), draws),
        "late": (load, lambda some: with_late(some, LATE_MS)),
    }


def policy() -> str:
    """The policy of the benchmarks, with sequences so short that each match is a new command."""
    head, name, tail = POLICY.read_text().partition("name: read-then-send")
    assert "for: 15m" in tail, "the sequence is the last rule"
    return head + name + tail.replace("for: 15m", "for: 1s")


def measure(args: argparse.Namespace, at: Scene) -> dict[str, Any]:
    """Fill the topics, run the rounds; return rates and figures."""
    chosen = {
        name: case
        for name, case in cases(args.events, args.workloads).items()
        if name == "uniform" or not args.only or name in args.only
    }
    configs = {
        name: filled(with_topic(at.config, name), load, drawn(load))
        for name, (load, drawn) in chosen.items()
    }
    last: dict[str, dict[str, Any]] = {}

    def play(name: str) -> Result:
        settings = settings_of("ours", configs[name], args.events)
        last[name] = settings["config"]
        return contend("ours", settings | {"policy": policy()}, at.folder)

    rounds = alternate(chosen, args.rounds, play)
    wrong: dict[str, Miscounted] = {}
    for name, (load, drawn) in chosen.items():
        say(f"counting {name}")
        own = msgspec.convert(last[name], Config)
        wanted = expected(events(load, drawn(load)), own.topics.partitions, load.workloads)
        wrong[name] = asyncio.run(miscounted(own, wanted, policy()))
    return report_of(rounds, wrong)


def report_of(rounds: dict[str, list[Result]], wrong: dict[str, Miscounted]) -> dict[str, Any]:
    """Figures from what was measured: ratios are medians of the ratios of the rounds."""
    figures: Figures = {}
    uniform = rounds["uniform"]
    for name, runs in rounds.items():
        if name != "uniform":
            pairs = list(zip(runs, uniform, strict=True))
            ratio = median(
                [{"ratio": other["wall_s"] / one["wall_s"]} for one, other in pairs],
                lambda each: each["ratio"],
            )
            figures[f"hot_{name}_to_uniform"] = at_least(ratio, TARGET)
        figures[f"hot_{name}_miscounted"] = at_most(sum(wrong[name]), 0)
    if "alarms" in rounds:
        last = rounds["alarms"][-1]
        figures["hot_events_an_alarm"] = at_most(
            last["events"] / max(1, last["commands"]), ALARM_EVERY * 1.01
        )
    return {
        "figures": figures,
        "miscounted": {name: each._asdict() for name, each in wrong.items()},
        "events_per_s": {name: round(rate_per_s(runs)) for name, runs in rounds.items()},
        "applied_per_s": {
            name: round(rate_per_s(runs, "applied_s")) for name, runs in rounds.items()
        },
        "cpu_us_per_event": {name: round(cpu_us(runs), 3) for name, runs in rounds.items()},
        "rounds": rounds,
    }


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("hot", __doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(cases(1, 1)), metavar="CASE")
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.rounds = 50_000, 2_000, 1
        args.only = args.only or ["alarms"]
    with scene() as at:
        report = measure(args, at)
    wrong = report["miscounted"]
    assert not any(sum(each.values()) for each in wrong.values()), wrong
    rows = [
        (name, rate, report["applied_per_s"][name], report["cpu_us_per_event"][name])
        for name, rate in report["events_per_s"].items()
    ]
    columns = ("case", "events/s", "applied/s", "us CPU an event")
    return finish(report, args, table(columns, rows))


if __name__ == "__main__":
    sys.exit(main())
