"""The verbs by name, and the one place where what a verb raises becomes an exit code.

Nothing heavy is imported here: the sentences of `--help` stand beside the names of the modules.
"""

from __future__ import annotations

import difflib
import importlib
import itertools
import logging
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from stream import __version__

from .early import keep_reload
from .failure import exit_code_of
from .logs import start_logging

VERBS: Final = {
    "demo": ("stream.cli.demo:demo", "Watch a fleet of agents, and one of them being stopped."),
    "up": ("stream.cli.up:up", "Start a Kafka, a Valkey and a worker on this machine."),
    "run": ("stream.cli.run:run", "Run a worker: profile workloads, publish commands."),
    "send": ("stream.cli.send:send", "Send recorded events to Kafka."),
    "convert": ("stream.cli.convert:convert", "Turn access logs or CloudTrail into events."),
    "replay": ("stream.cli.replay:replay", "Judge recorded events without Kafka or Redis."),
    "baseline": ("stream.cli.baseline:baseline", "Learn what tasks usually do."),
    "calibrate": (
        "stream.cli.calibrate:calibrate",
        "Set thresholds of learned evidence from benign history.",
    ),
    "evaluate": (
        "stream.cli.evaluate:evaluate",
        "Say how much of labelled data is found, and at how many false alarms.",
    ),
    "explain": ("stream.cli.explain:explain", "Show a workload's profile, and what is in force."),
    "list": ("stream.cli.listing:list_in_force", "List what is in force."),
    "stop": ("stream.cli.acts:stop", "Stop all enforcement."),
    "start": ("stream.cli.acts:start", "Let enforcement go on after `stop`."),
    "exempt": ("stream.cli.acts:exempt", "Leave one workload alone for a while."),
    "lift": ("stream.cli.acts:lift", "Cancel what is in force on one workload."),
    "keys": ("stream.cli.keys:keys", "Make, list and retire the keys that sign commands."),
    "dlq": ("stream.cli.dlq:dlq", "List, show and retry what was no event."),
    "topics": ("stream.cli.topics:topics", "Create the topics, or check them."),
    "partitions": (
        "stream.cli.partitions:partitions",
        "Have more partitions while events come.",
    ),
    "acl": ("stream.cli.acl:acl", "Print the least rights that each role needs."),
    "check": ("stream.cli.check:check", "Check a policy file."),
    "simulate": (
        "stream.cli.simulate:simulate_seeds",
        "Run everything in virtual time, under seeded faults.",
    ),
    "schema": ("stream.cli.schema:schema", "Print the schemas of all messages."),
    "warm": ("stream.cli.warm:warm", "Compile the kernels ahead."),
}
"""Where a verb lives, and what it does in one sentence: the first of its help."""


class VerbGroup(click.Group):
    """The command `enforcer`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs, in the order of their help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb by its name, loading its module."""
        if cmd_name not in VERBS:
            return None
        if cmd_name == "run":
            keep_reload()
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb of a command line.

        Errors: UsageError, which suggests the nearest verb.
        """
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"there is {', '.join(VERBS)}"
            raise click.UsageError(f"no such verb: {args[0]!r:.60}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without loading any of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's own signature
        **extra: Any,
    ) -> Any:
        """Run a command line and exit with its code."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        given = list(sys.argv[1:] if args is None else args)
        arguments = given[: given.index("--")] if "--" in given else given
        is_logged = "--log=json" in arguments or ("--log", "json") in itertools.pairwise(arguments)
        start_logging(logging.WARNING, is_json=is_logged)
        call = super().main
        code = exit_code_of(
            lambda: call(given, "enforcer", complete_var, standalone_mode=False, **extra),
            is_json="--json" in arguments,
            is_logged=is_logged,
        )
        sys.exit(code)


@click.group(
    cls=VerbGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`enforcer VERB --help` has examples. Settings come from a file (--config), the "
    "environment (ENFORCER_KAFKA, ENFORCER_REDIS, ENFORCER_POLICY, ...) and options.",
)
@click.version_option(__version__, prog_name="enforcer", message="%(prog)s %(version)s")
def main() -> None:
    """Profile what AI agents and services do, and stop those that deviate.

    Begin with `enforcer demo`.
    """
