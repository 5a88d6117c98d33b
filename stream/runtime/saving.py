"""The ordered protocol: publish, acknowledge, save, move the checkpoint, commit.

Written once, here. A snapshot of the unsaved rows is taken when all that earlier steps gave is on
its way, and nothing later; then everything that was derived up to it must be acknowledged by
Kafka; only then are the rows stored, the checkpoint in the last of the calls, and at the very end
the group is told, for lag tools only (DESIGN 3.8).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from stream.engine import State
from stream.errors import StoreFull
from stream.store import (
    CHECKPOINT_FORMAT,
    GROWN_FORMAT,
    ROWS_PER_SAVE_MAX,
    SAVE_BYTES_MAX,
    Checkpoint,
    Grown,
    Save,
    Store,
)

from .owned import Owned
from .room import joining

log = logging.getLogger(__name__)

Item = TypeVar("Item")
ITEMS_PER_SAVE: Final = 4_096  # names, records or ids: a key may have 2.5 KiB
SMALL: Final = 1_024
WhenFull = Callable[[StoreFull], Awaitable[None]]
PARTS_JOINED_MAX: Final = 5


class Snapshot(NamedTuple):
    """What one save writes: rows as bytes, and what must be acknowledged before.

    Shapes: slots [row]; rows (row id, bytes) in the same order; `domains` and `fresh` are what
    `room.joining` says of them.
    """

    owned: Owned
    slots: Any
    rows: list[tuple[int, bytes]]
    records: dict[bytes, bytes]
    names: dict[int, str]
    domains: dict[int, int]
    fresh: Counter[int]
    gone: list[bytes]
    forget: list[int]
    outputs: list[Awaitable[int]]
    checkpoint: Checkpoint | None
    position: int


class Slice(NamedTuple):
    """Rows of one partition that a save may begin with; with the `last`, its checkpoint moves."""

    owned: Owned
    slots: Any
    is_last: bool


def slices(
    state: State, owned: Iterable[Owned], rows_max: int, rows_each: int
) -> list[list[Slice]]:
    """Return what is unsaved now in the order to save it, at most `rows_max` rows in all.

    What stands together is to be saved side by side: at most `rows_each` rows, of one partition or
    of several, since a store that is far away takes as long for few rows as for many. Each
    partition has at least one slice. Of a partition the longest unsaved rows go first.
    """
    unsaved_from = state.table.sections.local["unsaved_from"]
    result: list[list[Slice]] = []
    room = 0
    for one, unsaved in _unsaved(state, list(owned), rows_max):
        slots = unsaved[np.argsort(unsaved_from[unsaved], kind="stable")]
        starts = range(0, len(slots), rows_each) or range(1)
        cut = [Slice(one, slots[start : start + rows_each], is_last=False) for start in starts]
        for each in [*cut[:-1], cut[-1]._replace(is_last=True)]:
            if not result or len(each.slots) > room:
                result.append([])
                room = rows_each
            result[-1].append(each)
            room -= len(each.slots)
    return result


def sliced(state: State, some: Slice, wall_ms: int) -> Snapshot:
    """Return what to save of a slice now: what has been saved, or left, meanwhile is not.

    Mutates as `snapshots` does.
    """
    local, slots = state.table.sections.local, some.slots
    slots = slots[(local["unsaved_from"][slots] != 0) & (local["saving"][slots] == 0)]
    homes = state.table.sections.head["partition"][slots]
    slots = slots[homes == some.owned.partition]
    return _snapshot(state, some.owned, slots, wall_ms, moves=some.is_last)


def snapshots(state: State, owned: Iterable[Owned], rows_max: int, wall_ms: int) -> list[Snapshot]:
    """Return what to save of each partition now, at most `rows_max` rows in all.

    The longest unsaved rows go first. The rows are clean from here on, and marked as being saved
    until `save` has ended. Mutates: state, owned.
    """
    unsaved = _unsaved(state, list(owned), rows_max)
    return [_snapshot(state, one, slots, wall_ms, moves=True) for one, slots in unsaved]


def _unsaved(state: State, owned: Sequence[Owned], rows_max: int) -> list[tuple[Owned, Any]]:
    """Return the slots of unsaved rows that nobody is saving, by partition."""
    table = state.table
    slots = table.used_slots()
    local, head = table.sections.local, table.sections.head
    slots = slots[local["unsaved_from"][slots] != 0]
    slots = slots[local["saving"][slots] == 0]
    partitions = head["partition"][slots]
    if len(slots) > rows_max:
        # Offsets of different partitions do not compare: each gets its share, oldest first.
        order = np.lexsort((local["unsaved_from"][slots], partitions))
        rank = np.empty(len(slots), np.int64)
        starts = np.searchsorted(partitions[order], partitions[order], side="left")
        rank[order] = np.arange(len(slots)) - starts
        keep = rank < max(1, rows_max // max(1, len(owned)))
        slots, partitions = slots[keep], partitions[keep]
    return [(one, slots[partitions == one.partition]) for one in owned]


def _snapshot(state: State, owned: Owned, slots: Any, wall_ms: int, *, moves: bool) -> Snapshot:
    """Take rows, and all that stands before them; where it `moves`, the checkpoint too."""
    table = state.table
    local, head = table.sections.local, table.sections.head
    numbers = slots.tolist()
    ids = head["workload"][slots].tolist()
    rows = list(zip(ids, state.stored(numbers), strict=True))
    domains, fresh = joining(state, slots)
    local["unsaved_from"][slots] = 0
    local["saving"][slots] = 1
    snapshot = Snapshot(
        owned=owned,
        slots=slots,
        rows=rows,
        records=owned.published.take_unsaved(ids),
        names=owned.names,
        domains=domains,
        fresh=fresh,
        gone=owned.gone,
        forget=owned.forget,
        outputs=owned.outputs,
        checkpoint=_checkpoint(state, owned, wall_ms) if moves else None,
        position=owned.position,
    )
    owned.names, owned.outputs, owned.gone, owned.forget = {}, [], [], []
    return snapshot


def _checkpoint(state: State, owned: Owned, wall_ms: int) -> Checkpoint:
    """Return the checkpoint before the first offset that a row in memory alone knows of."""
    table = state.table
    waiting = table.sections.local["unsaved_from"][table.slots_of([owned.partition])]
    waiting = waiting[waiting != 0]
    next_offset = int(waiting.min()) - 1 if len(waiting) else owned.position
    next_offset, heard = owned.heard.at(min(next_offset, owned.position))
    has_grown = len(owned.counts) > 1
    return Checkpoint(
        format=GROWN_FORMAT if has_grown else CHECKPOINT_FORMAT,
        next_offset=next_offset,
        journal_offset=owned.journal_from(next_offset),
        topic_id=owned.topic_id,
        era=owned.conditions.era,
        check=owned.check,
        version_offset=owned.version.offset,
        version_ordinal=owned.version.ordinal,
        at_ms=wall_ms,
        log_era=owned.conditions.log_era,
        fresh_era=owned.conditions.fresh_era,
        check_offset=owned.check_offset,
        heard=heard,
        growth=Grown(owned.counts) if owned.counts else msgspec.UNSET,
    )


def has_news(snapshot: Snapshot) -> bool:
    """Tell whether a snapshot holds anything that the store does not."""
    return bool(
        snapshot.rows
        or snapshot.names
        or snapshot.records
        or snapshot.gone
        or snapshot.forget
        or snapshot.outputs
        or (snapshot.checkpoint and snapshot.position != snapshot.owned.saved_position)
    )


async def save(state: State, store: Store, snapshot: Snapshot, when_full: WhenFull) -> None:
    """Acknowledge, then store, then move the checkpoint, in this order.

    While the store has no room, `when_full` is awaited before each further attempt.
    Errors: BusUnavailable when an output was lost, StoreUnavailable, OwnershipLost, whatever
    `when_full` raises: the caller drops the partition; nothing of it may be written any more.
    """
    owned = snapshot.owned
    for sent in snapshot.outputs:
        await sent
    for part in _parts(snapshot):
        await _store_part(store, owned, part, when_full)
    async with owned.saving:
        if snapshot.domains or snapshot.forget:
            owned.domains = await store.domains(owned.partition)
            owned.fresh -= snapshot.fresh
    state.table.sections.local["saving"][snapshot.slots] = 0
    if snapshot.checkpoint is not None:
        owned.saved_position = snapshot.position
        owned.saved_from = snapshot.checkpoint.next_offset
        owned.heard.forget_before(snapshot.checkpoint.next_offset)
        owned.passed_by(snapshot.checkpoint.next_offset)


async def _store_part(store: Store, owned: Owned, part: Save, when_full: WhenFull) -> None:
    """Store one call of a save, for as long as there is no room after what makes room.

    What `sweep` has found to forget meanwhile goes too: it is journalled, and whatever is not in
    memory is in no snapshot. Others may ask for the fence while this waits. Mutates: owned.
    """
    while True:
        try:
            async with owned.saving:
                owned.number = await store.save(owned.partition, part._replace(number=owned.number))
            return
        except StoreFull as full:
            room = ITEMS_PER_SAVE - len(part.forget)
            found, owned.forget = owned.forget[:room], owned.forget[room:]
            lean = part._replace(names={}, records={}, rows=[], domains=[], checkpoint=None)
            lean = lean._replace(forget=[*part.forget, *found])
            if not lean.forget and not lean.records_gone:
                await when_full(full)
                continue
            part = part._replace(forget=[], records_gone=[])
            async with owned.saving:
                owned.number = await store.save(owned.partition, lean._replace(number=owned.number))


def _parts(snapshot: Snapshot) -> list[Save]:
    """Cut a snapshot into calls within a save's bounds; the checkpoint travels in the last.

    Names and subject records stand before the rows that use them: a record that is known without
    its row has been published, and replay publishes it again; the other way round it would be
    missing from the digest. What is forgotten goes before rows: one of them may have come back.
    """
    owned = snapshot.owned
    blank = Save(owned.nonce, 0, [], {}, {}, [], [], None, owned.epoch)
    gone = [key for key in snapshot.gone if key not in snapshot.records]
    parts = [blank._replace(names=dict(each)) for each in batched(snapshot.names.items())]
    parts += [blank._replace(records=dict(each)) for each in batched(snapshot.records.items())]
    parts += [blank._replace(records_gone=each) for each in batched(gone)]
    parts += [blank._replace(forget=each) for each in batched(snapshot.forget)]
    rows: list[tuple[int, bytes]] = []
    size = 0
    for row in snapshot.rows:
        if len(rows) >= ROWS_PER_SAVE_MAX or size + len(row[1]) > SAVE_BYTES_MAX // 2:
            parts.append(blank._replace(rows=rows))
            rows, size = [], 0
        rows.append(row)
        size += len(row[1])
    if rows:
        parts.append(blank._replace(rows=rows))
    parts = [each._replace(domains=_counted(each.rows, snapshot.domains)) for each in parts]
    return _joined(parts or [blank], snapshot.checkpoint)


def _counted(rows: Sequence[tuple[int, bytes]], domains: dict[int, int]) -> list[tuple[int, int]]:
    """Return the trust domains of those of some rows that the store is to count."""
    return [(row_id, domains[row_id]) for row_id, _ in rows if row_id in domains]


def _joined(parts: list[Save], checkpoint: Checkpoint | None) -> list[Save]:
    """Put the checkpoint into the last call, and small calls of different kinds into one."""
    small = [
        part
        for part in parts
        if len(part.names) + len(part.records) + len(part.records_gone) <= SMALL
        and len(part.rows) + len(part.forget) <= SMALL
    ]
    if len(small) == len(parts) and len(parts) <= PARTS_JOINED_MAX:
        one = parts[0]
        for part in parts[1:]:
            one = one._replace(
                names=one.names | part.names,
                records=one.records | part.records,
                records_gone=[*one.records_gone, *part.records_gone],
                rows=[*one.rows, *part.rows],
                forget=[*one.forget, *part.forget],
                domains=[*one.domains, *part.domains],
            )
        parts = [one]
    return [*parts[:-1], parts[-1]._replace(checkpoint=checkpoint)]


def batched(items: Iterable[Item]) -> list[list[Item]]:
    """Return the items in lists that one call may hold."""
    everything = list(items)
    return [
        everything[start : start + ITEMS_PER_SAVE]
        for start in range(0, len(everything), ITEMS_PER_SAVE)
    ]


async def verify(store: Store, owned: Sequence[Owned]) -> None:
    """Return once the store has said of each partition that it knows our last write.

    For owners that have nothing to write: a failover may have lost what they wrote.
    Errors: StoreUnavailable, OwnershipLost, StoreForgot.
    """

    async def ask(one: Owned) -> None:
        async with one.saving:
            await store.load(one.partition, [], one.fence)

    await asyncio.gather(*(ask(each) for each in owned))


async def settle(owned: Owned) -> None:
    """Wait until everything sent for a partition so far is acknowledged.

    Errors: BusUnavailable.
    """
    outputs, owned.outputs = owned.outputs, []
    await asyncio.gather(*outputs)
