"""Taking a partition: claim, journal, checkpoint, and where to begin.

Written once, in order, because the order is the proof: the claim fences the earlier owner's rows;
our owner entry in the journal then ends its entries; only after that is the journal read to its
end, so every later reader sees the same entries count as we do (DESIGN 3.3, 3.9).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from stream.bus import LogReader, Publisher, read_through
from stream.errors import RowCorrupt
from stream.events import (
    MET,
    Conditions,
    Growth,
    Version,
    decode_entry,
    encode_entry,
    with_full,
)
from stream.store import Checkpoint, Claim, Store

from .baselines import BASELINE_MISSING
from .beginning import (
    CHECKPOINT_CORRUPT,
    JOURNAL_CUT,
    LOG_CHANGED,
    RECORDS_CORRUPT,
    STORE_FORGOT,
    Place,
    Start,
    reborn,
    rebuilt,
    where_to_start,
    without_baseline,
)
from .bounds import bounds_of
from .claiming import append, claim_above, say_so, valid_entries
from .entries import Entries, in_era, in_force, lacking_of, of_latest_log, of_log, shed_of
from .growth import children_of, inherited, least_of, longest, parent_of, with_counts
from .handover import born_of
from .heard import Heard, Stored
from .owned import Owned, record_check
from .published import Noted, Published

log = logging.getLogger(__name__)

FROM_PARENT = -1  # the journal offset of an entry that lies in another partition's journal
OFFSETS_AT_ONCE = 4_096
NEVER = 1 << 62  # an offset that is never reached


First = tuple[Conditions, Callable[[str], Awaitable[bool]]]
"""What holds where nothing was ever journalled, and who has which version of the baseline."""


class Unborn(Exception):
    """The partition has nothing to begin with yet: its parent has not handed over."""


async def take(
    place: Place, store: Store, reader: LogReader, publisher: Publisher, first: First
) -> Owned:
    """Become the owner of a partition; return its state, nothing of it applied yet.

    `first` is what holds in a partition that never had anything journalled, and who tells whether
    a version of the baseline can be compared with.
    Errors: StoreUnavailable, BusUnavailable; NewerFormat: where the checkpoint is newer nothing is
            changed, where an entry is, the partition is only claimed.
    """
    place, claim, records = await claim_above(place, store, reader)
    # Asked only now: until the claim another may have applied events that came after it was asked
    # where the log ends, and its checkpoint would look as though the log had been cut.
    held = await bounds_of(reader, place.requests_topic, [place.partition])
    place = place._replace(bounds=held[place.partition])
    checkpoint = claim.checkpoint
    if not (checkpoint or claim.damage) and parent_of(place.counts, place.partition) is not None:
        raise Unborn(f"partition {place.partition} has not been born, its parent will see to it")
    born = await born_of(store, children_of(place.counts, place.partition))
    place = place._replace(least=least_of(place.counts, born))
    place, claim, mine = await say_so(place, claim, records, store, (reader, publisher))
    place = place._replace(epoch=claim.epoch)
    entries = [
        (offset, each) for offset, each in valid_entries(records) if isinstance(each, Conditions)
    ]
    checkpoint, start, entries = await _begin(place, reader, claim, entries)
    start, holding = await _held(publisher, place, start, entries, first)
    journal_offset, conditions, coming = holding
    version = Version(start.era, -1)
    if checkpoint and checkpoint.era == start.era:
        version = Version(start.era, checkpoint.version_offset, checkpoint.version_ordinal)
    published, is_sound = await _published(reader, place, claim, start)
    return Owned(
        partition=place.partition,
        nonce=place.nonce,
        epoch=claim.epoch,
        number=claim.number,
        position=start.offset,
        replay_until=await _last_record_end(reader, place, (start.offset, place.bounds.end)),
        began_in=start.modes if is_sound else (*start.modes, RECORDS_CORRUPT),
        # What is read again from the beginning is heard again.
        heard=Heard(_heard(checkpoint, start)),
        topic_id=place.topic_id,
        conditions=conditions,
        journal_offset=journal_offset,
        owner_offset=mine,
        journal_read=mine + 1,
        journalled_ms={each.offset: each.append_ms for each in records}.get(journal_offset, -1),
        published=published,
        coming=coming,
        version=version,
        check=checkpoint.check if checkpoint and not start.modes else 0,
        check_offset=checkpoint.check_offset if checkpoint and not start.modes else -1,
        counts=longest(conditions.counts or place.counts[:1], place.least),
        domains=await store.domains(place.partition),
    )


async def _begin(
    place: Place, reader: LogReader, claim: Claim, entries: Entries
) -> tuple[Checkpoint | None, Start, Entries]:
    """Return the checkpoint that is begun with, where that is, and all entries that may hold."""
    checkpoint, lived = claim.checkpoint, [each for _, each in entries]
    if checkpoint and checkpoint.birth:
        checkpoint = reborn(place, checkpoint, lived)
        entries = _of_birth(await _bequeathed(place, reader, checkpoint), entries)
    start = where_to_start(place, checkpoint, [each for _, each in entries])
    if checkpoint and checkpoint.birth and lived and start.era > max(each.era for each in lived):
        start = start._replace(modes=(*start.modes, STORE_FORGOT))
    if claim.damage:
        log.warning("partition %d: %s", place.partition, claim.damage)
        others = tuple(each for each in start.modes if each != STORE_FORGOT)
        start = start._replace(modes=(CHECKPOINT_CORRUPT, *others))
    if checkpoint and not start.modes and not await _is_same_log(reader, place, checkpoint):
        start = rebuilt(place, checkpoint.era, LOG_CHANGED)
    if checkpoint and not start.modes and not in_force(entries, start):
        # What held there is not known any more, so what is decided may differ.
        start = start._replace(era=start.era + 1, modes=(JOURNAL_CUT,))
    return checkpoint, start, entries


async def _held(
    publisher: Publisher, place: Place, start: Start, entries: Entries, first: First
) -> tuple[Start, tuple[int, Conditions, deque[tuple[int, Conditions]]]]:
    """Return the start, an era of its own where a baseline is nowhere, and what holds from it on.

    The journal must say what is done without it: of two entries for one offset the later one holds.
    """
    lacking = await lacking_of(entries, start, first[1])
    if not lacking:
        return start, await _conditions(publisher, place, start, entries, first[0])
    start = without_baseline(start, [each.era for _, each in entries])
    entries = [(offset, shed_of(each, lacking)) for offset, each in entries]
    held = await _conditions(publisher, place, start, entries, first[0])
    coming = held[2]
    for position, (_, each) in enumerate(coming):
        if each.shed == BASELINE_MISSING:
            entry = msgspec.structs.replace(each, nonce=place.nonce, epoch=place.epoch)
            coming[position] = await append(publisher, place, entry), entry
    return start, held


def _heard(checkpoint: Checkpoint | None, start: Start) -> Stored:
    """Return what was heard before a start; what is read again from the beginning is not.

    A new partition has heard of its parent whatever its rows have counted.
    """
    if checkpoint is None or (start.is_afresh and not checkpoint.birth):
        return ()
    return checkpoint.heard


async def _last_record_end(reader: LogReader, place: Place, span: tuple[int, int]) -> int:
    """Return the offset behind the last readable record of a span, its start where there is none.

    The log may end with offsets that hold none (the marker of a transaction, what was aborted):
    no event moves the position past them, so nobody may wait for that.
    """
    (start, end), most = span, 1
    while end > start:
        first = max(start, end - most)
        records = await reader.read(place.requests_topic, place.partition, first, end)
        if records:
            return records[-1].offset + 1
        end, most = first, min(most * 16, OFFSETS_AT_ONCE)
    return start


async def _is_same_log(reader: LogReader, place: Place, checkpoint: Checkpoint) -> bool:
    """Tell whether the last record applied is still the one that was applied there.

    A log restored from an older copy, or cut and grown again, has the same id and other records.
    """
    before = checkpoint.check_offset
    if checkpoint.check == 0 or before < place.bounds.start:
        return True
    records = await reader.read(place.requests_topic, place.partition, before, before + 1)
    return all(record_check(each.value, each.append_ms) == checkpoint.check for each in records)


async def _published(
    reader: LogReader, place: Place, claim: Claim, start: Start
) -> tuple[Published, bool]:
    """Return what is published of a partition, and whether what the store says of it is sound.

    Where the store has forgotten it, or it is corrupt there, the topic says what it is.
    """
    is_sound = True
    if claim.checkpoint or not start.modes:
        try:
            return Published(claim.records), True
        except RowCorrupt as error:
            log.warning("partition %d: %s", place.partition, error.message)
            is_sound = False
    return Published(await _records_in_force(reader, place)), is_sound


async def _records_in_force(reader: LogReader, place: Place) -> dict[bytes, bytes]:
    """Return what this partition has published and not tombstoned, from the topic itself.

    Where the store has forgotten it: gateways hold it, and heartbeats must prove it.
    """
    topic, partition = place.enforcement
    bounds = (await bounds_of(reader, topic, [partition]))[partition]
    noted = Noted(place.partition, place.trust)
    async for records in read_through(reader, topic, partition, bounds):
        # To verify so many takes a second and more.
        await asyncio.to_thread(noted.add, records)
    return noted.found


async def _conditions(
    publisher: Publisher, place: Place, start: Start, entries: Entries, first: Conditions
) -> tuple[int, Conditions, deque[tuple[int, Conditions]]]:
    """Return what holds at the start, journalled, and what is journalled for later offsets."""
    here = of_log(entries, start)
    now = in_force(entries, start)
    coming = deque(here[len(now) :])
    is_enough = bool(now) and len(now[-1][1].counts) >= len(place.least)
    if now and not start.modes and is_enough and now[-1][0] != FROM_PARENT:
        return (*now[-1], coming)
    # Where nothing of this log holds yet it is what held at the end of the one before.
    known = next(iter((now or of_latest_log(entries))[-1:]), None)
    if known is None:
        blank = first
    elif now:
        blank = known[1]
    else:
        # Offsets of another log mean nothing here: what was lifted there stays lifted.
        lifts = tuple(msgspec.structs.replace(each, offset=MET) for each in known[1].lifts)
        blank = msgspec.structs.replace(known[1], lifts=lifts)
    conditions = msgspec.structs.replace(
        in_era(blank, start),
        nonce=place.nonce,
        epoch=place.epoch,
        from_offset=start.offset,
        modes=start.modes,
        topic_id=place.topic_id,
    )
    counts = longest(conditions.counts or place.counts[:1], place.least)
    conditions = with_counts(conditions, counts if known else place.counts)
    for mode in start.modes:
        log.warning("partition %d starts in mode %s", place.partition, mode)
    return await append(publisher, place, conditions), conditions, coming


async def _bequeathed(place: Place, reader: LogReader, checkpoint: Checkpoint) -> Entries:
    """Return what the parent journalled for a child, if its journal still holds it."""
    birth = checkpoint.birth
    assert birth is not None
    here = birth.journal_offset
    records = await reader.read(place.journal_topic, birth.parent, here, here + 1)
    for record in records:
        theirs = decode_entry(record.value or b"")
        if isinstance(theirs, Conditions):
            if theirs.full and theirs.era < checkpoint.fresh_era:
                theirs = with_full(theirs, None)
            mine = with_counts(inherited(theirs, birth), checkpoint.counts)
            return [(FROM_PARENT, msgspec.structs.replace(mine, era=checkpoint.era))]
    return []


def _of_birth(bequeathed: Entries, lived: Entries) -> Entries:
    """Return all entries of a partition that begins with its birth, perhaps once more.

    Rows come from where they were this time, whatever an earlier life says.
    """
    if not bequeathed:
        return lived
    ancestors = bequeathed[0][1].ancestors
    return bequeathed + [
        (offset, msgspec.structs.replace(each, growth=Growth(each.counts, ancestors)))
        for offset, each in lived
    ]


async def journal(
    publisher: Publisher,
    topic: str,
    owned: Owned,
    conditions: Conditions,
    from_offset: int | None = None,
    planned: Conditions | None = None,
) -> None:
    """Journal new conditions from an offset on, else the next, and return once acknowledged.

    What was ever journalled for a later offset they replace there too: of two for one offset the
    later one holds. First there, so that who reads only that much holds what is older until then.
    From where something else is to hold as planned, it is what `planned` says; it still comes.
    Requires: no earlier owner was there; no event of the partition is applied meanwhile, and
    nothing of what was applied from there on has left. Mutates: owned.
    """
    start = owned.position if from_offset is None else from_offset
    assert start >= owned.replay_until
    assert not owned.is_following
    change = owned.limit()
    if planned is None or change is None:
        planned, change = conditions, NEVER
    owned.give_up_coming()
    owned.later = owned.later_than(start)
    entries = [
        entry_of(owned, conditions if each < change else planned, each)
        for each in (*reversed(owned.later), start)
    ]
    offsets = await append_entries(publisher, topic, owned, entries)
    held = list(zip(offsets, entries, strict=True))
    if start < change:
        owned.hold(*held[-1])
    owned.coming += [each for each in held if each[1].from_offset == change]


def entry_of(owned: Owned, conditions: Conditions, from_offset: int) -> Conditions:
    """Return conditions as an owner journals them for an offset."""
    return msgspec.structs.replace(
        conditions,
        nonce=owned.nonce,
        epoch=owned.epoch,
        era=owned.conditions.era,
        from_offset=from_offset,
    )


async def append_entries(
    publisher: Publisher, topic: str, owned: Owned, entries: Sequence[Conditions]
) -> list[int]:
    """Append an owner's entries to its journal; return their offsets once acknowledged.

    Mutates: owned.
    """
    key, partition = owned.nonce.encode(), owned.partition
    sent = [await publisher.send(topic, key, encode_entry(each), partition) for each in entries]
    offsets = [await each for each in sent]
    for offset in offsets:
        if offset == owned.journal_read:
            # Nobody's stands before it that was not read, so there is nothing to read.
            owned.journal_read = offset + 1
    return offsets
