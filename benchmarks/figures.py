"""What every benchmark says in the same way: figures, the machine, a table, JSON, an exit code."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

Figure = dict[str, Any]
Figures = dict[str, Figure]


def at_least(value: float, target: float) -> Figure:
    """A figure that must not be below its target."""
    return {"value": round(value, 3), "target": target, "met": value >= target}


def at_most(value: float, target: float) -> Figure:
    """A figure that must not be above its target."""
    return {"value": round(value, 3), "target": target, "met": value <= target}


def informs(value: float) -> Figure:
    """A figure that has no target."""
    return {"value": round(value, 3), "target": None, "met": True}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names = ("aiokafka", "redis", "numpy", "numba", "msgspec", "uvloop")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        # Of one minute, as it stood at the end: whether the machine had other things to do.
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "versions": {name: metadata.version(name) for name in names},
    }


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def parser_of(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=about,
        prog=f"python -m benchmarks.{name}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", action="store_true", help="a smoke test, proves no figure")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--svg", type=Path, metavar="DIR", help="write plots there, as SVG")
    return parser


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Rows below their columns, the first to the left, numbers to the right."""
    texts = [list(columns), *([_shown(each) for each in row] for row in rows)]
    widths = [max(len(row[place]) for row in texts) for place in range(len(texts[0]))]
    return [
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in texts
    ]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def figure_rows(figures: Mapping[str, Figure]) -> list[str]:
    """The figures as lines of a table."""
    verdicts = {(True, True): "met", (True, False): "MISSED"}
    return table(
        ("figure", "value", "target", ""),
        (
            (
                name,
                each["value"],
                "-" if each["target"] is None else each["target"],
                verdicts.get((each["target"] is not None, each["met"]), ""),
            )
            for name, each in figures.items()
        ),
    )


def finish(report: dict[str, Any], args: argparse.Namespace, lines: Iterable[str] = ()) -> int:
    """Print the report as asked for; return 1 where a full run has missed a figure.

    The short form shows that it runs: a shared runner's figures judge nobody. What must be right
    at any speed (counts, commands) a benchmark asserts by itself.
    """
    report = {**report, "short": args.short, "machine": machine()}
    if args.json:
        print(json.dumps(report, indent=1, default=str))
    else:
        for line in (*lines, "", *figure_rows(report["figures"])):
            print(line)
    is_met = all(each["met"] for each in report["figures"].values())
    return 0 if args.short or is_met else 1
