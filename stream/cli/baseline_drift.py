"""`baseline drift`: whether what happens still fits a baseline, and where it does not.

Tasks are scored as while learning. If they are like those that the baseline was learned from, as
many of them pass each threshold as its budget of false alarms says. More is an attack, a change
that nobody announced, or a baseline that is out of date; which of them, the purposes say where it
comes from. Only novelty is compared: what habits alone find is not counted here.
"""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec
import numpy as np

from stream.baselines import (
    BIT,
    Baseline,
    Tasks,
    decode_baseline,
    done,
    exact_interval,
    threshold_of,
    version_of,
)
from stream.config import hash_key, load_config
from stream.detectors import MODES, score_tasks
from stream.errors import ConfigError
from stream.kernel import HashKey
from stream.runtime import SystemClock

from .baseline_file import read_baseline
from .baseline_lesson import sample_live
from .baseline_view import SHARES
from .doors import wait_for
from .failure import NotSo
from .histories import history_of
from .options import INPUT, WHOLE_INPUT, SpanType, examples, json_option, reaching
from .replay import replay_key
from .screen import Screen

SPAN: Final = SpanType(1_000, 366 * 86_400_000)
SURE: Final = 0.9995  # of one rate: a few dozen are looked at, and one in a hundred looks may err
SHOWN: Final = 10


class Rate(msgspec.Struct, frozen=True):
    """How many tasks of a mode passed the threshold of a share, and between which rates that lies.

    `is_over`: more than the share, which chance hardly ever does.
    """

    mode: str
    share: float
    bits: float
    tasks: int
    over: int
    between: tuple[float, float]
    is_over: bool


class Source(msgspec.Struct, frozen=True):
    """A purpose of a class: its tasks, those over the widest share, and how it was compared."""

    group: str
    purpose: str
    mode: str
    tasks: int
    over: int
    is_over: bool


@click.command(
    "drift",
    epilog=examples(
        "enforcer baseline drift --live --since 1d",
        "enforcer baseline drift last-week.jsonl.gz --baseline learned.baseline --json",
    ),
)
@click.argument("files", nargs=-1, type=INPUT, metavar="[FILE...]")
@click.option("--live", is_flag=True, help="Look at what the topic of requests holds now.")
@click.option("--since", "since_ms", type=SPAN, help="Not older than this: 90s, 24h, 7d. (--live)")
@click.option(
    "--baseline",
    type=WHOLE_INPUT,
    help="Compare with this one; with --live otherwise with the one in force.",
)
@reaching
@json_option
def drift(
    *,
    files: tuple[str, ...],
    live: bool,
    since_ms: int | None,
    baseline: str | None,
    environment: dict[str, str],
    is_json: bool,
) -> None:
    """Say whether what happens still fits a baseline.

    For a few shares of false alarms: how many tasks passed the threshold, of how many, beside what
    was promised. Exit code 1 where it is more than chance would do, with the purposes it comes
    from; of events that may hold attacks that is an alarm, of benign ones the baseline is out of
    date. Events are not judged by any policy, and nothing is learned.
    """
    if live == bool(files):
        raise click.UsageError("name FILEs, or --live: one of them")
    if not live and not baseline:
        raise click.UsageError("files are compared with a --baseline")
    if not live and since_ms:
        raise click.UsageError("--since needs --live")
    screen = Screen(is_json=is_json)
    if live:
        key = hash_key(environment)
        config = load_config("", environment)
        begun_ms = SystemClock().wall_ms() - since_ms if since_ms else 0
        history, _, data = wait_for(sample_live(config, key, begun_ms, screen))
    else:
        key, data = replay_key(environment), None
        history = history_of(files, key, screen, "reading")
    made, version = _compared(baseline, data, key)
    tasks, _ = done(history.tasks())
    rates, sources = rates_of(made, tasks, history.names)
    if not rates:
        raise NotSo(
            "no task can be compared: there are too few, or thresholds were never measured",
            hint="`enforcer baseline show` says what the baseline has thresholds for",
        )
    screen.emit(
        {
            "version": version,
            "events": history.events,
            "tasks_seen": history.ended,
            "tasks_scored": len(tasks.tasks),
            "rates": rates,
            "purposes": sources,
            "is_over": any(each.is_over for each in rates),
        }
    )
    _show(screen, version, (rates, sources), history.ended)
    if any(each.is_over for each in rates):
        raise NotSo(
            f"more tasks than promised are odd by baseline {version}",
            hint="look at `enforcer list` and the purposes above; if they are benign, learn anew:"
            " `enforcer baseline learn --live --aside FILE`",
        )


def _compared(file: str | None, data: memoryview | None, key: HashKey) -> tuple[Baseline, str]:
    """Return the baseline to compare with. Errors: NotSo, ConfigError, NewerFormat."""
    if file:
        made, version = read_baseline(file)
    elif data is not None:
        version = version_of(data)
        made = decode_baseline(data, version)
    else:
        raise NotSo(
            "no baseline is in force, or it is not kept any more",
            hint="name one with --baseline, or `enforcer baseline promote` one",
        )
    if made.facts.key_id != key.id:
        raise ConfigError(
            f"baseline {version} was learned under another hash key than the one in use",
            hint="set ENFORCER_HASH_KEY_FILE to the key that it was learned with",
        )
    return made, version


def rates_of(
    made: Baseline, tasks: Tasks, names: dict[str, str]
) -> tuple[list[Rate], list[Source]]:
    """Return how many tasks pass thresholds, by mode and share, and which purposes they are of."""
    rows = tasks.tasks
    bits, modes = score_tasks(made, tasks, np.zeros(len(rows), np.int64))
    rates = []
    for number, (mode, tail) in enumerate(zip(MODES, made.facts.tails, strict=False)):
        mine = bits[modes == number]
        for share in SHARES if len(mine) and tail.tasks else ():
            threshold = threshold_of(tail, share)
            over = int((mine > threshold).sum())
            between = exact_interval(over, len(mine), SURE)
            is_over = between[0] > share
            rates.append(Rate(mode, share, threshold / BIT, len(mine), over, between, is_over))
    return rates, _sources(made, tasks, (bits, modes), names)


def _sources(
    made: Baseline, tasks: Tasks, scored: tuple[Any, Any], names: dict[str, str]
) -> list[Source]:
    """Return the purposes with most tasks over the widest share, those with most first."""
    rows, (bits, modes) = tasks.tasks, scored
    share = SHARES[0]
    limits = np.array([threshold_of(tail, share) for tail in made.facts.tails], np.int64)
    known = modes < len(limits)
    is_over = known & (bits > limits[np.where(known, modes, 0)]) if len(limits) else known
    keys = np.stack([rows["group"], rows["purpose"], modes.astype(np.uint64)], axis=1)
    found, numbers = np.unique(keys, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    sources = []
    for place, (group, purpose, mode) in enumerate(found.tolist()):
        mine = numbers == place
        count, over = int(mine.sum()), int(is_over[mine].sum())
        least, _ = exact_interval(over, count, SURE)
        said = MODES[mode] if mode < len(MODES) else "not ready"
        sources.append(
            Source(
                names.get(f"{group:016x}", f"{group:016x}"),
                names.get(f"{purpose:016x}", f"{purpose:016x}") if purpose else "",
                said,
                count,
                over,
                least > share,
            )
        )
    return sorted(sources, key=lambda each: (-each.over, each.group, each.purpose))


def _show(screen: Screen, version: str, found: tuple[list[Rate], list[Source]], seen: int) -> None:
    rates, sources = found
    screen.line(f"{seen:,} tasks by baseline {version}", "bold")
    columns = ("compared with", "promised", "above bits", "tasks", "over", "rate, likely", "")
    rows = [
        (
            each.mode,
            f"{each.share:.1%}",
            f"{each.bits:.2f}",
            each.tasks,
            each.over,
            f"{each.between[0]:.2%} to {each.between[1]:.2%}",
            "MORE" if each.is_over else "fits",
        )
        for each in rates
    ]
    screen.table("", columns, rows)
    most = [each for each in sources if each.over][:SHOWN]
    lines = [
        (
            each.group,
            each.purpose or "(none)",
            each.mode,
            each.tasks,
            each.over,
            "MORE" if each.is_over else "",
        )
        for each in most
    ]
    title = f"over {SHARES[0]:.0%}, by purpose"
    screen.table(title, ("class", "purpose", "compared with", "tasks", "over", ""), lines, "none")
