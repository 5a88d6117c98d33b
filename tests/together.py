"""`enforcer run --processes N` for tests: started, looked into, and never left behind."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

REPO = Path(__file__).parents[1]
PATIENCE_S = 90.0
PORT = re.compile(r"metrics at http://127\.0\.0\.1:(\d+)/metrics")


class Crew:
    """One parent and its processes; the log is of all of them."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.parent: subprocess.Popen[bytes]

    def lines(self) -> list[dict[str, object]]:
        """What was logged so far, without a last line that is not whole."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def said(self, words: str) -> list[dict[str, object]]:
        """The lines of the log with some words."""
        return [each for each in self.lines() if words in str(each["message"])]

    def page(self, path: str) -> tuple[int, str]:
        """A page of the parent's server: status and text; 0 while there is none."""
        found = [
            PORT.search(str(each["message"])) for each in self.lines() if "process" not in each
        ]
        ports = [each[1] for each in found if each]
        if not ports:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}{path}", timeout=9) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series of a name that have these labels."""
        return sum(
            sample.value
            for metric in text_string_to_metric_families(self.page("/metrics")[1])
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def children(self) -> dict[int, int]:
        """The ids of the living processes by their number, as the system has them."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if int(status[1]) == self.parent.pid and b"--as-process" in words:
                    number = int(words[words.index(b"--as-process") + 1])
                    found[number] = int(folder.name)
        return found

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Look until it is so, and fail with the end of the log."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert self.parent.poll() in (None, -signal.SIGKILL), self.log.read_text()[-8_000:]
            assert time.monotonic() < deadline_s, self.log.read_text()[-8_000:]
            time.sleep(0.05)

    def wait_ready(self) -> None:
        """Look until all are ready."""
        self.wait(lambda: self.page("/readyz")[0] == 200)

    def ended(self) -> int:
        """Wait for the parent's end; return its exit code."""
        return self.parent.wait(PATIENCE_S)


@contextlib.contextmanager
def crew(count: int, environment: dict[str, str], log: Path, *options: str) -> Iterator[Crew]:
    """So many processes, killed at the end where they have not ended by then."""
    made = Crew(log)
    command = [
        sys.executable, "-m", "stream.cli", "run", "--processes", str(count), "--log", "json",
        *options,
    ]  # fmt: skip
    with log.open("ab") as sink:
        made.parent = subprocess.Popen(
            command, cwd=REPO, env=environment, stdin=subprocess.DEVNULL, stderr=sink
        )
    try:
        yield made
    finally:
        children = made.children().values()
        if made.parent.poll() is None:
            made.parent.kill()
            made.parent.wait()
        for each in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def runs(process: int) -> bool:
    """Whether there is such a process, not counting one that has ended and is not reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
