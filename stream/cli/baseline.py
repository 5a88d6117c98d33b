"""`baseline`: learn what is expected from recorded events; look at it, compare two versions."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import click
import numpy as np

from stream.baselines import BIT, Baseline, promote, sureness, threshold_of
from stream.config import load_config
from stream.detectors import JUDGES, MODES
from stream.events import PAYLOAD_BYTES_MAX
from stream.replay import History, batches

from .baseline_file import read_baseline, write_baseline
from .baseline_live import promote_file, rollback, tell_live
from .baseline_portable import export_baseline, import_baseline, tell_files
from .doors import wait_for
from .failure import NotSo
from .logs import utc_text
from .options import INPUT, WHOLE_INPUT, WHOLE_OUTPUT, configured, examples, json_option, reaching
from .reading import read_lines, total_bytes
from .replay import replay_key
from .screen import Screen

SHARES: Final = (0.05, 0.01, 0.005, 0.001)


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


for _verb in (export_baseline, import_baseline, promote_file, rollback):
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


@baseline.command("learn")
@click.argument("files", nargs=-1, required=True, type=INPUT, metavar="FILE...")
@click.option("--out", type=WHOLE_OUTPUT, required=True, help="Where the baseline goes.")
@configured("config")
@json_option
def learn(*, files: tuple[str, ...], out: str, environment: dict[str, str], is_json: bool) -> None:
    """Learn a baseline from recorded benign events.

    Each line of a FILE (`-` for stdin, gzip is recognised) is one event in JSON, in the order of
    time. A task ends with its completion, after half an hour without a call, or with the input.
    What stands out from all other tasks is set aside and teaches nothing. The class of a workload
    is the path above it. Thresholds are measured on workloads that were left out.
    """
    screen = Screen(is_json=is_json)
    history = History(replay_key(environment))
    with screen.progress("learning", total_bytes(files)) as advance:
        lines = read_lines(files, PAYLOAD_BYTES_MAX, advance)
        for part in batches(each.data for each in lines if each.data.strip()):
            history.add(part)
    tasks = history.tasks()
    if not len(tasks.tasks):
        raise NotSo("there is no task in these events: nothing to learn from")
    made = promote(tasks, replay_key(environment).id, JUDGES, history.names, seen=history.ended)
    version, size = write_baseline(out, made)
    rejects = Counter(code.value for code in history.rejects)
    summary = {
        "events": history.events,
        "rejects": dict(rejects),
        "bytes": size,
        **_summary(made, version),
    }
    screen.emit(summary)
    screen.line(
        f"{out}: baseline {version} of {made.facts.tasks:,} tasks ({made.facts.aside:,} set aside"
        f" as odd), {len(made.groups):,} classes, {len(made.listed):,} entries, {size:,} bytes"
    )
    for code, count in sorted(rejects.items()):
        screen.line(f"{count:,} lines were no events: {code}", "yellow")


@baseline.command("show")
@click.argument("file", type=WHOLE_INPUT)
@json_option
def show(*, file: str, is_json: bool) -> None:
    """Show what a baseline was learned from, and where its thresholds are."""
    made, version = read_baseline(file)
    screen = Screen(is_json=is_json)
    screen.emit(_summary(made, version))
    screen.line(f"baseline {version}, hash key {made.facts.key_id}", "bold")
    screen.line(
        f"{made.facts.tasks:,} tasks of {made.facts.workloads:,} workloads, "
        f"{utc_text(made.facts.from_ms // 1000)} to {utc_text(made.facts.until_ms // 1000)},"
        f" {made.facts.aside:,} set aside as odd; {len(made.listed):,} entries"
    )
    rows = [
        (_name(made, group["group"]), int(group["purposes"]), int(group["tasks"]))
        for group in made.groups
    ]
    screen.table("", ("class", "purposes", "tasks"), rows, "it has no class")
    tails = [(*row[:2], f"{row[2]:.2f}", *row[3:]) for row in _tails(made)]
    columns = ("compared with", "false alarms", "above bits", "likely between", "tasks")
    screen.table("", columns, tails, "its thresholds were never measured")


@baseline.command("diff")
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
        "classes_gone": [_name(one[0], each) for each in sorted(groups[0] - groups[1])],
        "classes_new": [_name(other[0], each) for each in sorted(groups[1] - groups[0])],
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


def _name(made: Baseline, hashed: Any) -> str:
    key = f"{int(hashed):016x}"
    return made.facts.names.get(key, key)


def _summary(made: Baseline, version: str) -> dict[str, Any]:
    facts = made.facts
    return {
        "version": version,
        "hash_key": facts.key_id,
        "tasks": facts.tasks,
        "tasks_seen": facts.seen,
        "set_aside": facts.aside,
        "workloads": facts.workloads,
        "entries": len(made.listed),
        "classes": {_name(made, each["group"]): int(each["purposes"]) for each in made.groups},
        "thresholds": [
            dict(zip(("mode", "share", "bits", "between", "tasks"), row, strict=True))
            for row in _tails(made)
        ],
    }


def _tails(made: Baseline) -> list[tuple[Any, ...]]:
    """Return for each mode and share of false alarms the threshold, and how sure it is."""
    rows = []
    for mode, tail in zip(MODES, made.facts.tails, strict=False):
        for share in SHARES if tail.tasks else ():
            low, high = sureness(tail, share)
            rows.append(
                (
                    mode,
                    f"{share:.1%}",
                    round(threshold_of(tail, share) / BIT, 2),
                    f"{low:.2%} to {high:.2%}",
                    tail.tasks,
                )
            )
    return rows
