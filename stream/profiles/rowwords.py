"""The stored form of rows, for kernels: rows written, read back, and checked; see `rowformat`."""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np

from stream.kernel import kernel, mix64, routine

from .layout import (
    CONTEXT,
    COUNT_WINDOW,
    HEAD,
    LEDGER_ENTRY,
    MARK,
    SUM_WINDOW,
    TRANSITION,
    TRANSITION_WAYS,
)
from .learned_sections import (
    BLOCK,
    KIND_HABITS,
    KIND_LEARNED,
    copy_records,
    copy_used,
    take_block,
    take_record,
)

FORMAT_VERSION: Final = 3  # 1: without learned contexts; 2: without the name beside them
PLAIN_VERSION: Final = 1
KIND_HEAD, KIND_COUNT, KIND_SUM, KIND_CONTEXT, KIND_MARK, KIND_TRANSITIONS, KIND_LEDGER = range(7)
GOOD, BAD_LENGTH, BAD_CHECKSUM, BAD_VERSION, BAD_KEY, BAD_SECTION, NOT_PLAIN = range(7)
FAULTS: Final = (
    "good",
    "its length is wrong",
    "its checksum is wrong",
    "its format is unknown",
    "it was written under another hash key",
    "it has a section of an unknown kind or size, or no head",
)

# The words of a section's body, by kind.
SIZES: Final = tuple(
    each // 8
    for each in (
        HEAD.itemsize,
        COUNT_WINDOW.itemsize,
        SUM_WINDOW.itemsize,
        CONTEXT.itemsize,
        MARK.itemsize,
        TRANSITION.itemsize * TRANSITION_WAYS,
        LEDGER_ENTRY.itemsize,
    )
)

SECTION: Final = np.dtype(
    [("tag", np.uint64), ("id", np.uint64), ("start", np.int32), ("words", np.int32)], align=True
)


@kernel
def checksum(words: Any, start: int, end: int) -> Any:
    """Return the checksum of a row: all its words but the second."""
    value = np.uint64(end - start)
    for place in range(start, end):
        if place != start + 1:
            value = mix64(value, words[place])
    return value


def seal(tail: bytes) -> int:
    """Return what a tail changes in the checksum; no tail changes nothing, every other does."""
    return zlib.crc32(tail) | 1 << 32 if tail else 0


@kernel
def write_rows(rows: Any, slots: Any, plan: Any, first: Any, records: Any, out: Any) -> int:
    """Write the rows of some slots one after another; return the words written.

    Shapes: rows [slot, word]; plan [section] of SECTION; first: word 0 without version and length;
    records as `copy_records` takes them.
    out[0] receives the words, out[1] the end of each row. Mutates: out.
    """
    words, ends = out
    at = 0
    for number in range(len(slots)):
        slot = slots[number]
        row = rows[slot]
        begin = at
        at += 2
        for place in range(len(plan)):
            section = plan[place]
            start = section["start"]
            span = (start, start + section["words"])
            at = int(copy_used(row, span, (section["tag"], section["id"]), words, at))
        plain = at
        at = int(copy_records(records, slot, words, at))
        version = np.uint64(PLAIN_VERSION if at == plain else FORMAT_VERSION)
        words[begin] = first | version | (np.uint64(at - begin) << np.uint64(32))
        words[begin + 1] = checksum(words, begin, at)
        ends[number] = at
    return at


@kernel
def read_row(words: Any, span: Any, plan: Any, known: Any, row: Any, records: Any) -> int:
    """Write one stored row into `row`, its records into `records`; return a fault number.

    Shapes: words [word], of which span[0]..span[1] are the row; row [word]; records: `Stored`'s
    words. `known` is word 0 without version and length, the tail's part of the checksum, and the
    ids of records. Mutates: row, records.
    """
    start, end = span
    first, seal, ids = known
    if end - start < 4 or np.int64(words[start] >> np.uint64(32)) != end - start:
        return BAD_LENGTH
    if (checksum(words, start, end) ^ seal) != words[start + 1]:
        return BAD_CHECKSUM
    version = np.int64(words[start] & np.uint64(0xFFFF))
    if version < PLAIN_VERSION or version > FORMAT_VERSION:
        return BAD_VERSION
    if ((words[start] ^ first) & np.uint64(0xFFFF0000)) != np.uint64(0):
        return BAD_KEY
    at = start + 2
    while at < end:
        if end - at < 2:
            return BAD_LENGTH
        tag = words[at]
        size = np.int64((tag >> np.uint64(16)) & np.uint64(0xFFFF))
        if at + 2 + size > end:
            return BAD_LENGTH
        kind = np.int64(tag & np.uint64(0xFF))
        is_record = KIND_LEARNED <= kind <= KIND_HABITS
        if is_record and version > PLAIN_VERSION and size <= BLOCK:
            take_record(words, at, ids, records)
            at += 2 + size
            continue
        if kind > KIND_LEDGER or size != SIZES[kind]:
            return BAD_SECTION
        if at == start + 2 and kind != KIND_HEAD:
            return BAD_SECTION
        for place in range(len(plan)):
            section = plan[place]
            if section["tag"] == tag and section["id"] == words[at + 1]:
                for word in range(size):
                    row[section["start"] + word] = words[at + 2 + word]
                break
        at += 2 + size
    return GOOD


@routine
def take_habits(words: Any, tail: Any, ids: Any, out: Any) -> bool:
    """Take the habits of a stored row's workload; tell whether there were any, and it is whole.

    Shapes: words [word] of the row; tail: its part of the checksum; ids as `Stored` has them; out
            [1, word], zeros. Mutates: out, also where the row is not whole.
    """
    end = len(words)
    if end < 4 or np.int64(words[0] >> np.uint64(32)) != end:
        return False
    found, at = False, np.int64(2)
    while at + 2 <= end:
        tag = words[at]
        size = np.int64((tag >> np.uint64(16)) & np.uint64(0xFFFF))
        if at + 2 + size > end:
            return False
        if np.int64(tag & np.uint64(0xFF)) == KIND_HABITS and words[at + 1] == ids[2]:
            take_block(words, at, out)
            found = True
        at += 2 + size
    return found and (checksum(words, 0, end) ^ tail) == words[1]


@kernel
def read_plain_rows(words: Any, rows: Any, plan: Any, known: Any, faults: Any) -> None:
    """Write stored rows without tail and records into `rows`; say of each what is wrong.

    Shapes: words = (all words, where each ends); rows = (rows [slot, word], slots); known = (word 0
    without version and length, ids and records as `read_row` takes them, of which none is written);
    faults [row]: NOT_PLAIN for what `read_row` must be asked. What has a fault is in part written.
    Mutates: rows, faults.
    """
    stored, ends = words
    every, slots = rows
    first, ids, records = known
    start = 0
    for number in range(len(slots)):
        end = ends[number]
        row = every[slots[number]]
        faults[number] = NOT_PLAIN
        is_whole = np.int64(stored[start] >> np.uint64(32)) == end - start
        if is_whole and np.int64(stored[start] & np.uint64(0xFFFF)) == PLAIN_VERSION:
            workload, of = row[0], (first, np.uint64(0), ids)
            fault = read_row(stored, (start, end), plan, of, row, records)
            faults[number] = fault if row[0] == workload else BAD_SECTION
        start = end
