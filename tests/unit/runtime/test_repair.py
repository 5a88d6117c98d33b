"""What is put right of the topic while it is still being read."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from stream.bus import Bounds, Record
from stream.events import Conditions, Subject, SubjectRecord, Version, encode, subject_key
from stream.runtime.owned import Foreign, Owned
from stream.runtime.published import Noted, Published
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


WORKLOAD = "spiffe://test.example/agents/0"
KEY = subject_key("home", Subject(workload=WORKLOAD))
PLACES = 0, 9, 5
"""What is read, or written: what claims nothing of us, a forgery that claims much, and ours."""


def written(offset: int) -> Record:
    """The record of a key at an offset, as the topic has it."""
    held = SubjectRecord(
        issuer="home",
        partition=0,
        subject=Subject(workload=WORKLOAD),
        version=Version(0, PLACES[offset]),
        expires_at_ms=10_000,
        commands=(),
    )
    return Record(0, offset, 0, KEY, encode(held))


class Reader:
    """A log whose last record comes while what lies before it is read."""

    def __init__(self, one: Owned, following: Repairs) -> None:
        self._one = one
        self._following = following
        self._end = len(PLACES) - 1

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """What there is before the last record came."""
        return {0: Bounds(0, self._end)}

    async def read_some(
        self, topic: str, partition: int, start: int, end: int, records_max: int
    ) -> tuple[list[Record], int]:
        """The records in a range; whoever follows has met the last one before."""
        if self._end < len(PLACES):
            self._following.note({0: self._one}, written(self._end))
            self._end += 1
        return [written(each) for each in range(start, end)], end


def test_ours_is_compared_again_behind_what_is_read_back() -> None:
    """Gateways keep to a forgery that claims to be later, though ours lies behind it."""
    ours, noted = written(len(PLACES) - 1), Noted(0)
    noted.add([ours])
    one, outbox = owned(), Outbox()
    one.counts, one.published, one.foreign = (1,), Published(noted.found), {}
    watch, following = repairs(outbox), repairs(outbox)
    reader: Any = Reader(one, following)
    asyncio.run(watch.read_back(one, reader, "enforcement"))
    (found,) = one.foreign.values()
    assert (found.is_ahead, found.place) == (True, (0, 0, 9, 0))
    assert one.compared_to == len(PLACES)
