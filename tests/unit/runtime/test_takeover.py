"""Where a new owner begins, and whose journal entries count."""

import pytest

from stream.bus import Bounds, Record
from stream.events import Conditions, Owner, encode_entry
from stream.runtime import Place, valid_entries, where_to_start
from stream.store import Checkpoint


def owner(nonce: str, epoch: int) -> Owner:
    """A worker took the partition."""
    return Owner(nonce=nonce, epoch=epoch, checkpoint=0)


def conditions(nonce: str, from_offset: int) -> Conditions:
    """What a worker journalled."""
    return Conditions(
        nonce=nonce, era=0, from_offset=from_offset, policy_hash="h", policy_text="{}"
    )


def test_a_zombie_s_entries_do_not_count() -> None:
    """After the next owner's first entry, those of the earlier one are void, late owners too."""
    entries = [
        owner("a", 1),
        conditions("a", 0),
        owner("b", 2),
        conditions("a", 5),
        conditions("b", 7),
        owner("a", 1),
        conditions("a", 9),
        conditions("b", 11),
    ]
    log = [Record(0, at, 0, None, encode_entry(each)) for at, each in enumerate(entries)]
    log.insert(3, Record(0, 99, 0, None, b"{"))
    assert [offset for offset, _ in valid_entries(log)] == [0, 1, 2, 4, 7]


def test_a_journal_may_begin_in_the_middle() -> None:
    """Where retention has cut the head, the first entry names whose entries count."""
    log = [Record(0, 4, 0, None, encode_entry(conditions("a", 3)))]
    log.append(Record(0, 5, 0, None, encode_entry(conditions("z", 4))))
    assert [offset for offset, _ in valid_entries(log)] == [4]


@pytest.mark.parametrize(
    ("next_offset", "topic_id", "bounds", "expected"),
    [
        (50, "t", Bounds(0, 100), (50, 3, ())),
        (100, "t", Bounds(0, 100), (100, 3, ())),
        (101, "t", Bounds(0, 100), (0, 4, ("log_changed",))),
        (50, "other", Bounds(0, 100), (0, 4, ("log_changed",))),
        (50, "", Bounds(0, 100), (50, 3, ())),
        (50, "t", Bounds(60, 100), (60, 3, ("log_cut",))),
    ],
)
def test_where_to_start(
    next_offset: int, topic_id: str, bounds: Bounds, expected: tuple[int, int, tuple[str, ...]]
) -> None:
    """At the checkpoint, unless the log is another or no longer holds it: then said by name."""
    checkpoint = Checkpoint(
        next_offset=next_offset,
        journal_offset=0,
        topic_id=topic_id,
        era=3,
        check=0,
        version_offset=-1,
        version_ordinal=0,
        at_ms=0,
    )
    place = Place(0, bounds, "t", "requests", "journal", "w")
    assert where_to_start(place, checkpoint, journalled=True) == expected


def test_a_store_that_forgot_is_said_so() -> None:
    """No checkpoint is a first start where nothing was journalled, else a store that forgot."""
    place = Place(0, Bounds(2, 9), "t", "requests", "journal", "w")
    assert where_to_start(place, None, journalled=False) == (2, 0, ())
    assert where_to_start(place, None, journalled=True) == (2, 0, ("store_forgot",))
