"""What a partition has published: its digest, and what its rows still owe the store."""

from stream.events import record_hash
from stream.runtime import Published

MASK = (1 << 64) - 1


def digest_of(records: dict[bytes, bytes]) -> str:
    """The digest by its definition."""
    return f"{sum(record_hash(*each) for each in records.items()) & MASK:016x}"


def test_digest_is_the_sum_of_what_is_held() -> None:
    """Records put, replaced and removed leave the digest of those that are there."""
    published = Published({})
    published.put(b"a", b"1", 10, 1)
    published.put(b"b", b"2", 20, 2)
    published.put(b"a", b"3", 30, 1)
    assert (len(published), published.digest) == (2, digest_of({b"a": b"3", b"b": b"2"}))
    published.remove(b"b")
    assert published.digest == digest_of({b"a": b"3"})


def test_what_is_stored_is_found_again() -> None:
    """A new owner finds the digest of what was stored with its rows."""
    published = Published({})
    published.put(b"a", b"1", 10, 1)
    published.put(b"b", b"2", 20, 2)
    stored = published.take_unsaved([1, 2, 3])
    assert stored.keys() == {b"a", b"b"}
    assert published.take_unsaved([1, 2, 3]) == {}
    assert Published(stored).digest == published.digest


def test_only_what_owes_nothing_may_be_erased() -> None:
    """A record whose row is yet to be stored is not tombstoned, however old it is."""
    published = Published({})
    published.put(b"a", b"1", 10, 1)
    assert published.expired(1_000) == []
    published.take_unsaved([1])
    assert published.expired(10) == []
    assert published.expired(11) == [b"a"]


def test_what_is_published_anew_waits_for_no_row() -> None:
    """Its row is stored already and may never change again: the next save stores it, once."""
    published = Published({})
    published.put(b"a", b"1", 10, 1)
    published.take_unsaved([1])
    published.put_again(b"a", b"2", 10, 1)
    assert published.digest == digest_of({b"a": b"2"})
    assert published.expired(11) == [b"a"]
    stored = published.take_unsaved([])
    assert Published(stored).digest == published.digest
    assert published.take_unsaved([1]) == {}


def test_what_was_erased_meanwhile_is_not_stored() -> None:
    """A record published anew that expires before the next save leaves nothing behind."""
    published = Published({})
    published.put_again(b"a", b"1", 10, 1)
    published.remove(b"a")
    assert published.take_unsaved([1]) == {}
