"""What signed commands cost: a worker with and without a key, and a gateway that verifies.

    python -m benchmarks.signing [--short] [--json]

Workers are those of benchmarks.throughput, on the same topic of a real Kafka, in alternating
rounds; the policy is tightened so that about one event in a thousand causes a command, far more
than a quiet estate has. The gateway applies records to its table, as at a start or in a storm.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import uuid
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from benchmarks.commands import record_of
from benchmarks.throughput import contend, fill, machine, settings_of
from stream.bus import Record
from stream.config import Config, with_prefix
from stream.gateway import CommandTable, TableSpec
from stream.local import LocalServers
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


def at_least(value: float, target: float) -> dict[str, object]:
    """One figure."""
    return {"value": round(value, 3), "target": target, "met": value >= target}


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


def measure_workers(
    args: argparse.Namespace, config: Config, folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Run workers without a key and with one of each algorithm, in turns."""
    keys = {"unsigned": SigningSpec()}
    for algorithm in ALGORITHMS:
        file = folder / f"{algorithm}.jwk"
        write_key(str(file), new_key("bench", algorithm, "worker"))
        keys[algorithm] = SigningSpec(worker_key_file=str(file))
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in keys}
    for number in range(args.rounds):
        # Each goes first now and then: a machine that others use gets faster and slower.
        names = list(keys)
        for name in names[number % 3 :] + names[: number % 3]:
            settings = settings_of("ours", config, args.events)
            settings["policy"] = tightened(settings["policy"], args)
            settings["config"]["signing"] = msgspec.to_builtins(keys[name])
            rounds[name].append(contend("ours", settings, folder))
            last = rounds[name][-1]
            rate = last["events"] / last["wall_s"]
            said = f"{rate:12,.0f} events/s, {last['commands']} commands"
            print(f"round {number + 1}: {name:9}{said}", file=sys.stderr)
    return rounds


def report_of(workers: dict[str, list[dict[str, Any]]], intake: dict[str, float]) -> dict[str, Any]:
    """Figures from what was measured: the ratio is the median of those of the rounds."""
    rates = {
        name: [each["events"] / each["wall_s"] for each in runs] for name, runs in workers.items()
    }
    cpu_us = {
        name: statistics.median(each["cpu_s"] / each["events"] * 1e6 for each in runs)
        for name, runs in workers.items()
    }
    figures = {}
    for name in ALGORITHMS:
        pairs = zip(rates[name], rates["unsigned"], strict=True)
        ratio = statistics.median(one / other for one, other in pairs)
        figures[f"throughput_{name}_to_unsigned"] = at_least(ratio, RATIO_MIN)
        # Of the process alone, so that others on the machine weigh less.
        ratio = cpu_us["unsigned"] / cpu_us[name]
        figures[f"cpu_unsigned_to_{name}"] = at_least(ratio, RATIO_MIN)
    for name in ALGORITHMS:
        figures[f"intake_{name}_per_s"] = at_least(intake[name], INTAKE_MIN[name])
    return {
        "figures": figures,
        "events_per_s": {name: round(statistics.median(each)) for name, each in rates.items()},
        "cpu_us_per_event": {name: round(each, 3) for name, each in cpu_us.items()},
        "events_per_command": round(
            workers["unsigned"][0]["events"] / max(1, workers["unsigned"][0]["commands"])
        ),
        "intake_per_s": {name: round(each) for name, each in intake.items()},
        "rounds": workers,
        "machine": machine(),
    }


def main() -> None:
    """Measure and print; exit 1 where a figure is missed in a full run."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.signing")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--short", action="store_true", help="a smoke test: few events, one round")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    args = parser.parse_args()
    if args.short:
        args.events, args.workloads, args.rounds, args.records = 100_000, 500, 1, 1_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        intake = measure_intake(args.records, args.rounds)
        with LocalServers(folder / "servers") as servers:
            config = with_prefix(Config(), f"bench-{uuid.uuid4().hex[:6]}")
            config = msgspec.structs.replace(
                config,
                kafka=msgspec.structs.replace(config.kafka, bootstrap=servers.addresses.kafka),
                redis=msgspec.structs.replace(config.redis, url=servers.addresses.redis),
            )
            print(f"writing {args.events:,} events", file=sys.stderr)
            asyncio.run(fill(config, args.events, args.workloads))
            report = report_of(measure_workers(args, config, folder), intake)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        for each, figure in report["figures"].items():
            met = "met" if figure["met"] else "MISSED"
            print(f"{each:32} {figure['value']:12,.2f}  target {figure['target']}  {met}")
    missed = [each for each, figure in report["figures"].items() if not figure["met"]]
    sys.exit(1 if missed and not args.short else 0)


if __name__ == "__main__":
    main()
