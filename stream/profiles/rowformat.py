"""The row in Redis: the row in memory with unused sections left out, copied and never re-encoded.

    word 0       format version (16 bits) | id of the hash key (16) | number of words (32)
    word 1       checksum of all words but itself, and of the tail
    then, a section each:
    word         kind (8) | index (8) | number of body words (16) | zero (32)
    word         stable id of the pair or sequence, else 0
    words        the body, as in memory
    and, after the counted words, an optional tail of opaque bytes

All words little-endian; sections by kind, index and id, so that equal rows are equal bytes
whatever the layout of the process. A section whose body is all zero is left out. A learned context
is a section for each BLOCK words of its record, its index the context's place times BLOCKS_MAX and
the block's number, its id that of the record's layout: another layout's is skipped, and its context
begins anew. So are its habits, and those of the workload, whose place is 0; of the latter the
layout before is read as well, and what is new begins anew. A row with such sections has format 3,
every other one is as it always was, format 1. Format 2 is format 3 with a tail that has no name.
A section that the layout does not name is skipped on reading: that is a window of a policy no
longer in force.
Another key id or a wrong checksum is an error, never a guess. Words 0 and 1 mean the same in every
format there will be: so an older version knows an intact row of a newer one from a corrupt one, and
leaves it alone (NewerFormat) where it would discard the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stream.errors import NewerFormat, RowCorrupt
from stream.events import TIME_MS_MAX

from .layout import (
    CONTEXT,
    CONTEXTS,
    COUNT_WINDOW,
    HEAD,
    LEDGER,
    LEDGER_ENTRY,
    MARK,
    SUM_WINDOW,
    TRANSITION,
    TRANSITION_SETS,
    TRANSITION_WAYS,
    Layout,
)
from .learned import LEARNED, is_sound
from .learned_sections import Stored, widened
from .rowwords import (
    BAD_LENGTH,
    BAD_SECTION,
    BAD_VERSION,
    FAULTS,
    FORMAT_VERSION,
    GOOD,
    KIND_CONTEXT,
    KIND_COUNT,
    KIND_HEAD,
    KIND_LEDGER,
    KIND_MARK,
    KIND_SUM,
    KIND_TRANSITIONS,
    PLAIN_VERSION,
    SECTION,
    checksum,
    read_plain_rows,
    read_row,
    seal,
    take_habits,
    write_rows,
)
from .table import ProfileTable

ROW_BYTES_MAX: Final = 1 << 20  # well above 16 of the longest commands in a tail
PLAIN_BYTES_MAX: Final = 1 << 16  # of a row that is read among others, whose bytes are joined

# The head is always the first section: two words of the row, two of the section, then the body.
_CLOCK_AT: Final = 32 + int(HEAD.fields["clock_ms"][1]) if HEAD.fields else 0
_HOME_AT: Final = 32 + int(HEAD.fields["home"][1]) if HEAD.fields else 0


class RowFormat:
    """Encodes and restores rows of one layout under one hash key."""

    def __init__(self, layout: Layout, key_id: int) -> None:
        self.plan = _plan(layout)
        self._layout = layout
        self._first = np.uint64(key_id << 16)
        self.words_max = 2 + int((self.plan["words"] + 2).sum())

    def encode(self, table: ProfileTable, slots: Sequence[int]) -> list[bytes]:
        """Return the stored form of the rows, without tails."""
        numbers = np.array(slots, np.int64)
        if not len(numbers):
            return []
        places, habits = table.sections.local["learned"], table.sections.local["habits"]
        records = 0
        if len(table.learned) or len(table.habits):
            # Of a context two records.
            records = 2 * int(np.count_nonzero(places[numbers] > 0))
            records += int(np.count_nonzero(habits[numbers] > 0))
        size = len(numbers) * self.words_max + records * table.stored_as.words_max
        words = np.empty(size, np.uint64)
        ends = np.empty(len(numbers), np.int64)
        kinds = (*table.learned.words, *table.habits.words)
        stored = places, habits, table.stored_as.ids, kinds
        write_rows(_words(table), numbers, self.plan, self._first, stored, (words, ends))
        data = words.view(np.uint8).data
        spans = zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
        return [bytes(data[start * 8 : end * 8]) for start, end in spans]

    def unnamed(self, stored: bytes) -> Layout | None:
        """Return what a stored row holds and the layout does not name, None for nothing.

        Requires: a row that `restore` accepts.
        """
        words = np.frombuffer(stored, np.uint64, int.from_bytes(stored[4:8], "little")).tolist()
        found: dict[int, list[int]] = {KIND_COUNT: [], KIND_SUM: [], KIND_MARK: []}
        known = dict(zip(found, self._layout, strict=True))
        at = 2
        while at < len(words):
            kind, size, each = words[at] & 0xFF, words[at] >> 16 & 0xFFFF, words[at + 1]
            if kind in found and each not in known[kind] and each not in found[kind]:
                found[kind].append(each)
            at += 2 + size
        return Layout(*map(tuple, found.values())) if any(found.values()) else None

    def restore_plain(self, table: ProfileTable, slots: Any, stored: Sequence[bytes]) -> Any:
        """Fill rows of admitted slots that are stored without tail and records; say which were.

        The others are empty still except for their heads, whatever may be wrong with them: they are
        for `restore`, which takes many times as long.
        Shapes: slots, stored, returned [row]. Mutates: table.
        """
        done = np.zeros(len(slots), bool)
        sizes = np.fromiter(map(len, stored), np.int64, len(stored))
        fit = np.flatnonzero((sizes % 8 == 0) & (sizes >= 32) & (sizes <= PLAIN_BYTES_MAX))
        if not len(fit):
            return done
        words = np.frombuffer(b"".join([stored[each] for each in fit.tolist()]), np.uint64)
        ends, mine = np.cumsum(sizes[fit] // 8), np.array(slots, np.int64)[fit]
        heads, faults = table.sections.head[mine], np.empty(len(fit), np.int64)
        known = self._first, table.stored_as.ids, table.stored_as.words
        read_plain_rows((words, ends), (_words(table), mine), self.plan, known, faults)
        done[fit] = faults == GOOD
        self.empty(table, mine[faults != GOOD], heads[faults != GOOD])
        return done

    def empty(self, table: ProfileTable, slots: Any, heads: Any) -> None:
        """Let rows be empty except for these heads. Shapes: both [row]. Mutates: table."""
        if len(slots):
            local = table.sections.local[slots]
            table.rows[slots] = np.zeros((), table.rows.dtype)
            table.sections.head[slots], table.sections.local[slots] = heads, local

    def restore(self, table: ProfileTable, slot: int, stored: bytes) -> bytes:
        """Fill the row of an admitted slot; return the tail. Mutates: table.

        Errors: RowCorrupt, NewerFormat; the row is then empty again except for its head.
        """
        count = int.from_bytes(stored[4:8], "little") if len(stored) >= 16 else 0
        if len(stored) > ROW_BYTES_MAX or count * 8 > len(stored):
            raise RowCorrupt(f"a stored row is corrupt: {FAULTS[BAD_LENGTH]}")
        words = np.frombuffer(stored, np.uint64, count)
        row = _words(table)[slot]
        before = row.copy()
        tail = stored[count * 8 :]
        known = self._first, np.uint64(seal(tail)), table.stored_as.ids
        for each in table.stored_as.words:
            each[:] = 0
        fault = read_row(words, (0, count), self.plan, known, row, table.stored_as.words)
        if fault == GOOD and table.sections.head[slot]["workload"] != before[0]:
            fault = BAD_SECTION
        if fault != GOOD:
            row[:] = before
            if fault == BAD_VERSION and version_of(stored) > FORMAT_VERSION:
                raise _newer(stored)
            raise RowCorrupt(f"a stored row is corrupt: {FAULTS[fault]}")
        _restore_records(table, slot)
        return tail


def _restore_records(table: ProfileTable, slot: int) -> None:
    """Give a row the records that were read with it, if they are its own. Mutates: table."""
    learned, beside, habits, before = table.stored_as.words
    local, workload = table.sections.local, table.sections.head[slot]["workload"]
    table.release_records(slot)
    for context in np.flatnonzero(learned.any(axis=1)).tolist():
        record = learned[context].view(LEARNED)[0]
        if record["workload"] == workload and is_sound(record):
            words = learned[context], beside[context]
            table.learned.restore(local["learned"][slot], context, words)
    if habits[0, 0] == workload:
        table.habits.restore(local["habits"], slot, (habits[0],))
    elif before[0, 0] == workload:
        _, _, kind, earlier = table.stored_as.kinds
        table.habits.restore(local["habits"], slot, (widened(before[0], earlier, kind),))


def stored_habits(stored: bytes, stored_as: Stored) -> tuple[Any, bytes] | None:
    """Return the habits of a stored row's workload, and the row's tail, without restoring it.

    None where it has none, or none of this layout, or is not whole. The record is overwritten by
    the next call. Shapes: [1] of habits.
    """
    count = int.from_bytes(stored[4:8], "little") if len(stored) >= 16 else 0
    if version_of(stored) <= PLAIN_VERSION or count * 8 > len(stored) or not _is_known(stored):
        return None
    words, tail = np.frombuffer(stored, np.uint64, count), stored[count * 8 :]
    out = stored_as.words[2]
    out[:] = 0
    if not take_habits(words, np.uint64(seal(tail)), stored_as.ids, out):
        return None
    return out.view(stored_as.kinds[2])[0], tail


def stored_clock_ms(stored: bytes) -> int:
    """Return the clock of a stored row without restoring it; beyond all times if it is corrupt.

    Whoever deletes what is old must not delete what cannot be read, nor what is newer.
    """
    at = _CLOCK_AT
    is_ours = len(stored) >= at + 8 and _is_known(stored)
    if not is_ours or stored[16] != KIND_HEAD:
        return TIME_MS_MAX
    return int.from_bytes(stored[at : at + 8], "little", signed=True)


def stored_home(stored: bytes) -> int:
    """Return the workload's murmur2 from a stored row without restoring it; -1 if it is corrupt."""
    at = _HOME_AT
    is_ours = len(stored) >= at + 4 and _is_known(stored)
    if not is_ours or stored[16] != KIND_HEAD:
        return -1
    return int.from_bytes(stored[at : at + 4], "little", signed=True)


def version_of(stored: bytes) -> int:
    """Return the format version of a stored row; it stands there in every format."""
    return int.from_bytes(stored[:2], "little")


def _is_known(stored: bytes) -> bool:
    return PLAIN_VERSION <= version_of(stored) <= FORMAT_VERSION


def with_tail(stored: bytes, tail: bytes) -> bytes:
    """Return a stored row with opaque bytes behind it, its checksum telling that they are there."""
    checksum = int.from_bytes(stored[8:16], "little") ^ seal(tail)
    return b"".join((stored[:8], checksum.to_bytes(8, "little"), stored[16:], tail))


def tail_of(stored: bytes) -> bytes:
    """Return the opaque bytes behind a stored row.

    Requires: a row that `RowFormat.restore` accepts, or refuses as newer.
    Errors:   NewerFormat.
    """
    at = int.from_bytes(stored[4:8], "little")
    tail = stored[at * 8 :]
    if version_of(stored) > FORMAT_VERSION and 4 <= at <= len(stored) // 8:
        words = np.frombuffer(stored, np.uint64, at)
        if int(checksum(words, 0, at)) ^ seal(tail) == int(words[1]):
            raise _newer(stored)
    return tail


def _newer(stored: bytes) -> NewerFormat:
    return NewerFormat(
        f"a stored row has format {version_of(stored)},"
        f" and this version reads up to {FORMAT_VERSION}"
    )


def _words(table: ProfileTable) -> Any:
    rows = table.rows
    return rows.view(np.uint64).reshape(len(rows), rows.dtype.itemsize // 8)


def _by_id(ids: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return ids and their places, in an order that no layout decides."""
    return sorted(zip(ids, range(len(ids)), strict=True))


def _plan(layout: Layout) -> Any:
    """Return where each section lies in a row, in words."""
    fields: Any = layout.dtype.fields
    found: list[tuple[int, int, int, int]] = []

    def add(kind: int, index: int, ids: tuple[int, int], size: int) -> None:
        start, identity = ids
        found.append((kind | index << 8 | (size // 8) << 16, identity, start // 8, size // 8))

    add(KIND_HEAD, 0, (fields["head"][1], 0), HEAD.itemsize)
    for name, kind, item, places in (
        ("counts", KIND_COUNT, COUNT_WINDOW, layout.counts),
        ("sums", KIND_SUM, SUM_WINDOW, layout.sums),
    ):
        for each, place in _by_id(places):
            add(kind, 0, (fields[name][1] + place * item.itemsize, each), item.itemsize)
    across = max(1, len(layout.forbids))
    for context in range(CONTEXTS):
        start = fields["contexts"][1] + context * CONTEXT.itemsize
        add(KIND_CONTEXT, context, (start, 0), CONTEXT.itemsize)
        for each, place in _by_id(layout.forbids):
            start = fields["marks"][1] + (context * across + place) * MARK.itemsize
            add(KIND_MARK, context, (start, each), MARK.itemsize)
    size = TRANSITION.itemsize * TRANSITION_WAYS
    for each in range(TRANSITION_SETS):
        add(KIND_TRANSITIONS, each, (fields["transitions"][1] + each * size, 0), size)
    for entry in range(LEDGER):
        start = fields["ledger"][1] + entry * LEDGER_ENTRY.itemsize
        add(KIND_LEDGER, entry, (start, 0), LEDGER_ENTRY.itemsize)
    return np.array(found, SECTION)
