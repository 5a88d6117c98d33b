"""The table of rows against a dict, with so few places that searches run into each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream.profiles import Layout
from stream.profiles.table import ProfileTable

SLOTS_MAX = 6
keys = st.integers(1, 24)
partitions = st.integers(0, 2)


class TableMachine(RuleBasedStateMachine):
    """Rows come, are used, stored and go, in any order; a dict of workload -> facts knows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ProfileTable(Layout((1,), (), ()), SLOTS_MAX)
        self.known: dict[int, dict[str, Any]] = {}
        self.batch = 0

    @precondition(lambda self: len(self.known) < SLOTS_MAX)
    @rule(key=keys, partition=partitions)
    def admit(self, key: int, partition: int) -> None:
        """A workload that is not there gets an empty, clean row."""
        if key in self.known:
            return
        slot = self.table.admit(key, f"w{key}", key + 100, partition)
        head = self.table.sections.head[slot]
        assert head[["workload", "offset", "home"]].tolist() == (key, -1, key + 100)
        assert not self.table.sections.counts[slot]["total"].any()
        self.known[key] = {"partition": partition, "used": 0, "unsaved": False, "mark": 0}

    @rule(key=keys, is_unsaved=st.booleans())
    def use(self, key: int, is_unsaved: bool) -> None:
        """An event changes a row, which then waits to be stored."""
        if key in self.known:
            self.batch += 1
            slot = self.table.find(key)
            self.table.sections.counts[slot]["total"] = self.batch
            self.table.sections.local[slot]["used"] = self.batch
            self.table.sections.local[slot]["unsaved_from"] = int(is_unsaved)
            self.known[key] |= {"used": self.batch, "unsaved": is_unsaved, "mark": self.batch}

    @rule(key=keys)
    def remove(self, key: int) -> None:
        """A row that goes leaves the others where they are found."""
        if self.known.pop(key, None):
            self.table.remove(self.table.find(key))

    @rule(count=st.integers(1, SLOTS_MAX), number=st.integers(0, 3))
    def choose_victims(self, count: int, number: int) -> None:
        """Only stored rows not used in the batch, the longest unused first, as many as asked."""
        able = {
            key: each["used"]
            for key, each in self.known.items()
            if not each["unsaved"] and each["used"] != self.batch - number
        }
        found = self.table.victims(count, self.batch - number).tolist()
        chosen = [int(self.table.sections.head[slot]["workload"]) for slot in found]
        assert len(chosen) == min(count, len(able))
        assert set(chosen) <= able.keys()
        rest = [used for key, used in able.items() if key not in chosen]
        assert max((able[key] for key in chosen), default=0) <= min(rest, default=self.batch)

    @rule(extra=st.integers(2, 9), keeps=st.booleans())
    def relayout(self, extra: int, keeps: bool) -> None:
        """A layout that names a window still keeps it, wherever it stands then."""
        self.table.relayout(Layout((extra, 1) if keeps else (1, extra), (extra,), ()))
        if not keeps:
            self.table.relayout(Layout((1,), (), ()))

    @invariant()
    def finds_what_is_there(self) -> None:
        """Each workload has one slot, with its own row; nobody else has one."""
        table, wanted = self.table, np.arange(1, 30, dtype=np.uint64)
        found = np.empty(len(wanted), np.int32)
        missing = table.locate(wanted, found)
        assert {int(key) for key, slot in zip(wanted, found, strict=True) if slot >= 0} == set(
            self.known
        )
        assert missing == len(wanted) - len(self.known)
        assert len(table) == len(self.known) == SLOTS_MAX - table.free
        place = table.layout.counts.index(1)
        for key, each in self.known.items():
            slot = table.find(key)
            assert table.names[slot] == f"w{key}"
            assert int(table.sections.counts[slot]["total"][place]) == each["mark"]
        assert table.used_slots().tolist() == sorted(int(each) for each in found if each >= 0)

    @invariant()
    def knows_whose_partition_it_is(self) -> None:
        """Rows are found by the partitions they live in."""
        for wanted in ([0], [1, 2], []):
            slots = self.table.slots_of(wanted).tolist()
            found = {int(self.table.sections.head[slot]["workload"]) for slot in slots}
            assert found == {k for k, each in self.known.items() if each["partition"] in wanted}


TestTable = TableMachine.TestCase


@given(st.lists(st.integers(1, (1 << 64) - 1), min_size=1, max_size=40, unique=True), st.data())
def test_removal_loses_nobody(drawn: list[int], data: st.DataObject) -> None:
    """Any keys, removed in any order: those left are found, those gone are not."""
    table = ProfileTable(Layout((), (), ()), len(drawn))
    for key in drawn:
        table.admit(key, str(key), 0, 0)
    gone = data.draw(st.lists(st.sampled_from(drawn), unique=True))
    for key in gone:
        table.remove(table.find(key))
    for key in drawn:
        slot = table.find(key)
        assert (slot < 0) == (key in gone)
        assert slot < 0 or table.names[slot] == str(key)
