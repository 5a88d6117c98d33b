"""Servers that an earlier run of the same folder left behind: found, proven ours, ended.

A pid file alone proves nothing, for numbers are used again. A process is ours only if one of its
arguments is a path below our folder, which the command line of every keeper and server here has.
They are ended, not adopted: an adopted server would not die with its new parent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from stream.errors import ConfigError

POLL_S = 0.02


class Pids(msgspec.Struct, frozen=True, kw_only=True):
    """What a pid file says: the keeper and the server that it keeps."""

    keeper: int
    server: int


def read_pids(pid_file: Path) -> Pids | None:
    """Return what the pid file says, or nothing for one that is missing or was torn by a crash."""
    try:
        return msgspec.json.decode(pid_file.read_bytes(), type=Pids)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def command_line(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process; nothing when it is gone or a zombie."""
    try:
        if Path("/proc/self").exists():
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
            return tuple(os.fsdecode(argument) for argument in raw.split(b"\0") if argument)
        shown = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
        )
        return tuple(os.fsdecode(shown.stdout).split())
    except (FileNotFoundError, ProcessLookupError):
        return ()


def is_ours(pid: int, folder: Path) -> bool:
    """Tell whether the process lives and works for this folder.

    Requires: folder is absolute and resolved, as the commands of this room name it.
    """
    prefix = f"{folder}{os.sep}"
    arguments = command_line(pid)
    # Where `ps` is all there is, a folder with spaces has been split: compare the joined text too.
    return any(argument.startswith(prefix) for argument in arguments) or (
        " " in prefix and f" {prefix}" in " ".join(arguments)
    )


def living(pid_file: Path, folder: Path) -> list[int]:
    """Return the processes of the pid file that live and are ours, the keeper first."""
    pids = read_pids(pid_file)
    if pids is None:
        return []
    return [pid for pid in (pids.keeper, pids.server) if pid > 1 and is_ours(pid, folder)]


def end_leftover(pid_file: Path, folder: Path, *, within_s: float) -> bool:
    """End what the pid file names, as far as it is ours; return whether anything lived.

    It may be ending already (its parent was killed a moment ago): then this waits for it.

    Errors: ConfigError when it belongs to another user.
    """
    found = living(pid_file, folder)
    if found:
        # The keeper, where it lives, ends its server in good order; else the server is asked.
        _signal(found[:1], signal.SIGTERM)
        if not wait_until(lambda: not living(pid_file, folder), within_s=within_s):
            _signal(living(pid_file, folder), signal.SIGKILL)
            wait_until(lambda: not living(pid_file, folder), within_s=within_s)
    pid_file.unlink(missing_ok=True)
    return bool(found)


def wait_until(is_true: Callable[[], bool], *, within_s: float) -> bool:
    """Ask again and again until it is true; return False when the time is over."""
    over_at_s = time.monotonic() + within_s
    while not is_true():
        if time.monotonic() >= over_at_s:
            return False
        time.sleep(POLL_S)
    return True


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    """Send the signal to each that still lives."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError as error:
            raise ConfigError(
                f"process {pid} of another user still serves this folder",
                hint="end it, or name another folder",
            ) from error
