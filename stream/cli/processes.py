"""Several workers on one machine: begun, watched and ended together.

One process watches over the others and works on nothing itself. Each other one is a member of the
group under a name that stays, so that it has its partitions back when it is begun again. All of
them run under the same text of the policy, a copy of the file as it was when it last was good:
whoever is begun again later does not read a file that nobody asked to take effect. It is written
anew for each life, since what lies in a temporary folder for days is cleaned away.

A process whose settings are wrong (exit code 78) ends all, since the others have the same.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from stream.config import CONFIG_BYTES_MAX, Config, read_text
from stream.errors import ConfigError
from stream.metrics import Merged
from stream.policy import Policy, default_policy, load_policy

from .doors import metrics_server
from .early import EarlyReload
from .failure import CONFIG, INTERRUPTED, NOT_SO
from .process import ANSWER_S, HOST, LOOK_EVERY_S, Member, command_of
from .standing import say_standing

NAME_MAX: Final = 56
RELOAD_AGAIN_S: Final = 60.0
ONCE_MORE: Final = "; once more to end at once"

log = logging.getLogger("stream.processes")


class Order(NamedTuple):
    """What several processes are started with; `name` is the stem of theirs."""

    config: Config
    environment: Mapping[str, str]
    name: str
    options: tuple[str, ...]
    is_reload: bool


def stem_of(name: str) -> str:
    """Return what the names of all processes begin with: the same at each start on a machine.

    It is part of the name by which the group knows them, so it has letters that Kafka takes.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", name or socket.gethostname())[:NAME_MAX]


def together_rows(config: Config, row_bytes: int) -> list[tuple[str, str]]:
    """Return what several processes come to, a process and in all."""
    count, slots_max = config.processes.count, config.worker.slots_max
    slots_bytes = row_bytes * slots_max
    return [
        ("rows in memory, a process and in all", f"{slots_max:,} and {count * slots_max:,}"),
        (
            "their bytes at most, a process and in all",
            f"{slots_bytes:,} and {count * slots_bytes:,}",
        ),
        ("looked at every, answers within, s", f"{LOOK_EVERY_S:g}, {ANSWER_S:g}"),
    ]


def spares_of(config: Config) -> int:
    """Return how many processes have no partition while all are there."""
    return max(0, config.processes.count - config.topics.partitions)


async def work_together(order: Order, *, has_stdin: bool) -> int:
    """Run all processes until told to stop; return the exit code.

    Errors: ConfigError when the metrics' port is taken; PolicyError.
    """
    with tempfile.TemporaryDirectory(prefix="enforcer-") as folder:
        together = Together(order, Path(folder))
        server = metrics_server(
            order.config,
            together.merged,
            together.missing,
            together.is_healthy,
            together.notes,
        )
        together.listen(has_stdin=has_stdin)
        server.start()
        log.info("metrics at http://%s:%d/metrics", order.config.metrics.host, server.port)
        try:
            return await together.run()
        finally:
            server.stop()


def end_when_told(
    stop: Callable[[], None], end_now: Callable[[], object], *, has_stdin: bool
) -> None:
    """Stop at a signal, or at the end of stdin where that is our leash; end at once at a second.

    On a leash only its holder ends us at once, by force: systemd signals every process of a unit,
    and what the holder tells us beside that is not a second wish.
    """
    loop = asyncio.get_running_loop()
    numbers = signal.SIGINT, signal.SIGTERM

    def end() -> None:
        if has_stdin:
            loop.remove_reader(0)
        stop()
        for number in numbers:
            loop.add_signal_handler(number, (lambda: None) if has_stdin else end_now)

    def read_stdin() -> None:
        if not os.read(0, 4_096):
            end()

    for number in numbers:
        loop.add_signal_handler(number, end)
    if has_stdin:
        loop.add_reader(0, read_stdin)


def reload_when_told(reload: Callable[[], None]) -> None:
    """Reload at SIGHUP, and now where one came before."""
    early = signal.getsignal(signal.SIGHUP)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    if isinstance(early, EarlyReload) and early.has_come:
        reload()


class Together:
    """All processes, and what signals do to them."""

    def __init__(self, order: Order, folder: Path) -> None:
        self._order = order
        self._config = config = order.config
        self._policy_file = folder / "policy.yaml"
        self._reloaded_s = time.monotonic() if order.is_reload else -math.inf
        self._spares = spares_of(config)
        self._policy_text = self._policy_now()[1]
        environment = dict(order.environment) | {"ENFORCER_METRICS": f"{HOST}:0"}
        if config.policy:
            environment["ENFORCER_POLICY"] = str(self._policy_file)
        count = config.processes.count
        self.merged = Merged(count)
        self.members = [
            Member(number, self._command(number), environment, config.processes, self.merged)
            for number in range(count)
        ]

    def _command(self, number: int) -> Callable[[], list[str]]:
        """Return what tells the command line of a process, anew for each of its lives.

        It raises OSError where there is no room for the copy of the policy.
        """

        def told() -> list[str]:
            # Whoever died in the middle of a reload does it in its next life. Later it is in the
            # journal, and something else may have been put in force since.
            is_fresh = time.monotonic() - self._reloaded_s < RELOAD_AGAIN_S
            reload = ("--reload",) if is_fresh else ()
            self._copy_policy(self._policy_text)
            name = "--name", f"{self._order.name}-{number}"
            return command_of(number, (*self._order.options, *name, *reload))

        return told

    async def run(self) -> int:
        """Have all of them until they have ended; return the exit code."""
        # One that hangs keeps a look at the others from nobody.
        looks = ThreadPoolExecutor(len(self.members), "look")
        asyncio.get_running_loop().set_default_executor(looks)
        tasks = [asyncio.create_task(each.keep()) for each in self.members]
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if any(each.result() == CONFIG for each in done) and waiting:
                    log.error("the others have the same settings, so all stop")
                    self.stop()
        finally:
            # Whatever ended one of them here, the others have something to save.
            self.stop()
            if waiting:
                stop_wait_s = self._config.processes.stop_wait_ms / 1_000
                _, waiting = await asyncio.wait(waiting, timeout=stop_wait_s)
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.wait(waiting)
        if any(each.result() == CONFIG for each in tasks):
            return CONFIG
        log.info("stopped")
        return NOT_SO if any(each.is_amiss for each in self.members) else 0

    # Signals.

    def listen(self, *, has_stdin: bool) -> None:
        """Let signals, and the end of stdin where that is our leash, reach all processes."""

        def stop() -> None:
            once_more = "" if has_stdin else ONCE_MORE
            log.info("stopping all processes: they save and leave%s", once_more)
            self.stop()

        end_when_told(stop, self._end_now, has_stdin=has_stdin)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._say_standing)
        reload_when_told(self.reload)

    def stop(self) -> None:
        """Let all save and end."""
        for each in self.members:
            each.stop()

    def _end_now(self) -> None:
        for each in self.members:
            each.kill()
        os._exit(INTERRUPTED)

    def reload(self) -> None:
        """Let the files take effect in all processes; a bad policy in none, which keep theirs."""
        try:
            policy, text = self._policy_now()
            self._copy_policy(text)
        except (ConfigError, OSError) as error:
            log.error("the policy in force stays: %s", error)  # noqa: TRY400 - the operator's fault
            # The copy, read again, could undo what somebody else has put in force since.
            if self._config.worker.baseline:
                for each in self.members:
                    each.reload(signal.SIGUSR2)
            return
        self._policy_text = text
        self._reloaded_s = time.monotonic()
        for each in self.members:
            each.reload(signal.SIGHUP)
        log.info("policy %s %s is passed to all processes", policy.spec.name, policy.hash)

    def _say_standing(self) -> None:
        say_standing()
        for each in self.members:
            each.say_standing()

    def _policy_now(self) -> tuple[Policy, str]:
        """Return what the policy file says by now, and its text.

        Errors: ConfigError, PolicyError.
        """
        file = self._config.policy
        if not file:
            return default_policy(), ""
        text = read_text(file, CONFIG_BYTES_MAX)
        return load_policy(text, file), text

    def _copy_policy(self, text: str) -> None:
        """Make the copy that all processes read. Errors: OSError; then it stays as it was."""
        if not self._config.policy:
            return
        folder = self._policy_file.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        # In a folder of all, somebody else may have taken the name once ours was cleaned away.
        if folder.lstat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to somebody else", str(folder))
        # Whoever begins meanwhile must not read half of it.
        new = self._policy_file.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(self._policy_file)

    # What is asked of all, from any thread.

    def missing(self) -> list[str]:
        """Return what keeps us from being ready, nothing when all are.

        As many as there are too many for the partitions may be spare.
        """
        spares = [each.number for each in self.members if each.is_spare][: self._spares]
        return [
            line for each in self.members if each.number not in spares for line in each.missing()
        ]

    def notes(self) -> list[str]:
        """Return what is to be known of processes that are ready."""
        return [line for each in self.members for line in each.notes()]

    def is_healthy(self) -> bool:
        """Tell whether the loops of all processes turn."""
        return all(each.is_healthy for each in self.members)
