"""What a partition has published: its digest, and what its rows still owe the store."""

from stream.bus import Record
from stream.events import (
    Heartbeat,
    Subject,
    SubjectRecord,
    Version,
    encode,
    heartbeat_key,
    record_hash,
    subject_key,
)
from stream.runtime import Published
from stream.runtime.published import Noted
from stream.signing import Trust
from tests.signed import signed, trust

MASK = (1 << 64) - 1
KEY = subject_key("home", Subject(workload="spiffe://test.example/a"))
NOW_MS = 1_790_000_000_000
NOTHING = -1


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


def record(offset: int, value: bytes | None, key: bytes = KEY, append_ms: int = NOW_MS) -> Record:
    """A record of the topic."""
    return Record(0, offset, append_ms, key, value)


def noted(records: list[Record], believed: Trust | None = None) -> int:
    """The number of a command that a partition holds of its workload, by what the topic says."""
    reader = Noted(0, believed)
    reader.add(records)
    hashes = {record_hash(KEY, value_of(each)): each for each in range(9)}
    (found,) = [Published(reader.found).hash_of(each) for each in reader.found] or [None]
    return hashes[found] if found is not None else NOTHING


def value_of(number: int, epoch: int = 0, *, is_other: bool = False) -> bytes:
    """What is in force after so many causes."""
    held = SubjectRecord(
        issuer="home",
        partition=1 if is_other else 0,
        subject=Subject(workload="spiffe://test.example/a"),
        version=Version(0, number),
        expires_at_ms=NOW_MS + 1_000,
        commands=(),
        epoch=epoch,
    )
    return encode(held)


def test_the_topic_says_what_was_published() -> None:
    """The latest cause of a key counts, and a tombstone ends it; others' homes are not ours."""
    assert noted([record(0, value_of(1)), record(1, value_of(2))]) == 2
    assert noted([record(0, value_of(2)), record(1, value_of(1))]) == 2
    assert noted([record(0, value_of(1)), record(1, None)]) == NOTHING
    assert noted([record(0, value_of(3, is_other=True)), record(1, b"{")]) == NOTHING
    odd = [record(0, value_of(1), b'["home","spiffe://test.example/b","workload"]')]
    assert noted(odd) == NOTHING


def test_what_an_earlier_owner_still_writes_was_not_published() -> None:
    """As gateways believe it: whoever heard of a later owner hears no earlier one."""
    beat = Heartbeat(
        partition=0, partitions=1, next_offset=1, version=Version(0, 0), records=0, digest="0",
        complete=True, at_ms=NOW_MS, every_ms=1_000, epoch=6,
    )  # fmt: skip
    hashes = []
    for value in (value_of(2, 5), value_of(2, 6)):
        reader = Noted(0)
        reader.add([record(0, encode(beat), heartbeat_key(0)), record(1, value)])
        hashes.append(list(reader.found))
    assert hashes == [[], [KEY]]


def test_with_keys_what_nobody_signed_was_not_published() -> None:
    """Else the worker would take an attacker's word for its own, and sign it one day."""
    genuine = signed((KEY, value_of(1)))[1]
    forged = record(1, value_of(2))
    early = record(1, None)
    late = record(1, None, append_ms=NOW_MS + 1_000)
    for behind, found in ((forged, [KEY]), (early, [KEY]), (late, [])):
        reader = Noted(0, trust())
        reader.add([record(0, genuine), behind])
        assert list(reader.found) == found
    alone = Noted(0, trust())
    alone.add([forged])
    assert alone.found == {}
    warned = Noted(0, trust(is_strict=False))
    warned.add([forged])
    assert list(warned.found) == [KEY]
