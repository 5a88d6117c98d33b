"""What others write under our keys is noticed, and put right.

A worker that lost its partition and does not know yet, or anybody who may write to the topic, can
replace or erase a record of ours: the last write of a key is what a compacted topic keeps. Each
owner therefore reads what it publishes. Where the topic has something else behind our own last
write, what we hold in force is published again; what we never published is erased. Gateways notice
meanwhile, by the digest of the heartbeats.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from stream.bus import RECORDS_AT_ONCE, LogReader, Rarely, Record
from stream.enforcement import record_of, restore_held
from stream.engine import State
from stream.errors import NewerFormat, RowCorrupt
from stream.events import (
    SubjectRecord,
    decode_value,
    encode,
    record_hash,
    split_signature,
)
from stream.identity import positive_murmur2
from stream.profiles import tail_of
from stream.signing import Trust
from stream.store import Store

from .bounds import bounds_of
from .outbox import Outbox
from .owned import Foreign, Owned

rarely = Rarely(logging.getLogger(__name__), every_s=10.0)

FOREIGN_MAX: Final = 10_000
REPAIRS_MAX: Final = 1_000
_keys = msgspec.json.Decoder(list[str])


class Repairs:
    """Watches the enforcement topic for the partitions of a session."""

    def __init__(
        self,
        state: State,
        store: Store,
        outbox: Outbox,
        enforcement_partitions: int,
        trust: Trust | None = None,
    ) -> None:
        self._trust = trust
        self._state = state
        self._store = store
        self._outbox = outbox
        self._partitions = enforcement_partitions

    def note(self, owned: dict[int, Owned], record: Record) -> None:
        """Compare a record of the topic with what its owner published. Mutates: the owner."""
        key = record.key
        if key is None or not key.startswith(b'["home",'):
            return
        try:
            workload = positive_murmur2(_keys.decode(key)[1].encode())
        except (ValueError, IndexError, RecursionError):
            return
        counts = {each.count for each in owned.values()}
        homes = [owned.get(workload % count) for count in counts]
        mine = next((each for each in homes if each and each.is_home_of(workload)), None)
        if mine is None or record.partition != mine.partition % self._partitions:
            return
        found = self._hash_of(mine, key, record)
        known = mine.foreign.get(key)
        if found == mine.published.hash_of(key):
            if known is not None and _is_ahead(known, record):
                mine.foreign[key] = known._replace(is_ahead=True)
            else:
                mine.foreign.pop(key, None)
        elif len(mine.foreign) < FOREIGN_MAX or known is not None:
            place = _place_of(record)
            if place is not None and known is not None and known.place is not None:
                place = max(place, known.place)
            mine.foreign[key] = Foreign(record.offset, found, place)
        mine.passed(record.offset)
        mine.compared_to = max(mine.compared_to, record.offset + 1)

    def _hash_of(self, owned: Owned, key: bytes, record: Record) -> int | None:
        """Return the hash of a record as gateways count it, None where they count none.

        With keys, one that is not exactly what we sent must bear a signature that holds.
        """
        if record.value is None:
            return None
        signed = split_signature(record.value)
        if self._trust is not None and owned.signatures.get(key) != signed.signature:
            try:
                value = decode_value(signed.payload)
            except (ValueError, RecursionError):
                return None
            if self._trust.fault_of(key, record.append_ms, signed, value) is not None:
                return None
        return record_hash(key, signed.payload)

    async def read_back(self, owned: Owned, reader: LogReader, topic: str) -> None:
        """Compare all that the topic holds of a partition with what is published, once.

        What was written while nobody owned it, or before this session followed the topic, is
        noticed only here. What is followed meanwhile is compared again behind what lies before it:
        a record of ours, seen alone, tells nothing of what gateways made of an earlier one.
        Mutates: owned. Errors: BusUnavailable.
        """
        partition = owned.partition % self._partitions
        owned.compared_to = 0
        first, end = (await bounds_of(reader, topic, [partition]))[partition]
        while first < end:
            records, first = await reader.read_some(topic, partition, first, end, RECORDS_AT_ONCE)
            for record in records:
                self.note({owned.partition: owned}, record)
            end = max(end, owned.compared_to)
        owned.is_read_back = True

    async def carry_out(self, owned: Owned) -> None:
        """Put right what others wrote behind our last write of a key, a bounded number at a time.

        While the topic is read back, an earlier record of a key looks like another's: not yet.
        Requires: the session's turn. Errors: StoreUnavailable, OwnershipLost, BusUnavailable.
        """
        if not owned.is_settled or not owned.is_read_back:
            return
        for key, foreign in list(owned.foreign.items())[:REPAIRS_MAX]:
            sent = owned.sent.get(key)
            if sent is not None and not sent.done():
                continue
            if sent is not None and await sent > foreign.offset and not foreign.is_ahead:
                continue  # ours lies behind it: reading that back ends the matter, or does not
            if owned.foreign.get(key) is not foreign:
                continue  # what came meanwhile ended the matter, or made another of it
            del owned.foreign[key]
            if foreign.is_ahead or owned.published.hash_of(key) != foreign.hash:
                await self._put_right(owned, key, foreign.place)

    async def _put_right(self, owned: Owned, key: bytes, beyond: tuple[int, ...] | None) -> None:
        """Publish what is ours anew; behind a tombstone where gateways hold something later."""
        if owned.published.hash_of(key) is None:
            rarely.warning("partition %d: a record that is not ours is erased", owned.partition)
            await self._outbox.erase(owned, key)
            return
        workload = _keys.decode(key)[1]
        row = self._state.key.hash(workload)
        slot = self._state.table.find(row)
        held = self._state.held.get(slot, {}) if slot >= 0 else None
        if held is None:
            async with owned.saving:
                (stored,) = await self._store.load(owned.partition, [row], owned.fence)
            try:
                held = restore_held(self._state.key, tail_of(stored)) if stored else {}
            except NewerFormat:
                raise
            except (RowCorrupt, ValueError, RecursionError):
                held = {}
        record = record_of(held, key, owned.partition)
        if record is None:
            # The row is gone, or corrupt: what was ours is not known any more, and this is not.
            if self._trust is not None and self._trust.is_strict:
                return  # gateways go on holding ours
            rarely.warning("partition %d: a record that is not ours is erased", owned.partition)
            owned.published.remove(key)
            owned.gone.append(key)
            await self._outbox.erase(owned, key)
            return
        rarely.warning("partition %d: a record of ours was replaced", owned.partition)
        if beyond is not None and beyond > _place(record):
            await self._outbox.erase(owned, key)
        value = encode(record)
        await self._outbox.put_again(owned, (key, value), record.expires_at_ms, row)


def _place(record: SubjectRecord) -> tuple[int, ...]:
    version = record.version
    return version.era, record.partition, version.offset, version.ordinal


def _place_of(record: Record) -> tuple[int, ...] | None:
    """Return the place that a record claims, None where it claims none."""
    try:
        value = decode_value(split_signature(record.value or b"").payload)
    except (ValueError, RecursionError):
        return None
    return _place(value) if isinstance(value, SubjectRecord) else None


def _is_ahead(known: Foreign, ours: Record) -> bool:
    """Tell whether gateways hold on to what another wrote before, because it claims to be later."""
    place = _place_of(ours)
    return known.place is not None and place is not None and known.place > place
