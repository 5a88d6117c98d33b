"""How costs grow: with windows, rules, the size of events, partitions, and the size of batches.

    python -m benchmarks.growth [--short] [--json] [--svg DIR] [--only CURVE ...]

    windows     1..32 pairs of measure and window (24 of counts, 8 of sums)   step, in process
    rules       1..1,000 limits over 100 classes                              step, in process
    size        payloads of 150 bytes to 8 KiB                                decoder, in process
    batch       100..50,000 events a step                                     step, in process
    partitions  1..128                                                        whole product

In process: the decoder or the step alone, CPU microseconds an event, the least of alternating
rounds; a broker would add the same to each point. Partitions are measured with a broker: CPU
microseconds an event of the whole worker, medians. No cliff: from one point to the next a cost
grows no more than half again beyond what the growth itself explains. Headroom: what an event of
ours may cost more until ours is as slow as bare getmany, which learned detectors can use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from benchmarks.events import OPERATIONS, Draw, Load, draws, events, recent, small
from benchmarks.figures import Figures, at_most, finish, informs, parser_of, say, table
from benchmarks.inside import Inside, alternated, decode_us
from benchmarks.plots import curves_plot
from benchmarks.rounds import (
    POLICY,
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
from stream.policy import (
    ClassSpec,
    LimitSpec,
    Policy,
    PolicySpec,
    RuleSpec,
    compile_policy,
    load_policy,
)

CLASSES = 100
MUCH = 4 * 10**9
CLIFF = 1.5
RULES_RATIO_MAX = 2.0
WINDOWS = (1, 2, 4, 8, 16, 24, 32)
COUNTS = 24
RULES = (1, 3, 10, 30, 100, 300, 1_000)
SIZES = (0, 1, 2, 4, 8)
BATCHES = (100, 500, 1_000, 5_000, 20_000, 50_000)
PARTITIONS = (1, 6, 32, 128)
FILLING_BYTES = 900

Curve = dict[int, float]


class Shape(NamedTuple):
    """How a curve is judged: whether its cost may grow with what grows, and what both are."""

    is_proportional: bool
    labels: tuple[str, str]


SHAPES = {
    "windows": Shape(is_proportional=True, labels=("windows a row", "us CPU a step")),
    "rules": Shape(is_proportional=True, labels=("rules", "us CPU a step")),
    "size": Shape(is_proportional=True, labels=("bytes an event", "us CPU to decode")),
    "batch": Shape(is_proportional=False, labels=("events a step", "us CPU a step")),
    "partitions": Shape(is_proportional=False, labels=("partitions", "us CPU, whole worker")),
}


def limit(number: int, measure: str, per: str, classes: tuple[str, ...] = ()) -> RuleSpec:
    """A limit that nothing passes."""
    spec = LimitSpec(measure=measure, at_most=MUCH, per=per)
    name = f"r{number}"
    return RuleSpec(name=name, limit=spec, classes=classes, action="observe", mode="enforce")


def windows_policy(count: int) -> Policy:
    """A policy with so many distinct pairs of measure and window: counts first, then sums."""
    counted = ("requests", "errors", "denials")
    rules = [
        limit(number, counted[number % len(counted)], f"{1 + number}s")
        for number in range(min(count, COUNTS))
    ]
    summed = ("bytes", "cost")
    rules += [
        limit(number, summed[number % len(summed)], f"{1 + number}m")
        for number in range(COUNTS, count)
    ]
    return compile_policy(PolicySpec(name="windows", rules=tuple(rules)))


def class_pattern(number: int) -> str:
    """The workloads of a class: those whose number ends so."""
    return f"spiffe://prod.example/agents/agent-*{number:02d}"


def rules_policy(count: int) -> Policy:
    """A policy with so many limits, dealt out to the classes, all over one window.

    Windows have a curve of their own.
    """
    classes = tuple(
        ClassSpec(name=f"c{number}", workloads=(class_pattern(number),))
        for number in range(CLASSES)
    )
    rules = tuple(
        limit(number, "requests", "10s", (f"c{number % CLASSES}",)) for number in range(count)
    )
    return compile_policy(PolicySpec(name="rules", classes=classes, rules=rules))


def sized(filling: int, draw: Draw) -> bytes:
    """An S event with so many resources of 900 bytes."""
    if not filling:
        return small(draw)
    texts = [f"path:{draw.size:04d}/{'x' * FILLING_BYTES}{each}" for each in range(filling)]
    named = ",".join(f'"{each}"' for each in texts)
    return small(draw)[:-1] + f',"resources":[{named}]}}'.encode()


def inside_curves(args: argparse.Namespace, chosen: list[str]) -> dict[str, Curve]:
    """The curves that need no broker."""
    load = recent(Load(args.events, args.workloads))
    payloads = [payload for _, payload in events(load)]
    end_ms = load.start_ms + load.count // load.per_ms
    slots = 2 * args.workloads

    def steps(policy: Policy) -> Inside:
        return Inside(policy, payloads, slots, end_ms)

    def policies(made: Callable[[int], Policy], points: tuple[int, ...]) -> dict[int, Any]:
        return {each: partial(steps(made(each)).apply, 20_000) for each in points}

    curves: dict[str, Curve] = {}
    for name in chosen:
        say(f"growth by {name} ...")
        if name == "windows":
            measures = policies(windows_policy, WINDOWS)
        elif name == "rules":
            measures = policies(rules_policy, RULES)
        elif name == "batch":
            inside = steps(load_policy(POLICY.read_text(), "benchmark"))
            measures = {each: partial(inside.apply, each) for each in BATCHES}
        else:
            few = list(draws(load._replace(count=args.events // 4)))
            texts = [[sized(each, draw) for draw in few] for each in SIZES]
            measures = {len(some[0]): partial(decode_us, some, end_ms) for some in texts}
        curves[name] = alternated(args.rounds, measures)
    return curves


def partition_curve(args: argparse.Namespace, at: Scene) -> tuple[Curve, Figures]:
    """The curve that needs a broker, and the headroom."""
    load = recent(Load(args.broker_events, args.workloads))
    configs = {
        f"{each}": filled(with_topic(at.config, f"of-{each}", each), load)
        for each in args.partitions
    }

    def play(name: str) -> dict[str, Any]:
        one = "6" if name == "floor" else name
        whose = "floor" if name == "floor" else "ours"
        return contend(whose, settings_of(whose, configs[one], load.count), at.folder)

    rounds = alternate([*configs, "floor"], args.rounds, play)
    curve = {int(name): cpu_us(runs) for name, runs in rounds.items() if name != "floor"}
    floor_us, ours_us = (1e6 / rate_per_s(rounds[name]) for name in ("floor", "6"))
    return curve, {
        "growth_headroom_us": informs(floor_us - ours_us),
        "growth_floor_us": informs(floor_us),
    }


def steepest(curve: Curve, *, is_proportional: bool) -> float:
    """The largest growth of a cost from a point to the next, beyond what growth explains."""
    return max(
        curve[after] / curve[before] / (after / before if is_proportional else 1.0)
        for before, after in pairwise(sorted(curve))
    )


def figures_of(curves: dict[str, Curve]) -> Figures:
    """What the curves come to."""
    figures: Figures = {}
    for name, curve in curves.items():
        cliff = steepest(curve, is_proportional=SHAPES[name].is_proportional)
        figures[f"growth_{name}_steepest"] = at_most(cliff, CLIFF)
        least, most = min(curve), max(curve)
        figures[f"growth_{name}_{least}_us"] = informs(curve[least])
        figures[f"growth_{name}_{most}_us"] = informs(curve[most])
    if "rules" in curves:
        ratio = curves["rules"][max(RULES)] / curves["rules"][min(RULES)]
        figures["growth_rules_1000_to_1"] = at_most(ratio, RULES_RATIO_MAX)
    return figures


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("growth", __doc__)
    parser.add_argument("--events", type=int, default=200_000, help="of curves in process")
    parser.add_argument("--broker-events", type=int, default=1_000_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    args = parser.parse_args()
    args.partitions = PARTITIONS
    if args.short:
        args.events, args.broker_events, args.workloads, args.rounds = 20_000, 20_000, 1_000, 1
        args.partitions = (6, 32)
        if args.only == list(SHAPES):
            args.only = [each for each in args.only if each != "partitions"]
    curves = inside_curves(args, [each for each in args.only if each != "partitions"])
    figures: Figures = {}
    if "partitions" in args.only:
        with scene() as at:
            curves["partitions"], figures = partition_curve(args, at)
    figures = figures_of(curves) | figures
    if args.svg:
        for name, curve in curves.items():
            curves_plot(args.svg / f"growth-{name}.svg", {name: curve}, SHAPES[name].labels)
    rows = [(name, point, cost) for name, curve in curves.items() for point, cost in curve.items()]
    report = {"figures": figures, "curves": curves, "operations": OPERATIONS}
    return finish(report, args, table(("curve", "at", "us an event"), rows))


if __name__ == "__main__":
    sys.exit(main())
