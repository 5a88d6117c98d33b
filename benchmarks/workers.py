"""Workers as operators run them: `enforcer run` in processes of their own, to be killed and asked.

For benchmarks that are about what a process goes through; those that only want its speed use
benchmarks.contenders.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from benchmarks.contenders import KEY_BYTES
from benchmarks.rounds import POLICY
from stream.cli.child import WorkerProcess
from stream.config import Config

SAMPLE = re.compile(r"^(enforcer_\w+)(\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)
POLL_S = 0.05
WAIT_S = 300.0


def changes(config: Config) -> dict[str, Any]:
    """The settings that differ from the defaults, as a file has them."""
    ours, theirs = msgspec.to_builtins(config), msgspec.to_builtins(Config())
    found: dict[str, Any] = {"policy": config.policy}
    for room in ("kafka", "redis", "topics", "worker"):
        found[room] = {
            name: value for name, value in ours[room].items() if value != theirs[room][name]
        }
    return found


class Worker:
    """One `enforcer run` of an installation; the policy is that of the benchmarks."""

    def __init__(self, config: Config, folder: Path, member: str, **settings: Any) -> None:
        kafka = msgspec.structs.replace(config.kafka, member_id=member)
        worker = msgspec.structs.replace(config.worker, **settings)
        config = msgspec.structs.replace(config, kafka=kafka, worker=worker, policy=str(POLICY))
        file = folder / f"{member}.yaml"
        file.write_text(yaml.safe_dump(changes(config)))
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("ENFORCER_")
            },
            "ENFORCER_CONFIG": str(file),
            "ENFORCER_HASH_KEY": KEY_BYTES.hex(),
        }
        self.log = folder / f"{member}.log"
        self._process = WorkerProcess(environment, ("--name", member), self.log)
        self.began_s = time.monotonic()
        self._process.__enter__()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process._process.pid

    def kill(self) -> None:
        """End it as a crash does."""
        running, self._process._process = self._process._process, None
        running.kill()
        running.wait()
        running.stdin.close()

    def stop(self) -> None:
        """Let it save and end."""
        self._process.stop()

    def samples(self) -> dict[str, float]:
        """Each metric by name and labels, and summed over them; nothing while none answers."""
        url = urlsplit(self._process.metrics)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=5)
        try:
            connection.request("GET", url.path)
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return {}
        finally:
            connection.close()
        found: dict[str, float] = {}
        for name, labels, value in SAMPLE.findall(text):
            found[name] = found.get(name, 0.0) + float(value)
            if labels:
                found[name + labels] = float(value)
        return found

    def ready(self) -> bool:
        """Whether all its partitions have caught up with what was there when it took them."""
        return self._process.is_ready()

    def applied(self) -> float:
        """How many events it has applied since it was started."""
        return self.samples().get('enforcer_events_total{what="events"}', 0.0)

    def resident_bytes(self) -> int:
        """Its memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """The CPU-seconds it has spent."""
        text = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def wait(self, is_so: Callable[[], bool], what: str) -> float:
        """Wait until something is so; return the seconds since this worker was started.

        Errors: BusUnavailable or ConfigError when it has ended; TimeoutError.
        """
        over_at_s = time.monotonic() + WAIT_S
        while not is_so():
            self._process.check_alive()
            if time.monotonic() > over_at_s:
                raise TimeoutError(f"not after {WAIT_S:.0f} s: {what}")
            time.sleep(POLL_S)
        return time.monotonic() - self.began_s


@contextlib.contextmanager
def worker(config: Config, folder: Path, member: str, **settings: Any) -> Iterator[Worker]:
    """A worker that is stopped with the block, if it still runs then."""
    one = Worker(config, folder, member, **settings)
    try:
        yield one
    finally:
        one.stop()
