"""Records of a row as sections of its stored form: in blocks, all-zero ones left out.

Of each context its LEARNED and its habits, of the workload its habits. What a section is,
`rowformat` says. Records of another layout have another id and are skipped, so that a record never
is read as what it was not written as. What a workload's habits say took days to learn, so those of
the layout before are read too, and `widened`; they are never written.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from stream.kernel import kernel

from .layout import CONTEXTS
from .learned import LEARNED

KIND_LEARNED, KIND_CONTEXT_HABITS, KIND_HABITS = range(7, 10)
BLOCK: Final = 16  # words
BLOCKS_MAX: Final = 32


class HabitKinds(NamedTuple):
    """What habits of a context and of a workload are; the latter begin with the workload's hash.

    `before` is an earlier layout of the latter: each of its fields lies in `workload` as well, an
    array's elements from the first on.
    """

    context: np.dtype[np.void]
    workload: np.dtype[np.void]
    before: np.dtype[np.void]


class Stored(NamedTuple):
    """How the kinds of records are stored, and room for those of one row.

    Shapes: ids [kind] of uint64, the last being that of a workload's habits in the layout before;
    words: [place, word] of each, place being the context; kinds: what they are.
    """

    ids: Any
    words: tuple[Any, Any, Any, Any]
    kinds: tuple[np.dtype[np.void], np.dtype[np.void], np.dtype[np.void], np.dtype[np.void]]

    @property
    def words_max(self) -> int:
        """Return how many words one context, or the workload, takes at most."""
        return max(int(each.shape[1]) for each in self.words) + 2 * BLOCKS_MAX


@cache
def section_id(kind: np.dtype[np.void]) -> int:
    """Return the id of a record's sections: another layout has another."""
    return 1 << 32 | zlib.crc32(repr(kind.descr).encode())


LEARNED_ID: Final = section_id(LEARNED)
NO_HABITS: Final = HabitKinds(*[np.dtype([("workload", np.uint64)])] * 3)


def stored_as(habits: HabitKinds) -> Stored:
    """Return how records are stored where habits are of these kinds."""
    kinds = (LEARNED, *habits)
    sizes = [each.itemsize // 8 for each in kinds]
    assert max(sizes) <= BLOCK * BLOCKS_MAX, sizes
    assert all(each.itemsize % 8 == 0 for each in kinds), "records are whole words"
    words = [
        np.zeros((count, size), np.uint64)
        for count, size in zip((CONTEXTS, CONTEXTS, 1, 1), sizes, strict=True)
    ]
    ids = np.array([section_id(each) for each in kinds], np.uint64)
    return Stored(ids, (words[0], words[1], words[2], words[3]), kinds)


def widened(words: Any, before: np.dtype[np.void], kind: np.dtype[np.void]) -> Any:
    """Return a record of an earlier layout in a later one: what is new there is all zero.

    Shapes: words, returned: [word].
    """
    out = np.zeros(1, kind)
    _fill(out[0], words.view(before)[0])
    return out.view(np.uint64)


def _fill(out: Any, record: Any) -> None:
    """Copy each field. Mutates: out."""
    for name in record.dtype.names:
        value = record[name]
        if isinstance(value, np.ndarray):
            out[name][: len(value)] = value
        elif isinstance(value, np.void):
            _fill(out[name], value)
        else:
            out[name] = value


@kernel
def copy_used(source: Any, span: Any, name: Any, words: Any, at: int) -> int:
    """Write the section source[span[0]..span[1]) unless it is all zero; return where it ends.

    Shapes: name = (tag, id). Mutates: words.
    """
    start, end = span
    tag, identity = name
    used = False
    for word in range(start, end):
        if source[word] != np.uint64(0):
            used = True
            break
    if not used:
        return at
    words[at] = tag
    words[at + 1] = identity
    for word in range(start, end):
        words[at + 2 + word - start] = source[word]
    return int(at + 2 + end - start)


@kernel
def _copy_record(record: Any, kind: int, context: int, identity: Any, out: Any) -> int:
    """Write the blocks of a record; return where they end.

    Shapes: record [word]; out = (words, where they begin). Mutates: out's words.
    """
    words, at = out
    for block in range((len(record) + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        end = min(start + BLOCK, len(record))
        tag = kind | (context * BLOCKS_MAX + block) << 8 | (end - start) << 16
        at = int(copy_used(record, (start, end), (np.uint64(tag), identity), words, at))
    return int(at)


@kernel
def copy_records(records: Any, slot: int, words: Any, at: int) -> int:
    """Write the records of a row; return where they end.

    Shapes: records = (places [slot, context], places of habits [slot], ids, (records of contexts,
            their habits, habits of workloads), each [record, word]). Mutates: words.
    """
    places, habits, ids, kinds = records
    for context in range(CONTEXTS):
        place = places[slot, context] - 1
        if place >= 0:
            at = int(_copy_record(kinds[0][place], KIND_LEARNED, context, ids[0], (words, at)))
    for context in range(CONTEXTS):
        place = places[slot, context] - 1
        if place >= 0:
            kind = KIND_CONTEXT_HABITS
            at = int(_copy_record(kinds[1][place], kind, context, ids[1], (words, at)))
    place = habits[slot] - 1
    if place >= 0:
        at = int(_copy_record(kinds[2][place], KIND_HABITS, 0, ids[2], (words, at)))
    return at


@kernel
def take_record(words: Any, at: int, ids: Any, out: Any) -> None:
    """Take a block of a record, if it is of our layout. Shapes: as `Stored`. Mutates: out."""
    kind = np.int64(words[at] & np.uint64(0xFF)) - KIND_LEARNED
    if words[at + 1] == ids[kind]:
        if kind == 0:
            take_block(words, at, out[0])
        elif kind == 1:
            take_block(words, at, out[1])
        else:
            take_block(words, at, out[2])
    elif kind == 2 and words[at + 1] == ids[3]:
        take_block(words, at, out[3])


@kernel
def take_block(words: Any, at: Any, records: Any) -> None:
    """Take a block, unless it is larger than blocks are, or beyond its record.

    Shapes: records [place, word]. Mutates: records.
    """
    tag = words[at]
    size = np.int64((tag >> np.uint64(16)) & np.uint64(0xFFFF))
    index = np.int64((tag >> np.uint64(8)) & np.uint64(0xFF))
    place, start = index // BLOCKS_MAX, index % BLOCKS_MAX * BLOCK
    if size <= BLOCK and place < records.shape[0] and start + size <= records.shape[1]:
        for word in range(size):
            records[place, start + word] = words[at + 2 + word]
