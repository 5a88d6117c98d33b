"""How tests are shared among processes: what belongs together stays together, all run once."""

import contextlib
import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import pytest

from stream.local import Addresses
from tests.beside import SECURE, scope_of
from tests.servers import shared

SHARED = """
import os, pytest
@pytest.fixture(scope="module")
def started():
    return os.getpid()
@pytest.mark.parametrize("number", range(5))
def test_one(started, number):
    print(f"shared {started} {number}")
"""
ALONE = """
import os, pytest
@pytest.mark.parametrize("number", range(5))
def test_one(number):
    print(f"alone {os.getpid()} {number}")
"""


def test_files_that_start_something_stay_whole(tmp_path: Path) -> None:
    """A scope is a file, or one test on servers, or all tests of the broker that asks."""
    folder = tmp_path / "tests" / "integration"
    folder.mkdir(parents=True)
    (folder / "test_shared.py").write_text(SHARED)
    (folder / "test_alone.py").write_text(ALONE)
    (folder / "test_secret.py").write_text(f"def test_one({SECURE}): ...")

    def scope(nodeid: str) -> str:
        return scope_of(nodeid, tmp_path)

    assert scope("tests/unit/test_x.py::test_one") == "tests/unit/test_x.py"
    of_shared = "tests/integration/test_shared.py"
    assert scope(f"{of_shared}::test_one[a::b]") == of_shared
    of_alone = "tests/integration/test_alone.py::test_one[a::b]"
    assert scope(of_alone) == of_alone
    assert scope("tests/integration/test_secret.py::test_one") == SECURE


def test_all_run_once_and_what_is_started_for_a_module_is_started_once(tmp_path: Path) -> None:
    """Two processes share the tests of a folder as `scope_of` says."""
    folder = tmp_path / "tests" / "integration"
    folder.mkdir(parents=True)
    (folder / "test_shared.py").write_text(SHARED)
    (folder / "test_alone.py").write_text(ALONE)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "tests.beside", "-rP", "-q"]
    done = subprocess.run(
        [*command, "-c", "/dev/null", f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.split() for line in done.stdout.splitlines() if line.startswith(("alone", "sha"))]
    assert len({tuple(each) for each in said}) == len(said) == 10
    assert len({process for kind, process, _ in said if kind == "shared"}) == 1
    assert len({process for kind, process, _ in said if kind == "alone"}) == 2


def test_servers_are_shared_until_the_last_user_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks first starts them, others use them, and they end when nobody does any more."""
    monkeypatch.setattr("tests.servers.LocalServers", Pretended)
    process = multiprocessing.get_context("fork")
    may_end, has_begun = process.Event(), process.Event()

    def use() -> None:
        with shared(tmp_path) as addresses:
            assert addresses.kafka == "127.0.0.1:1"
            has_begun.set()
            may_end.wait(60)

    with contextlib.ExitStack() as first:
        first.enter_context(shared(tmp_path))
        other = process.Process(target=use)
        other.start()
        assert has_begun.wait(60)
        assert log_of(tmp_path) == ["started"]
        threading.Timer(0.3, lambda: (note(tmp_path, "let go"), may_end.set())).start()
    other.join(60)
    assert other.exitcode == 0
    assert log_of(tmp_path) == ["started", "let go", "ended"]
    with shared(tmp_path):
        pass
    assert log_of(tmp_path)[3:] == ["started", "ended"]


def note(folder: Path, what: str) -> None:
    """Write down what happened."""
    with (folder / "happened").open("a") as file:
        file.write(f"{what}\n")


def log_of(folder: Path) -> list[str]:
    """What happened, in order."""
    return (folder / "happened").read_text().split("\n")[:-1]


class Pretended:
    """Says when servers would start and end; what is tested is who does it."""

    addresses = Addresses(kafka="127.0.0.1:1", redis="redis://127.0.0.1:2/0")

    def __init__(self, folder: Path) -> None:
        self._folder = folder.parent

    def __enter__(self) -> Self:
        note(self._folder, "started")
        return self

    def __exit__(self, *_: object) -> None:
        note(self._folder, "ended")
