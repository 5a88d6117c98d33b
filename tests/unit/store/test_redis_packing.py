"""Long commands are put together here; they read as those that the client packs."""

from typing import Any

import pytest
import redis.asyncio as client

from stream.store.redis_connection import LONG_COMMAND, Lease, PlainConnection

VALUES: list[Any] = [
    b"",
    b"\x00\r\n$5",
    "text",
    "\u00e9",
    7,
    0.5,
    memoryview(b"view"),
    b"x" * 7_000,
]


@pytest.mark.parametrize("count", [1, LONG_COMMAND - 1, LONG_COMMAND, 500])
def test_packed_as_by_the_client(count: int) -> None:
    """Whatever the arguments are, the bytes are the same."""
    ours, theirs = PlainConnection(lease=Lease()), client.Connection()
    args = ["EVALSHA", *(VALUES[each % len(VALUES)] for each in range(count - 1))]
    assert b"".join(ours.pack_command(*args)) == b"".join(theirs.pack_command(*args))


@pytest.mark.parametrize("name", ["CONFIG GET", b"CONFIG GET", b"HMGET"])
def test_names_of_commands(name: str | bytes) -> None:
    """The client sends the words of a command's name one by one, bytes as well; so do we."""
    ours, theirs = PlainConnection(lease=Lease()), client.Connection()
    args = [name, *[b"a"] * LONG_COMMAND]
    assert b"".join(ours.pack_command(*args)) == b"".join(theirs.pack_command(*args))
