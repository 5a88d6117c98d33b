"""What signed commands cost: a worker with and without a key, and a gateway that verifies.

    python -m benchmarks.signing [--short] [--json]

Workers are those of benchmarks.throughput, on the same topic of a real Kafka, in alternating
rounds; the policy is tightened so that about one event in a thousand causes a command, far more
than a quiet estate has. The gateway applies records to its table, as at a start or in a storm.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from time import perf_counter
from typing import Any

import msgspec

from benchmarks.commands import record_of
from benchmarks.events import Load
from benchmarks.figures import at_least, finish, parser_of
from benchmarks.rounds import (
    Result,
    Scene,
    alternate,
    contend,
    cpu_us,
    filled,
    rate_per_s,
    scene,
    settings_of,
)
from stream.bus import Record
from stream.gateway import CommandTable, TableSpec
from stream.runtime import SystemClock
from stream.signing import (
    ALGORITHMS,
    Jwk,
    Signer,
    SigningSpec,
    Trust,
    new_key,
    public_part,
    write_key,
)

RATIO_MIN = 0.95
INTAKE_MIN = {"ed25519": 3_000, "hmac": 25_000}
EVENTS_PER_COMMAND = 1_000
LIMIT = "at_most: 260, per: 10s"
PLACE = ("bench", "enforcement")


def tightened(policy: str, args: argparse.Namespace) -> str:
    """The policy with a limit that so many workloads pass that the commands are as said.

    Events are uniform over the workloads, so the count of each is close to a Poisson's.
    """
    mean = args.events / args.workloads
    passing = min(0.9, mean / EVENTS_PER_COMMAND)
    at_most = mean + statistics.NormalDist().inv_cdf(1 - passing) * mean**0.5
    assert LIMIT in policy, "the policy of the benchmark has the limit"
    return policy.replace(LIMIT, f"at_most: {round(at_most)}, per: 10s")


def intake_per_s(records: list[Record], trust: Trust | None) -> float:
    """How many records a second a table takes; all of them must be taken."""
    table = CommandTable(msgspec.convert({"kind": "table"}, TableSpec), 1, trust)
    began_s = perf_counter()
    for record in records:
        table.apply(record)
    spent_s = perf_counter() - began_s
    assert table.counts["applied"] == len(records), table.counts
    return len(records) / spent_s


def measure_intake(count: int, rounds: int) -> dict[str, float]:
    """The median rate without keys and with each algorithm, in alternating rounds."""
    now_ms = SystemClock().wall_ms()
    plain = [record_of(place, now_ms) for place in range(count)]
    ways: dict[str, tuple[list[Record], Trust | None]] = {
        "unsigned": (records(plain, None, now_ms), None)
    }
    for algorithm in ALGORITHMS:
        key: Jwk = new_key("bench", algorithm, "worker")
        trust = Trust([public_part(key)], PLACE, is_strict=True)
        ways[algorithm] = records(plain, Signer(key, PLACE), now_ms), trust
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (some, trust) in ways.items():
            rates[name].append(intake_per_s(some, trust))
    return {name: statistics.median(each) for name, each in rates.items()}


def records(pairs: list[tuple[bytes, bytes]], signer: Signer | None, now_ms: int) -> list[Record]:
    """Pairs as records of a log."""
    return [
        Record(0, offset, now_ms, key, signer.sign(key, value) if signer else value)
        for offset, (key, value) in enumerate(pairs)
    ]


def measure_workers(args: argparse.Namespace, at: Scene) -> dict[str, list[Result]]:
    """Run workers without a key and with one of each algorithm, in turns."""
    keys = {"unsigned": SigningSpec()}
    for algorithm in ALGORITHMS:
        file = at.folder / f"{algorithm}.jwk"
        write_key(str(file), new_key("bench", algorithm, "worker"))
        keys[algorithm] = SigningSpec(worker_key_file=str(file))

    def play(name: str) -> Result:
        settings = settings_of("ours", at.config, args.events)
        settings["policy"] = tightened(settings["policy"], args)
        settings["config"]["signing"] = msgspec.to_builtins(keys[name])
        return contend("ours", settings, at.folder)

    return alternate(keys, args.rounds, play)


def report_of(workers: dict[str, list[Result]], intake: dict[str, float]) -> dict[str, Any]:
    """Figures from what was measured: the ratio is the median of those of the rounds."""
    cpu = {name: cpu_us(runs) for name, runs in workers.items()}
    figures = {}
    for name in ALGORITHMS:
        pairs = zip(workers[name], workers["unsigned"], strict=True)
        ratio = statistics.median(other["wall_s"] / one["wall_s"] for one, other in pairs)
        figures[f"throughput_{name}_to_unsigned"] = at_least(ratio, RATIO_MIN)
        # Of the process alone, so that others on the machine weigh less.
        figures[f"cpu_unsigned_to_{name}"] = at_least(cpu["unsigned"] / cpu[name], RATIO_MIN)
    for name in ALGORITHMS:
        figures[f"intake_{name}_per_s"] = at_least(intake[name], INTAKE_MIN[name])
    return {
        "figures": figures,
        "events_per_s": {name: round(rate_per_s(runs)) for name, runs in workers.items()},
        "cpu_us_per_event": {name: round(each, 3) for name, each in cpu.items()},
        "events_per_command": round(
            workers["unsigned"][0]["events"] / max(1, workers["unsigned"][0]["commands"])
        ),
        "intake_per_s": {name: round(each) for name, each in intake.items()},
        "rounds": workers,
    }


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("signing", __doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=20_000)
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.rounds, args.records = 100_000, 500, 1, 1_000
    intake = measure_intake(args.records, args.rounds)
    with scene() as at:
        filled(at.config, Load(args.events, args.workloads))
        report = report_of(measure_workers(args, at), intake)
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
