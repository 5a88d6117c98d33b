"""How much the simulator has seen, and that it sees: seeds and sweeps, bugs found.

    python -m benchmarks.simulation --json            10,000 seeds, every fault, every bug
    python -m benchmarks.simulation --short --json    300 short seeds and a bug

Seeds and the runs of sweeps go in processes beside each other. A seed that breaks a law is printed
with its first law, and `enforcer simulate --seed N` runs it again; so does `enforcer simulate
--sweep SCENARIO --fail-at N --how HOW` a run of a sweep.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

from benchmarks.bugs import BUGS, planted
from stream.simulate import (
    SCENARIOS,
    Fault,
    Operation,
    faults_of,
    operations_of,
    scenario_of,
    simulate,
    swept,
)

MISFITS: Final = re.compile(r"ended: (?:Type|Attribute|Name|UnboundLocal)Error")
SEEDS: Final = 10_000
SEEDS_SHORT: Final = 300
MINUTES_SHORT: Final = 0.2  # of traffic; a whole seed has half a minute
BUG_SEEDS_MAX: Final = 200
SHOWN_EVERY: Final = 500
# Found within a few seeds, so that CI can plant them.
# Of the kind that one failing call brings to light; looked for in each BUG_EVERY-th fault.
SWEPT: Final = (
    "no-fence",
    "save-before-publish",
    "commit-before-save",
    "saved-after-failure",
    "forward-twice",
    "nothing-read-back",
    "zombies-believed",
)
BUG_EVERY: Final = 60
BUGS_SHORT: Final = ("no-fence",)


def broken_law(seed: int, minutes: float | None = None) -> tuple[int, str]:
    """Run a seed; return it with the first law it breaks, empty when all held."""
    outcome = simulate(seed) if minutes is None else simulate(seed, minutes)
    return seed, outcome.violations[0] if outcome.violations else ""


def found_at(name: str) -> tuple[str, int]:
    """Return how many seeds it takes to find a bug, 0 when none of BUG_SEEDS_MAX finds it."""
    bug = next(each for each in BUGS if each.name == name)
    with planted(bug):
        for seed in range(BUG_SEEDS_MAX):
            laws = simulate(seed).violations
            if laws:
                check_plant(name, laws[0])
                return name, seed + 1
    return name, 0


def check_plant(name: str, law: str) -> None:
    """See that a bug does what it is to do: what does not fit where it is planted proves nothing.

    Errors: RuntimeError.
    """
    if MISFITS.search(law):
        raise RuntimeError(f"bug {name} does not fit the product any more: {law[:300]}")


def operations_in(name: str) -> tuple[str, list[Operation]]:
    """Return the calls of a scenario that nothing disturbs."""
    scenario = scenario_of(name)
    assert scenario is not None, name
    return name, operations_of(scenario)


def broken_by(run: tuple[str, Fault]) -> tuple[str, Fault, str]:
    """Run a scenario with one call failing; return it with the first law it breaks."""
    name, fault = run
    scenario = scenario_of(name)
    assert scenario is not None, name
    violations = swept(scenario, fault).violations
    return name, fault, violations[0] if violations else ""


def swept_by(name: str) -> tuple[str, int]:
    """Return how many runs of a thin sweep it takes to find a bug, 0 when it does not."""
    known = [operations_in(each.name) for each in SCENARIOS]
    bug = next(each for each in BUGS if each.name == name)
    runs = 0
    with planted(bug):
        for scenario, operations in known:
            for fault in list(faults_of(operations))[::BUG_EVERY]:
                runs += 1
                law = broken_by((scenario, fault))[2]
                if law:
                    check_plant(name, law)
                    return name, runs
    return name, 0


def sweep_figures(
    pool: Any, every: int, bugs: Iterable[str], names: Iterable[str]
) -> dict[str, Any]:
    """Return what sweeps of scenarios have to show: runs, violations, and bugs that they find."""
    began_s = time.monotonic()
    scenarios, failing, planned = {}, [], []
    for name, operations in pool.imap(operations_in, names):
        faults = list(faults_of(operations))[::every]
        planned += [(name, fault) for fault in faults]
        scenarios[name] = {"operations": len(operations), "runs": len(faults)}
    judged = pool.imap_unordered(broken_by, planned, chunksize=10)
    for done, (name, fault, law) in enumerate(judged, 1):
        if done % SHOWN_EVERY == 0:
            took_s = time.monotonic() - began_s
            say(f"{done:,} of {len(planned):,} runs of sweeps, {took_s:.0f} s, now {name}")
        if law:
            failing.append([name, *fault])
            say(f"sweep {name}, call {fault.at}, {fault.how}: {law[:300]}")
    found = dict(told(pool.imap_unordered(swept_by, bugs)))
    missed = sorted(name for name, runs in found.items() if not runs)
    return {
        "sweep_runs": {
            "value": len(planned),
            "target": len(planned),
            "met": True,
            "every": every,
            "scenarios": scenarios,
        },
        "sweep_violations": {
            "value": len(failing),
            "target": 0,
            "met": not failing,
            "runs": failing[:20],
        },
        "sweep_bugs_found": {
            "value": len(found) - len(missed),
            "target": len(found),
            "met": not missed,
            "missed": missed,
            "runs_needed": found,
        },
    }


def figures(
    seeds: Iterable[int],
    bugs: Iterable[str],
    processes: int,
    sweep: tuple[int, Iterable[str], list[str]],
    minutes: float | None,
) -> dict[str, Any]:
    """Return what there is to show, said on the way to standard error."""
    began_s, done, failing = time.monotonic(), 0, []
    planned = list(seeds)
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        judge = partial(broken_law, minutes=minutes)
        for seed, law in pool.imap_unordered(judge, planned, chunksize=10):
            done += 1
            if law:
                failing.append(seed)
                say(f"seed {seed}{f' --minutes {minutes}' if minutes else ''}: {law[:300]}")
            if done % SHOWN_EVERY == 0:
                say(f"{done:,} of {len(planned):,} seeds, {time.monotonic() - began_s:.0f} s")
        found = dict(told(pool.imap_unordered(found_at, bugs)))
        by_sweep = sweep_figures(pool, *sweep) if sweep[0] else {}
    missed = sorted(name for name, seeds_needed in found.items() if not seeds_needed)
    return {
        "seeds": {"value": done, "target": len(planned), "met": done == len(planned)},
        "violations": {
            "value": len(failing),
            "target": 0,
            "met": not failing,
            "seeds": sorted(failing)[:20],
        },
        "bugs_found": {
            "value": len(found) - len(missed),
            "target": len(found),
            "met": not missed,
            "missed": missed,
            "seeds_needed": found,
        },
        **by_sweep,
    }


def told(found: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Say each bug as it is found, after how many runs."""
    for name, runs in found:
        say(f"{name}: found after {runs} runs" if runs else f"{name}: NOT FOUND")
        yield name, runs


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Print the figures; the exit code says whether all are met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--short", action="store_true", help=f"{SEEDS_SHORT} seeds")
    parser.add_argument("--seeds", type=int, default=0, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--bug", action="append", default=[], help="only these bugs")
    parser.add_argument("--no-bugs", action="store_true", help="no deliberate bugs")
    parser.add_argument("--every", type=int, default=0, help="of sweeps each so many-th fault")
    parser.add_argument("--scenario", action="append", default=[], help="sweep only these")
    parser.add_argument("--no-sweep", action="store_true", help="no sweeps")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    count = given.seeds or (SEEDS_SHORT if given.short else SEEDS)
    every = BUGS_SHORT if given.short else [each.name for each in BUGS if not each.is_rare]
    bugs = [] if given.no_bugs else given.bug or every
    faults_every = 0 if given.no_sweep or given.short else given.every or 1
    swept_bugs: Iterable[str] = [] if given.no_bugs else () if given.short else SWEPT
    seeds = range(given.first, given.first + count)
    names = [each.name for each in SCENARIOS]
    if not set(given.scenario) <= set(names):
        parser.error(f"--scenario is one of {', '.join(names)}")
    sweep = (faults_every, swept_bugs, given.scenario or names)
    minutes = MINUTES_SHORT if given.short else None
    shown = figures(seeds, bugs, given.processes, sweep, minutes)
    if given.json:
        print(json.dumps({"figures": shown}))
    else:
        for name, each in shown.items():
            said = "met" if each["met"] else "MISSED"
            print(f"{name:<16} {each['value']:>8,}  target {each['target']:,}  {said}")
    return 0 if all(each["met"] for each in shown.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
