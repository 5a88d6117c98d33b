"""`calibrate`: thresholds for a budget of false alarms, from benign history, and how sure they are.

Without a baseline the history is its own: workloads are dealt into folds, and those of a fold are
scored by what all others teach. With one it must be of a time, or of workloads, that the baseline
was not learned from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import click
import msgspec
import numpy as np

from stream.baselines import (
    BIT,
    NEVER,
    Baseline,
    Certain,
    Facts,
    Tasks,
    apart_ms,
    certain,
    done,
    fit_tail,
    habit_tails,
    share_of,
)
from stream.config import load_config, policy_of
from stream.detectors import LEARNED_HABITS, MODES, score_tasks, tails_of
from stream.errors import ConfigError, PolicyError
from stream.policy import AlarmBudget, Policy, alarm_budget
from stream.replay import History

from .baseline_file import read_baseline, write_baseline
from .failure import NotSo
from .histories import history_of, promoted
from .logs import utc_text
from .options import INPUT, WHOLE_INPUT, WHOLE_OUTPUT, configured, examples, json_option
from .replay import replay_key
from .screen import Screen
from .writing import check_apart

FOLDS: Final = 10
USUAL: Final = "0.5% of tasks"
SHOWN_MIN: Final = 3  # a rate that less than so many tasks would show is the fitted tail's word
_TASK_MODES: Final = MODES[:3]


class Scored(NamedTuple):
    """Benign tasks as scored in one mode. Shapes: bits in 1/1024, owners [task]."""

    bits: Any
    owners: Any


@click.command(
    "calibrate",
    epilog=examples(
        "enforcer calibrate last-month/*.jsonl.gz",
        'enforcer calibrate last-week.jsonl --baseline learned.baseline --budget "0.1% of tasks"',
        "enforcer calibrate last-week.jsonl --baseline learned.baseline --out calibrated.baseline",
    ),
)
@click.argument("files", nargs=-1, required=True, type=INPUT, metavar="FILE...")
@configured("policy", "config")
@click.option("--baseline", type=WHOLE_INPUT, help="Score the history by this baseline.")
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="TEXT",
    help='Such as "0.5% of tasks" or "1 per workload per 30 days"; without it those of the policy.',
)
@click.option("--out", type=WHOLE_OUTPUT, help="Write the baseline with these thresholds there.")
@json_option
def calibrate(
    *,
    files: tuple[str, ...],
    environment: dict[str, str],
    baseline: str | None,
    budgets: tuple[str, ...],
    out: str | None,
    is_json: bool,
) -> None:
    """Set thresholds of learned evidence from benign history.

    Each line of a FILE is one benign event, as for `baseline learn`. For each budget of false
    alarms, and for what tasks are compared with (a known purpose, other purposes for a new one, all
    of the class for an undeclared one), it says above which evidence a task alarms, and how sure
    that is: between which bits the threshold lies, and how many tasks of workloads that it was not
    fitted to would have alarmed. Nothing is written but to --out.
    """
    if out and not baseline:
        raise click.UsageError("--out needs --baseline: `baseline learn` measures its own")
    read = environment.get("ENFORCER_POLICY"), environment.get("ENFORCER_CONFIG")
    check_apart((out,), (*files, baseline, *read))
    texts = budgets or _budgets_of(policy_of(load_config("", environment)))
    parsed = [(text, _parsed(text)) for text in texts]
    screen = Screen(is_json=is_json)
    history = history_of(files, replay_key(environment), screen, "reading")
    every = history.tasks()
    tasks, _ = done(every)
    if not len(tasks.tasks):
        raise NotSo("there is no task in these events: nothing to calibrate with")
    made = read_baseline(baseline)[0] if baseline else None
    if made is not None and made.facts.key_id != replay_key(environment).id:
        raise ConfigError(
            f"{baseline}: it was learned under another hash key than the one in use",
            hint="set ENFORCER_HASH_KEY_FILE to the key that it was learned with",
        )
    scored = scored_by(made, tasks) if made is not None else cross_fitted(tasks, history)
    about = facts_of(tasks, history)
    shares = [
        (text, share_of(about, each.alarms, each.per_ms) if each.alarms else each.ppm / 1e6)
        for text, each in parsed
    ]
    rows = [
        (text, mode, certain(*scored[mode], share))
        for text, share in shares
        for mode in _TASK_MODES
    ]
    found = {
        "events": history.events,
        "rejects": history.rejects.total(),
        "tasks": about.seen,
        "tasks_scored": about.tasks,
        "workloads": about.workloads,
        "thresholds": [_shown(*row) for row in rows],
    }
    if out and made is not None:
        found["version"], _ = write_baseline(out, recalibrated(made, scored, every))
    screen.emit(found)
    _show(screen, found, about)
    if made is not None and _overlaps(made.facts, about):
        screen.note(
            "the baseline was learned from the time of this history: if from the same events, these"
            " thresholds are too low",
            "yellow",
        )


def _budgets_of(policy: Policy) -> tuple[str, ...]:
    """Return the budgets of a policy's rules on learned evidence, each once; the usual without."""
    specs = [each.spec.anomaly for each in policy.rules if each.mode and each.detector == "anomaly"]
    return tuple(dict.fromkeys(each.false_alarms for each in specs if each)) or (USUAL,)


def _parsed(text: str) -> AlarmBudget:
    try:
        return alarm_budget(text)
    except PolicyError as error:
        raise click.UsageError(f"--budget: {error.message}; {error.hint}") from error


def facts_of(tasks: Tasks, history: History) -> Facts:
    """Return how much history there is."""
    return Facts(
        key_id=0,
        tasks=len(tasks.tasks),
        seen=history.ended,
        workloads=len(np.unique(tasks.tasks["workload"])),
        from_ms=int(tasks.tasks["ended_ms"].min()),
        until_ms=int(tasks.tasks["ended_ms"].max()),
        apart_ms=apart_ms(tasks.tasks["ended_ms"]),
    )


def scored_by(made: Baseline, tasks: Tasks) -> dict[str, Scored]:
    """Return the tasks as a baseline scores them, that did not learn from them, by mode."""
    return _gathered(_scores(made, tasks))


def cross_fitted(tasks: Tasks, history: History) -> dict[str, Scored]:
    """Return the tasks as what the others teach scores them, by mode.

    Workloads are dealt into folds for known and undeclared purposes, purposes for new ones.
    """
    parts: list[tuple[str, Scored]] = []
    for column in ("workload", "purpose"):
        found, numbers = np.unique(tasks.tasks[column], return_inverse=True)
        folds = (numbers if len(found) > 1 else np.arange(len(numbers))) % FOLDS
        for fold in range(FOLDS):
            mine, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            if len(mine) and len(others):
                made = taught(tasks.chosen(others), history, 0)
                parts += [
                    each
                    for each in _scores(made, tasks.chosen(mine))
                    if (each[0] == "new") == (column == "purpose")
                ]
    return _gathered(parts)


def taught(tasks: Tasks, history: History, key_id: int) -> Baseline:
    """Return what tasks of a history teach, without thresholds."""
    return promoted(tasks, key_id, history.names, calibrated=False)


def _scores(made: Baseline, tasks: Tasks) -> Iterator[tuple[str, Scored]]:
    """Yield the scores of tasks by mode, as they are and with no purpose declared."""
    undeclared = tasks.tasks.copy()
    undeclared["purpose"] = 0
    own = np.zeros(len(tasks.tasks), np.int64)
    for each in (tasks, tasks._replace(tasks=undeclared)):
        bits, modes = score_tasks(made, each, own)
        for number, mode in enumerate(_TASK_MODES):
            here = modes == number
            # What declares no purpose is in both, and counts once.
            if (mode == "undeclared") == (each is not tasks):
                yield mode, Scored(bits[here], tasks.tasks["workload"][here])


def _gathered(
    parts: Sequence[tuple[str, Scored]] | Iterator[tuple[str, Scored]],
) -> dict[str, Scored]:
    by_mode: dict[str, list[Scored]] = {mode: [] for mode in _TASK_MODES}
    for mode, each in parts:
        by_mode[mode].append(each)
    empty = Scored(np.zeros(0, np.int64), np.zeros(0, np.uint64))
    return {
        mode: Scored(*(np.concatenate(each) for each in zip(empty, *found, strict=True)))
        for mode, found in by_mode.items()
    }


def recalibrated(made: Baseline, scored: dict[str, Scored], every: Tasks) -> Baseline:
    """Return a baseline with the tails of new scores; where there are too few, its own stay.

    Those of habits are measured on `every` task with all of its calls, denied ones too.
    """
    tails = list(made.facts.tails) or [fit_tail(())] * len(_TASK_MODES)
    for number, mode in enumerate(_TASK_MODES):
        fitted = fit_tail(scored[mode].bits)
        tails[number] = fitted if fitted.tasks else tails[number]
    most = LEARNED_HABITS.most(made.view().entries, every)
    habits = habit_tails(most, LEARNED_HABITS.priors)
    habits = tuple(
        new if is_known else old
        for new, old, is_known in zip(
            habits, tails_of(made.facts.habits), (most >= 0).any(axis=0), strict=True
        )
    )
    facts = msgspec.structs.replace(made.facts, tails=tuple(tails), habits=habits)
    return made._replace(facts=facts)


def _overlaps(one: Facts, other: Facts) -> bool:
    return one.from_ms <= other.until_ms and other.from_ms <= one.until_ms


def _shown(budget: str, mode: str, found: Certain) -> dict[str, Any]:
    """Return a threshold as data; without one for a mode of too few tasks."""
    is_known = found.share > 0 and found.bits < NEVER
    return {
        "budget": budget,
        "mode": mode,
        "share": found.share,
        "bits": found.bits / BIT if is_known else None,
        "bits_between": [found.least / BIT, None if found.most == NEVER else found.most / BIT]
        if is_known
        else None,
        "tasks": found.tasks,
        "left_out_over": found.over if is_known else None,
        "rate_between": [found.low, found.high] if is_known else None,
        "is_beyond_seen": found.share * found.tasks < SHOWN_MIN,
    }


def _show(screen: Screen, found: dict[str, Any], about: Facts) -> None:
    screen.line(
        f"{about.seen:,} tasks of {about.workloads:,} workloads, "
        f"{utc_text(about.from_ms // 1_000)[:16]} to {utc_text(about.until_ms // 1_000)[:16]},"
        f" {about.tasks:,} of them scored"
    )
    columns = (
        "budget",
        "compared with",
        "share",
        "above bits",
        "likely",
        "tasks",
        "left out, over",
    )
    screen.table("", columns, [_row(each) for each in found["thresholds"]])
    if any(each["is_beyond_seen"] and each["bits"] for each in found["thresholds"]):
        screen.line(
            "* fewer than three tasks would be so odd: the fitted tail says it, not what was seen"
        )
    if "version" in found:
        screen.line(f"written as baseline {found['version']}")


def _row(each: dict[str, Any]) -> tuple[str | int, ...]:
    share = f"{each['share']:.4%}" + ("*" if each["is_beyond_seen"] else "")
    if each["bits"] is None:
        return each["budget"], each["mode"], share, "never", "too few tasks", each["tasks"], ""
    low, high = each["bits_between"]
    least, most = each["rate_between"]
    return (
        each["budget"],
        each["mode"],
        share,
        f"{each['bits']:.2f}",
        f"{low:.2f} to {high:.2f}" if high is not None else f"{low:.2f} or more",
        each["tasks"],
        f"{each['left_out_over']:,} ({least:.2%} to {most:.2%})",
    )
