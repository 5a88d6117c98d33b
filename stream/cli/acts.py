"""`stop`, `start`, `exempt`, `lift`: what an operator says outranks every rule.

The words go to the topic that gateways follow, so they hold at once, also while no worker runs;
workers journal them, so that a replay knows of them.
"""

from __future__ import annotations

from typing import Final

import click
import msgspec

from stream.config import load_config
from stream.policy import spell_duration
from stream.runtime import SystemClock

from .doors import operator_keys, wait_for
from .failure import NotSo
from .operating import LIFT_LASTS_MS, Change, Written, perform
from .options import SENTENCE, WORKLOAD, SpanType, examples, json_option, reaching
from .screen import Screen
from .times import moment

SPAN: Final = SpanType(1_000, 31 * 86_400_000)
_reason = click.option(
    "--reason", required=True, type=SENTENCE, help="Why, for whoever reads `enforcer list`."
)


@click.command(
    "stop", epilog=examples('enforcer stop --for 2h --reason "incident 4711, we are looking"')
)
@click.option("--for", "lasts_ms", type=SPAN, default="24h", show_default=True, help="How long.")
@_reason
@reaching
@json_option
def stop(*, lasts_ms: int, reason: str, environment: dict[str, str], is_json: bool) -> None:
    """Stop all enforcement.

    Every gateway allows every request from now on; workers go on judging, and publish commands as
    shadow. `enforcer start` ends it earlier.
    """
    screen = Screen(is_json=is_json)
    written = _perform(environment, Change("", "stop", lasts_ms, reason), screen)
    screen.line(f"all enforcement is stopped {_until(written)}: {reason}", "bold yellow")


@click.command("start", epilog=examples("enforcer start"))
@reaching
@json_option
def start(*, environment: dict[str, str], is_json: bool) -> None:
    """Let enforcement go on after `stop`.

    What is in force by then binds again. Exit code 1 if enforcement was not stopped.
    """
    screen = Screen(is_json=is_json)
    _perform(environment, Change("", "stop", 0, ""), screen)
    screen.line("enforcement goes on", "green")


@click.command(
    "exempt",
    epilog=examples(
        "enforcer exempt spiffe://example.org/agent/a --for 2h --reason 'agreed with its owner'",
        "enforcer exempt spiffe://example.org/agent/a --end",
    ),
)
@click.argument("workload", type=WORKLOAD)
@click.option("--for", "lasts_ms", type=SPAN, help="How long, such as 2h.")
@click.option("--reason", type=SENTENCE, help="Why, for whoever reads `enforcer list`.")
@click.option("--end", "is_end", is_flag=True, help="End the exemption instead.")
@reaching
@json_option
def exempt(
    *,
    workload: str,
    lasts_ms: int | None,
    reason: str | None,
    is_end: bool,
    environment: dict[str, str],
    is_json: bool,
) -> None:
    """Leave one workload alone for a while.

    Nothing binds it, whatever it does; it is still judged and its findings are recorded.
    """
    screen = Screen(is_json=is_json)
    if is_end:
        _perform(environment, Change(workload, "exempt", 0, ""), screen)
        screen.line(f"{workload} is exempt no longer", "green")
        return
    if lasts_ms is None or not reason:
        raise click.UsageError("say --for how long and for which --reason, or --end")
    written = _perform(environment, Change(workload, "exempt", lasts_ms, reason), screen)
    screen.line(f"{workload} is exempt {_until(written)}: {reason}", "cyan")


@click.command(
    "lift",
    epilog=examples("enforcer lift spiffe://example.org/agent/a --reason 'false alarm'"),
)
@click.argument("workload", type=WORKLOAD)
@_reason
@reaching
@json_option
def lift(*, workload: str, reason: str, environment: dict[str, str], is_json: bool) -> None:
    """Cancel what is in force on one workload.

    Every command on it that was caused before now is cancelled; a new cause gives a new command.
    """
    screen = Screen(is_json=is_json)
    _perform(environment, Change(workload, "lift", LIFT_LASTS_MS, reason), screen)
    screen.line(f"what was in force on {workload} is lifted: {reason}", "green")


def _perform(environment: dict[str, str], change: Change, screen: Screen) -> Written:
    """Make a change; for a program, say what is in force after it.

    Errors: NotSo when an act is to end that is not in force; ConfigError when nothing could be
            believed that this machine writes.
    """
    config = load_config("", environment)
    keys = operator_keys(config, config.topics.enforcement)
    written = wait_for(perform(config, change, SystemClock(), keys))
    if not change.lasts_ms and not written.had_before:
        said = f"{change.workload} is not exempt" if change.workload else "nothing is stopped"
        raise NotSo(said, hint="`enforcer list` shows what operators have in force")
    screen.emit(
        {
            "workload": change.workload,
            "acts": [msgspec.structs.asdict(each) for each in written.acts],
            "partition": written.partition,
            "offset": written.offset,
        }
    )
    return written


def _until(written: Written) -> str:
    act = written.acts[-1]
    return f"until {moment(act.until_ms)} ({spell_duration(act.until_ms - act.at_ms)}) by {act.by}"
