"""What an earlier run left: ended if it is ours, left alone if not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.local.leftover import (
    command_line,
    end_leftover,
    is_ours,
    living,
    read_pids,
    wait_until,
)

WAIT_FOR_EVER = "import sys; print(1, flush=True); sys.stdin.read()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT_FOR_EVER}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return (tmp_path / "f").resolve()


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "server.pid"


class Orphan:
    """A process with the given argument, ready, which nobody keeps."""

    def __init__(self, argument: str, code: str = WAIT_FOR_EVER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> int:
        """Return how it ended, at the latest when its input is closed."""
        self.process.communicate()
        return self.process.returncode


@pytest.fixture
def ours(folder: Path) -> Iterator[Orphan]:
    orphan = Orphan(f"{folder}/kafka/server.properties")
    yield orphan
    orphan.end()


@pytest.fixture
def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def write(pid_file: Path, *, keeper: int, server: int) -> None:
    pid_file.write_text(json.dumps({"keeper": keeper, "server": server}))


def test_a_server_that_lost_its_keeper_is_ended(
    pid_file: Path, folder: Path, ours: Orphan, dead_pid: int
) -> None:
    """The server of the pid file is asked to end, and its pid file removed."""
    write(pid_file, keeper=dead_pid, server=ours.pid)
    assert living(pid_file, folder) == [ours.pid]
    assert end_leftover(pid_file, folder, within_s=5)
    assert ours.end() == -signal.SIGTERM
    assert not pid_file.exists()


def test_a_server_that_does_not_listen_is_killed(
    pid_file: Path, folder: Path, dead_pid: int
) -> None:
    """After its time a leftover is ended by force."""
    deaf = Orphan(f"{folder}/valkey/valkey.conf", DEAF)
    write(pid_file, keeper=dead_pid, server=deaf.pid)
    assert end_leftover(pid_file, folder, within_s=0.1)
    assert deaf.end() == -signal.SIGKILL


def test_a_number_used_again_by_a_stranger_is_left_alone(
    pid_file: Path, folder: Path, dead_pid: int
) -> None:
    """A stale pid file never ends a process of somebody else, not even of a folder beside."""
    stranger = Orphan(f"{folder}2/kafka/server.properties")
    write(pid_file, keeper=dead_pid, server=stranger.pid)
    assert living(pid_file, folder) == []
    assert not end_leftover(pid_file, folder, within_s=5)
    assert not pid_file.exists()
    assert stranger.process.poll() is None
    assert stranger.end() == 0


@pytest.mark.parametrize(
    "content", [b"", b"123", b'{"keeper": 1}', b'{"keeper": "a", "server": 2}', b"\xff\x00"]
)
def test_a_torn_pid_file_names_nobody(pid_file: Path, folder: Path, content: bytes) -> None:
    """A file that a crash left half written is removed and stops nobody."""
    pid_file.write_bytes(content)
    assert read_pids(pid_file) is None
    assert not end_leftover(pid_file, folder, within_s=5)
    assert not pid_file.exists()


@pytest.mark.parametrize("number", [-1, 0, 1])
def test_numbers_that_mean_groups_or_init_are_nobody(
    pid_file: Path, folder: Path, number: int
) -> None:
    """No signal ever goes to a whole group, whatever the file says."""
    write(pid_file, keeper=number, server=number)
    assert living(pid_file, folder) == []


def test_no_pid_file_means_nothing_left(pid_file: Path, folder: Path) -> None:
    """The usual start finds nothing."""
    assert not end_leftover(pid_file, folder, within_s=5)


def test_a_process_that_is_gone_has_no_command_line(
    folder: Path, ours: Orphan, dead_pid: int
) -> None:
    """Only a living process can be ours."""
    assert f"{folder}/kafka/server.properties" in command_line(ours.pid)
    assert is_ours(ours.pid, folder)
    assert command_line(dead_pid) == ()
    assert not is_ours(os.getpid(), folder)


def test_waiting_ends_with_the_condition_or_the_time() -> None:
    """True once the condition is, False when the time is over first."""
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), within_s=5)
    assert not wait_until(lambda: False, within_s=0.05)
