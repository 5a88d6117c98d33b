"""A worker as a child process: `enforcer run` on a leash.

The leash is its standard input: when this process ends, however it ends, the pipe closes and the
worker stops as by SIGTERM. It has a session of its own, so Ctrl-C in a terminal reaches us only,
and we stop it before the servers that it needs for saving.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream.errors import BusUnavailable, ConfigError

from .failure import CONFIG

STOP_WITHIN_S: Final = 15.0
TAIL_LINES: Final = 8
_POLL_S: Final = 0.1
_HOST: Final = "127.0.0.1"


class WorkerProcess:
    """One `enforcer run`; its logs go to a file, or where ours go."""

    def __init__(
        self, environment: Mapping[str, str], options: tuple[str, ...], log: Path | None
    ) -> None:
        self._port = free_port()
        self._environment = {**environment, "ENFORCER_METRICS": f"{_HOST}:{self._port}"}
        self._command = [
            sys.executable, "-m", "stream.cli", "run", "--until-stdin-ends", *options,
        ]  # fmt: skip
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        sink = self._log.open("ab") if self._log else None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdin=subprocess.PIPE,
                stdout=sink or sys.stderr.fileno(),
                stderr=sink or sys.stderr.fileno(),
                env=self._environment,
                start_new_session=True,
            )
        finally:
            if sink is not None:
                sink.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def metrics(self) -> str:
        """Return where its metrics are."""
        return f"http://{_HOST}:{self._port}/metrics"

    def check_alive(self) -> None:
        """Do nothing while it runs.

        Errors: ConfigError or BusUnavailable with its last lines, as its exit code was.
        """
        assert self._process is not None, "not started"
        code = self._process.poll()
        if code is None:
            return
        kind = ConfigError if code == CONFIG else BusUnavailable
        raise kind(f"the worker ended with exit code {code}{self._last_words()}")

    def is_ready(self) -> bool:
        """Tell whether it applies events: all its partitions have caught up."""
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_ready(self, within_s: float) -> None:
        """Return when it is ready.

        Errors: BusUnavailable when it is not in time; ConfigError when it ended.
        """
        over_at_s = time.monotonic() + within_s
        while not self.is_ready():
            self.check_alive()
            if time.monotonic() > over_at_s:
                raise BusUnavailable(
                    f"the worker is not ready in {within_s:g} s{self._last_words()}"
                )
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Let it save and end; by force when its time is over. Twice does no harm."""
        if self._process is None:
            return
        running, self._process = self._process, None
        assert running.stdin is not None, "it was started with a pipe"
        running.stdin.close()
        try:
            running.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:]
        return "; it said last:\n" + "\n".join(lines)


def free_port() -> int:
    """Return a port on the loopback address that is free now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
