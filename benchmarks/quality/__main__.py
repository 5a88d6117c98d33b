"""How well it detects: the figures of all sets, each beside what it must reach.

    python -m benchmarks.quality --json               all sets (half an hour on two cores)
    python -m benchmarks.quality --only declared      one of them; `--list` names them

Data are those below the folder that ENFORCER_DATA names. Deterministic: no times are in it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.quality import (
    HELP,
    VARIABLE,
    arrivals,
    cloudtrail_replay,
    data_folder,
    nab,
    novelty,
)

# What must be reached: percent of attacks found at 1 % and 5 % of benign runs in error; and of
# those found, at 1 %, how many at or before the first malicious call.
TARGETS: Final = {
    "declared": (88.0, 94.0),
    "declared_no_size": (84.0, 93.0),
    "undeclared": (62.0, 75.0),
    "new": (40.0, 78.0),
    "new_granted": (30.0, 70.0),
    "curve_3": (45.0, 90.0),
    "curve_5": (74.0, 91.0),
    "poisoned_2%": (80.0, 92.0),
    "poisoned_5%": (75.0, 90.0),
}
EARLY: Final = 85.0
BUDGET: Final = (1 / 3, 1.5)


def shown(name: str, found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of one set, each with its target where it has one."""
    if name == "budget":
        least, most = BUDGET
        return {
            f"budget {share}": {**each, "target": "a third to 1.5", "met": least <= ratio <= most}
            for share, each in found.items()
            if (ratio := each["actual_percent"] / _percent(share, each)) >= 0
        }
    out = {}
    targets = TARGETS.get(name, (None, None))
    for rate, target in zip(("1%", "5%"), targets, strict=True):
        value = found["found"][rate]
        out[f"{name} found at {rate}"] = _figure(value, target)
    out[f"{name} early at 1%"] = _figure(
        found["early"]["1%"], EARLY if name == "declared" else None
    )
    return out


def _shown(name: str, find: Callable[[], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return shown(name, find())


def _nab(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the figures of series of measurements, without those that are times."""
    found = nab.measure(nab.read(folder))["figures"]
    return {name: each for name, each in found.items() if name.startswith("nab_")}


def _percent(share: str, each: dict[str, Any]) -> float:
    return float(each["declared_percent"] if share == "alarm" else share.rstrip("%"))


def _figure(value: float, target: float | None) -> dict[str, Any]:
    return {"value": value, "target": target, "met": target is None or value >= target}


def main() -> int:
    """Print the figures; the exit code says whether all are met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=HELP)
    parser.add_argument("--only", action="append", default=[], metavar="SET", help="only this set")
    parser.add_argument("--list", action="store_true", help="name the sets")
    given = parser.parse_args()
    folder = given.data or data_folder()
    if folder is None:
        parser.error(f"no data: give --data FOLDER or set {VARIABLE} to a folder")
    data = novelty.load(folder)
    figures: dict[str, dict[str, Any]] = {}
    finds = {name: partial(_shown, name, find) for name, find in novelty.sets(data).items()}
    finds["nab"] = partial(_nab, folder)
    finds["arrivals"] = lambda: dict(arrivals.measure(folder)["figures"])
    finds["cloudtrail"] = lambda: dict(cloudtrail_replay.measure(folder)["figures"])
    for name, find in finds.items():
        if given.list:
            print(name)
        elif not given.only or name in given.only:
            found = find()
            figures.update(found)
            for each, figure in found.items():
                print(f"{each:<36} {figure}", file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps({"figures": figures}))
    return 0 if all(each["met"] for each in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
