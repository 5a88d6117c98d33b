"""The records of the log that are in force by their key: later ones replace, tombstones remove.

What is held is bounded in number and in bytes, and accounted for by home partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from stream.bus import Record
from stream.events import OperatorRecord, Subject, SubjectRecord, record_hash

from .homes import Homes
from .spec import TableSpec

Kept = Literal["applied", "removed", "unchanged", "older", "misplaced", "overflow"]
"""What became of a record that was believed; only the first two changed something."""

OPERATOR: Final = "operator"
NO_HOME: Final = -1
OPERATORS_MAX: Final = 10_000
OPERATORS_BYTES_MAX: Final = 64 << 20


class _Pool(msgspec.Struct):
    """Room for one sort of records; `bytes` counts keys and values."""

    records_max: int
    bytes_max: int
    records: int = 0
    bytes: int = 0


class Holding(msgspec.Struct, frozen=True, gc=False):
    """One record held, where it came from, and its place among the records of its key.

    `home` is NO_HOME for operators' acts, which no home partition publishes.
    """

    log_partition: int
    offset: int
    append_ms: int
    value: bytes
    hash: int
    issuer: str
    home: int
    place: tuple[int, ...]
    subject: Subject


class Holdings:
    """Records by key. `homes` is told of what home partitions have here, and of what found no room.

    `overflowed`: a record that no heartbeat accounts for has found no room.
    """

    def __init__(self, spec: TableSpec, homes: Homes) -> None:
        self._homes = homes
        self._held: dict[bytes, Holding] = {}
        # Operators' acts have room of their own: no flood of commands can keep out an exemption.
        self._commands = _Pool(spec.records_max, spec.bytes_max)
        self._operators = _Pool(OPERATORS_MAX, OPERATORS_BYTES_MAX)
        self.overflowed = False

    def __len__(self) -> int:
        """Return the number of records held."""
        return len(self._held)

    @property
    def bytes_held(self) -> int:
        """Return the sum of the sizes of the keys and values held."""
        return self._commands.bytes + self._operators.bytes

    def __iter__(self) -> Iterator[Holding]:
        """Return what is held now; what changes meanwhile is not seen."""
        return iter(list(self._held.values()))

    def hold(self, record: Record, value: SubjectRecord | OperatorRecord) -> Kept:
        """Hold a record, unless a later one of its key is held or there is no room.

        Requires: `value` is the sound value of `record`, and `record.key` its key.
        """
        assert record.key is not None, "the key was compared"
        assert record.value is not None, "the value was read"
        place = _place(record, value)
        held = self._held.get(record.key)
        if held is not None:
            if place == held.place and record.value == held.value:
                return "unchanged"
            if _is_later(held, record, place):
                return "older"
        new = _holding(record, record.key, record.value, value, place)
        if not self._has_room(len(record.key), new, held):
            self._refuse(new)
            return "overflow"
        self._settle(record.key, held, new)
        return "applied"

    def remove(self, record: Record) -> tuple[Kept, Holding | None]:
        """Hold nothing of a key any more; return also what was held until now.

        A tombstone counts only where the record it ends lies, and after it.
        """
        assert record.key is not None, "a record without a key is malformed"
        held = self._held.get(record.key)
        if held is None:
            return "unchanged", None
        if held.log_partition != record.partition:
            return "misplaced", None
        if record.offset < held.offset:
            return "older", None
        self._settle(record.key, held, None)
        return "removed", held

    def _has_room(self, key_bytes: int, new: Holding, held: Holding | None) -> bool:
        if new.home == NO_HOME and not new.subject.workload:
            return True  # A stop always finds room.
        pool = self._pool_of(new)
        grown = len(new.value) + (key_bytes if held is None else -len(held.value))
        more = 1 if held is None else 0
        return pool.records + more <= pool.records_max and pool.bytes + grown <= pool.bytes_max

    def _pool_of(self, holding: Holding) -> _Pool:
        return self._operators if holding.home == NO_HOME else self._commands

    def _refuse(self, new: Holding) -> None:
        if new.issuer == "home":
            self._homes.overflow(new.home)
        else:
            self.overflowed = True

    def _settle(self, key: bytes, held: Holding | None, new: Holding | None) -> None:
        """Replace one record by another, in the table and in the accounts."""
        if held is not None:
            pool = self._pool_of(held)
            pool.records -= 1
            pool.bytes -= len(key) + len(held.value)
            if held.issuer == "home":
                self._homes.debit(held.home, held.hash)
        if new is None:
            del self._held[key]
            return
        self._held[key] = new
        pool = self._pool_of(new)
        pool.records += 1
        pool.bytes += len(key) + len(new.value)
        if new.issuer == "home":
            self._homes.credit(new.home, new.hash)


def _holding(
    record: Record,
    key: bytes,
    data: bytes,
    value: SubjectRecord | OperatorRecord,
    place: tuple[int, ...],
) -> Holding:
    if isinstance(value, SubjectRecord):
        issuer, home, subject = value.issuer, value.partition, value.subject
    else:
        issuer, home, subject = OPERATOR, NO_HOME, Subject(workload=value.workload)
    return Holding(
        log_partition=record.partition,
        offset=record.offset,
        append_ms=record.append_ms,
        value=data,
        hash=record_hash(key, data),
        issuer=issuer,
        home=home,
        place=place,
        subject=subject,
    )


def _place(record: Record, value: SubjectRecord | OperatorRecord) -> tuple[int, ...]:
    """Return what orders the records of one key.

    A cause is placed by era, home partition, offset, ordinal: partitions are only ever multiplied
    within an era, so a workload's later home has the higher number. Acts have no cause; between
    partitions their append time decides, within one the log.
    """
    if isinstance(value, SubjectRecord):
        version = value.version
        return version.era, value.partition, version.offset, version.ordinal
    return record.append_ms, record.partition, record.offset


def _is_later(held: Holding, record: Record, place: tuple[int, ...]) -> bool:
    """Tell whether what is held comes after a record of the same key."""
    if held.home == NO_HOME and held.log_partition == record.partition:
        return held.offset > record.offset
    return held.place > place
