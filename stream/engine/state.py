"""Everything a step reads and changes, and the forms in which it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream.enforcement import (
    KEPT_HABITS,
    NEVER_CLOSED,
    NOTHING_EXPECTED,
    Brakes,
    Closed,
    ConditionTables,
    Expectation,
    Held,
    Out,
    are_sound,
    closed_by,
    forget_unsound,
    held_tail,
    new_brakes,
    new_out,
    restore_held,
)
from stream.errors import NewerFormat, RowCorrupt
from stream.events import MET, Conditions
from stream.identity import parent_path
from stream.kernel import HashKey
from stream.policy import Policy, PolicyTables
from stream.profiles import (
    STORED,
    Layout,
    OperationTable,
    ProfileTable,
    RowFormat,
    with_tail,
)

PARTITIONS_MAX: Final = 4_096
FOREVER_MS: Final = (1 << 62) - 1
FILLED_AT_ONCE: Final = 4_096  # rows, whose bytes are joined for that
_NOTHING_HELD: Final[Held] = {}


class Bound(NamedTuple):
    """A policy bound to the layout of the rows, with the operations seen under it."""

    policy: Policy
    tables: PolicyTables
    operations: OperationTable


class State:
    """Everything a step reads and changes: rows, operations, conditions, what is held in force."""

    def __init__(self, key: HashKey, slots_max: int, partitions: int) -> None:
        if not 1 <= partitions <= PARTITIONS_MAX:
            raise ValueError(f"partitions must be 1..{PARTITIONS_MAX}, not {partitions}")
        self.key = key
        self.partitions = partitions
        self.table = ProfileTable(Layout((), (), ()), slots_max, KEPT_HABITS)
        self.format = RowFormat(self.table.layout, key.id)
        self.held: dict[int, Held] = {}
        self.conditions: dict[int, Conditions] = {}
        self.exempt: dict[int, dict[str, int]] = {}
        self.lifted: dict[int, dict[str, int]] = {}
        self.closed: dict[int, Closed] = {}
        self.bound: dict[str, Bound] = {}
        self.serial = self.batch_number = 0
        self.condition_tables = ConditionTables(
            *(np.zeros(partitions, kind) for kind in (np.int64,) * 2 + (np.int32,) * 3)
        )
        self.brakes = new_brakes(partitions)
        self.origins: dict[int, dict[int, int]] = {}
        self.out: Out = new_out()
        self.expected: dict[int, Expectation] = {}

    def widen(self, partitions: int) -> None:
        """Let there be more partitions; those that are there stay as they are."""
        assert self.partitions <= partitions <= PARTITIONS_MAX, partitions
        more = partitions - self.partitions
        self.condition_tables = ConditionTables(
            *(np.concatenate((each, np.zeros(more, each.dtype))) for each in self.condition_tables)
        )
        self.brakes = Brakes(
            *(np.concatenate(each) for each in zip(self.brakes, new_brakes(more), strict=True))
        )
        for bound in self.bound.values():
            bound.operations.widen(more)
        self.partitions = partitions

    def adopt(
        self,
        partition: int,
        conditions: Conditions,
        policy: Policy,
        expectation: Expectation = NOTHING_EXPECTED,
    ) -> None:
        """Let conditions hold in a partition from its next event on; rows are kept."""
        assert policy.hash == conditions.policy_hash
        assert expectation.version == conditions.baseline_version
        assert expectation.shed == conditions.shed
        self.expected[partition] = expectation
        self.conditions[partition] = conditions
        self.exempt[partition] = {each.workload: each.until_ms for each in conditions.exemptions}
        self.lifted[partition] = {each.workload: each.offset for each in conditions.lifts}
        self.closed.pop(partition, None)
        if conditions.full:
            self.closed[partition] = closed_by(conditions.full)
        self.origins[partition] = {each.partition: each.shift for each in conditions.ancestors}
        self.condition_tables.forgotten_before_ms[partition] = conditions.forgotten_before_ms
        self.condition_tables.stopped_until_ms[partition] = conditions.stopped_until_ms
        self.condition_tables.era[partition] = conditions.era
        self.condition_tables.log_era[partition] = conditions.log_era
        self.condition_tables.fresh_era[partition] = conditions.fresh_era
        self.brakes.closed_from[partition] = NEVER_CLOSED
        for tier in conditions.braked if policy.brake is not None else ():
            if tier in policy.tiers:
                # Not from the beginning: some events of the record before may be yet to come.
                self.brakes.closed_from[partition, policy.tiers[tier]] = conditions.from_offset
        self.serial += 1
        in_use = {each.policy_hash for each in self.conditions.values()}
        for gone in set(self.bound) - in_use:
            del self.bound[gone]
        if policy.hash not in self.bound:
            self._bind(policy)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget partitions and their rows, saving nothing."""
        gone = set(partitions)
        for slot in self.table.slots_of(gone).tolist():
            self.evict(slot)
        for partition in gone:
            self.conditions.pop(partition, None)
            self.expected.pop(partition, None)
            self.closed.pop(partition, None)
            self.brakes.left[partition] = self.brakes.counts_from[partition] = NEVER_CLOSED
            for bound in self.bound.values():
                bound.operations.seen[:, partition] = 0

    def drop_moved(self, partition: int, count: int) -> None:
        """Forget the rows of a partition whose home among so many is another; they are stored."""
        for slot in self.table.moved(partition, count).tolist():
            self.evict(slot)

    def release(self) -> None:
        """Give the memory of all rows back; of this state nothing is read any more.

        Whoever ends keeps references for a while, as errors and tasks do, and the next state has
        as many rows.
        """
        self.table = ProfileTable(Layout((), (), ()), 1, KEPT_HABITS)
        self.held.clear()
        self.bound.clear()
        self.expected.clear()
        self.out = new_out()

    def evict(self, slot: int) -> None:
        """Forget one row in this process."""
        self.held.pop(slot, None)
        self.table.remove(slot)

    def stored(self, slots: Sequence[int]) -> list[bytes]:
        """Return the stored form of rows, with what is held in force on them, and who they are.

        The name is there where habits are: whoever falls silent must be missed by name.
        """
        encoded = self.format.encode(self.table, slots)
        is_named = self.table.sections.local["habits"][np.array(slots, np.int64)] > 0
        if not self.held and not is_named.any():
            return encoded
        return [
            with_tail(row, tail) if (tail := self._tail_of(slot, is_named=named)) else row
            for slot, row, named in zip(slots, encoded, is_named.tolist(), strict=True)
        ]

    def _tail_of(self, slot: int, *, is_named: bool) -> bytes:
        name = self.table.names[slot] if is_named else None
        return held_tail(self.held.get(slot, _NOTHING_HELD), name or "")

    def restore(self, name: str, ids: tuple[int, int, int], stored: bytes) -> int:
        """Admit a stored row; return its slot. `ids` are hash, home and partition.

        Errors: RowCorrupt, NewerFormat; the row is then not there.
        """
        keys, homes, partitions = np.array([ids[0]], np.uint64), *np.array([ids[1:]]).T
        slots, faults = self.restore_all(keys, [name], (homes, partitions), [stored])
        if faults:
            raise faults[0]
        return slots[0]

    def restore_all(
        self, keys: Any, names: Sequence[str], places: tuple[Any, Any], stored: Sequence[bytes]
    ) -> tuple[list[int], list[RowCorrupt]]:
        """Admit stored rows; return the slots of those that are sound, and why others are not.

        To admit them one by one would take most of the time.
        Shapes: keys, names, stored [row], hashes that differ; places: homes and partitions [row].
        Errors: NewerFormat; none of the rows that follow is there then.
        """
        slots = self.table.admit_all(keys, names, *places).tolist()
        partitions = places[1].tolist()
        is_done = self._fill_plain(slots, partitions, stored)
        good = [slot for slot, done in zip(slots, is_done, strict=True) if done]
        others = [place for place, done in enumerate(is_done) if not done]
        faults: list[RowCorrupt] = []
        try:
            for number, place in enumerate(others):
                slot, name, partition = slots[place], names[place], partitions[place]
                try:
                    self._fill(slot, partition, stored[place])
                except NewerFormat as error:
                    for left in others[number:]:
                        self.evict(slots[left])
                    raise NewerFormat(f"partition {partition}, {name}: {error.message}") from error
                except (RowCorrupt, ValueError, RecursionError) as error:
                    self.evict(slot)
                    said = f"partition {partition}: the stored row of {name} is corrupt: {error}"
                    faults.append(RowCorrupt(said))
                else:
                    good.append(slot)
        finally:
            self.table.reset_local(good)
            self.table.sections.local["standing"][good] = STORED
        return good, faults

    def _fill_plain(
        self, slots: list[int], partitions: list[int], stored: Sequence[bytes]
    ) -> list[bool]:
        """Make empty rows what is stored, where one kernel can for all; say which it did."""
        is_done: list[bool] = []
        head = self.table.sections.head
        for start in range(0, len(slots), FILLED_AT_ONCE):
            some = slice(start, start + FILLED_AT_ONCE)
            mine, homes = np.array(slots[some]), np.array(partitions[some])
            empty = head[mine]
            done = self.format.restore_plain(self.table, mine, stored[some])
            sound = are_sound(self.table, mine)
            self.format.empty(self.table, mine[done & ~sound], empty[done & ~sound])
            done &= sound
            for place in np.flatnonzero(done & (head["partition"][mine] != homes)).tolist():
                home = int(homes[place])
                self.table.rehome(int(mine[place]), home, self.origins[home])
            for partition in set(partitions[some]):
                # These may hold what the layout does not name.
                ahead = done & (homes == partition)
                ahead[ahead] = self._are_ahead(mine[ahead], partition)
                self.format.empty(self.table, mine[ahead], empty[ahead])
                done &= ~ahead
            is_done += done.tolist()
        return is_done

    def _fill(self, slot: int, partition: int, stored: bytes) -> None:
        """Make an empty row what is stored. Errors: RowCorrupt, NewerFormat, ValueError."""
        tail = self.format.restore(self.table, slot, stored)
        self.table.rehome(slot, partition, self.origins[partition])
        is_ahead = self._are_ahead(np.array([slot]), partition)[0]
        if is_ahead and (unnamed := self.format.unnamed(stored)):
            self._relayout(self.table.layout.union(unnamed))
            tail = self.format.restore(self.table, slot, stored)
            self.table.rehome(slot, partition, self.origins[partition])
        if not are_sound(self.table, np.array([slot]))[0]:
            raise RowCorrupt("no worker would have stored such times, counts or commands")
        held = restore_held(self.key, tail)
        forget_unsound(self.table, slot)
        if held:
            self.held[slot] = held

    def _are_ahead(self, slots: Any, partition: int) -> Any:
        """Tell which rows were stored under conditions that this process has yet to reach.

        So it is after a crash. A row that is behind loses what its next event's policy does not
        name; this one is in use by then, and must have it all. Shapes: slots, returned [row].
        """
        head, conditions = self.table.sections.head[slots], self.conditions[partition]
        is_other = head["policy"] != self.bound[conditions.policy_hash].policy.number
        first = max(conditions.log_era, conditions.fresh_era)
        return is_other & (head["era"] >= first) & (head["offset"] >= conditions.from_offset)

    def _bind(self, policy: Policy) -> None:
        """Bind a policy, giving rows the layout that all policies in use need.

        Only an event may make a row forget, whoever else is in memory: rows that hold more are
        evicted if they are stored, and until they are, what they hold keeps its place.
        """
        layout = policy.layout
        for bound in self.bound.values():
            layout = bound.policy.layout.union(layout)
        stored, held = self.table.beyond(layout)
        for slot in stored.tolist():
            self.evict(slot)
        self._relayout(layout.union(held))
        operations = OperationTable(policy, self.partitions)
        self.bound[policy.hash] = Bound(policy, policy.bind(self.table.layout), operations)

    def _relayout(self, layout: Layout) -> None:
        """Give rows, their format and the bound policies another layout."""
        if layout != self.table.layout:
            self.table.relayout(layout)
            self.format = RowFormat(layout, self.key.id)
            for name, each in self.bound.items():
                self.bound[name] = each._replace(tables=each.policy.bind(layout))

    def resolve(self, slots: Any, policy: Policy) -> None:
        """Find out once what conditions mean for rows: class, exemption, lift."""
        local = self.table.sections.local
        partitions = self.table.sections.head["partition"][slots].tolist()
        names = [self.table.names[slot] or "" for slot in slots.tolist()]
        assert all(names), "every row in use has a name"
        local["class_index"][slots] = [policy.class_of(name) for name in names]
        if any(each.facts is not None for each in self.expected.values()):
            local["peers"][slots] = self.key.hash_all([parent_path(name) for name in names])
        local["exempt_until_ms"][slots] = [
            FOREVER_MS if policy.is_exempt(name) else self.exempt[partition].get(name, 0)
            for partition, name in zip(partitions, names, strict=True)
        ]
        local["lift_offset"][slots] = [
            self.lifted[partition].get(name, MET)
            for partition, name in zip(partitions, names, strict=True)
        ]
        local["serial"][slots] = self.serial
