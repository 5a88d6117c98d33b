"""What a verb raises -> one clear line (or one JSON object) on stderr, and an exit code.

Where the logs are JSON, it is the last line of the log.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from stream.errors import BusUnavailable, ConfigError, EnforcerError, StoreUnavailable

from .plain import escaped

NOT_SO: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 69  # EX_UNAVAILABLE of sysexits.h
CONFIG: Final = 78  # EX_CONFIG
INTERRUPTED: Final = 130  # what shells say of SIGINT

UNWRITABLE: Final = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

log = logging.getLogger("stream.cli")


class NotSo(EnforcerError):
    """What was asked about does not exist or is not so: exit code 1."""


def exit_code_of(call: Callable[[], Any], *, is_json: bool, is_logged: bool = False) -> int:
    """Return the exit code of a call, having told what it raised."""
    _open_streams()
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
        if is_logged:
            _log(error.message, error.hint)
        else:
            _tell(type(error).__name__, error.message, error.hint, code, is_json=is_json)
        return code
    except click.ClickException as error:
        _tell_usage(error, is_json=is_json, is_logged=is_logged)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except OSError as error:
        # Of a file by name every verb says what is wrong; what has none is where it speaks.
        if error.errno not in UNWRITABLE or error.filename is not None:
            raise
        _close_streams()
        # To a pipe nobody need be told: whoever read us has read enough.
        if error.errno != errno.EPIPE:
            said = f"the output cannot be written: {error.strerror}"
            if is_logged:
                _log(said, "")
            else:
                _tell("OSError", said, "", NOT_SO, is_json=is_json)
        return NOT_SO
    return value if isinstance(value, int) else 0


def _open_streams() -> None:
    """Have streams where whoever started us closed them (`>&-`): nothing comes, nobody reads."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - goes with the process
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - as above


def _close_streams() -> None:
    """Let what cannot be written go nowhere: the interpreter must not try to flush it again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def code_of(error: EnforcerError) -> int:
    """Return the exit code that an error stands for."""
    if isinstance(error, ConfigError):
        return CONFIG
    if isinstance(error, BusUnavailable | StoreUnavailable):
        return UNAVAILABLE
    return NOT_SO


def _tell_usage(error: click.ClickException, *, is_json: bool, is_logged: bool) -> None:
    """Tell what is wrong with a command line, and where its help is."""
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"`{error.ctx.command_path} --help` shows how it is used"
    if is_logged:
        _log(error.format_message(), hint)
    else:
        _tell("UsageError", error.format_message(), hint, error.exit_code, is_json=is_json)


def _log(message: str, hint: str) -> None:
    log.error("%s%s", message, f" (hint: {hint})" if hint else "")


def _tell(kind: str, message: str, hint: str, code: int, *, is_json: bool) -> None:
    if is_json:
        error = {"kind": kind, "message": message, "hint": hint, "exit_code": code}
        _say(json.dumps({"error": error}))
        return
    # A server's last words have several lines; every other message is one.
    first, *rest = [escaped(line) for line in message.split("\n")]
    label = click.style("enforcer:", fg="red", bold=True) if _has_colour() else "enforcer:"
    tail = f" (hint: {escaped(hint)})" if hint else ""
    lines = [f"{label} {first}{'' if rest else tail}", *rest, *([tail.strip()] if rest else [])]
    _say("\n".join(lines))


def _say(text: str) -> None:
    """Write to stderr, where that can be: the exit code says it, too."""
    try:
        click.echo(text, err=True)
    except OSError:
        _close_streams()


def _has_colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
