"""One of several workers on a machine, through all its lives.

A life is one `enforcer run --as-process N`: it says the port of its metrics on standard output,
ends when its standard input does, and has a session of its own, so that Ctrl-C in a terminal
reaches only who watches over it. Between two lives there is a wait that doubles up to a bound, also
where one could not be begun at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from stream.config import ProcessesSpec
from stream.metrics import Merged
from stream.runtime import NO_PARTITIONS

from .failure import CONFIG, INTERRUPTED, NOT_SO

LOOK_EVERY_S: Final = 1.0
ANSWER_S: Final = 2.0
SILENT_S: Final = 60.0
# A first start may compile for a minute or two, several of them beside each other for longer.
START_S: Final = 600.0
PAGE_BYTES_MAX: Final = 8 * 1_048_576
HOST: Final = "127.0.0.1"
PATHS: Final = ("/metrics", "/readyz", "/healthz")
LOOK_S_MAX: Final = LOOK_EVERY_S + 2 * len(PATHS) * ANSWER_S
EARLY_ENDS: Final = (0, -signal.SIGTERM, INTERRUPTED)
"""How one ends in good order that is told to before it works: it has nothing to save."""

log = logging.getLogger("stream.processes")


class Look(NamedTuple):
    """What a process said of itself last: what it lacks, what else, and whether its loop turns."""

    at_s: float
    missing: tuple[str, ...]
    is_healthy: bool
    notes: tuple[str, ...] = ()


class Member:
    """One process of several: begun, looked at, begun again when it ended by itself.

    `command` returns its command line, anew for each life.
    """

    def __init__(
        self,
        number: int,
        command: Callable[[], list[str]],
        environment: Mapping[str, str],
        spec: ProcessesSpec,
        merged: Merged,
    ) -> None:
        self.number = number
        self.lives = 0
        self.is_amiss = False
        self._command = command
        self._environment = dict(environment)
        self._spec = spec
        self._merged = merged
        self._process: Process | None = None
        self._port = 0
        self._look: Look | None = None
        self._why = "has not begun"
        self._owed: signal.Signals | None = None
        self._has_begun_work = False
        self._has_hung = False
        self._stopping = asyncio.Event()

    async def keep(self) -> int:
        """Live again and again until told to stop; return 0, or CONFIG where that ended a life."""
        spec = self._spec
        wait_ms = spec.restart_wait_ms
        while not self._stopping.is_set():
            began_s = time.monotonic()
            process = await self._begun()
            code = NOT_SO if process is None else await self._live(process)
            ending = self._why if process is None else ending_of(code)
            if code == CONFIG:
                log.error("process %d %s: the settings are wrong", self.number, ending)
                return CONFIG
            if self._stopping.is_set():
                log.info("process %d %s", self.number, ending)
                right = (0,) if self._has_begun_work else EARLY_ENDS
                self.is_amiss = process is not None and code not in right
                break
            lived_s = time.monotonic() - began_s
            if lived_s * 1_000 >= spec.steady_ms:
                wait_ms = spec.restart_wait_ms
            how = "hung" if self._has_hung else "signal" if code < 0 else "exit"
            self._merged.count_restart(self.number, how)
            self._why = f"{ending}, and begins again"
            log.error(
                "process %d %s after %.1f s; it begins again in %.1f s",
                *(self.number, ending, lived_s, wait_ms / 1_000),
            )
            await self._pause(wait_ms / 1_000)
            wait_ms = min(2 * wait_ms, spec.restart_wait_max_ms)
        return 0

    async def _begun(self) -> Process | None:
        """Begin a life; return its process, or None where the machine has no room for it."""
        self.lives += 1
        self._has_begun_work = self._has_hung = False
        try:
            return await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=PIPE,
                stdout=PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            self._why = f"could not be begun ({error})"
            return None

    async def _live(self, process: Process) -> int:
        """Live once; return the exit code, negative for a signal."""
        self._process = process
        self._merged.set_up(self.number, is_up=True)
        self._why = "is starting"
        looking = asyncio.create_task(self._keep_looking(process))
        ending = asyncio.create_task(self._end_when_told(process))
        try:
            code = await process.wait()
        finally:
            # Whoever is cancelled here must not leave it behind.
            _send(process, signal.SIGKILL)
            for task in (looking, ending):
                task.cancel()
            await asyncio.wait({looking, ending})
            self._process, self._port, self._look = None, 0, None
            self._merged.set_up(self.number, is_up=False)
            self._merged.end_life(self.number)
        for task in (looking, ending):
            if not task.cancelled():
                task.result()
        return code

    async def _end_when_told(self, process: Process) -> None:
        """Let it save and leave once all stop; kill it when its time is over.

        Its leash is let go. A signal would be its second where systemd tells every process of a
        unit; only one that does not listen yet needs it, and has nothing to save.
        """
        assert process.stdin is not None, "it was started with a pipe"
        await self._stopping.wait()
        process.stdin.close()
        if not self._has_begun_work:
            _send(process, signal.SIGTERM)
        await asyncio.sleep(self._spec.stop_wait_ms / 1_000)
        log.error(
            "process %d has not ended %.1f s after it was told to: it is killed, and its heir"
            " replays what it had not saved",
            *(self.number, self._spec.stop_wait_ms / 1_000),
        )
        _send(process, signal.SIGKILL)

    async def _pause(self, span_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(span_s):
                await self._stopping.wait()

    # What others ask of it.

    def stop(self) -> None:
        """Let it save and end, and begin no other life."""
        self._stopping.set()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            _send(self._process, signal.SIGKILL)

    def reload(self, what: signal.Signals) -> None:
        """Let it read files again as soon as it listens: all at SIGHUP, the baseline at SIGUSR2."""
        # Before it has said its port, the signal would end it.
        if self._port:
            self._signal(what)
        elif self._owed != signal.SIGHUP:
            self._owed = what

    def say_standing(self) -> None:
        """Let it log where its tasks stand, if it listens by now."""
        if self._port:
            self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            _send(self._process, number)

    # What it says of itself.

    async def _keep_looking(self, process: Process) -> None:
        """Look at it for as long as it lives, from when it says where."""
        hung_s, hung_max_s = 0.0, self._spec.hung_after_ms / 1_000
        start_s = max(START_S, hung_max_s) if hung_max_s else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(start_s):
                self._port = await _port_of(process)
        if not self._port:
            if process.returncode is not None:
                return
            self._has_hung = True
            log.error("process %d is not up after %.1f s: it is killed", self.number, start_s)
            _send(process, signal.SIGKILL)
            return
        self._has_begun_work, self._why = True, "does not answer"
        self._look = Look(time.monotonic(), (self._why,), is_healthy=True)
        if self._owed is not None:
            self._signal(self._owed)
            self._owed = None
        while not hung_max_s or hung_s < hung_max_s:
            began_s = time.monotonic()
            found = await asyncio.to_thread(_asked, self._port)
            if found is not None:
                page, said = found
                self._merged.show(self.number, page)
                self._look = said
            await asyncio.sleep(LOOK_EVERY_S)
            # Where we stood still ourselves, no more of that counts than a look may take.
            took_s = min(time.monotonic() - began_s, LOOK_S_MAX)
            hung_s = 0.0 if found is not None and found[1].is_healthy else hung_s + took_s
        self._has_hung = True
        log.error(
            "process %d has hung for %.1f s: it is killed, and replays what it had not saved",
            *(self.number, hung_s),
        )
        _send(process, signal.SIGKILL)

    def missing(self) -> list[str]:
        """Return what keeps it from being ready; from any thread."""
        look = self._look
        if look is None:
            return [f"process {self.number} {self._why}"]
        if time.monotonic() - look.at_s > LOOK_S_MAX:
            return [f"process {self.number} does not answer"]
        return [f"process {self.number}: {each}" for each in look.missing]

    def notes(self) -> list[str]:
        """Return what is to be known of it though it is ready; from any thread."""
        look = self._look
        return [f"process {self.number}: {each}" for each in look.notes] if look else []

    @property
    def is_spare(self) -> bool:
        """Tell whether all it lacks is partitions; from any thread."""
        look = self._look
        return look is not None and look.missing == (NO_PARTITIONS,)

    @property
    def is_healthy(self) -> bool:
        """Tell whether its loop turns, as far as it says anything; from any thread."""
        look = self._look
        return look is None or (look.is_healthy and time.monotonic() - look.at_s < SILENT_S)


def ending_of(code: int) -> str:
    """Say how a process ended: `was killed by SIGKILL`, `ended with exit code 69`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def command_of(number: int, options: tuple[str, ...]) -> list[str]:
    """Return the command line of one process of several."""
    return [
        sys.executable, "-m", "stream.cli", "run", "--as-process", str(number), *options,
    ]  # fmt: skip


def _send(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process, which may have ended in this instant."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


async def _port_of(process: Process) -> int:
    """Return the port that a process says it has; 0 when it ended without one."""
    assert process.stdout is not None, "it was started with a pipe"
    while line := await process.stdout.readline():
        if line.strip().isdigit():
            return int(line)
    await process.wait()
    return 0


def _asked(port: int) -> tuple[bytes, Look] | None:
    """Return a process's metrics, and what it says of itself; None: no answer."""
    try:
        pages = [_page(port, path) for path in PATHS]
    except (OSError, http.client.HTTPException):
        return None
    (_, metrics), (ready, text), (health, _) = pages
    is_healthy, lines = (
        health == http.client.OK,
        tuple(text.decode("utf-8", "replace").splitlines()),
    )
    if ready != http.client.OK:
        return metrics, Look(time.monotonic(), lines, is_healthy)
    return metrics, Look(time.monotonic(), (), is_healthy, lines[1:])


def _page(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body of a page. Errors: OSError, HTTPException."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(PAGE_BYTES_MAX + 1)
        if len(body) > PAGE_BYTES_MAX:
            raise http.client.HTTPException(f"{path} has more than {PAGE_BYTES_MAX} bytes")
        return answer.status, body
    finally:
        connection.close()
