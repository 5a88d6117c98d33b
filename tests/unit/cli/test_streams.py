"""Where a verb speaks: a full device, a stream that is closed, names that are no text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
POLICY = REPO / "stream" / "policy" / "default.yaml"
pytestmark = pytest.mark.timeout(120)


def shell(line: str, *names: bytes) -> subprocess.CompletedProcess[bytes]:
    """A line of a shell in which `enforcer` is the command, and $1 and so on are names."""
    command = f'enforcer() {{ "{sys.executable}" -m stream.cli "$@"; }}; {line}'
    return subprocess.run(
        ["/bin/bash", "-c", command, "bash", *names], cwd=REPO, capture_output=True, check=False
    )


@pytest.mark.parametrize("verb", [f"check {POLICY}", f"check {POLICY} --json", "schema", "--help"])
def test_a_full_device_is_one_line(verb: str) -> None:
    """And an exit code; nothing is tried again as the interpreter ends."""
    done = shell(f"enforcer {verb} > /dev/full")
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert "the output cannot be written: No space left on device" in line


def test_where_nobody_can_be_told_the_exit_code_says_it() -> None:
    """An error keeps its code where stderr is full or closed."""
    assert shell("enforcer check nowhere.yaml 2> /dev/full").returncode == 78
    assert shell("enforcer check nowhere.yaml 2>&-").returncode == 78
    assert shell("enforcer schema > /dev/full 2> /dev/full").returncode == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_one_that_nobody_reads(closed: str) -> None:
    """The verb does its work."""
    done = shell(f"enforcer check {POLICY} {closed}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b"is good" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_stdin_that_is_closed_has_nothing() -> None:
    """As /dev/null has nothing."""
    done = shell("enforcer convert --format nginx - <&-")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"0 events" in done.stderr


def test_a_name_that_is_no_text_is_json(tmp_path: Path) -> None:
    """What stands for its bytes is an escape, from which the name can be had again."""
    name = bytes(tmp_path) + b"/p\xff.yaml"
    Path(os.fsdecode(name)).write_text(POLICY.read_text())
    done = shell('enforcer check "$1" --json', name)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert os.fsencode(told["file"]) == name
    assert told["rules"] > 1
