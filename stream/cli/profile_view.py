"""A `Profile` on a screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stream.explain import Distance, InForce, Profile, SequenceMark, WindowTotal

from .screen import Cell, Screen, styled
from .times import ago, moment, span

TRANSITIONS_SHOWN: Final = 10
OWN_CONTEXT: Final = "(no task)"
_NEAR_PERCENT: Final = 80


def show_profile(screen: Screen, profile: Profile) -> None:
    """Show all of a profile, what matters most first."""
    now_ms = profile.read_ms
    screen.line(profile.workload, "bold")
    screen.line(
        f"class {profile.class_name}, partition {profile.partition}, "
        f"policy {profile.policy} {profile.policy_hash}"
    )
    screen.line(
        f"{profile.events:,} requests, the first {ago(profile.first_ms, now_ms)}, "
        f"the last {ago(profile.clock_ms, now_ms)} ({moment(profile.clock_ms)})"
    )
    for note in (*profile.notes, *_losses(profile)):
        screen.line(f"note: {note}", "yellow")
    screen.line()
    _show_in_force(screen, profile.in_force, now_ms)
    screen.table(
        "limits",
        ("rule", "counts", "in", "holds", "at most", "left", "used", "then", "mode"),
        [_limit_row(window, each) for window in profile.windows for each in window.limits],
        "no limit is about this class",
    )
    screen.table(
        "sequences that have begun",
        ("rule", "task", "after", "would fire on", "ends", "then", "mode"),
        [_sequence_row(each, now_ms) for each in profile.sequences],
        "none",
    )
    screen.table(
        "tasks",
        ("task", "requests", "last used", "last operations, newest first"),
        [
            (
                (each.task or OWN_CONTEXT) + (" granted" if each.granted else ""),
                each.events,
                ago(each.used_ms, now_ms),
                ", ".join(each.recent),
            )
            for each in profile.contexts
        ],
        "none",
    )
    screen.table(
        "heaviest transitions",
        ("from", "to", "count"),
        [
            (each.source, each.target, f"{each.count - each.error:,}..{each.count:,}")
            if each.error
            else (each.source, each.target, f"{each.count:,}")
            for each in profile.transitions[:TRANSITIONS_SHOWN]
        ],
        "none",
    )


def _show_in_force(screen: Screen, in_force: tuple[InForce, ...], now_ms: int) -> None:
    if not in_force:
        screen.line("nothing is in force on it", "green")
    for each in in_force:
        on = f"{each.on} {each.subject}".strip()
        times = f", {each.repeat + 1} times" if each.repeat else ""
        screen.line(
            f"{each.action} on {on}, by rule {each.rule} ({each.mode}), "
            f"since {ago(each.first_ms, now_ms)}{times}, ends {ago(each.ends_ms, now_ms)}",
            styled(each.action)[1],
        )
        for label, text in (
            ("because", each.reason),
            ("otherwise", each.otherwise),
            ("controls", ", ".join(each.controls)),
            ("command", each.command),
        ):
            if text:
                screen.line(f"    {label}: {text}")
    screen.line()


def _losses(profile: Profile) -> Iterator[str]:
    """Yield what the profile could not keep."""
    if profile.late:
        yield f"{profile.late:,} events came too late for some window"
    if profile.contexts_dropped:
        yield f"{profile.contexts_dropped:,} tasks were dropped for newer ones"
    if profile.transitions_dropped:
        yield f"{profile.transitions_dropped:,} transitions were dropped for newer ones"


def _limit_row(window: WindowTotal, limit: Distance) -> tuple[Cell, ...]:
    what = " ".join(filter(None, (window.effect, window.measure)))
    if window.operations:
        what += f" of {', '.join(window.operations)}"
    style = "red" if limit.left < 0 else "yellow" if limit.percent >= _NEAR_PERCENT else ""
    return (
        limit.rule,
        what,
        span(window.span_ms),
        window.now,
        limit.at_most,
        (f"{limit.left:,}", style),
        (f"{limit.percent} %", style),
        limit.action,
        styled(limit.mode),
    )


def _sequence_row(mark: SequenceMark, now_ms: int) -> tuple[Cell, ...]:
    return (
        mark.rule,
        mark.task or OWN_CONTEXT,
        f"{mark.operation} {ago(mark.at_ms, now_ms)}",
        ", ".join(mark.then),
        ago(mark.until_ms, now_ms),
        f"{mark.action} on {mark.on}",
        styled(mark.mode),
    )
