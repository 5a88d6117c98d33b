"""`baseline`: what is expected: look at it, compare two versions; its other verbs are beside."""

from __future__ import annotations

import click
import numpy as np

from stream.baselines import Baseline
from stream.config import load_config

from .baseline_drift import drift
from .baseline_file import read_baseline
from .baseline_learn import learn
from .baseline_live import promote_file, rollback, tell_live
from .baseline_portable import export_baseline, import_baseline, tell_files
from .baseline_view import name_of, summary_of, tails_of
from .doors import wait_for
from .logs import utc_text
from .options import WHOLE_INPUT, examples, json_option, reaching
from .screen import Screen


@click.group(
    "baseline",
    epilog=examples(
        "enforcer baseline learn last-month/*.jsonl.gz --out learned.baseline",
        "enforcer baseline show learned.baseline --json",
        "enforcer replay today.jsonl --baseline learned.baseline --scores scores.jsonl",
    ),
)
def baseline() -> None:
    """Learn what tasks usually do.

    A baseline says for each class of workloads, and each declared purpose, what its tasks do: which
    operations, with which values, and how rarely a benign task does something new. It holds
    keyed hashes, no values; it is good only with the hash key it was learned under.
    """


for _verb in (learn, drift, export_baseline, import_baseline, promote_file, rollback):
    baseline.add_command(_verb)


@baseline.command(
    "list",
    epilog=examples("enforcer baseline list baselines/ --json", "enforcer baseline list --live"),
)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--live", is_flag=True, help="What is in force, by partition, and what is kept.")
@reaching
@json_option
def list_baselines(
    *, folder: str | None, live: bool, environment: dict[str, str], is_json: bool
) -> None:
    """List the baselines in FOLDER, also exported ones; or those in force.

    What cannot be used says why. Other files are passed over, and so are folders within.
    """
    screen = Screen(is_json=is_json)
    if live and folder is None:
        wait_for(tell_live(load_config("", environment), screen))
    elif folder is not None and not live:
        tell_files(folder, screen)
    else:
        raise click.UsageError("name a FOLDER, or --live: one of them")


@baseline.command(
    "show",
    epilog=examples(
        "enforcer baseline show learned.baseline", "enforcer baseline show learned.baseline --json"
    ),
)
@click.argument("file", type=WHOLE_INPUT)
@json_option
def show(*, file: str, is_json: bool) -> None:
    """Show what a baseline was learned from, and where its thresholds are."""
    made, version = read_baseline(file)
    screen = Screen(is_json=is_json)
    screen.emit(summary_of(made, version))
    screen.line(f"baseline {version}, hash key {made.facts.key_id}", "bold")
    screen.line(
        f"{made.facts.tasks:,} tasks of {made.facts.workloads:,} workloads, "
        f"{utc_text(made.facts.from_ms // 1000)} to {utc_text(made.facts.until_ms // 1000)},"
        f" {made.facts.aside:,} set aside as odd; {len(made.listed):,} entries"
    )
    rows = [
        (name_of(made, group["group"]), int(group["purposes"]), int(group["tasks"]))
        for group in made.groups
    ]
    screen.table("", ("class", "purposes", "tasks"), rows, "it has no class")
    tails = [(*row[:2], f"{row[2]:.2f}", *row[3:]) for row in tails_of(made)]
    columns = ("compared with", "false alarms", "above bits", "likely between", "tasks")
    screen.table("", columns, tails, "its thresholds were never measured")


@baseline.command(
    "diff", epilog=examples("enforcer baseline diff last-month.baseline learned.baseline --json")
)
@click.argument("first", type=WHOLE_INPUT)
@click.argument("second", type=WHOLE_INPUT)
@json_option
def diff(*, first: str, second: str, is_json: bool) -> None:
    """Say how two baselines differ."""
    one, other = read_baseline(first), read_baseline(second)
    keys = [each[0].listed["key"] for each in (one, other)]
    both = np.intersect1d(keys[0], keys[1])
    groups = [{int(each["group"]) for each in made.groups} for made, _ in (one, other)]
    found = {
        "first": one[1],
        "second": other[1],
        "same_key": one[0].facts.key_id == other[0].facts.key_id,
        "entries_gone": len(keys[0]) - len(both),
        "entries_new": len(keys[1]) - len(both),
        "entries_kept": len(both),
        "classes_gone": [name_of(one[0], each) for each in sorted(groups[0] - groups[1])],
        "classes_new": [name_of(other[0], each) for each in sorted(groups[1] - groups[0])],
        "operations_new": _named_only(one[0], other[0]),
        "operations_gone": _named_only(other[0], one[0]),
    }
    screen = Screen(is_json=is_json)
    screen.emit(found)
    for name, value in found.items():
        shown = ", ".join(value) or "none" if isinstance(value, list) else value
        screen.line(f"{name.replace('_', ' ')}: {shown}")


def _named_only(one: Baseline, other: Baseline) -> list[str]:
    """Return the names (classes, purposes, operations) that only the other has."""
    return sorted(set(other.facts.names.values()) - set(one.facts.names.values()))
