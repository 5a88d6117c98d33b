"""Handing the workloads of a partition over to its children; `growth` says in which order and why.

Requires the session's turn, and that every row of the partition is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from stream.bus import LogReader, Rarely, read_through
from stream.enforcement import record_of, rehomed, restore_held
from stream.engine import State
from stream.errors import NewerFormat, RowCorrupt, StoreUnavailable
from stream.events import SubjectRecord, decode_value, encode, record_hash, split_signature
from stream.profiles import tail_of
from stream.store import GROWN_FORMAT, Bequest, Birth, Checkpoint, Grown, Store

from .bounds import bounds_of
from .growth import Counts, children_of, heir_of, home_of
from .outbox import Outbox
from .owned import Owned
from .saving import batched, settle
from .spec import TopicsSpec

log = logging.getLogger(__name__)
rarely = Rarely(log, every_s=10.0)

TRIES: Final = 3
_keys = msgspec.json.Decoder(list[str])


class _Moving(NamedTuple):
    """A record that moves: its key, and the child that it goes to."""

    key: bytes
    heir: int


async def born_of(store: Store, partitions: list[int]) -> set[int]:
    """Return those of some partitions that have been born. Errors: StoreUnavailable."""
    return {each for each in partitions if await is_born(store, each)}


async def is_born(store: Store, partition: int) -> bool:
    """Tell whether a partition has a checkpoint, one that cannot be read included."""
    try:
        return await store.checkpoint(partition) is not None
    except RowCorrupt:
        return True


class HandOver:
    """Gives children their birth, for the partitions of a session."""

    def __init__(
        self, state: State, store: Store, reader: LogReader, outbox: Outbox, topics: TopicsSpec
    ) -> None:
        self._state = state
        self._store = store
        self._reader = reader
        self._outbox = outbox
        self._topics = topics

    async def carry_out(self, owned: Owned, counts: Counts, wall_ms: int) -> None:
        """Let the children of a partition be born, as far as they are not. Mutates: owned, state.

        Errors: BusUnavailable, StoreUnavailable, OwnershipLost; then the next owner does it again.
        """
        children = children_of(counts, owned.partition)
        unborn = set(children) - await born_of(self._store, children)
        moving = list(self._moving(owned, counts))
        legacy: dict[int, dict[bytes, bytes]] = {each: {} for each in unborn}
        leaving = [each for each in moving if each.heir in unborn]
        if leaving:
            values = await self._published(owned, [each.key for each in leaving])
            for key, heir in leaving:
                stored = await self._pass_on(owned, (key, values.get(key)), heir)
                if stored is not None:
                    legacy[heir][key] = stored
            await settle(owned)
        for child, records in sorted(legacy.items()):
            await self._bequeath(owned, self._birth(owned, counts, wall_ms), child, records)
            log.info("partition %d is born of %d", child, owned.partition)
        for key, _ in moving:
            owned.published.remove(key)
            owned.gone.append(key)
            for others in (owned.foreign, owned.sent, owned.signatures):
                others.pop(key, None)
        self._state.drop_moved(owned.partition, counts[-1])
        owned.counts = counts

    def _moving(self, owned: Owned, counts: Counts) -> Iterator[_Moving]:
        for key in list(owned.published):
            home = home_of(_keys.decode(key)[1], counts[-1])
            if home != owned.partition:
                yield _Moving(key, heir_of(counts, owned.partition, home))

    def _birth(self, owned: Owned, counts: Counts, wall_ms: int) -> Checkpoint:
        """Return what a child begins with: everything before the cut is in its rows."""
        conditions, cut = owned.conditions, owned.position
        return Checkpoint(
            format=GROWN_FORMAT,
            next_offset=0,
            journal_offset=0,
            topic_id=owned.topic_id,
            era=conditions.era,
            check=0,
            version_offset=-1,
            version_ordinal=0,
            at_ms=wall_ms,
            log_era=conditions.log_era,
            fresh_era=conditions.fresh_era,
            heard=((self._topics.requests, owned.partition, owned.log, cut - 1),),
            growth=Grown(counts, Birth(owned.partition, conditions.era, cut, owned.journal_offset)),
        )

    async def _bequeath(
        self, owned: Owned, birth: Checkpoint, child: int, records: dict[bytes, bytes]
    ) -> None:
        """Write a birth, in parts where it is large; the checkpoint is the last to come."""
        parts = [dict(each) for each in batched(records.items())] or [{}]
        async with owned.saving:
            for _ in range(TRIES):
                came_to = ""
                for place, part in enumerate(parts):
                    bequest = Bequest(owned.fence, child, part, begins=place == 0)
                    if place == len(parts) - 1:
                        bequest = bequest._replace(records_all=len(records), checkpoint=birth)
                    came_to = await self._store.bequeath(owned.partition, bequest)
                    owned.number += came_to == "written"
                    if came_to == "born":
                        return
                if came_to == "written":
                    return
        raise StoreUnavailable(f"the records of partition {child} do not stay as written")

    async def _published(self, owned: Owned, keys: list[bytes]) -> dict[bytes, SubjectRecord]:
        """Return what the topic has under keys, where that is what we have published there."""
        topic = self._topics.enforcement
        partition = owned.partition % self._topics.enforcement_partitions
        wanted, found = set(keys), dict[bytes, bytes]()
        bounds = (await bounds_of(self._reader, topic, [partition]))[partition]
        async for records in read_through(self._reader, topic, partition, bounds):
            for record in records:
                if record.key in wanted and record.value is not None:
                    payload = split_signature(record.value).payload
                    if record_hash(record.key, payload) == owned.published.hash_of(record.key):
                        found[record.key] = payload
        values = {key: decode_value(payload) for key, payload in found.items()}
        return {key: each for key, each in values.items() if isinstance(each, SubjectRecord)}

    async def _pass_on(
        self, owned: Owned, published: tuple[bytes, SubjectRecord | None], heir: int
    ) -> bytes | None:
        """Publish a record as its new home's; return the stored form of what that has published."""
        key, record = published
        if record is None:
            record = await self._from_row(owned, key, heir)
        if record is None:
            rarely.warning("partition %d: a record that is not ours is erased", owned.partition)
            await self._outbox.erase(owned, key)
            return None
        value = encode(rehomed(record, heir))
        await self._outbox.pass_on(owned, key, value)
        return owned.published.stored_as(key, value)

    async def _from_row(self, owned: Owned, key: bytes, heir: int) -> SubjectRecord | None:
        """Return the record of what a stored row has in force, where others wrote over ours."""
        row = self._state.key.hash(_keys.decode(key)[1])
        async with owned.saving:
            (stored,) = await self._store.load(owned.partition, [row], owned.fence)
        try:
            held = restore_held(self._state.key, tail_of(stored)) if stored else {}
        except NewerFormat:
            raise
        except (RowCorrupt, ValueError, RecursionError):
            return None
        return record_of(held, key, heir)
