"""The ordered protocol: publish, acknowledge, save, move the checkpoint, commit.

Written once, here. A snapshot of the unsaved rows is taken between two steps; then everything that
was derived up to it must be acknowledged by Kafka; only then are the rows stored, the checkpoint
in the last of the calls, and at the very end the group is told, for lag tools only (DESIGN 3.8).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from typing import Any, NamedTuple

import numpy as np

from stream.engine import State
from stream.store import ROWS_PER_SAVE_MAX, SAVE_BYTES_MAX, Checkpoint, Save, Store

from .owned import Owned

log = logging.getLogger(__name__)


class Snapshot(NamedTuple):
    """What one save writes: rows as bytes, and what must be acknowledged before.

    Shapes: slots [row]; rows (row id, bytes) in the same order.
    """

    owned: Owned
    slots: Any
    rows: list[tuple[int, bytes]]
    records: dict[bytes, bytes]
    names: dict[int, str]
    gone: list[bytes]
    forget: list[int]
    outputs: list[Awaitable[int]]
    checkpoint: Checkpoint
    position: int


def snapshots(state: State, owned: Iterable[Owned], rows_max: int, wall_ms: int) -> list[Snapshot]:
    """Return what to save of each partition now, at most `rows_max` rows in all.

    The longest unsaved rows go first. The rows are clean from here on, and marked as being saved
    until `save` has ended. Mutates: state, owned.
    """
    table = state.table
    by_partition = {each.partition: each for each in owned}
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
        keep = rank < max(1, rows_max // max(1, len(by_partition)))
        slots, partitions = slots[keep], partitions[keep]
    result = []
    for partition, one in by_partition.items():
        mine = slots[partitions == partition]
        result.append(_snapshot(state, one, mine, wall_ms))
    return result


def _snapshot(state: State, owned: Owned, slots: Any, wall_ms: int) -> Snapshot:
    table = state.table
    local, head = table.sections.local, table.sections.head
    numbers = slots.tolist()
    ids = head["workload"][slots].tolist()
    rows = list(zip(ids, state.stored(numbers), strict=True))
    local["unsaved_from"][slots] = 0
    local["saving"][slots] = 1
    rest = table.slots_of([owned.partition])
    waiting = local["unsaved_from"][rest]
    waiting = waiting[waiting != 0]
    next_offset = int(waiting.min()) - 1 if len(waiting) else owned.position
    checkpoint = Checkpoint(
        next_offset=min(next_offset, owned.position),
        journal_offset=owned.journal_from,
        topic_id=owned.topic_id,
        era=owned.conditions.era,
        check=owned.check if next_offset == owned.position else 0,
        version_offset=owned.version.offset,
        version_ordinal=owned.version.ordinal,
        at_ms=wall_ms,
    )
    snapshot = Snapshot(
        owned=owned,
        slots=slots,
        rows=rows,
        records=owned.published.take_unsaved(ids),
        names=owned.names,
        gone=owned.gone,
        forget=owned.forget,
        outputs=owned.outputs,
        checkpoint=checkpoint,
        position=owned.position,
    )
    owned.names, owned.outputs, owned.gone, owned.forget = {}, [], [], []
    return snapshot


def has_news(snapshot: Snapshot) -> bool:
    """Tell whether a snapshot holds anything that the store does not."""
    return bool(
        snapshot.rows
        or snapshot.names
        or snapshot.records
        or snapshot.gone
        or snapshot.forget
        or snapshot.outputs
        or snapshot.position != snapshot.owned.saved_position
    )


async def save(state: State, store: Store, snapshot: Snapshot) -> None:
    """Acknowledge, then store, then move the checkpoint, in this order.

    Errors: BusUnavailable when an output was lost, StoreUnavailable, OwnershipLost: the caller
    drops the partition; nothing of it may be written any more.
    """
    owned = snapshot.owned
    for sent in snapshot.outputs:
        await sent
    async with owned.saving:
        for part in _parts(snapshot):
            owned.number = await store.save(owned.partition, part._replace(number=owned.number))
    state.table.sections.local["saving"][snapshot.slots] = 0
    owned.saved_position = snapshot.position


def _parts(snapshot: Snapshot) -> list[Save]:
    """Cut a snapshot into calls within a save's bounds; the checkpoint travels in the last."""
    owned, parts = snapshot.owned, []
    blank = Save(owned.nonce, 0, [], {}, {}, [], [], None, owned.epoch)
    rows: list[tuple[int, bytes]] = []
    size = 0
    for row in snapshot.rows:
        if len(rows) >= ROWS_PER_SAVE_MAX or size + len(row[1]) > SAVE_BYTES_MAX // 2:
            parts.append(blank._replace(rows=rows))
            rows, size = [], 0
        rows.append(row)
        size += len(row[1])
    parts += [
        blank._replace(forget=snapshot.forget[start : start + ROWS_PER_SAVE_MAX])
        for start in range(0, len(snapshot.forget), ROWS_PER_SAVE_MAX)
    ]
    last = blank._replace(
        rows=rows,
        records_gone=[key for key in snapshot.gone if key not in snapshot.records],
        checkpoint=snapshot.checkpoint,
    )
    # Names and records stand before the rows that use them, where several calls are needed.
    first = parts[0] if parts else last
    extended = first._replace(names=snapshot.names, records=snapshot.records)
    if parts:
        parts[0] = extended
        return [*parts, last]
    return [extended]


async def settle(owned: Owned) -> None:
    """Wait until everything sent for a partition so far is acknowledged.

    Errors: BusUnavailable.
    """
    outputs, owned.outputs = owned.outputs, []
    await asyncio.gather(*outputs)
