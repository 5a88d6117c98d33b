"""`send` in memory: what it says of what it has sent, however it ends."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable
from pathlib import Path

import pytest

from stream.bus import MemoryLog, MemoryPublisher, MemoryTopics, TopicSpec
from stream.cli import send
from stream.errors import BusUnavailable
from stream.events import Request, encode_request
from tests.buses import WallClock
from tests.unit.cli.conftest import Call

EVENTS = [encode_request(Request(1_000 + each, "spiffe://a/b", "x")) for each in range(200)]


class Leaving(MemoryPublisher):
    """A broker that takes so many records, and then no more."""

    left = 50

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        self.left -= 1
        if self.left < 0:
            raise BusUnavailable("the broker is gone", hint="start it")
        return await super().send(topic, key, value, partition)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    """A log that `send` writes to."""
    made = MemoryLog(WallClock())
    asyncio.run(MemoryTopics(made).ensure([TopicSpec(name="requests", partitions=6)]))
    monkeypatch.setattr(send, "KafkaPublisher", lambda spec: MemoryPublisher(made))
    return made


def count(log: MemoryLog) -> int:
    """How many records there are."""
    return sum(len(each.records) for each in log.partitions("requests"))


def test_a_file_that_breaks_off_takes_nothing_back(
    log: MemoryLog, call: Call, tmp_path: Path
) -> None:
    """The error says how many events are on the topic, for a program too."""
    whole, cut = tmp_path / "whole", tmp_path / "cut.gz"
    whole.write_bytes(b"\n".join(EVENTS))
    cut.write_bytes(gzip.compress(b"\n".join(EVENTS))[:-9])
    done = call("send", str(whole), str(cut))
    assert done.exit_code == 1
    sent = count(log)
    assert sent >= len(EVENTS)
    assert "cut.gz cannot be read: Compressed file ended" in done.stderr
    assert f"; {sent:,} events were sent before" in done.stderr
    assert "may have been" not in done.stderr
    error = json.loads(call("send", str(whole), str(cut), "--json").stderr)["error"]
    assert error["kind"] == "NotSo"
    assert f"; {sent:,} events were sent before" in error["message"]


def test_a_broker_that_goes_away_is_told_with_what_it_took(
    log: MemoryLog, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was given to it and not acknowledged may be there; the exit code and hint stay."""
    monkeypatch.setattr(send, "KafkaPublisher", lambda spec: Leaving(log))
    whole = tmp_path / "whole"
    whole.write_bytes(b"\n".join(EVENTS))
    done = call("send", str(whole))
    assert done.exit_code == 69
    said = "the broker is gone; 0 events were sent before, and 50 more may have been"
    assert f"{said} (hint: start it)" in done.stderr
