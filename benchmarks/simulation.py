"""How much the simulator has seen, and that it sees: seeds without violation, bugs found.

    python -m benchmarks.simulation --json            10,000 seeds, every deliberate bug
    python -m benchmarks.simulation --short --json    300 seeds, a few bugs

Seeds run in processes beside each other. A seed that breaks a law is printed with its first law;
`enforcer simulate --seed N` runs it again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from benchmarks.bugs import BUGS, planted
from stream.simulate import simulate

SEEDS: Final = 10_000
SEEDS_SHORT: Final = 300
BUG_SEEDS_MAX: Final = 200
SHOWN_EVERY: Final = 500
# Found within a few seeds, so that CI can plant them.
BUGS_SHORT: Final = ("no-fence", "no-skip", "group-offset", "forward-twice", "log-check")


def broken_law(seed: int) -> tuple[int, str]:
    """Run a seed; return it with the first law it breaks, empty when all held."""
    outcome = simulate(seed)
    return seed, outcome.violations[0] if outcome.violations else ""


def found_at(name: str) -> tuple[str, int]:
    """Return how many seeds it takes to find a bug, 0 when none of BUG_SEEDS_MAX finds it."""
    bug = next(each for each in BUGS if each.name == name)
    with planted(bug):
        for seed in range(BUG_SEEDS_MAX):
            if simulate(seed).violations:
                return name, seed + 1
    return name, 0


def figures(seeds: Iterable[int], bugs: Iterable[str], processes: int) -> dict[str, Any]:
    """Return what there is to show, said on the way to standard error."""
    began_s, done, failing = time.monotonic(), 0, []
    planned = list(seeds)
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        for seed, law in pool.imap_unordered(broken_law, planned, chunksize=10):
            done += 1
            if law:
                failing.append(seed)
                say(f"seed {seed}: {law[:300]}")
            if done % SHOWN_EVERY == 0:
                say(f"{done:,} of {len(planned):,} seeds, {time.monotonic() - began_s:.0f} s")
        found = dict(told(pool.imap_unordered(found_at, bugs)))
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
    }


def told(found: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Say each bug as it is found."""
    for name, seeds_needed in found:
        say(f"{name}: found after {seeds_needed} seeds" if seeds_needed else f"{name}: NOT FOUND")
        yield name, seeds_needed


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
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    count = given.seeds or (SEEDS_SHORT if given.short else SEEDS)
    every = BUGS_SHORT if given.short else [each.name for each in BUGS]
    bugs = [] if given.no_bugs else given.bug or every
    shown = figures(range(given.first, given.first + count), bugs, given.processes)
    if given.json:
        print(json.dumps({"figures": shown}))
    else:
        for name, each in shown.items():
            said = "met" if each["met"] else "MISSED"
            print(f"{name:<12} {each['value']:>8,}  target {each['target']:,}  {said}")
    return 0 if all(each["met"] for each in shown.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
