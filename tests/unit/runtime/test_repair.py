"""What is put right of the topic while it is still being read."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from stream.events import Conditions, Version
from stream.runtime.owned import Foreign, Owned
from stream.runtime.published import Published
from stream.runtime.repair import Repairs

KEYS = [b'["home","spiffe://test.example/agents/%d"]' % each for each in range(3)]


def owned() -> Owned:
    """The owner of a partition in whose topic others have written three records."""
    conditions = Conditions(nonce="n", era=0, from_offset=0, policy_hash="h", policy_text="{}")
    made = Owned(
        partition=0,
        nonce="n",
        epoch=1,
        number=0,
        position=0,
        replay_until=0,
        topic_id="t",
        conditions=conditions,
        journal_offset=0,
        published=Published({}),
        coming=deque(),
        version=Version(0, -1),
    )
    made.foreign |= {key: Foreign(at, 7, None) for at, key in enumerate(KEYS)}
    made.is_read_back = True
    return made


class Outbox:
    """Erases, while what is read meanwhile ends the matter of another key."""

    def __init__(self) -> None:
        self.erased: list[bytes] = []

    async def erase(self, owner: Owned, key: bytes) -> None:
        """Erase, and let the topic be read on."""
        self.erased.append(key)
        owner.foreign.pop(KEYS[1], None)


def repairs(outbox: Any) -> Repairs:
    """Repairs that need no rows."""
    nothing: Any = SimpleNamespace()
    return Repairs(nothing, nothing, outbox, 6)


def test_what_is_read_meanwhile_ends_the_matter() -> None:
    """A record that proves to be ours while others are put right is left alone."""
    one, outbox = owned(), Outbox()
    asyncio.run(repairs(outbox).carry_out(one))
    assert (outbox.erased, one.foreign) == ([KEYS[0], KEYS[2]], {})


@pytest.mark.parametrize("is_read_back", [False, True])
def test_nothing_is_put_right_before_all_is_read(*, is_read_back: bool) -> None:
    """An older record of a key looks like another's until the newest is read too."""
    one, outbox = owned(), Outbox()
    one.is_read_back = is_read_back
    asyncio.run(repairs(outbox).carry_out(one))
    assert bool(outbox.erased) is is_read_back
