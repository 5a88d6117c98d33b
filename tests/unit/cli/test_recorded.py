"""Events to send: keyed, shifted, and read beside the loop."""

import os
import threading
import time
from pathlib import Path

import pytest

from stream.cli.failure import NotSo
from stream.cli.faults import FaultNotes
from stream.cli.recorded import EventFeed, Recorded, shifted
from stream.cli.screen import Screen
from stream.events import TIME_MS_MAX, Request, Token, decode_request, encode_request


def fed(file: Path, *, is_now: bool = False) -> tuple[list[Recorded], FaultNotes]:
    """All that a feed gives of one file."""
    faults = FaultNotes(Screen(is_json=True))
    feed = EventFeed((str(file),), faults, lambda position: None, is_now=is_now)
    found = []
    deadline_s = time.monotonic() + 30
    while (event := feed.take()) is not None:
        assert time.monotonic() < deadline_s
        if event is not EventFeed.WAIT:
            found.append(event)
    return found, faults


def test_lines_are_sent_as_they_are(tmp_path: Path) -> None:
    """The payload is the line, the key the canonical workload, whatever else the line holds."""
    file = tmp_path / "events"
    line = b'{"at_ms": 5, "workload":"SPIFFE://Example.org/a","operation":"x", "more": 1}'
    file.write_bytes(line + b"\n\n")
    ((key, payload, at_ms),), faults = fed(file)
    assert (key, payload, at_ms) == (b"spiffe://example.org/a", line, 5)
    assert faults.spelled() == "no faults"


def test_what_is_no_event_is_counted_and_left_out(tmp_path: Path) -> None:
    """Faults are counted by code, once, also where the files are read twice."""
    file = tmp_path / "events"
    good = encode_request(Request(1, "spiffe://a/b", "x"))
    lines = [b"{", b"[]", b'{"at_ms":1,"workload":"spiffe://a","operation":"x"}', b"x" * 70_000]
    file.write_bytes(b"\n".join([good, *lines]))
    for is_now in (False, True):
        found, faults = fed(file, is_now=is_now)
        assert len(found) == 1
        assert dict(faults.counts) == {
            "malformed": 1,
            "wrong_type": 1,
            "bad_identity": 1,
            "too_large": 1,
        }


def test_now_is_when_the_last_event_was(tmp_path: Path) -> None:
    """With --now the latest event is now, and the distances stay."""
    file = tmp_path / "events"
    events = [Request(at_ms, "spiffe://a/b", "x") for at_ms in (1_000, 9_000, 5_000)]
    file.write_bytes(b"\n".join(map(encode_request, events)))
    before_ms = time.time_ns() // 1_000_000
    found, _ = fed(file, is_now=True)
    first, last, middle = (decode_request(each.payload).at_ms for each in found)
    assert before_ms <= last <= time.time_ns() // 1_000_000
    assert (last - first, last - middle) == (8_000, 4_000)


def test_a_pipe_is_kept_to_be_read_twice(tmp_path: Path) -> None:
    """With --now the last event is asked for first, and a pipe gives everything once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    events = [Request(at_ms, "spiffe://a/b", "x") for at_ms in (1_000, 9_000, 5_000)]
    data = b"\n".join(map(encode_request, events))
    threading.Thread(target=fifo.write_bytes, args=(data,), daemon=True).start()
    found, _ = fed(fifo, is_now=True)
    times = [decode_request(each.payload).at_ms for each in found]
    assert [each - times[0] for each in times] == [0, 8_000, 4_000]


def test_a_token_moves_with_its_request() -> None:
    """A token's life is shifted too, where it has one; times stay what the wire allows."""
    token = Token(id="t", issued_at_ms=50)
    moved = shifted(Request(100, "spiffe://a/b", "x", token=token), -70)
    assert moved.at_ms == 30
    assert moved.token == Token(id="t", issued_at_ms=0, expires_at_ms=0)
    assert shifted(moved, TIME_MS_MAX).at_ms == TIME_MS_MAX


def test_a_file_that_cannot_be_read_ends_the_feed(tmp_path: Path) -> None:
    """The error of the reading thread reaches whoever takes."""
    file = tmp_path / "broken"
    file.write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(NotSo):
        fed(file)
