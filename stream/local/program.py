"""One server program: launched under a keeper, awaited, stopped, killed; its last words told.

A program runs in a folder of its own, so that configuration and logs need no absolute paths, and
names that folder in its command line, which is how a later start knows it (`leftover`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from stream.errors import ConfigError

from . import keeper
from .leftover import POLL_S, end_leftover, read_pids, wait_until

TAIL_LINES, TAIL_BYTES = 15, 16 * 1024
# What the keeper needs beyond the server's own time: noticing, and writing to a slow disk.
_KEEPER_SLACK_S = 3.0
_KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH")


class ProgramSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run and where: `command` names `folder`, output goes to `output` in it."""

    name: str
    command: tuple[str, ...]
    folder: Path
    stop_within_s: float
    output: str = "output.log"
    logs: tuple[str, ...] = ()
    pid_file: str = "server.pid"


class Program:
    """A server process of ours, which can be launched again after it ended.

    Not for two threads at once. After `stop` or `kill` returns no process is left.
    """

    def __init__(self, spec: ProgramSpec) -> None:
        self.spec = spec
        self._keeper: subprocess.Popen[bytes] | None = None
        self._log_starts: dict[str, int] = {}

    @property
    def pid_file(self) -> Path:
        """Where the keeper writes the process numbers while the server runs."""
        return self.spec.folder / self.spec.pid_file

    def launch(self) -> None:
        """Start the program and its keeper; return at once.

        Errors: ConfigError when the operating system refuses.
        """
        assert self._keeper is None, f"{self.spec.name} is running"
        output = self.spec.folder / self.spec.output
        if output.exists():
            output.replace(output.with_name(f"{output.name}.1"))
        self._log_starts = {name: _size_bytes(self.spec.folder / name) for name in self.spec.logs}
        command = [
            sys.executable, "-I", "-S", keeper.__file__,
            str(os.getpid()), str(self.spec.stop_within_s), str(self.pid_file), *self.spec.command,
        ]  # fmt: skip
        try:
            with output.open("ab") as sink:
                self._keeper = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    cwd=self.spec.folder,
                    env=environment(os.environ),
                    start_new_session=True,
                )
        except OSError as error:
            raise ConfigError(
                f"{self.spec.name} cannot be started ({error.strerror})",
                hint="free memory, processes or disk space and start again",
            ) from error

    def await_ready(self, is_ready: Callable[[int], bool], *, within_s: float) -> None:
        """Return when `is_ready(pid of the server)` is true.

        Errors: ConfigError with the last lines of its logs when the program ends before, or is not
        ready in time.
        """
        over_at_s = time.monotonic() + within_s
        while True:
            self.check_alive()
            pid = self.server_pid()
            if pid is not None and is_ready(pid):
                return
            if time.monotonic() >= over_at_s:
                raise ConfigError(
                    f"{self.spec.name} is not ready after {within_s:.0f} s{self.last_words()}",
                    hint=f"its files are in {self.spec.folder}",
                )
            time.sleep(POLL_S)

    def await_end(self, *, within_s: float) -> None:
        """Return when the program has ended with success.

        Errors: ConfigError with its last lines when it failed, or did not end in time.
        """
        assert self._keeper is not None, f"{self.spec.name} is not running"
        try:
            code = self._keeper.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            code = None
        self.stop()
        if code != 0:
            end = "did not end in time" if code is None else f"failed with exit code {code}"
            raise ConfigError(
                f"{self.spec.name} {end}{self.last_words()}",
                hint=f"its files are in {self.spec.folder}",
            )

    def check_alive(self) -> None:
        """Do nothing while the program runs.

        Errors: ConfigError with the last lines of its logs when it has ended.
        """
        code = None if self._keeper is None else self._keeper.poll()
        if self._keeper is None or code is not None:
            end = "is not running" if code is None else f"ended with exit code {code}"
            raise ConfigError(
                f"{self.spec.name} {end}{self.last_words()}",
                hint=f"its files are in {self.spec.folder}",
            )

    def server_pid(self) -> int | None:
        """Return the process number of the server, or nothing while it is not known yet."""
        pids = read_pids(self.pid_file)
        if pids is None or self._keeper is None or pids.keeper != self._keeper.pid:
            return None
        return pids.server

    def stop(self) -> None:
        """End the program in good order, by force when its time is over; nothing if it is ended."""
        if self._keeper is None:
            return
        running = self._keeper
        assert running.stdin is not None, "the keeper was started with a pipe"
        running.stdin.close()
        try:
            running.wait(timeout=self.spec.stop_within_s + _KEEPER_SLACK_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        self._keeper = None
        end_leftover(self.pid_file, self.spec.folder, within_s=_KEEPER_SLACK_S)

    def kill(self) -> None:
        """Kill the server as a crash would (SIGKILL), and return when it is gone."""
        if self._keeper is None:
            return
        running = self._keeper
        wait_until(
            lambda: self.server_pid() is not None or running.poll() is not None,
            within_s=_KEEPER_SLACK_S,
        )
        pid = self.server_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.stop()

    def end_leftover(self, *, within_s: float) -> bool:
        """End what an earlier run of this program left running; return whether there was any."""
        assert self._keeper is None, f"{self.spec.name} is running"
        return end_leftover(self.pid_file, self.spec.folder, within_s=within_s)

    def last_words(self) -> str:
        """Return the last lines of this launch's logs, ready to follow a message."""
        starts = {self.spec.output: 0, **self._log_starts}
        told = [tail(self.spec.folder / name, start=start) for name, start in starts.items()]
        text = "\n".join(part for part in told if part)
        return f"; it said last:\n{text}\n" if text else "; it said nothing"


def tail(file: Path, *, start: int) -> str:
    """Return the last lines of a text file from byte `start` on; empty for a missing file.

    A file that is shorter than `start` was begun anew, and counts from its beginning.
    """
    try:
        with file.open("rb") as source:
            end = source.seek(0, os.SEEK_END)
            source.seek(max(start if start <= end else 0, end - TAIL_BYTES))
            lines = source.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-TAIL_LINES:])


def _size_bytes(file: Path) -> int:
    """Return the file's size; 0 for a missing one."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what a server may see of our environment: no secrets, no Java options, UTF-8 paths."""
    kept = {name: variables[name] for name in _KEPT_VARIABLES if name in variables}
    return {**kept, "LC_ALL": "C.UTF-8"}
