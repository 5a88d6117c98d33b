"""`simulate`: the whole product in virtual time, under faults that a seed or a sweep places."""

from __future__ import annotations

import click

from stream.errors import ConfigError
from stream.simulate import HOWS, Outcome, plan_of, shown, simulate

from .failure import NOT_SO
from .options import examples, json_option
from .screen import Screen
from .sweeping import EVERYTHING, sweep, sweep_one

SHOWN: int = 10


@click.command(
    "simulate",
    epilog=examples(
        "enforcer simulate --seed 442",
        "enforcer simulate --seed 1000 --count 200",
        "enforcer simulate --seed 7 --minutes 5 --json",
        "enforcer simulate --sweep letters --every 20",
        "enforcer simulate --sweep takeover --fail-at 37 --how kill_late",
    ),
)
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), help="The run.")
@click.option(
    "--count",
    type=click.IntRange(1, 1_000_000),
    default=1,
    show_default=True,
    help="So many seeds, one after another.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.05, 60),
    default=0.5,
    show_default=True,
    help="Virtual minutes of traffic under faults; what follows is calm.",
)
@click.option(
    "--sweep",
    "scenario",
    metavar="[SCENARIO]",
    is_flag=False,
    flag_value=EVERYTHING,
    help="Run a scenario, or all, with each call of a door failing in each way.",
)
@click.option(
    "--every",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="Of a sweep, only every so many-th fault.",
)
@click.option("--fail-at", type=click.IntRange(1, 1_000_000), help="The one call that fails.")
@click.option("--how", type=click.Choice(list(HOWS)), default="refuse", help="How it fails.")
@json_option
def simulate_seeds(
    *,
    seed: int | None,
    count: int,
    minutes: float,
    scenario: str | None,
    every: int,
    fail_at: int | None,
    how: str,
    is_json: bool,
) -> int:
    """Run everything in virtual time, under seeded faults.

    Worker, engine and codecs are the real ones. Processes are killed, frozen and walk on as
    zombies; requests and replies are delayed, lost and repeated; clocks jump, the store forgets,
    the log changes. An auditor then tells from log and journal alone what rows, commands and dead
    letters must be. The same seed is the same run everywhere. Exit code 1 if a law is broken.

    A sweep takes a small story without chance and lets its n-th call of a door fail, for every n
    and in every way; --fail-at and --how run one of these again.
    """
    if not __debug__:
        raise ConfigError("simulations need assertions", hint="run without -O")
    screen = Screen(is_json=is_json)
    if (seed is None) == (scenario is None):
        raise ConfigError("what is to be run?", hint="give --seed N, or --sweep [SCENARIO]")
    if scenario is not None:
        if fail_at is not None:
            return sweep_one(screen, scenario, fail_at, how)
        return sweep(screen, scenario, every)
    assert seed is not None, "one of the two was given"
    return _run_seeds(screen, seed, count, minutes)


def _run_seeds(screen: Screen, seed: int, count: int, minutes: float) -> int:
    """Run seeds one after another; return the exit code."""
    broken = []
    for each in range(seed, seed + count):
        outcome = simulate(each, minutes)
        if outcome.violations:
            broken.append(each)
        _tell(screen, outcome, minutes, is_one=count == 1)
    screen.emit({"first": seed, "count": count, "minutes": minutes, "broken": broken})
    if count > 1:
        screen.line(f"{count:,} seeds, {len(broken):,} with violations")
    return NOT_SO if broken else 0


def _tell(screen: Screen, outcome: Outcome, minutes: float, *, is_one: bool) -> None:
    """Tell what a run came to; of many runs only those that break a law."""
    if is_one:
        plan = shown(plan_of(outcome.seed, minutes))
        facts = [(name, str(value)) for name, value in plan.items()]
        happened = [f"{count} {what}" for what, count in sorted(outcome.faults.items())]
        facts += [
            ("records", f"{outcome.events:,} of requests, {outcome.commands:,} of enforcement"),
            ("calls of doors", f"{outcome.calls:,}"),
            (
                "what happened",
                ", ".join(happened),
            ),
        ]
        screen.facts(f"seed {outcome.seed}", facts)
    for law in outcome.violations[:SHOWN]:
        screen.line(f"seed {outcome.seed}: {law}", "red")
    if is_one and not outcome.violations:
        screen.line("no law is broken", "green")
