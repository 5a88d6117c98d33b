"""`evaluate`: labelled events through the engine, and what was found of what was to be found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

import click
import msgspec
import numpy as np

from stream.baselines import Baseline, Tasks
from stream.config import load_config, policy_of
from stream.errors import ConfigError
from stream.evaluation import (
    PERCENT,
    Delays,
    Labels,
    Point,
    Trial,
    alarms_of,
    by_part,
    delay_plot,
    delays_of,
    growth_plot,
    part_named,
    read_labels,
    roc_of,
    roc_plot,
    threshold_at,
)
from stream.events import Request, decode_request, split_requests
from stream.identity import canonical_workload
from stream.kernel import HashKey
from stream.policy import Policy
from stream.replay import Replay

from .baseline_file import read_baseline
from .calibrate import taught
from .failure import NotSo
from .faults import FaultNotes
from .histories import history_of, line_batches
from .options import INPUT, WHOLE_INPUT, configured, examples, json_option
from .reading import is_read_once, read_lines, total_bytes
from .replay import replay_key
from .score_lines import ScoreLine, score_lines
from .screen import Screen

SLOTS: Final = 1_000_000
LABEL_BYTES_MAX: Final = 8_192
GROWTH: Final = (1, 2, 3, 5, 10, 20, 50)
AT: Final = (1.0, 5.0)
_ATS: Final = tuple(f"{at:g} %" for at in AT)
_decoder = msgspec.json.Decoder(ScoreLine)


@click.command(
    "evaluate",
    epilog=examples(
        "enforcer evaluate runs.jsonl --labels labels.jsonl --baseline learned.baseline",
        "enforcer evaluate runs.jsonl --labels labels.csv --baseline b --plots plots/ --json",
        "enforcer evaluate runs.jsonl --labels l.csv --baseline b --curve last-month/*.jsonl.gz",
    ),
)
@click.argument("files", nargs=-1, required=True, type=INPUT, metavar="EVENTS...")
@click.option("--labels", required=True, type=INPUT, help="What is known: JSON lines or CSV.")
@click.option("--baseline", required=True, type=WHOLE_INPUT, help="What tasks are compared with.")
@configured("policy", "config")
@click.option(
    "--curve",
    multiple=True,
    type=WHOLE_INPUT,
    metavar="FILE",
    help="Benign events; say what is found after 1, 2, 3, 5 ... of each purpose's tasks of them.",
)
@click.option("--plots", type=click.Path(file_okay=False), help="Write plots there, as SVG files.")
@json_option
def evaluate(
    *,
    files: tuple[str, ...],
    labels: str,
    baseline: str,
    environment: dict[str, str],
    curve: tuple[str, ...],
    plots: str | None,
    is_json: bool,
) -> None:
    """Say how much of labelled data is found, and at how many false alarms.

    Each line of EVENTS is one event in JSON, in the order of time. Each line of the labels is
    {"task": ID, "label": "benign" or "attack", "first": EVENT}, or {"id": EVENT, "label": ...}, or
    the same as CSV with a header; `first` is the event from which on a task was an attack. What has
    no label is replayed and not counted. An attack is found at 1 % of false positives if its
    evidence exceeds what 1 % of the benign tasks exceed.
    """
    if curve and any(map(is_read_once, files)):
        raise click.UsageError("--curve reads the events again: give files, not stdin or a pipe")
    if plots:
        _check_plots(Path(plots))
    known = read_labels((each.data for each in read_lines((labels,), LABEL_BYTES_MAX)), labels)
    screen, key = Screen(is_json=is_json), replay_key(environment)
    faults = FaultNotes(screen)
    policy = policy_of(load_config("", environment))
    made, version = read_baseline(baseline)
    with screen.progress("replaying", total_bytes(files)) as advance:
        trials = replayed(files, known, _machine(policy, key, made, version), advance, faults)
    kinds = [each.is_attack for each in trials]
    if not any(kinds) or all(kinds):
        raise NotSo(
            f"{sum(kinds)} attacks and {len(kinds) - sum(kinds)} benign tasks have a label:"
            " both are needed",
            hint="labels name tasks, or ids of events, as the events have them",
        )
    curves = _growth(files, known, (policy, key), curve, screen) if curve else {}
    roc, parts = roc_of(trials), by_part(trials)
    delays = {f"{at:g} %": delays_of(trials, threshold_at(trials, at)) for at in AT}
    found = {
        "version": version,
        "benign": len(kinds) - sum(kinds),
        "attacks": sum(kinds),
        "roc": [each._asdict() for each in roc],
        "parts": {name: [each._asdict() for each in of] for name, of in parts.items()},
        "delays": {name: each._asdict() for name, each in delays.items()},
        "delays_of_parts": {
            name: delays_of(trials, points[PERCENT.index(1.0)].bits, part_named(name))._asdict()
            for name, points in parts.items()
        },
        "alarms": {
            name: dict(zip(("alarmed", "tasks", "low", "high"), each, strict=True))
            for name, each in alarms_of(trials).items()
        },
        "learning_curve": curves,
    }
    found["faults"] = dict(faults.counts)
    screen.emit(found)
    _show(screen, found, roc, parts)
    # Last, so that what is found is told also where a plot cannot be written after all.
    if plots:
        _plot(Path(plots), (roc, parts), delays, curves)


def _check_plots(folder: Path) -> None:
    """See that plots can be made, before hours may be spent on what they show.

    Errors: ConfigError.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "plots need the package `matplotlib`", hint="pip install 'stream-enforcer[plots]'"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from error


def _plot(
    folder: Path,
    found: tuple[Sequence[Point], dict[str, list[Point]]],
    delays: dict[str, Delays],
    curves: dict[str, dict[str, float]],
) -> None:
    roc_plot(folder / "roc.svg", *found)
    delay_plot(folder / "delay.svg", delays)
    if curves:
        by_rate = {f"at {at}": {int(n): each[at] for n, each in curves.items()} for at in _ATS}
        growth_plot(folder / "learning.svg", by_rate)


def _machine(policy: Policy, key: HashKey, made: Baseline, version: str) -> Replay:
    machine = Replay(policy, key, slots_max=SLOTS)
    machine.expect(made, version)
    return machine


class _Open:
    """A trial as it is scored."""

    def __init__(self) -> None:
        self.evidence: list[float] = []
        self.parts: dict[str, list[tuple[int, float]]] = {}
        self.is_attack: bool | None = None
        self.first_mal: int | None = None
        self.is_alarm = False


def replayed(
    files: Sequence[str],
    labels: Labels,
    machine: Replay,
    advance: Callable[[int], None],
    faults: FaultNotes,
) -> list[Trial]:
    """Return the labelled trials of files as a machine scores them. Mutates: machine, faults."""
    trials: dict[tuple[str, str], _Open] = {}
    start = 0
    for lines in line_batches(files, advance):
        part = [each.data for each in lines]
        requests = list(chain.from_iterable(map(_requests_of, part)))
        result, rejects, scores = machine.score(part)
        faults.add_rejects(lines, rejects)
        for _, code in result.refused:
            faults.add(lines[0].file, code.value, f"more than {SLOTS:,} workloads, it has no score")
        for line in score_lines(scores):
            score = _decoder.decode(line)
            request = requests[score.position - start]
            assert request is not None, "what was scored is an event"
            _count(trials, request, score, labels)
        start += len(requests)
    return [
        Trial(each.evidence, each.is_attack, each.first_mal, each.is_alarm, each.parts)
        for each in trials.values()
        if each.is_attack is not None
    ]


def _count(
    trials: dict[tuple[str, str], _Open], request: Request, score: ScoreLine, labels: Labels
) -> None:
    """Count one scored event in its trial. Mutates: trials."""
    trial = trials.setdefault((canonical_workload(request.workload), request.task), _Open())
    for known, name in ((labels.tasks, request.task), (labels.events, request.id)):
        if name and name in known:
            trial.is_attack = bool(trial.is_attack) or known[name]
    if request.kind == "request":
        if request.id in labels.firsts and trial.first_mal is None:
            trial.first_mal = len(trial.evidence)
        trial.evidence.append(score.evidence_bits)
    trial.is_alarm = trial.is_alarm or score.alarm
    call = max(len(trial.evidence) - 1, 0)
    for name, bits in {**score.parts, "exposed": score.exposed_bits}.items():
        peaks = trial.parts.setdefault(name, [])
        if bits > (peaks[-1][1] if peaks else 0.0):
            peaks.append((call, bits))


def _requests_of(payload: bytes) -> Iterator[Request | None]:
    """Yield the events of a payload as the engine counts them, None for what is none."""
    payloads: Sequence[bytes] = (payload,)
    # The engine judges one that cannot be split as one event, which is none.
    with contextlib.suppress(ValueError, RecursionError):
        payloads = split_requests(payload)
    for each in payloads:
        try:
            yield decode_request(each)
        except (ValueError, RecursionError):
            yield None


def _growth(
    files: Sequence[str],
    labels: Labels,
    about: tuple[Policy, HashKey],
    curve: Sequence[str],
    screen: Screen,
) -> dict[str, dict[str, float]]:
    """Return what is found when so many tasks of each purpose were learned, by their number."""
    policy, key = about
    history = history_of(curve, key, screen, "learning")
    tasks = history.tasks()
    # What is no event among those that are scored again was told the first time.
    faults = FaultNotes(Screen(is_json=True))
    ranks = _ranks(tasks)
    if not len(ranks):
        raise ConfigError(f"{curve[0]}: there is no task in these events to learn from")
    out: dict[str, dict[str, float]] = {}
    for count in [each for each in GROWTH if each <= ranks.max()] + [int(ranks.max()) + 1]:
        made = taught(tasks.chosen(np.flatnonzero(ranks < count)), history, key.id)
        machine = _machine(policy, key, made, f"of {count}")
        trials = replayed(files, labels, machine, lambda position: None, faults)
        found = {each.percent: each.found for each in roc_of(trials)}
        out[str(count)] = {name: found[at] for name, at in zip(_ATS, AT, strict=True)}
    return out


def _ranks(tasks: Tasks) -> Any:
    """Return of each task how many of its purpose ended before it."""
    rows = tasks.tasks
    order = np.lexsort((rows["task"], rows["ended_ms"], rows["purpose"], rows["group"]))
    purposes = rows[["group", "purpose"]][order]
    is_new = np.ones(len(rows), bool)
    is_new[1:] = purposes[1:] != purposes[:-1]
    starts = np.maximum.accumulate(np.where(is_new, np.arange(len(rows)), 0))
    ranks = np.zeros(len(rows), np.int64)
    ranks[order] = np.arange(len(rows)) - starts
    return ranks


def _show(
    screen: Screen, found: dict[str, Any], roc: Sequence[Point], parts: dict[str, list[Point]]
) -> None:
    screen.line(
        f"{found['attacks']:,} attacks and {found['benign']:,} benign tasks,"
        f" by baseline {found['version']}",
        "bold",
    )
    rows = [
        (
            f"{each.percent:g} %" + ("*" if each.is_beyond else ""),
            f"{each.bits:.2f}",
            f"{each.found:.1%}",
            f"{each.low:.1%} to {each.high:.1%}",
        )
        for each in roc
    ]
    screen.table("", ("false positives", "above bits", "found", "likely between"), rows)
    if any(each.is_beyond for each in roc):
        screen.line("* too few benign tasks for such a rate: the threshold is the highest of them")
    of_parts = [
        (
            name,
            *(f"{each.found:.1%}" for each in of if each.percent in AT),
            f"{found['delays_of_parts'][name]['in_time']:.1%}",
        )
        for name, of in parts.items()
    ]
    columns = ("part alone", *(f"found at {at}" for at in _ATS), "in time at 1 %")
    screen.table("", columns, of_parts)
    delays = [
        (
            name,
            each["attacks"],
            f"{each['in_time']:.1%}",
            *(f"{one:g}" for one in each["quantiles"]),
        )
        for name, each in found["delays"].items()
    ]
    columns = ("delay at", "attacks", "in time", "10 % by call", "half by call", "90 % by call")
    screen.table("", columns, delays)
    for name, each in found["alarms"].items():
        screen.line(
            f"alarm: {each['alarmed']:,} of {each['tasks']:,} {name} tasks"
            f" ({each['low']:.2%} to {each['high']:.2%})"
        )
    grown = [
        (count, *(f"{each[at]:.1%}" for at in _ATS))
        for count, each in found["learning_curve"].items()
    ]
    if grown:
        screen.table("", ("tasks learned", *(f"found at {at}" for at in _ATS)), grown)
