"""What verbs are given to read and to write: pipes, dashes, the same file twice, odd lines."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from stream.cli.faults import SHOWN_MAX, FaultNotes
from stream.cli.reading import Line
from stream.cli.screen import Screen
from stream.events import Reject, RejectCode, Request, encode_request
from tests.unit.cli.conftest import Call

GOOD = encode_request(Request(1_000, "spiffe://a/b", "GET /x", id="x}"))


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A file of a hundred workloads, an event each."""
    file = tmp_path / "events.jsonl"
    lines = [encode_request(Request(1_000, f"spiffe://a/w{each}", "x")) for each in range(100)]
    file.write_bytes(b"\n".join(lines))
    return file


@pytest.mark.timeout(60)
def test_a_pipe_by_name_is_an_input(call: Call, events: Path, tmp_path: Path) -> None:
    """As a shell has it where it is told `<(zcat ...)`."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    threading.Thread(target=fifo.write_bytes, args=(events.read_bytes(),), daemon=True).start()
    done = call("replay", str(fifo))
    assert done.exit_code == 0, done.stderr
    assert "100 events of 100 workloads" in done.stdout


def test_what_is_read_again_is_no_pipe(call: Call, events: Path, tmp_path: Path) -> None:
    """`evaluate --curve` scores the events once for each number of tasks."""
    fifo, other = tmp_path / "fifo", str(events)
    os.mkfifo(fifo)
    for file in (str(fifo), "-"):
        args = "--labels", other, "--baseline", other, "--curve", other
        done = call("evaluate", file, *args)
        assert done.exit_code == 2
        assert "--curve reads the events again" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("replay", "events", "--baseline", "-"),
        ("keys", "list", "-"),
        ("keys", "show", "-"),
        ("keys", "retire", "-", "id"),
        ("baseline", "promote", "-", "--reason", "why"),
    ],
)
def test_a_file_that_is_read_whole_is_no_dash(
    args: Sequence[str], call: Call, events: Path
) -> None:
    """It is refused, and not looked for."""
    done = call(*(str(events) if each == "events" else each for each in args))
    assert done.exit_code == 2
    assert "'-'" in done.stderr


def test_outputs_are_apart(call: Call, events: Path, tmp_path: Path) -> None:
    """One file for two is refused as that; what is no file takes everything."""
    out = str(tmp_path / "out")
    twice = call("replay", str(events), "--commands", out, "--findings", out)
    assert twice.exit_code == 2
    assert f"{out} would be written twice" in twice.stderr
    read = call("replay", str(events), "--commands", str(events))
    assert "would be read and written" in read.stderr
    null = "/dev/null"
    assert call("replay", str(events), "--commands", null, "--findings", null).exit_code == 0


def test_events_without_room_are_said_to_be_unjudged(call: Call, events: Path) -> None:
    """They are events: the option that has room for them is named, and the exit code is 1."""
    done = call("replay", str(events), "--slots", "64")
    assert done.exit_code == 1
    assert "64 events of 64 workloads" in done.stdout
    assert "36 events went unjudged" in done.stderr
    assert "--slots has room for more" in done.stderr
    assert "no events" not in done.stdout
    told = call("replay", str(events), "--slots", "64", "--json")
    assert (told.exit_code, json.loads(told.stdout)["unjudged"]) == (1, 36)


@pytest.mark.parametrize("verb", [("replay",), ("baseline", "learn")], ids=["replay", "learn"])
def test_a_fault_is_told_with_its_own_line(
    verb: tuple[str, ...], call: Call, tmp_path: Path
) -> None:
    """Not with one that holds the same bytes; of equal ones each with its own."""
    file = tmp_path / "events.jsonl"
    lines = [GOOD] * 5 + [b"}"] + [GOOD] * 3 + [b"}", b'[%b,{"kind":"nothing"}]' % GOOD]
    file.write_bytes(b"\n".join(lines))
    options = ("--out", str(tmp_path / "made")) if "learn" in verb else ()
    done = call(*verb, str(file), *options)
    told = [line.split(": ")[0] for line in done.stderr.splitlines() if line.startswith(str(file))]
    assert sorted(told) == sorted(f"{file}:{number}" for number in (6, 10, 11))


def test_a_part_of_an_event_is_told_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What the decoder has split further, and what it has changed, stand somewhere too."""
    faults = FaultNotes(Screen(is_json=False))
    lines = [Line("f", number, data) for number, data in ((3, b"a"), (4, b"[[b]]"), (7, b"c"))]
    rejects = [
        Reject(code=RejectCode.MALFORMED, message="", topic="", partition=0, offset=0, raw=raw)
        for raw in (b"b", b"unknown", b"c", b"c")
    ]
    faults.add_rejects(lines, rejects * SHOWN_MAX)
    told = [line.split(": ")[0] for line in capsys.readouterr().err.splitlines()]
    assert told[:4] == ["f:4", "f:3", "f:7", "f:7"]
    assert (len(told), faults.counts.total()) == (SHOWN_MAX + 1, 4 * SHOWN_MAX)
