"""What a verb raises -> one clear line (or one JSON object) on stderr, and an exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from stream.errors import BusUnavailable, ConfigError, EnforcerError, StoreUnavailable

from .plain import escaped

NOT_SO: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 69  # EX_UNAVAILABLE of sysexits.h
CONFIG: Final = 78  # EX_CONFIG
INTERRUPTED: Final = 130  # what shells say of SIGINT


class NotSo(EnforcerError):
    """What was asked about does not exist or is not so: exit code 1."""


def exit_code_of(call: Callable[[], Any], *, is_json: bool) -> int:
    """Return the exit code of a call, having told what it raised."""
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding has no character for is written as an escape.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if not __debug__:
            raise ConfigError(
                "enforcer does not start without assertions: they keep its invariants",
                hint="start it without `python -O` and without PYTHONOPTIMIZE",
            )
        value = call()
        sys.stdout.flush()
    except EnforcerError as error:
        code = code_of(error)
        _tell(type(error).__name__, error.message, error.hint, code, is_json=is_json)
        return code
    except click.ClickException as error:
        _tell_usage(error, is_json=is_json)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has read enough; the interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_SO
    return value if isinstance(value, int) else 0


def code_of(error: EnforcerError) -> int:
    """Return the exit code that an error stands for."""
    if isinstance(error, ConfigError):
        return CONFIG
    if isinstance(error, BusUnavailable | StoreUnavailable):
        return UNAVAILABLE
    return NOT_SO


def _tell_usage(error: click.ClickException, *, is_json: bool) -> None:
    """Tell what is wrong with a command line, and where its help is."""
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"`{error.ctx.command_path} --help` shows how it is used"
    _tell("UsageError", error.format_message(), hint, error.exit_code, is_json=is_json)


def _tell(kind: str, message: str, hint: str, code: int, *, is_json: bool) -> None:
    if is_json:
        error = {"kind": kind, "message": message, "hint": hint, "exit_code": code}
        click.echo(json.dumps({"error": error}), err=True)
        return
    # A server's last words have several lines; every other message is one.
    first, *rest = [escaped(line) for line in message.split("\n")]
    label = click.style("enforcer:", fg="red", bold=True) if _has_colour() else "enforcer:"
    tail = f" (hint: {escaped(hint)})" if hint else ""
    lines = [f"{label} {first}{'' if rest else tail}", *rest, *([tail.strip()] if rest else [])]
    click.echo("\n".join(lines), err=True)


def _has_colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
