"""The records of the log that are in force by their key: later ones replace, tombstones remove.

What is held is bounded in number and in bytes, and accounted for by home partition.

Where keys are configured (`is_keyed`), the order of operators' records is the one they were signed
in, not that of the log: an old one written again would be the latest there.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from stream.bus import Record
from stream.events import (
    TIME_MS_MAX,
    OperatorRecord,
    SubjectRecord,
    decode_value,
    operator_key,
    record_hash,
)

from .homes import Homes
from .spec import TableSpec

Kept = Literal["applied", "removed", "unchanged", "older", "misplaced", "overflow"]
"""What became of a record that was believed; only the first two changed something."""

OPERATOR: Final = "operator"
NO_HOME: Final = -1
OPERATORS_MAX: Final = 10_000
OPERATORS_BYTES_MAX: Final = 64 << 20
QUEUE_MIN: Final = 1_000
EVERYBODY: Final = operator_key("")


class _Pool(msgspec.Struct):
    """Room for one sort of records; `bytes` counts keys and values."""

    records_max: int
    bytes_max: int
    records: int = 0
    bytes: int = 0


class Holding(msgspec.Struct, frozen=True, gc=False):
    """One record held, and where it came from: what else it says is read from it again.

    `home` is NO_HOME for operators' acts, which no home partition publishes. `over_ms` is when
    nothing in it binds any more, `key_id` whose signature it came with (empty: nobody's). `acted`
    is the place of operators' acts among the records of their key; a subject's record has its
    place in itself. A million of these are held, so there is nothing here to collect, or to spare.
    """

    log_partition: int
    offset: int
    value: bytes
    issuer: str
    home: int
    over_ms: int
    key_id: str
    acted: tuple[int, ...] | None = None

    @property
    def place(self) -> tuple[int, ...]:
        """Return what orders the records of one key. Cost: one decoding, for a subject's record."""
        if self.acted is not None:
            return self.acted
        value = decode_value(self.value)
        assert isinstance(value, SubjectRecord), "the record was read before"
        return _cause_place(value)


class Holdings:
    """Records by key. `homes` is told of what home partitions have here, and of what found no room.

    `overflowed`: a record that no heartbeat accounts for has found no room.
    """

    def __init__(self, spec: TableSpec, homes: Homes, *, is_keyed: bool = False) -> None:
        self._homes = homes
        self._is_keyed = is_keyed
        self._held: dict[bytes, Holding] = {}
        # Operators' acts have room of their own: no flood of commands can keep out an exemption.
        self._commands = _Pool(spec.records_max, spec.bytes_max)
        self._operators = _Pool(OPERATORS_MAX, OPERATORS_BYTES_MAX)
        self.overflowed = False
        self._signed_by: Counter[str] = Counter()
        # By home partition, with keys only: when what is held will be over, the first first.
        self._over: dict[int, list[tuple[int, bytes]]] = {}

    def __len__(self) -> int:
        """Return the number of records held."""
        return len(self._held)

    @property
    def bytes_held(self) -> int:
        """Return the sum of the sizes of the keys and values held."""
        return self._commands.bytes + self._operators.bytes

    @property
    def signed_by(self) -> dict[str, int]:
        """Return how many records are held by whose signature they came with, "" for nobody's."""
        unsigned = len(self._held) - self._signed_by.total()
        return {**({"": unsigned} if unsigned else {}), **self._signed_by}

    def __iter__(self) -> Iterator[Holding]:
        """Return what is held now; what changes meanwhile is not seen."""
        return iter(list(self._held.values()))

    def get(self, key: bytes) -> Holding | None:
        """Return what is held of a key."""
        return self._held.get(key)

    def hold(self, record: Record, value: SubjectRecord | OperatorRecord, key_id: str = "") -> Kept:
        """Hold a record, unless a later one of its key is held or there is no room.

        Requires: `value` is the sound value of `record`, and `record.key` its key.
        """
        partition, offset, _, key, payload = record
        assert key is not None, "the key was compared"
        assert payload is not None, "the value was read"
        if isinstance(value, SubjectRecord):
            issuer, home, over_ms = value.issuer, value.partition, value.expires_at_ms
            new = Holding(partition, offset, payload, issuer, home, over_ms, key_id)
        else:
            new = self._acted(record, value, key_id)
        held = self._held.get(key)
        if held is not None:
            if self._is_same(held, new):
                if key_id != held.key_id:  # After a rotation, only the signature is another.
                    self._settle(key, held, msgspec.structs.replace(held, key_id=key_id))
                return "unchanged"
            if self._is_later(held, new, value):
                return "older"
        if not self._has_room(key, new, held):
            self._refuse(new)
            return "overflow"
        self._settle(key, held, new)
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

    def drop_over(self, home: int, before_ms: int) -> list[Holding]:
        """Hold nothing more of a home partition that was over before a time; return what it was.

        Cost: O(log held) for each. Requires: keys are configured.
        """
        queue = self._over.get(home, [])
        dropped = []
        while queue and queue[0][0] < before_ms:
            over_ms, key = heapq.heappop(queue)
            held = self._held.get(key)
            if held is not None and (held.home, held.over_ms) == (home, over_ms):
                self._settle(key, held, None)
                dropped.append(held)
        return dropped

    def _acted(self, record: Record, value: OperatorRecord, key_id: str) -> Holding:
        """Return a record of operators' acts as it is held."""
        partition, offset, append_ms, _, payload = record
        assert payload is not None, "the value was read"
        over_ms = max([value.until_ms, *(act.until_ms or TIME_MS_MAX for act in value.acts)])
        # Acts have no cause; between partitions their append time decides, within one the log.
        acted: tuple[int, ...] = append_ms, partition, offset
        if self._is_keyed:
            acted = value.at_ms, *acted
        return Holding(partition, offset, payload, OPERATOR, NO_HOME, over_ms, key_id, acted)

    def _queue(self, key: bytes, new: Holding) -> None:
        """Note when a record will be over; what was replaced stays in the queue until then."""
        queue = self._over.setdefault(new.home, [])
        heapq.heappush(queue, (new.over_ms, key))
        if len(queue) > QUEUE_MIN + 2 * len(self._held):
            queue[:] = [
                (held.over_ms, each) for each, held in self._held.items() if held.home == new.home
            ]
            heapq.heapify(queue)

    def _is_same(self, held: Holding, new: Holding) -> bool:
        """Tell whether a record is the one that is held, written once more.

        What orders it is in its value, but for acts where there are no keys.
        """
        is_placed_by_value = new.home != NO_HOME or self._is_keyed
        return held.value == new.value and (is_placed_by_value or held.acted == new.acted)

    def _is_later(self, held: Holding, new: Holding, value: SubjectRecord | OperatorRecord) -> bool:
        """Tell whether what is held comes after a record of the same key."""
        is_by_log = held.home == NO_HOME and not self._is_keyed
        if is_by_log and held.log_partition == new.log_partition:
            return held.offset > new.offset
        place = _cause_place(value) if isinstance(value, SubjectRecord) else new.place
        return held.place > place

    def _has_room(self, key: bytes, new: Holding, held: Holding | None) -> bool:
        if key == EVERYBODY:
            return True  # A stop always finds room.
        pool = self._operators if new.home == NO_HOME else self._commands
        if held is None:
            size = pool.bytes + len(key) + len(new.value)
            return pool.records < pool.records_max and size <= pool.bytes_max
        return pool.bytes + len(new.value) - len(held.value) <= pool.bytes_max

    def _refuse(self, new: Holding) -> None:
        if new.issuer == "home":
            self._homes.overflow(new.home)
        else:
            self.overflowed = True

    def _settle(self, key: bytes, held: Holding | None, new: Holding | None) -> None:
        """Replace one record by another, in the table and in the accounts."""
        if held is not None:
            pool = self._operators if held.home == NO_HOME else self._commands
            pool.records -= 1
            pool.bytes -= len(key) + len(held.value)
            if held.key_id:
                self._signed_by[held.key_id] -= 1
                if not self._signed_by[held.key_id]:
                    del self._signed_by[held.key_id]
            if held.issuer == "home":
                self._homes.debit(held.home, record_hash(key, held.value))
        if new is None:
            del self._held[key]
            return
        self._held[key] = new
        pool = self._operators if new.home == NO_HOME else self._commands
        pool.records += 1
        pool.bytes += len(key) + len(new.value)
        if new.key_id:
            self._signed_by[new.key_id] += 1
        if new.issuer == "home":
            self._homes.credit(new.home, record_hash(key, new.value))
            if self._is_keyed:
                self._queue(key, new)


def _cause_place(value: SubjectRecord) -> tuple[int, ...]:
    """Return what orders the records of a subject.

    A cause is placed by era, home partition, offset, ordinal: partitions are only ever multiplied
    within an era, so a workload's later home has the higher number. Of two owners that publish
    the same cause the later one counts it.
    """
    version = value.version
    return version.era, value.partition, version.offset, version.ordinal, value.epoch
