"""Learned contexts: what a task has shown so far, as a baseline sees it.

A second table beside the rows, bounded by itself: most rows have no task that is being compared.
A row names the record of each of its contexts; a record names its row's workload and its task, and
one that names others is not theirs: so eviction from either table needs no word to the other. When
the table is full, the record longest unclaimed goes first, and is counted; its task begins anew.

A record is process-local for now: a worker that takes over begins a task's comparison anew, with
`ready` saying so. It has a fixed size and no pointers, so that it can be saved as one more section
of its row, in the row's own script call, once rows carry it.

Size: LEARNED is less than 1 KiB.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel

RECORDS_MAX: Final = 1 << 22
PARTS: Final = 10
NOVEL: Final = 24
DEEDS: Final = 8
GRANTED: Final = 16
CANDIDATES: Final = 64

LEARNED: Final = np.dtype(
    [
        ("workload", np.uint64),
        ("task", np.uint64),
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


@kernel
def find_learned(records: Any, local: Any, ids: Any) -> int:
    """Return the record of a row's context, -1 where it has none or lost it.

    Shapes: local: a row's process-local section; ids = (workload, task, context).
    """
    workload, task, context = ids
    place = int(local["learned"][context]) - 1
    if place >= 0 and records[place]["workload"] == workload and records[place]["task"] == task:
        return place
    return -1


@kernel
def claim_learned(records: Any, hand: Any, local: Any, ids: Any) -> int:
    """Return a record for a row's context, that of whoever claimed one longest ago.

    Shapes: hand [2]: the next record to give away, how many were in use. Mutates: all but ids.
    """
    workload, task, context = ids
    place = int(hand[0])
    hand[0] = (place + 1) % len(records)
    if records[place]["workload"] != np.uint64(0):
        hand[1] += 1
    clear_learned(records[place])
    records[place]["workload"] = workload
    records[place]["task"] = task
    local["learned"][context] = place + 1
    return place


@kernel
def find_habits(records: Any, local: Any, workload: Any) -> int:
    """Return the record of a row's workload, -1 where it has none or lost it."""
    place = int(local["habits"]) - 1
    return place if place >= 0 and records[place]["workload"] == workload else -1


@kernel
def claim_habits(records: Any, hand: Any, local: Any, given: Any) -> int:
    """Return an empty record for a row's workload, that of whoever claimed one longest ago.

    Shapes: hand as `claim_learned` has it; given = (workload, [1] of an empty record).
    Mutates: records, hand, local.
    """
    workload, empty = given
    place = int(hand[0])
    hand[0] = (place + 1) % len(records)
    if records[place]["workload"] != np.uint64(0):
        hand[1] += 1
    records[place] = empty[0]
    records[place]["workload"] = workload
    local["habits"] = place + 1
    return place


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
    for part in range(PARTS):
        record["parts"][part] = 0
        record["parts_max"][part] = 0
    for candidate in range(CANDIDATES):
        record["likely"][candidate] = 0
