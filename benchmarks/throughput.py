"""How many events a second: bare getmany, the usual ways, and the whole product, in one run.

    python -m benchmarks.throughput [--short] [--json] [--only NAME ...] [--forms S M]

All read the same topic on a real Kafka; ours also writes rows to a real Redis and commands to
Kafka. Rounds alternate, medians are compared, and ratios are what counts: machines differ, and
this one may be busy. Each contender runs in a process of its own (benchmarks.contenders,
benchmarks/peers). A peer that is not installed is left out, and says what it needs; those that
enforce must come to the same commands as ours.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import Any, Literal, NamedTuple

import msgspec

from benchmarks.events import Load, events, recent, with_offenders
from benchmarks.figures import (
    Figure,
    Figures,
    at_least,
    at_most,
    finish,
    parser_of,
    say,
    table,
)
from benchmarks.peers import PEERS, Seen, commands_of, lacking, run_peer, seen_in
from benchmarks.plots import bars_plot
from benchmarks.recount import expected, replayed
from benchmarks.rounds import (
    POLICY,
    Result,
    Scene,
    alternate,
    contend,
    cpu_us,
    filled,
    rate_per_s,
    scene,
    settings_of,
    with_topic,
)
from stream.config import Config

OWN = ("floor", "decode", "ours", "ours-msgspec", "ours-public", "lua")
ENFORCING = ("ours", "ours-msgspec", "ours-public", *PEERS)
# These read fewer events of the same kind, from a topic of their own: that is enough to time them.
SLOW = ("lua", "quix")
SLOW_EVENTS = 100_000
# By form and pair, wall time; those of CPU stand behind.
TARGETS = {
    "S": {
        "ours_to_floor": 2.5,
        "ours_to_bytewax": 20.0,
        "ours_to_lua": 30.0,
        "ours_to_quix": 150.0,
        "ours_to_flink": 10.0,
        "ours-msgspec_to_floor": 0.9,
    },
    "M": {"ours_to_floor": 1.5},
}
CPU_TARGETS = {"S": {"ours_to_flink": 15.0}, "M": {}}


class Topic(NamedTuple):
    """A topic of events, and the commands that they must cause."""

    config: Config
    events: int
    wanted: Seen


def topic_of(at: Scene, name: str, load: Load) -> Topic:
    """Write a load to a topic; say what it causes, by a replay."""
    config = filled(with_topic(at.config, name), load, with_offenders(load))
    some = events(load, with_offenders(load))
    # All workloads are in the sample.
    logs = expected(some, config.topics.partitions, 1).logs
    bodies, _ = replayed(POLICY.read_text(), logs, load.workloads)
    return Topic(config, load.count, sorted(map(seen_in, bodies.elements())))


def play(name: str, topic: Topic, args: argparse.Namespace, at: Scene) -> Result:
    """Run one contender; how many of its commands are not as they must be is in `differing`."""
    settings = settings_of(name, topic.config, topic.events)
    if args.profile:
        settings["profile"] = args.profile
    if name in PEERS:
        result, seen = run_peer(name, settings, at.folder)
    else:
        result = contend(name, settings, at.folder)
        if name not in ENFORCING:
            return result
        seen = commands_of(msgspec.convert(settings["config"], Config))
    mine, wanted = Counter(seen), Counter(topic.wanted)
    assert wanted, "the load breaks no rule"
    return result | {
        "commands": len(seen),
        "differing": (mine - wanted).total() + (wanted - mine).total(),
    }


def measure(args: argparse.Namespace, at: Scene, form: Literal["S", "M"]) -> dict[str, Any]:
    """Fill topics with events of one form, run the rounds; return rates and figures."""
    names = []
    for name in args.only or (*OWN, *PEERS):
        reason = lacking(name) if name in PEERS else ""
        if reason:
            say(f"{name} is left out: {reason}")
        else:
            names.append(name)
    load = recent(Load(args.events, args.workloads, form))
    few = recent(load._replace(count=min(args.events, SLOW_EVENTS)))
    topics = {False: topic_of(at, form, load)}
    if any(name in SLOW for name in names):
        topics[True] = topic_of(at, f"{form}-few", few)
    rounds = alternate(names, args.rounds, lambda name: play(name, topics[name in SLOW], args, at))
    return report_of(form, rounds)


def report_of(form: str, rounds: dict[str, list[Result]]) -> dict[str, Any]:
    """Figures of one form of event from what was measured."""
    rates = {name: rate_per_s(results) for name, results in rounds.items()}
    cpu = {name: cpu_us(results) for name, results in rounds.items()}
    figures: Figures = {}
    for key, one, other in pairs(list(rounds)):
        figures[f"{form}_{key}"] = ratio_figure(rates[one] / rates[other], TARGETS[form].get(key))
        if other != "lua":
            # Lua's work is Redis's, whose CPU-seconds are not the client's.
            figures[f"{form}_{key}_cpu"] = ratio_figure(
                cpu[other] / cpu[one], CPU_TARGETS[form].get(key)
            )
    for name, results in rounds.items():
        if name in ENFORCING:
            amount = max(each["differing"] for each in results)
            figures[f"{form}_{name}_other_commands"] = at_most(amount, 0)
    return {
        "figures": figures,
        "events_per_s": {name: round(rate) for name, rate in rates.items()},
        "cpu_us_per_event": {name: round(each, 3) for name, each in cpu.items()},
        "rounds": rounds,
    }


def pairs(names: list[str]) -> list[tuple[str, str, str]]:
    """Which rates are compared: ours with all others, and ours by msgspec with the floor."""
    found = [(f"ours_to_{name}", "ours", name) for name in names if name != "ours"]
    found.append(("ours-msgspec_to_floor", "ours-msgspec", "floor"))
    return [each for each in found if each[1] in names and each[2] in names]


def ratio_figure(value: float, target: float | None) -> Figure:
    """A ratio that must reach its target, where it has one."""
    if target is None:
        return {"value": round(value, 3), "target": None, "met": True}
    return at_least(value, target)


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("throughput", __doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forms", nargs="+", choices=["S", "M"])
    parser.add_argument("--only", nargs="+", choices=(*OWN, *PEERS), metavar="NAME")
    parser.add_argument("--profile", help="write a cProfile of ours to this file")
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.rounds = 50_000, 2_000, 1
        args.only = args.only or ["floor", "ours", "lua"]
        # The other short benchmarks read S events.
        args.forms = args.forms or ["M"]
    args.forms = args.forms or ["S", "M"]
    with scene() as at:
        reports = {form: measure(args, at, form) for form in args.forms}
    figures = {name: each for one in reports.values() for name, each in one["figures"].items()}
    wrong = {name: each for name, each in figures.items() if name.endswith("_other_commands")}
    assert all(each["met"] for each in wrong.values()), wrong
    if args.svg:
        for form, one in reports.items():
            bars_plot(args.svg / f"throughput-{form}.svg", one["events_per_s"], "events/s")
    rows = [
        (f"{form} {name}", rate, one["cpu_us_per_event"][name])
        for form, one in reports.items()
        for name, rate in one["events_per_s"].items()
    ]
    report = {"figures": figures, "forms": reports, "workloads": args.workloads}
    return finish(report, args, table(("contender", "events/s", "us CPU an event"), rows))


if __name__ == "__main__":
    sys.exit(main())
