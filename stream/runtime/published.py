"""What one home partition has published and not tombstoned: the count and digest of heartbeats.

Entries are stored with the row they were derived from, in the same script call, so what a new
owner finds fits its rows exactly, and replay brings the rest (DESIGN 3.8, 3.16). What is published
anew, because the topic lacks it, is stored with the next save of the partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from stream.bus import Record
from stream.errors import RowCorrupt
from stream.events import SubjectRecord, decode_value, record_hash, split_signature, subject_key

RECORDS_MAX: Final = 1_000_000
_MASK: Final = (1 << 64) - 1


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One record: its hash, when it expires (Unix ms), whose row it came from."""

    hash: int
    expires_at_ms: int
    row: int


_encode = msgspec.msgpack.encode
_decoder = msgspec.msgpack.Decoder(Entry)


def note_records(found: dict[bytes, bytes], records: Iterable[Record], partition: int) -> None:
    """Add the stored form of a home partition's own records, from the topic, in order.

    The row they came from is not known: 0, which owes no save. Mutates: found.
    """
    for record in records:
        if record.key is None or not record.key.startswith(b'["home",'):
            continue
        if record.value is None:
            found.pop(record.key, None)
            continue
        try:
            payload = split_signature(record.value).payload
            value = decode_value(payload)
            is_ours = (
                isinstance(value, SubjectRecord)
                and value.partition == partition
                and subject_key("home", value.subject) == record.key
            )
        except (ValueError, RecursionError):
            continue
        if is_ours and isinstance(value, SubjectRecord):
            entry = Entry(record_hash(record.key, payload), value.expires_at_ms, 0)
            found[record.key] = _encode(entry)


class Published:
    """The records of one partition by key, their digest, and which rows still owe a save.

    Errors: RowCorrupt when what is stored is not ours; the topic itself then says what it was.
    """

    def __init__(self, stored: dict[bytes, bytes]) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._unsaved: dict[int, set[bytes]] = {}
        self._again: set[bytes] = set()
        self._digest = 0
        for key, value in stored.items():
            try:
                entry = _decoder.decode(value)
            except (ValueError, RecursionError) as error:
                raise RowCorrupt(f"what was stored of {key[:80]!r} is corrupt: {error}") from error
            self._entries[key] = entry
            self._digest = (self._digest + entry.hash) & _MASK

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    @property
    def digest(self) -> str:
        """Return the sum of the records' hashes mod 2^64, in hex."""
        return f"{self._digest:016x}"

    def hash_of(self, key: bytes) -> int | None:
        """Return the hash of the record under a key, None where nothing is published there."""
        entry = self._entries.get(key)
        return entry.hash if entry else None

    def stored_as(self, key: bytes, value: bytes) -> bytes:
        """Return the stored form of a record of ours that another home has published anew."""
        entry = self._entries[key]
        return _encode(Entry(record_hash(key, value), entry.expires_at_ms, entry.row))

    def put(self, key: bytes, value: bytes, expires_at_ms: int, row: int) -> None:
        """Count a record that is being published, in place of an older one of its key."""
        self._enter(key, Entry(record_hash(key, value), expires_at_ms, row))
        self._unsaved.setdefault(row, set()).add(key)

    def put_again(self, key: bytes, value: bytes, expires_at_ms: int, row: int) -> None:
        """Count a record that is published anew, of a row that need not change for it.

        So it is stored with the next save, whatever rows that has.
        """
        self._enter(key, Entry(record_hash(key, value), expires_at_ms, row))
        self._again.add(key)

    def _enter(self, key: bytes, entry: Entry) -> None:
        before = self._entries.get(key)
        self._digest = (self._digest + entry.hash - (before.hash if before else 0)) & _MASK
        self._entries[key] = entry

    def remove(self, key: bytes) -> None:
        """Forget a record that has been tombstoned."""
        entry = self._entries.pop(key)
        self._digest = (self._digest - entry.hash) & _MASK

    def expired(self, before_ms: int) -> list[bytes]:
        """Return the keys of records that expired before a time and owe no save."""
        return [
            key
            for key, entry in self._entries.items()
            if entry.expires_at_ms < before_ms and entry.row not in self._unsaved
        ]

    def take_unsaved(self, rows: list[int]) -> dict[bytes, bytes]:
        """Return the stored form of what these rows owe, and of what was published anew.

        Nothing of that is owed from here on.
        """
        keys, self._again = self._again, set()
        if self._unsaved:
            for row in rows:
                keys |= self._unsaved.pop(row, set())
        return {key: _encode(self._entries[key]) for key in keys if key in self._entries}
