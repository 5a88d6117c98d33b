"""How well it detects: the figures of all rows, each beside what it must reach.

    python -m benchmarks.quality --json               all rows (some minutes)
    python -m benchmarks.quality --only declared      one of them; `--list` names them
    python -m benchmarks.quality --ablation           which part of task novelty contributes what
    python -m benchmarks.quality --svg plots/         plots beside the figures
    python -m benchmarks.quality --only soak --events 10000000     the long form

Data are those below the folder that ENFORCER_DATA names; without one only rows that need none are
measured, if `--only` asks for them. Figures are deterministic: no times are among them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import figure_rows, machine, say
from benchmarks.plots import grouped_plot, shares_plot
from benchmarks.quality import HELP, data_folder, folder_of, soak
from benchmarks.quality.ablation import lines_of
from benchmarks.quality.figures import RATES
from benchmarks.quality.rows import Rows


def main() -> int:
    """Print the figures; the exit code says whether all are met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=HELP)
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="only this row")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--ablation", action="store_true", help="only the ablation, without rows")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="write plots there")
    parser.add_argument(
        "--events", type=int, default=soak.EVENTS, metavar="N", help="of the benign soak"
    )
    given = parser.parse_args()
    folder = given.data or data_folder()
    known = Rows(folder, given.events).all()
    if given.ablation or (folder is None and not set(given.only) & set(known)):
        folder = folder_of(parser, given)
    rows = Rows(folder, given.events)
    known = rows.all()
    if given.list:
        print("\n".join(known))
        return 0
    if unknown := set(given.only) - set(known):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; --list names them")
    result: dict[str, Any] = {"figures": {}}
    for name in [] if given.ablation else given.only or known:
        found = known[name]()
        result["figures"].update(found)
        say(f"{name}: {sum(each['met'] for each in found.values())} of {len(found)} are met")
    if rows.decided:
        result["cloudtrail"] = rows.decided
    if given.ablation:
        result["ablation"] = rows.ablation()
    if given.svg is not None:
        write_plots(given.svg, rows.found, result.get("ablation"))
    if given.json:
        print(json.dumps({**result, "machine": machine()}))
    else:
        lines = lines_of(result["ablation"]) if given.ablation else figure_rows(result["figures"])
        print("\n".join(lines))
    return 0 if all(each["met"] for each in result["figures"].values()) else 1


def write_plots(folder: Path, found: dict[str, Any], ablation: dict[str, Any] | None) -> None:
    """Write what was measured as plots; what was not is left out."""
    sets = {name: each["roc"] for name, each in found.items() if "roc" in each}
    plain = {name: _numbers(each) for name, each in sets.items() if "curve" not in name}
    if plain:
        shares_plot(folder / "roc.svg", plain, ("benign runs in error, %", "attacks found, %"))
    curve = {
        f"at {rate:g} %": {
            int(name.partition("_")[2]): roc[f"{rate:g}%"]
            for name, roc in sets.items()
            if name.startswith("curve_")
        }
        for rate in RATES
    }
    if curve[f"at {RATES[0]:g} %"]:
        labels = "benign runs of a purpose learned", "attacks found, %"
        shares_plot(folder / "learning.svg", curve, labels)
    if ablation is not None:
        bars = {
            f"{how} at {rate:g} %": {
                name: each[f"{rate:g}%"] for name, each in ablation[how].items()
            }
            for how in ("off", "alone")
            for rate in RATES
        }
        grouped_plot(folder / "ablation.svg", bars, "attacks found, %")


def _numbers(roc: dict[str, float]) -> dict[float, float]:
    return {float(rate.rstrip("%")): found for rate, found in roc.items()}


if __name__ == "__main__":
    sys.exit(main())
