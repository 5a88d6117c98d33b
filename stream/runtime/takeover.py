"""Taking a partition: claim, journal, checkpoint, and where to begin.

Written once, in order, because the order is the proof: the claim fences the earlier owner's rows;
our owner entry in the journal then ends its entries; only after that is the journal read, so every
later reader sees the same entries count as we do (DESIGN 3.3, 3.9).
"""

from __future__ import annotations

import logging
import secrets
import zlib
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stream.bus import Bounds, LogReader, Publisher, Record
from stream.events import Conditions, JournalEntry, Owner, Version, decode_entry, encode_entry
from stream.store import Checkpoint, Store

from .owned import Owned
from .published import Published

log = logging.getLogger(__name__)

STORE_FORGOT = "store_forgot"
LOG_CHANGED = "log_changed"
LOG_CUT = "log_cut"


class Place(NamedTuple):
    """The log of a partition as it is now, and the topics around it."""

    partition: int
    bounds: Bounds
    topic_id: str
    requests_topic: str
    journal_topic: str
    worker: str


class Start(NamedTuple):
    """Where a partition begins: offset, era, and the named modes it begins in."""

    offset: int
    era: int
    modes: tuple[str, ...]


def where_to_start(place: Place, checkpoint: Checkpoint | None, *, journalled: bool) -> Start:
    """Return where to begin, and why if not at the checkpoint."""
    start, end = place.bounds
    if checkpoint is None:
        return Start(start, 0, (STORE_FORGOT,) if journalled else ())
    era = checkpoint.era
    ids = {place.topic_id, checkpoint.topic_id} - {""}
    if checkpoint.next_offset > end or len(ids) > 1:
        return Start(start, era + 1, (LOG_CHANGED,))
    if checkpoint.next_offset < start:
        return Start(start, era, (LOG_CUT,))
    return Start(checkpoint.next_offset, era, ())


def valid_entries(records: Sequence[Record]) -> list[tuple[int, JournalEntry]]:
    """Return the entries that count: those of each owner until the next owner's first.

    An owner entry with an epoch that is not above the last is a zombie's and ends nobody.
    """
    valid: list[tuple[int, JournalEntry]] = []
    nonce, epoch = "", -1
    for record in records:
        try:
            entry = decode_entry(record.value or b"")
        except (ValueError, RecursionError) as error:
            log.warning("journal offset %d is not an entry: %s", record.offset, error)
            continue
        if isinstance(entry, Owner):
            if entry.epoch > epoch:
                nonce, epoch = entry.nonce, entry.epoch
                valid.append((record.offset, entry))
        elif entry.nonce == nonce or not nonce:
            nonce = nonce or entry.nonce
            valid.append((record.offset, entry))
    return valid


async def take(
    place: Place, store: Store, reader: LogReader, publisher: Publisher, policy: tuple[str, str]
) -> Owned:
    """Become the owner of a partition; return its state, nothing of it applied yet.

    `policy` is hash and text of the policy file, for a partition that never had one.
    Errors: StoreUnavailable, BusUnavailable.
    """
    nonce = secrets.token_hex(12)
    claim = await store.claim(place.partition, nonce)
    checkpoint = claim.checkpoint
    entry = Owner(
        nonce=nonce,
        epoch=claim.epoch,
        checkpoint=checkpoint.next_offset if checkpoint else -1,
        worker=place.worker,
    )
    mine = await _append(publisher, place, entry)
    bounds = (await reader.bounds(place.journal_topic))[place.partition]
    first = max(bounds.start, checkpoint.journal_offset if checkpoint else bounds.start)
    records = await reader.read(place.journal_topic, place.partition, first, mine)
    entries = [
        (offset, each) for offset, each in valid_entries(records) if isinstance(each, Conditions)
    ]
    start = where_to_start(place, checkpoint, journalled=bool(entries))
    if checkpoint and not start.modes and not await _is_same_log(reader, place, checkpoint):
        start = Start(place.bounds.start, checkpoint.era + 1, (LOG_CHANGED,))
    journal_offset, conditions, coming = await _conditions(
        publisher, place, start, entries, (nonce, *policy)
    )
    version = Version(start.era, -1)
    if checkpoint and checkpoint.era == start.era:
        version = Version(start.era, checkpoint.version_offset, checkpoint.version_ordinal)
    return Owned(
        partition=place.partition,
        nonce=nonce,
        epoch=claim.epoch,
        number=claim.number,
        position=start.offset,
        replay_until=place.bounds.end,
        topic_id=place.topic_id,
        conditions=conditions,
        journal_offset=journal_offset,
        published=Published(claim.records),
        coming=coming,
        version=version,
        check=checkpoint.check if checkpoint and not start.modes else 0,
    )


async def _is_same_log(reader: LogReader, place: Place, checkpoint: Checkpoint) -> bool:
    """Tell whether the record before the checkpoint is still the one that was applied there.

    A log restored from an older copy, or cut and grown again, has the same id and other records.
    """
    before = checkpoint.next_offset - 1
    if checkpoint.check == 0 or before < place.bounds.start:
        return True
    records = await reader.read(place.requests_topic, place.partition, before, before + 1)
    return all(zlib.crc32(each.value or b"") == checkpoint.check for each in records)


async def _conditions(
    publisher: Publisher,
    place: Place,
    start: Start,
    entries: list[tuple[int, Conditions]],
    fresh: tuple[str, str, str],
) -> tuple[int, Conditions, deque[tuple[int, Conditions]]]:
    """Return what holds at the start, journalled, and what is journalled for later offsets."""
    nonce, policy_hash, policy_text = fresh
    here = sorted(
        (each for each in entries if each[1].era == start.era),
        key=lambda each: (each[1].from_offset, each[0]),
    )
    now = [each for each in here if each[1].from_offset <= start.offset]
    coming = deque(each for each in here if each[1].from_offset > start.offset)
    if now and not start.modes:
        return (*now[-1], coming)
    known = now[-1] if now else entries[-1] if entries else None
    base = known[1] if known else None
    conditions = Conditions(
        nonce=nonce,
        era=start.era,
        from_offset=start.offset,
        policy_hash=base.policy_hash if base else policy_hash,
        policy_text=base.policy_text if base else policy_text,
        modes=start.modes,
    )
    if base:
        conditions = msgspec.structs.replace(
            conditions,
            stopped_until_ms=base.stopped_until_ms,
            exemptions=base.exemptions,
            forgotten_before_ms=base.forgotten_before_ms,
        )
    for mode in start.modes:
        log.warning("partition %d starts in mode %s", place.partition, mode)
    return await _append(publisher, place, conditions), conditions, coming


async def _append(publisher: Publisher, place: Place, entry: JournalEntry) -> int:
    """Append a journal entry; return its offset once it is acknowledged."""
    sent = await publisher.send(
        place.journal_topic, entry.nonce.encode(), encode_entry(entry), place.partition
    )
    return await sent


async def journal(
    publisher: Publisher, topic: str, owned: Owned, conditions: Conditions
) -> Conditions:
    """Journal new conditions from the next offset on; return them once acknowledged.

    Requires: owned.is_settled; no event of the partition is applied meanwhile. Mutates: owned.
    """
    assert owned.is_settled
    entry = msgspec.structs.replace(
        conditions,
        nonce=owned.nonce,
        era=owned.conditions.era,
        from_offset=owned.position,
    )
    sent = await publisher.send(topic, owned.nonce.encode(), encode_entry(entry), owned.partition)
    owned.journal_offset = await sent
    owned.conditions = entry
    return entry
