"""The one table of rows of a process: found by the workload's keyed hash, bounded by slots_max.

The index is open addressing with linear probing and backward-shift deletion, keys and slots in
two arrays, so that a kernel can search it. Rows are allocated once (untouched pages cost
nothing). Eviction takes only rows that are stored, the longest unused first; it changes nothing
but memory, because a row that comes back is the row that went.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel, mix64

from .layout import CONTEXTS, UNSTORED, Layout, Rows, Sections, sections
from .learned import LEARNED, RecordTable
from .learned_sections import NO_HABITS, HabitKinds, stored_as

Ints = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]

SLOTS_MAX_MAX: Final = 16_000_000


@kernel
def _place_of(key: Any, mask: Any) -> Any:
    """Return where the search for a key starts."""
    return mix64(key, np.uint64(0)) & mask


@kernel
def find_slot(keys: Any, slots: Any, key: Any) -> int:
    """Return the slot of a key, -1 where it has none."""
    mask = np.uint64(len(keys) - 1)
    place = _place_of(key, mask)
    while keys[np.int64(place)] != np.uint64(0):
        if keys[np.int64(place)] == key:
            return int(slots[np.int64(place)])
        place = (place + np.uint64(1)) & mask
    return -1


@kernel
def locate(wanted: Any, keys: Any, slots: Any, out: Any) -> int:
    """Write the slot of each wanted key into `out`, -1 for unknown ones; return how many those.

    Shapes: wanted, out [event]. Mutates: out.
    """
    missing = 0
    for event in range(len(wanted)):
        slot = find_slot(keys, slots, wanted[event])
        out[event] = slot
        if slot < 0:
            missing += 1
    return missing


@kernel
def insert_key(keys: Any, slots: Any, key: Any, slot: int) -> None:
    """Add a key that is not there. Mutates: keys, slots."""
    mask = np.uint64(len(keys) - 1)
    place = _place_of(key, mask)
    while keys[np.int64(place)] != np.uint64(0):
        place = (place + np.uint64(1)) & mask
    keys[np.int64(place)] = key
    slots[np.int64(place)] = slot


@kernel
def insert_keys(keys: Any, slots: Any, new: Any, new_slots: Any) -> None:
    """Add keys that are not there. Mutates: keys, slots."""
    for place in range(len(new)):
        insert_key(keys, slots, new[place], new_slots[place])


@kernel
def remove_key(keys: Any, slots: Any, key: Any) -> None:
    """Remove a key, shifting back what probed past it. Mutates: keys, slots.

    Source: Knuth, TAOCP vol. 3, 6.4, algorithm R.
    """
    mask = np.uint64(len(keys) - 1)
    one = np.uint64(1)
    hole = _place_of(key, mask)
    while keys[np.int64(hole)] != key:
        if keys[np.int64(hole)] == np.uint64(0):
            return
        hole = (hole + one) & mask
    place = hole
    while True:
        place = (place + one) & mask
        other = keys[np.int64(place)]
        if other == np.uint64(0):
            break
        home = _place_of(other, mask)
        around = place + mask + one
        if ((around - home) & mask) >= ((around - hole) & mask):
            keys[np.int64(hole)] = other
            slots[np.int64(hole)] = slots[np.int64(place)]
            hole = place
    keys[np.int64(hole)] = np.uint64(0)
    slots[np.int64(hole)] = -1


@kernel
def touch(events: Any, slots: Any, local: Any, number: int, serial: int) -> int:
    """Mark the rows of a batch as used; return how many were resolved under older conditions.

    A failed authentication uses no row, whomever it names: its slot is none from here on.
    Mutates: slots, local.
    """
    stale = 0
    for event in range(len(slots)):
        if events[event]["authenticated"] == 0:
            slots[event] = -1
        slot = slots[event]
        if slot >= 0:
            local[slot]["used"] = number
            if local[slot]["serial"] != serial:
                stale += 1
    return stale


def _rows(slots_max: int, layout: Layout) -> Rows:
    """Return room for rows.

    Never for a single one: to kernels that would be an array of another kind, for which all of them
    are compiled once more.
    """
    return np.zeros(max(slots_max, 2), layout.dtype)


class ProfileTable:
    """Rows, the index that finds them, and the names behind their hashes.

    Shapes: rows [slot] of layout.dtype; names [slot], the canonical workload or None.
    """

    def __init__(self, layout: Layout, slots_max: int, habits: HabitKinds = NO_HABITS) -> None:
        if not 1 <= slots_max <= SLOTS_MAX_MAX:
            raise ValueError(f"slots_max must be 1..{SLOTS_MAX_MAX}, not {slots_max}")
        self.layout = layout
        self.slots_max = slots_max
        self.rows: Rows = _rows(slots_max, layout)
        self.sections: Sections = sections(self.rows)
        size = 1 << (2 * slots_max - 1).bit_length()
        self.keys: Words = np.zeros(size, np.uint64)
        self.slots: Ints = np.full(size, -1, np.int32)
        self.names: list[str | None] = [None] * slots_max
        self.stored_as = stored_as(habits)
        self.learned = RecordTable(slots_max * CONTEXTS, LEARNED, habits.context)
        self.habits = RecordTable(slots_max, habits.workload)
        self._free: list[int] = []
        self._untouched = 0  # slots from here on were never used

    def __len__(self) -> int:
        return self._untouched - len(self._free)

    @property
    def free(self) -> int:
        """Return how many more rows fit."""
        return self.slots_max - len(self)

    @property
    def row_bytes(self) -> int:
        """Return the size of one row in memory."""
        return int(self.rows.dtype.itemsize)

    def find(self, key: int) -> int:
        """Return the slot of a workload's hash, -1 where it has none."""
        return int(find_slot(self.keys, self.slots, np.uint64(key)))

    def locate(self, wanted: Words, out: Ints) -> int:
        """Write the slot of each hash into `out`, -1 for unknown; return how many those are."""
        return int(locate(wanted, self.keys, self.slots, out))

    def admit(self, key: int, name: str, home: int, partition: int) -> int:
        """Return the slot of a new, empty row.

        Requires: a free slot, and that the key is not in the table.
        """
        one = np.array([key], np.uint64)
        return int(self.admit_all(one, [name], np.array([home]), np.array([partition]))[0])

    def admit_all(self, keys: Words, names: Sequence[str], homes: Ints, partitions: Ints) -> Ints:
        """Return the slots of new, empty rows.

        Requires: as many free slots; keys that differ and are not in the table.
        Shapes:   all [row].
        """
        count = len(keys)
        assert self.free >= count, "admit needs free slots: evict first"
        again = self._free[len(self._free) - min(count, len(self._free)) :]
        del self._free[len(self._free) - len(again) :]
        fresh = range(self._untouched, self._untouched + count - len(again))
        self._untouched = fresh.stop
        slots = np.array([*reversed(again), *fresh], np.int32)
        insert_keys(self.keys, self.slots, keys, slots)
        for slot, name in zip(slots.tolist(), names, strict=True):
            self.names[slot] = name
        if again:
            self.rows[slots[: len(again)]] = np.zeros((), self.rows.dtype)
        head = self.sections.head
        head["workload"][slots] = keys
        head["offset"][slots] = -1
        head["home"][slots] = homes
        head["partition"][slots] = partitions
        self.reset_local(slots)
        return slots

    def reset_local(self, slots: Any) -> None:
        """Make the process-local section that of rows just admitted or restored: clean."""
        local = self.sections.local
        local["unsaved_from"][slots] = 0
        local["serial"][slots] = -1
        local["in_use"][slots] = 1
        local["saving"][slots] = 0
        local["standing"][slots] = UNSTORED

    def remove(self, slot: int) -> None:
        """Forget a row in this process."""
        self.release_records(slot)
        remove_key(self.keys, self.slots, np.uint64(self.sections.head[slot]["workload"]))
        self.sections.local[slot]["in_use"] = 0
        self.sections.local[slot]["unsaved_from"] = 0
        self.names[slot] = None
        self._free.append(slot)

    def release_records(self, slot: int) -> None:
        """Take back all records of a row: it has shown nothing."""
        local = self.sections.local
        self.learned.release(local["learned"][slot])
        self.habits.release(local["habits"][slot : slot + 1])

    def used_slots(self) -> Ints:
        """Return the slots in use, ascending."""
        in_use = self.sections.local["in_use"][: self._untouched]
        return np.flatnonzero(in_use).astype(np.int32)

    def slots_of(self, partitions: Iterable[int]) -> Ints:
        """Return the slots of rows that live in one of the partitions."""
        slots = self.used_slots()
        homes = self.sections.head["partition"][slots]
        wanted = np.fromiter(partitions, np.int32)
        # Of one, as at each save, a comparison costs a tenth of a search.
        is_here = homes == wanted[0] if len(wanted) == 1 else np.isin(homes, wanted)
        here: Ints = slots[is_here]
        return here

    def moved(self, partition: int, count: int) -> Ints:
        """Return the slots of rows of a partition whose home among so many is another.

        Requires: they are stored.
        """
        slots = self.slots_of([partition])
        moved: Ints = slots[self.sections.head["home"][slots] % count != partition]
        assert not self.sections.local["unsaved_from"][moved].any(), "stored before it moves"
        return moved

    def rehome(self, slot: int, partition: int, origins: Mapping[int, int]) -> None:
        """Let a row of an earlier home count on in this one, all it has applied being before.

        Offsets of two logs do not compare. Those up to where the workload left its earlier home
        are given negative numbers here, in their order: so no event of this log looks applied, and
        a lift that the row has met stays met, while one it has yet to meet still comes.
        `origins` says for each earlier home by how much. Mutates: the row.
        """
        head = self.sections.head[slot]
        before = int(head["partition"])
        head["partition"] = partition
        if before == partition:
            return
        if before in origins:
            head["offset"] = min(int(head["offset"]) - origins[before], -1)
            head["lift_offset"] -= origins[before]
        else:
            head["offset"], head["lift_offset"] = -1, 0

    def learners(self, records: int, batch_number: int) -> Ints:
        """Return stored rows to evict that have so many records, longest unused first.

        Rows used in batch `batch_number` stay; there may be fewer.
        """
        slots = self.victims(self.slots_max, batch_number)
        local = self.sections.local
        held = np.count_nonzero(local["learned"][slots], axis=1)
        held = np.maximum(held, local["habits"][slots] != 0)
        slots, held = slots[held > 0], held[held > 0]
        order = np.argsort(local["used"][slots], kind="stable")
        enough = int(np.searchsorted(np.cumsum(held[order]), records)) + 1
        chosen: Ints = slots[order[:enough]]
        return chosen

    def victims(self, count: int, batch_number: int) -> Ints:
        """Return up to `count` slots to evict: stored rows, the longest unused first.

        Rows used in batch `batch_number` stay.
        """
        slots: Ints = self.used_slots()
        local = self.sections.local[slots]
        able = (local["unsaved_from"] == 0) & (local["saving"] == 0)
        able &= local["used"] != batch_number
        slots, used = slots[able], local["used"][able]
        if len(slots) > count:
            slots = slots[np.argpartition(used, count)[:count]]
        return slots

    def beyond(self, layout: Layout) -> tuple[Ints, Layout]:
        """Return the stored rows that hold what a layout does not name, and what others hold so."""
        slots = self.used_slots()
        local, marks = self.sections.local[slots], self.sections.marks["at_ms"][slots]
        is_stored = (local["unsaved_from"] == 0) & (local["saving"] == 0)
        is_beyond = np.zeros(len(slots), bool)
        kept: list[tuple[int, ...]] = []
        for ours, theirs, has in (
            (self.layout.counts, layout.counts, self.sections.counts["total"][slots] != 0),
            (self.layout.sums, layout.sums, self.sections.sums["total"][slots] != 0),
            (self.layout.forbids, layout.forbids, (marks != 0).any(axis=1)),
        ):
            places = [place for place, each in enumerate(ours) if each not in theirs]
            is_beyond |= has[:, places].any(axis=1)
            kept.append(tuple(ours[each] for each in places if has[~is_stored, each].any()))
        return slots[is_stored & is_beyond], Layout(*kept)

    def relayout(self, layout: Layout) -> None:
        """Give the rows another layout; what both layouts name is kept, the rest is dropped."""
        if layout == self.layout:
            return
        rows = _rows(self.slots_max, layout)
        new, count = sections(rows), self._untouched
        for name in ("head", "local", "contexts", "transitions", "ledger"):
            rows[name][:count] = self.rows[name][:count]
        for ours, theirs, views in (
            (self.layout.counts, layout.counts, (self.sections.counts, new.counts)),
            (self.layout.sums, layout.sums, (self.sections.sums, new.sums)),
        ):
            for place, each in enumerate(theirs):
                if each in ours:
                    views[1][:count, place] = views[0][:count, ours.index(each)]
        for place, each in enumerate(layout.forbids):
            if each in self.layout.forbids:
                old = self.layout.forbids.index(each)
                new.marks[:count, :, place] = self.sections.marks[:count, :, old]
        self.rows, self.sections, self.layout = rows, new, layout
