"""Learned contexts: what a task has shown so far, as a baseline sees it.

A second table beside the rows: most contexts are compared with nothing. A row names the record of
each of its contexts, and keeps it as long as the row is in memory: a context that begins anew takes
its place's record again. So what a record says depends on the row's events alone, never on how full
the table is; it is stored as sections of its row (`rowformat`), in the row's own script call, and
comes back with it. A record names the baseline it was scored under, and is nothing under another.
Habits are kept in the same way: those of a context at its record's place, those of a workload in a
table of records of their own; what they are is the detectors' affair.

Size: LEARNED is less than 1 KiB. There are at most as many records as rows have contexts, and of
habits as many as rows; a worker keeps them near a number of its own by evicting rows
(`engine.trim_learned`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stream.kernel import kernel

# Untouched pages cost nothing, and to grow is to copy all, which events wait for.
RECORDS_MIN: Final = 1 << 17
PARTS: Final = 10
NOVEL: Final = 24
DEEDS: Final = 8
GRANTED: Final = 16
CANDIDATES: Final = 64
LEARNED_MODE_MAX: Final = 3  # `detectors.MODES`

LEARNED: Final = np.dtype(
    [
        ("workload", np.uint64),
        ("task", np.uint64),
        ("baseline", np.int64),  # the version it was scored under, see `version_number`
        ("group", np.uint64),  # hash of the class
        ("purpose", np.uint64),  # hash, 0 as long as none was declared
        ("used_ms", np.int64),
        ("bits", np.int32),  # of the last call, 1/1024 bit
        ("bits_max", np.int32),
        ("errors", np.int32),
        ("wander", np.int32),
        ("exposed", np.int32),  # bits that a much larger result than ever brought
        ("mode", np.int32),
        ("calls", np.int32),
        ("own", np.int32),  # 1 where the baseline was learned from this very task
        ("novel_count", np.int32),
        ("deeds_count", np.int32),
        ("granted_count", np.int32),
        ("habit", np.int32),  # the rarest that habits showed so far, 1/1024 bit
        ("parts", np.int32, (PARTS,)),  # of the last call
        ("parts_max", np.int32, (PARTS,)),  # of the call with the most bits
        ("novel", np.uint64, (NOVEL,)),  # calls that were new, so that each counts once
        ("deeds", np.uint64, (DEEDS,)),  # different changing operations
        ("granted", np.uint64, (GRANTED,)),  # operations that the grant lists
        ("likely", np.int32, (CANDIDATES,)),  # bits so far under each purpose it might have
    ],
    align=True,
)
# What most calls touch: all up to their parts, the deeds, and the first that are likely.
LEARNED_LINES: Final = (0, 1, 2, 5, 6, 8, 9)


@kernel
def find_learned(records: Any, local: Any, ids: Any) -> int:
    """Return the record of a row's context, -1 where it has none.

    Shapes: local: a row's process-local section; ids = (workload, task, context, baseline).
    """
    workload, task, context, baseline = ids
    place = int(local["learned"][context]) - 1
    if (
        place >= 0
        and records[place]["workload"] == workload
        and records[place]["task"] == task
        and records[place]["baseline"] == baseline
    ):
        return place
    return -1


@kernel
def claim_learned(records: Any, free: Any, local: Any, ids: Any) -> int:
    """Return a record for a row's context that has shown nothing: the place's own, or a free one.

    Shapes: free = (places [n], how many of them are free [1]); ids as in `find_learned`.
    Requires: a free record. Mutates: records, free, local.
    """
    workload, task, context, baseline = ids
    places, count = free
    place = abs(int(local["learned"][context])) - 1
    if place < 0:
        count[0] -= 1
        place = int(places[count[0]])
    clear_learned(records[place])
    records[place]["workload"] = workload
    records[place]["task"] = task
    records[place]["baseline"] = baseline
    local["learned"][context] = place + 1
    return place


@kernel
def find_habits(records: Any, local: Any, workload: Any) -> int:
    """Return the record of a row's workload, -1 where it has none."""
    place = int(local["habits"]) - 1
    return place if place >= 0 and records[place]["workload"] == workload else -1


@kernel
def claim_habits(records: Any, free: Any, local: Any, given: Any) -> int:
    """Return an empty record for a row's workload: the row's own, or a free one.

    Shapes: free as `claim_learned` has it; given = (workload, [1] of an empty record).
    Requires: a free record. Mutates: records, free, local.
    """
    workload, empty = given
    places, count = free
    place = abs(int(local["habits"])) - 1
    if place < 0:
        count[0] -= 1
        place = int(places[count[0]])
    records[place] = empty[0]
    records[place]["workload"] = workload
    local["habits"] = place + 1
    return place


@kernel
def end_learned(local: Any, context: int) -> None:
    """Let a context have shown nothing; its place keeps the record. Mutates: local."""
    local["learned"][context] = -abs(local["learned"][context])


@kernel
def end_habits(local: Any) -> None:
    """Let a workload have no habits; its row keeps the record. Mutates: local."""
    local["habits"] = -abs(local["habits"])


@kernel
def clear_learned(record: Any) -> None:
    """Make a record that of a context that has shown nothing. Mutates: record."""
    record["used_ms"] = 0
    record["purpose"] = np.uint64(0)
    record["bits"] = 0
    record["bits_max"] = 0
    record["errors"] = 0
    record["wander"] = 0
    record["exposed"] = 0
    record["mode"] = 0
    record["calls"] = 0
    record["own"] = 0
    record["novel_count"] = 0
    record["deeds_count"] = 0
    record["granted_count"] = 0
    record["habit"] = 0
    for seat in range(NOVEL):
        record["novel"][seat] = np.uint64(0)
    for seat in range(DEEDS):
        record["deeds"][seat] = np.uint64(0)
    for seat in range(GRANTED):
        record["granted"][seat] = np.uint64(0)
    for part in range(PARTS):
        record["parts"][part] = 0
        record["parts_max"][part] = 0
    for candidate in range(CANDIDATES):
        record["likely"][candidate] = 0


def version_number(version: str) -> int:
    """Return what a record keeps of a baseline's version; 0 for none."""
    return int.from_bytes(hashlib.sha256(version.encode()).digest()[:7]) | 1 if version else 0


class RecordTable:
    """Records that rows have, and which of them no row has.

    Shapes: arrays: one [n] of each kind, a record being a place in all; places [n] of int32, of
    which the first free[0] are free. Pointers are places plus 1, below 0 where what the record says
    has ended, 0 for none.
    """

    def __init__(self, records_max: int, *kinds: np.dtype[np.void]) -> None:
        assert kinds, "a record is of something"
        self._records_max = records_max
        self.arrays: tuple[Any, ...] = tuple(np.zeros(0, kind) for kind in kinds)
        self.places = np.zeros(0, np.int32)
        self.free = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self.places) - int(self.free[0])

    @property
    def records(self) -> Any:
        """Return the records of the first kind."""
        return self.arrays[0]

    @property
    def words(self) -> tuple[Any, ...]:
        """Return the records of each kind as words: [record, word] of uint64."""
        return tuple(
            each.view(np.uint64).reshape(len(each), each.dtype.itemsize // 8)
            for each in self.arrays
        )

    def reserve(self, count: int) -> None:
        """Have so many free records, or as many as all rows could still take. Mutates: self."""
        before = len(self.places)
        size = min(self._records_max, len(self) + count)
        if size <= before:
            return
        size = min(self._records_max, max(size, 2 * before, RECORDS_MIN))
        arrays = tuple(np.zeros(size, each.dtype) for each in self.arrays)
        for new, old in zip(arrays, self.arrays, strict=True):
            new[:before] = old
        places = np.zeros(size, np.int32)
        free = int(self.free[0])
        # The lowest are given away first, so that memory is touched as it is needed.
        places[: size - before] = np.arange(size - 1, before - 1, -1)
        places[size - before : size - before + free] = self.places[:free]
        self.arrays, self.places = arrays, places
        self.free[0] += size - before

    def release(self, pointers: Any) -> None:
        """Take back the records of a row. Shapes: pointers [n]. Mutates: self, pointers."""
        for pointer in pointers[pointers != 0].tolist():
            self.places[self.free[0]] = abs(pointer) - 1
            self.free[0] += 1
        pointers[:] = 0

    def restore(self, pointers: Any, which: int, words: Sequence[Any]) -> None:
        """Give a row a stored record. Shapes: words: [word] of each kind. Mutates: all but words.

        Requires: it has none there.
        """
        self.reserve(1)
        self.free[0] -= 1
        place = int(self.places[self.free[0]])
        for mine, stored in zip(self.words, words, strict=True):
            mine[place] = stored
        pointers[which] = place + 1


def is_sound(record: Any) -> bool:
    """Tell whether kernels may follow what a stored record says."""
    return bool(
        0 <= record["novel_count"] <= NOVEL
        and 0 <= record["deeds_count"] <= DEEDS
        and 0 <= record["granted_count"] <= GRANTED
        and 0 <= record["mode"] <= LEARNED_MODE_MAX
        and 0 <= record["own"] <= 1
    )
