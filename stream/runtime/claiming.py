"""Who owns a partition, by its journal: the owner of the highest epoch that came into it.

The store fences what owners write, and may forget whom it fenced. The journal does not: whoever
finds an owner of a higher epoch there is heard by nobody, so it claims above, or lets go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from stream.bus import LogReader, Publisher, Rarely, Record
from stream.errors import NewerFormat, OwnershipLost
from stream.events import JournalEntry, Owner, decode_entry, encode_entry
from stream.store import Claim, Store

from .beginning import Place
from .bounds import bounds_of
from .owned import Owned

log = logging.getLogger(__name__)
rarely = Rarely(log, every_s=10.0)

NO_EPOCH: Final = -1
NEWER: Final = 1 << 62  # above every epoch


def valid_entries(records: Sequence[Record]) -> list[tuple[int, JournalEntry]]:
    """Return the entries that count: those of each owner until the next owner's first.

    An owner entry with an epoch that is not above the last is a zombie's and ends nobody. Where
    what is read begins behind an owner's entry, its conditions say which epoch is its.
    Errors: NewerFormat: what decides cannot be read.
    """
    valid: list[tuple[int, JournalEntry]] = []
    nonce, epoch = "", NO_EPOCH
    for record in records:
        try:
            entry = decode_entry(record.value or b"")
        except NewerFormat:
            raise
        except (ValueError, RecursionError) as error:
            rarely.warning("journal offset %d is not an entry: %s", record.offset, error)
            continue
        if isinstance(entry, Owner):
            if entry.epoch > epoch:
                nonce, epoch = entry.nonce, entry.epoch
                valid.append((record.offset, entry))
        elif entry.nonce == nonce or not nonce:
            if not nonce:
                nonce = entry.nonce
                epoch = NO_EPOCH if entry.epoch is msgspec.UNSET else entry.epoch
            valid.append((record.offset, entry))
    return valid


async def append(publisher: Publisher, place: Place, entry: JournalEntry) -> int:
    """Append a journal entry; return its offset once it is acknowledged."""
    sent = await publisher.send(
        place.journal_topic, entry.nonce.encode(), encode_entry(entry), place.partition
    )
    return await sent


async def claim_above(
    place: Place, store: Store, reader: LogReader
) -> tuple[Place, Claim, list[Record]]:
    """Claim the partition with an epoch above every earlier owner's, whom the store may have
    forgotten; return who claimed, the claim, and the journal's records from its checkpoint on.
    """  # noqa: D205 - one sentence
    # What a newer version wrote is met before anything is changed.
    seen = await store.owner(place.partition)
    claim = await store.claim(place.partition, place.nonce, seen)
    bounds = (await bounds_of(reader, place.journal_topic, [place.partition]))[place.partition]
    first = max(bounds.start, _journal_from(claim))
    records = await reader.read(place.journal_topic, place.partition, first, bounds.end)
    highest = _highest(records)
    if highest >= claim.epoch:
        place, claim = await _again(place, claim, store, highest)
    return place, claim, records


async def say_so(
    place: Place,
    claim: Claim,
    records: list[Record],
    store: Store,
    doors: tuple[LogReader, Publisher],
) -> tuple[Place, Claim, int]:
    """Say in the journal who has claimed the partition; return that, and its offset there.

    Whose claims the store forgot may have said so after the journal was read for ours: then we
    claim above, and say that. Mutates: records (has all before that offset).
    """
    reader, publisher = doors
    while True:
        checkpoint = claim.checkpoint
        entry = Owner(
            nonce=place.nonce,
            epoch=claim.epoch,
            checkpoint=checkpoint.next_offset if checkpoint else -1,
            worker=place.worker,
        )
        mine = await append(publisher, place, entry)
        known = records[-1].offset + 1 if records else _journal_from(claim)
        records += await reader.read(place.journal_topic, place.partition, known, mine)
        highest = _highest(records)
        if highest < claim.epoch:
            return place, claim, mine
        place, claim = await _again(place, claim, store, highest)


async def check_journal(reader: LogReader, topic: str, owned: Mapping[int, Owned]) -> None:
    """Return once the journal has shown no other owner after each of these, by partition.

    A store that forgot another's claim goes on to take what we write, and nobody listens to us.
    Whatever is let go meanwhile may well have another.
    Errors: BusUnavailable; OwnershipLost.
    """
    watched = list(owned.values())
    bounds = await bounds_of(reader, topic, [each.partition for each in watched])
    for each in watched:
        end = bounds[each.partition].end
        if end <= each.journal_read:
            continue
        first = max(each.journal_read, bounds[each.partition].start)
        records = await reader.read(topic, each.partition, first, end)
        try:
            highest = _highest(records)
        except NewerFormat:
            highest = NEWER  # we write none such
        if highest > each.epoch and owned.get(each.partition) is each:
            raise OwnershipLost(
                f"partition {each.partition}: another worker has journalled"
                f" {'a newer format' if highest == NEWER else f'epoch {highest}'},"
                f" ours is epoch {each.epoch}"
            )
        each.journal_read = end


async def _again(place: Place, claim: Claim, store: Store, highest: int) -> tuple[Place, Claim]:
    """Claim what we have claimed above an epoch."""
    # Under another name: a store that falls back to between the two claims holds the lower
    # epoch, and whoever were known to it by name would go on under that.
    before, place = place.nonce, place._replace(nonce=f"{place.nonce}-{claim.epoch}")
    return place, await store.claim(place.partition, place.nonce, before, highest)


def _highest(records: Sequence[Record]) -> int:
    """Return the highest epoch of an owner."""
    owners = [each for _, each in valid_entries(records) if isinstance(each, Owner)]
    return max((each.epoch for each in owners), default=NO_EPOCH)


def _journal_from(claim: Claim) -> int:
    return claim.checkpoint.journal_offset if claim.checkpoint else 0
