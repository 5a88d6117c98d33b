"""What an owned partition knows of the journal: where a new owner must begin to read."""

from collections import deque

import msgspec

from stream.events import Conditions, Version
from stream.runtime import Published
from stream.runtime.owned import Owned, record_check


def conditions(from_offset: int) -> Conditions:
    """Conditions that hold from an offset on."""
    return Conditions(nonce="n", era=0, from_offset=from_offset, policy_hash="h", policy_text="{}")


def owned(*coming: tuple[int, int]) -> Owned:
    """A partition taken at offset 10, under an entry at journal offset 3; `coming` likewise."""
    return Owned(
        partition=0,
        nonce="n",
        epoch=1,
        number=0,
        position=10,
        replay_until=10,
        topic_id="t",
        conditions=conditions(10),
        journal_offset=3,
        journalled_ms=0,
        published=Published({}),
        coming=deque((offset, conditions(start)) for start, offset in coming),
        version=Version(0, -1),
    )


def test_the_entry_in_force_at_the_checkpoint_is_named() -> None:
    """Not the one in force by now, which holds from later on, until every row has passed it."""
    one = owned()
    one.hold(7, conditions(20))
    one.hold(8, conditions(20))
    one.hold(9, conditions(31))
    assert [one.journal_from(at) for at in (10, 19, 20, 30, 31, 99)] == [3, 3, 8, 8, 9, 9]
    one.passed_by(25)
    assert [one.journal_from(at) for at in (25, 31)] == [8, 9]
    assert one.conditions.from_offset == 31


def test_what_comes_is_named_too() -> None:
    """An entry for a later offset may stand earlier in the journal."""
    one = owned((15, 2), (40, 6))
    assert one.journal_from(12) == 2
    due = msgspec.structs.replace(conditions(15))
    one.coming.popleft()
    one.hold(2, due)
    assert [one.journal_from(at) for at in (12, 15)] == [2, 2]
    one.passed_by(15)
    one.hold(11, conditions(20))
    assert [one.journal_from(at) for at in (16, 20)] == [2, 6]


def test_a_record_is_known_again() -> None:
    """By its bytes and its time; nothing, too, has a checksum."""
    assert record_check(b"", 1) == record_check(None, 1) > 0
    assert len({record_check(b"a", 1), record_check(b"a", 2), record_check(b"b", 1)}) == 3
