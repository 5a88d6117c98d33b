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
from stream.events import (
    Heartbeat,
    OperatorRecord,
    Signed,
    SubjectRecord,
    decode_value,
    heartbeat_key,
    record_hash,
    split_signature,
    subject_key,
)
from stream.signing import Trust

RECORDS_MAX: Final = 1_000_000
_MASK: Final = (1 << 64) - 1


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One record: its hash, when it expires (Unix ms), whose row it came from."""

    hash: int
    expires_at_ms: int
    row: int


_encode = msgspec.msgpack.encode
_decoder = msgspec.msgpack.Decoder(Entry)


class Noted:
    """The stored form of a home partition's own records, from the topic, read in order.

    As a gateway holds them that reads the topic now, for whoever else may write there too: of what
    an earlier owner wrote behind a later one nothing, of two places in the log the later, and where
    keys are believed only (`trust`), what they sign, with no tombstone before a record's end.
    """

    def __init__(self, partition: int, trust: Trust | None = None) -> None:
        self.found: dict[bytes, bytes] = {}
        self._partition = partition
        self._trust = trust if trust is not None and trust.is_strict else None
        self._places: dict[bytes, tuple[tuple[int, ...], int]] = {}  # with the end, Unix ms
        self._epoch = 0

    def add(self, records: Iterable[Record]) -> None:
        """Note some more. Cost: with keys a verification each."""
        mine = heartbeat_key(self._partition)
        for record in records:
            if record.key is None or not (record.key.startswith(b'["home",') or record.key == mine):
                continue
            if record.value is None:
                self._end(record.key, record.append_ms)
            else:
                self._note(record, record.key, split_signature(record.value))

    def _end(self, key: bytes, append_ms: int) -> None:
        held = self._places.get(key)
        if held is not None and (self._trust is None or append_ms >= held[1]):
            del self.found[key], self._places[key]

    def _note(self, record: Record, key: bytes, signed: Signed) -> None:
        try:
            value = decode_value(signed.payload)
        except (ValueError, RecursionError):
            return
        if isinstance(value, OperatorRecord) or value.partition != self._partition:
            return
        if isinstance(value, SubjectRecord) and subject_key("home", value.subject) != key:
            return
        if self._trust is not None and self._trust.fault_of(key, record.append_ms, signed, value):
            return
        if 0 < value.epoch < self._epoch:
            return
        self._epoch = max(self._epoch, value.epoch)
        if isinstance(value, Heartbeat):
            return
        version = value.version
        place = version.era, version.offset, version.ordinal, value.epoch
        held = self._places.get(key)
        if held is None or held[0] <= place:
            entry = Entry(record_hash(key, signed.payload), value.expires_at_ms, 0)
            # The row it came from is not known: 0, which owes no save.
            self.found[key] = _encode(entry)
            self._places[key] = place, value.expires_at_ms


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
