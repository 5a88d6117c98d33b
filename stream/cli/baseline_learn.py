"""`baseline learn`: from recorded events, or from those that are still on Kafka."""

from __future__ import annotations

from typing import Any, Final

import click

from stream.baselines import DAYS_MIN, OF_DAY_MAX, OF_PURPOSE_MAX, OF_WORKLOAD_MAX, Baseline
from stream.config import hash_key, load_config, policy_of
from stream.kernel import HashKey
from stream.replay import History
from stream.runtime import SystemClock

from .baseline_file import write_baseline
from .baseline_lesson import Wanted, aside_line, learn_live, released_in
from .baseline_view import summary_of
from .doors import wait_for
from .failure import NotSo
from .histories import history_of, promoted
from .options import INPUT, OUTPUT, WHOLE_OUTPUT, SpanType, examples, json_option, reaching
from .reading import STDIN
from .replay import replay_key
from .screen import Screen
from .writing import check_apart, line_writer

SPAN: Final = SpanType(1_000, 366 * 86_400_000)
LIMITS: Final = {
    "tasks_of_a_purpose": OF_PURPOSE_MAX,
    "tasks_of_a_purpose_and_workload": OF_WORKLOAD_MAX,
    "tasks_of_a_purpose_and_day": OF_DAY_MAX,
}


@click.command(
    "learn",
    epilog=examples(
        "enforcer baseline learn last-month/*.jsonl.gz --out learned.baseline",
        "enforcer baseline learn --live --since 7d --out learned.baseline --aside aside.jsonl",
        "enforcer baseline learn --live --release reviewed.jsonl --out learned.baseline",
    ),
)
@click.argument("files", nargs=-1, type=INPUT, metavar="[FILE...]")
@click.option("--out", type=WHOLE_OUTPUT, required=True, help="Where the baseline goes.")
@click.option("--live", is_flag=True, help="Learn from what the topic of requests holds now.")
@click.option("--since", "since_ms", type=SPAN, help="Not older than this: 90s, 24h, 7d. (--live)")
@click.option(
    "--policy",
    metavar="FILE",
    type=click.Path(),
    help="Judge under this policy, and not under the one that the journal names. (--live)",
)
@click.option("--aside", type=OUTPUT, help="Write what is held aside there, JSON lines. (--live)")
@click.option(
    "--release",
    type=INPUT,
    help="Learn also from the tasks of this file, lines of --aside. (--live)",
)
@reaching
@json_option
def learn(
    *,
    files: tuple[str, ...],
    out: str,
    live: bool,
    since_ms: int | None,
    policy: str | None,
    aside: str | None,
    release: str | None,
    environment: dict[str, str],
    is_json: bool,
) -> None:
    """Learn a baseline from benign events, recorded ones or those that are still on Kafka.

    Each line of a FILE (`-` for stdin, gzip is recognised) is one event in JSON, in the order of
    time. A task ends with its completion, after half an hour without a call, or with the input.
    What stands out from all other tasks, or from those of other workloads, is set aside and
    teaches nothing. The class of a workload is the path above it. Thresholds are measured on
    workloads that were left out.

    With --live each event counts once, wherever gateways put it, and is judged first: tasks that
    the policy and the baseline in force would answer with a command, enforced or in shadow, are
    held aside. Workers go on meanwhile; nothing is promoted.
    """
    if live == bool(files):
        raise click.UsageError("name FILEs, or --live: one of them")
    if not live and (since_ms or policy or aside or release):
        raise click.UsageError("--since, --policy, --aside and --release need --live")
    check_apart((out, aside), (*files, policy, release))
    screen = Screen(is_json=is_json)
    if live:
        history, key, said = _live(environment, (since_ms, policy, release), screen)
    else:
        key, said = replay_key(environment), {}
        history = history_of(files, key, screen, "learning")
    tasks = history.tasks()
    held, held_count = history.aside
    with line_writer(aside) as write:
        for each in held:
            write(aside_line(each))
    if not len(tasks.tasks):
        more = f"; {held_count:,} are held aside, see --aside" if held_count else ""
        raise NotSo(f"there is no task in these events: nothing to learn from{more}")
    made = promoted(tasks, key.id, history.names, seen=history.ended)
    version, size = write_baseline(out, made)
    summary = {
        "events": history.events,
        "rejects": dict(history.rejects),
        "unauthenticated": history.unauthenticated,
        "limits": LIMITS,
        "bytes": size,
        **summary_of(made, version),
        **(said and {**said, "held_aside": held_count}),
    }
    if aside != STDIN:
        screen.emit(summary)
        _show_learned(screen, out, made, version, size)
        if live:
            screen.line(f"{held_count:,} tasks that commands answered are held aside", "dim")
        _show_left_out(screen, history, "records were left out" if live else "lines were no events")


def _live(
    environment: dict[str, str], given: tuple[int | None, str | None, str | None], screen: Screen
) -> tuple[History, HashKey, dict[str, Any]]:
    """Return what the topic of requests teaches, the key of its hashes, and what to say of it."""
    since_ms, policy, release = given
    if policy:
        environment = {**environment, "ENFORCER_POLICY": policy}
    config, key = load_config("", environment), hash_key(environment)
    wanted = Wanted(
        since_ms=SystemClock().wall_ms() - since_ms if since_ms else 0,
        policy=policy_of(config) if policy else None,
        released=released_in(release, key) if release else frozenset(),
    )
    learned = wait_for(learn_live(config, key, wanted, screen))
    said = {
        "ranges": learned.ranges,
        "judged_by": {"policy": learned.policy.hash, "baseline": learned.baseline},
    }
    return learned.history, key, said


def _show_learned(screen: Screen, out: str, made: Baseline, version: str, size: int) -> None:
    screen.line(
        f"{out}: baseline {version} of {made.facts.tasks:,} tasks ({made.facts.aside:,} set aside"
        f" as odd), {len(made.groups):,} classes, {len(made.listed):,} entries, {size:,} bytes"
    )
    screen.line(
        f"at most {OF_PURPOSE_MAX} tasks of a purpose teach: {OF_WORKLOAD_MAX} of a workload where"
        f" others have it too, {OF_DAY_MAX} of a day where it has {DAYS_MIN} days",
        "dim",
    )


def _show_left_out(screen: Screen, history: History, why: str) -> None:
    if history.unauthenticated:
        said = f"{history.unauthenticated:,} events of failed authentications were left out"
        screen.line(said, "dim")
    for code, count in sorted(history.rejects.items()):
        screen.line(f"{count:,} {why}: {code}", "yellow")
