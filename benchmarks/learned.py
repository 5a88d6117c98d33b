"""What learned detection costs: the whole pipeline, a large baseline, a promotion under load.

    python -m benchmarks.learned [--short] [--json] [--only PART ...] [--forms S M]

    pipeline   bare getmany, ours without a baseline and ours with one, in alternating rounds
    size       memory and speed of a large baseline (100 classes x 1,000 purposes x 133 entries,
               2,000 operations a class) beside a small one, in process
    estate     the whole pipeline with that large baseline, beside a small one
    pause      how long a worker under load applies nothing while a baseline comes into force

The policy of all is that of the benchmarks, and rules on all that is learned, in shadow. What ours
publishes must be what a replay under the same baseline comes to.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from benchmarks.contenders import KEY, resident_bytes
from benchmarks.estate import LARGE, SMALL, Estate, estate_baseline, estate_events
from benchmarks.events import Load, events, recent, with_offenders
from benchmarks.figures import Figures, at_least, at_most, finish, informs, parser_of, say, table
from benchmarks.inside import Inside, alternated, decode_us
from benchmarks.pausing import pause_figures
from benchmarks.peers import Seen, commands_of, seen_in
from benchmarks.recount import expected, replayed
from benchmarks.rounds import (
    LEARNED_POLICY,
    Result,
    Scene,
    alternate,
    contend,
    cpu_us,
    fill,
    rate_per_s,
    scene,
    settings_of,
    with_topic,
)
from stream.baselines import decode_baseline, encode_baseline, promote, version_of
from stream.config import Config
from stream.detectors import JUDGES
from stream.enforcement import Expectation
from stream.policy import load_policy
from stream.replay import BATCH_EVENTS, History

PARTS = ("pipeline", "size", "estate", "pause")
NAMES = ("floor", "plain", "learned")
TARGETS = {"S": 1.5, "M": 0.9}
AIMS = {"S": 2.5, "M": 1.5}
GIB = 1 << 30
SPEED_MIN = 0.9
PURPOSES = 8  # that history has: what nobody declares is compared with each of them
PAST_MS = 60_000
BEHIND_MAX = 1_000_000_000


Drawn = Callable[[], Iterable[tuple[bytes, bytes]]]


class Topic(NamedTuple):
    """A topic of events, and by contender the commands that they must cause."""

    config: Config
    events: int
    wanted: dict[str, Seen]


def past(load: Load) -> bytes:
    """Return a baseline of benign events of both forms before a load, for several purposes."""
    history = History(KEY)
    for form in ("M", "S"):
        before = load._replace(
            form=form,
            seed=load.seed + 1,
            start_ms=load.start_ms - PAST_MS - load.count // load.per_ms,
        )
        drawn = events(before)
        while some := [_for_purpose(*each) for each in islice(drawn, BATCH_EVENTS)]:
            history.add(some)
    made = promote(history.tasks(), KEY.id, JUDGES, history.names, seen=history.ended)
    say(f"learned {len(made.listed):,} entries of {made.facts.tasks:,} tasks")
    return encode_baseline(made)


def _for_purpose(key: bytes, payload: bytes) -> bytes:
    """Return the event of a workload with the one of several purposes that the workload has."""
    number = int(key[-7:]) % PURPOSES
    return payload.replace(b'"support"', b'"support-%d"' % number) if number else payload


def topic_of(
    at: Scene, name: str, load: Load, drawn: Drawn, baselines: dict[str, bytes | None]
) -> Topic:
    """Write events to a topic; say what they cause under each of some baselines, by replays."""
    config = with_topic(at.config, f"learned-{name}")
    say(f"writing {load.count:,} events of {load.workloads:,} workloads")
    asyncio.run(fill(config, drawn()))
    logs = expected(drawn(), config.topics.partitions, 1).logs
    wanted = {}
    for contender, data in baselines.items():
        bodies, _ = replayed(LEARNED_POLICY, logs, load.workloads, data)
        wanted[contender] = sorted(map(seen_in, bodies.elements()))
    return Topic(config, load.count, wanted)


def play(name: str, topic: Topic, baseline: str, at: Scene) -> Result:
    """Run one contender; how many of its commands are not as they must be is in `differing`."""
    contender = "floor" if name == "floor" else "ours"
    # Who is so far behind as all are here would compare nothing.
    settings = settings_of(contender, topic.config, topic.events, {"behind_events": BEHIND_MAX})
    settings["policy"] = LEARNED_POLICY
    if name == "learned":
        settings["baseline"] = baseline
    result = contend(contender, settings, at.folder)
    if name == "floor":
        return result
    seen = commands_of(msgspec.convert(settings["config"], Config))
    mine, wanted = Counter(seen), Counter(topic.wanted[name])
    differing = (mine - wanted).total() + (wanted - mine).total()
    return result | {"commands": len(seen), "differing": differing}


def pipeline(args: argparse.Namespace, at: Scene) -> tuple[Figures, dict[str, Any]]:
    """The whole product with a baseline in force, beside its floor and without."""
    figures: Figures = {}
    rows: dict[str, Any] = {}
    for form in args.forms:
        load = recent(Load(args.events, args.workloads, form))
        data = past(load._replace(count=args.history))
        file = at.folder / f"{form}.baseline"
        file.write_bytes(data)

        def drawn(load: Load = load) -> Iterable[tuple[bytes, bytes]]:
            return events(load, with_offenders(load))

        topic = topic_of(at, form, load, drawn, {"plain": None, "learned": data})
        one = partial(play, topic=topic, baseline=str(file), at=at)
        rounds = alternate(NAMES, args.rounds, one)
        rates = {name: rate_per_s(results) for name, results in rounds.items()}
        ratio = rates["learned"] / rates["floor"]
        figures[f"{form}_learned_to_floor"] = at_least(ratio, TARGETS[form])
        figures[f"{form}_learned_to_aim"] = informs(ratio / AIMS[form])
        figures[f"{form}_plain_to_floor"] = informs(rates["plain"] / rates["floor"])
        figures[f"{form}_learned_to_plain"] = informs(rates["learned"] / rates["plain"])
        for name in NAMES:
            figures[f"{form}_{name}_cpu_us"] = informs(cpu_us(rounds[name]))
        wrong = max(each["differing"] for each in rounds["plain"] + rounds["learned"])
        figures[f"{form}_other_commands"] = at_most(wrong, 0)
        rows[form] = {"rounds": rounds, "events_per_s": rates}
    return figures, rows


def expectation_of(estate: Estate) -> Expectation:
    """Return an estate's baseline as a worker makes it ready: from its bytes."""
    data = encode_baseline(estate_baseline(estate))
    return Expectation(decode_baseline(data, "estate"), version_of(data), KEY)


def size(args: argparse.Namespace) -> tuple[Figures, dict[str, Any]]:
    """Memory and speed of a large baseline beside a small one, in this process."""
    policy = load_policy(LEARNED_POLICY, "learned")
    load = Load(args.inside_events, args.workloads, "M")
    end_ms = load.start_ms + load.count // load.per_ms
    measures: dict[str, Any] = {}
    grown = 0
    for name, estate in (("small", SMALL), ("large", args.large)):
        payloads = [payload for _, payload in estate_events(load, estate)]
        before = resident_bytes()
        known = expectation_of(estate)
        grown = resident_bytes() - before
        inside = Inside(policy, payloads, 2 * args.workloads, end_ms, known)
        measures[name] = partial(inside.apply, BATCH_EVENTS)
        measures[f"{name}_read"] = partial(decode_us, payloads, end_ms, with_values=True)
    costs = alternated(args.rounds * 3, measures)
    both = {name: costs[name] + costs[f"{name}_read"] for name in ("small", "large")}
    figures: Figures = {
        "size_grown_bytes": at_most(grown, GIB),
        "size_step_to_small": at_least(costs["small"] / costs["large"], SPEED_MIN),
        "size_read_and_step_to_small": informs(both["small"] / both["large"]),
    }
    return figures | {f"size_{name}_us": informs(each) for name, each in costs.items()}, costs


def estate(args: argparse.Namespace, at: Scene) -> tuple[Figures, dict[str, Any]]:
    """The whole product with a large baseline in force, beside the same with a small one."""
    plays: dict[str, Callable[[], Result]] = {}
    for name, one in (("small", SMALL), ("large", args.large)):
        load = recent(Load(args.events, args.workloads, "M"))
        data = encode_baseline(estate_baseline(one))
        file = at.folder / f"{name}.baseline"
        file.write_bytes(data)
        topic = topic_of(at, name, load, partial(estate_events, load, one), {"learned": data})
        plays[name] = partial(play, "learned", topic, str(file), at)
    rounds = alternate(plays, args.rounds, lambda name: plays[name]())
    rates = {name: rate_per_s(results) for name, results in rounds.items()}
    figures: Figures = {
        "estate_large_to_small": at_least(rates["large"] / rates["small"], SPEED_MIN)
    }
    for name, results in rounds.items():
        figures[f"estate_{name}_per_s"] = informs(rates[name])
        figures[f"estate_{name}_cpu_us"] = informs(cpu_us(results))
    wrong = max(each["differing"] for results in rounds.values() for each in results)
    figures["estate_other_commands"] = at_most(wrong, 0)
    return figures, {"rounds": rounds}


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("learned", __doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--history", type=int, default=200_000, help="events of each form")
    parser.add_argument("--inside-events", type=int, default=100_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=20_000, help="events/s while promoting")
    parser.add_argument("--seconds", type=float, default=5.0, help="watched before a promotion")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--forms", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    args = parser.parse_args()
    args.large, args.pool = LARGE, 500_000
    if args.short:
        args.events, args.workloads, args.rounds = 50_000, 2_000, 1
        args.history, args.inside_events, args.pool = 20_000, 20_000, 50_000
        args.rate, args.seconds = 10_000, 1.0
        args.large, args.forms = Estate(20, 100, 500), args.forms[:1]
    figures: Figures = {}
    parts: dict[str, Any] = {}
    if "size" in args.only:
        found, parts["size"] = size(args)
        figures |= found
    on_servers = {"pipeline": pipeline, "estate": estate, "pause": pause_figures}
    if on_servers.keys() & set(args.only):
        with scene() as at:
            for name, measure in on_servers.items():
                if name in args.only:
                    found, parts[name] = measure(args, at)
                    figures |= found
    wrong = {name: each for name, each in figures.items() if name.endswith("other_commands")}
    assert all(each["met"] for each in wrong.values()), wrong
    rows = [
        (f"{form} {name}", round(rate))
        for form, one in parts.get("pipeline", {}).items()
        for name, rate in one["events_per_s"].items()
    ]
    report = {"figures": figures, "parts": parts, "workloads": args.workloads}
    return finish(report, args, table(("contender", "events/s"), rows))


if __name__ == "__main__":
    sys.exit(main())
