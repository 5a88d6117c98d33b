"""`dlq retry` as a whole, in memory: whatever it does not do of what was asked, it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stream.bus import MemoryReader, MemoryTogether
from stream.cli import dlq, dlq_retry
from stream.events import DeadLetter
from tests.unit.cli.conftest import Call
from tests.unit.cli.test_letters import GOOD, Desk, letter

At = Callable[..., Desk]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Makes a desk with some letters, at which the verbs of this process work."""

    def desk_with(*letters: DeadLetter) -> Desk:
        desk = Desk("dead-letters")
        asyncio.run(desk.make(letters))
        for module in (dlq, dlq_retry):
            monkeypatch.setattr(module, "KafkaReader", lambda spec: MemoryReader(desk.log))
        together = lambda spec, name: MemoryTogether(desk.log, name)  # noqa: E731
        monkeypatch.setattr(dlq_retry, "KafkaTogether", together)
        return desk

    return desk_with


def said(call: Call, *args: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what a program is told."""
    done = call("dlq", "retry", *args, "--json")
    return done.exit_code, json.loads(done.stdout)


def test_what_a_limit_leaves_is_counted(call: Call, at: At) -> None:
    """In a dry run too; what could not be sent anyway is told as that, also behind the limit."""
    letters = [*(letter(each) for each in range(5)), letter(8, b"{")]
    desk = at(*letters)
    expected = {"retried": 2, "not an event": 1}
    code, told = said(call, "--all", "--limit", "2", "--dry-run")
    assert (code, told["outcomes"], told["left"]) == (0, expected, 3)
    assert desk.sent() == []
    shown = call("dlq", "retry", "--all", "--limit", "2")
    assert shown.exit_code == 0
    assert "1 not an event, 2 retried" in shown.stdout
    assert "3 more are left to be sent: --limit is 2" in shown.stdout
    assert desk.sent() == [GOOD, GOOD]
    code, told = said(call, "--all")
    assert (code, told["left"]) == (0, 0)
    assert told["outcomes"] == {"already retried": 2, "not an event": 1, "retried": 3}


def test_an_origin_without_a_letter_is_named(call: Call, at: At) -> None:
    """Others are sent all the same, and the exit code says that not all was done."""
    at(letter(1), letter(2))
    asked = "requests/1/1", "requests/1/77", "requests/2/2/5"
    code, told = said(call, *asked, "--dry-run")
    assert (code, told["missing"]) == (1, ["requests/1/77", "requests/2/2/5"])
    done = call("dlq", "retry", *asked)
    assert done.exit_code == 1
    assert "1 retried" in done.stdout
    assert "requests/1/77: there is no dead letter of it that is meant" in done.stderr
    assert said(call, "requests/2/2", "requests/1/1", "--limit", "1")[1]["missing"] == []


def test_letters_of_a_newer_version_are_told(call: Call, at: At) -> None:
    """They may be what was meant."""
    at(*(msgspec.structs.replace(letter(each), format=99) for each in range(3)))
    code, told = said(call, "--all")
    assert (code, told["unreadable"]) == (1, {"newer": 3})
    done = call("dlq", "retry", "--all", "--dry-run")
    assert "3 letters are of a newer version: upgrade this one" in done.stderr


def test_a_letter_of_no_time_is_shown(call: Call, at: At) -> None:
    """Whoever wrote it, its time is a number at least."""
    at(msgspec.structs.replace(letter(1), at_ms=10**18))
    done = call("dlq", "show", "requests/1/1")
    assert done.exit_code == 0
    assert "1000000000000000000" in done.stdout
