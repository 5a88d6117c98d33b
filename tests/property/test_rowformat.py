"""The row in Redis: any row comes back as it was, and nothing else comes back at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.engine import State
from stream.errors import RowCorrupt
from stream.kernel import HashKey
from stream.profiles import Layout, RowFormat, stored_clock_ms, with_tail
from stream.profiles.layout import HEAD
from stream.profiles.table import ProfileTable
from tests.models.driver import KEY, Driver
from tests.models.logs import T0_MS, Request, change_of, log_of, policy_of

COUNTS, SUMS, FORBIDS = (7, 2**63, 11), (5, 2**64 - 1), (3, 2)
LAYOUT = Layout(COUNTS, SUMS, FORBIDS)
WORKLOAD = 0xFEED
ids = st.permutations
layouts = st.builds(
    Layout,
    st.permutations([*COUNTS, 21]).map(lambda each: tuple(each[:3])),
    st.permutations([*SUMS, 22]).map(lambda each: tuple(each[:2])),
    st.permutations([*FORBIDS, 23]).map(lambda each: tuple(each[:2])),
)


def table_of(layout: Layout = LAYOUT) -> ProfileTable:
    """A table with one empty row."""
    table = ProfileTable(layout, 1)
    table.admit(WORKLOAD, "w", 5, 1)
    return table


@st.composite
def tables(draw: st.DrawFn, layout: Layout = LAYOUT) -> ProfileTable:
    """Draw a table with one row, some of its bytes anything."""
    table = table_of(layout)
    row = table.rows[0:1].view(np.uint8)
    for start, data in draw(
        st.lists(st.tuples(st.integers(0, len(row) - 1), st.binary(max_size=40)), max_size=30)
    ):
        piece = data[: len(row) - start]
        row[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
    table.sections.head[0]["workload"] = WORKLOAD
    table.sections.local[["learned", "habits"]][0] = 0
    return table


def content(table: ProfileTable) -> dict[str, bytes]:
    """All that a row means: its sections by name, windows and marks by id; none that is zero."""
    found = {}
    for name in ("head", "contexts", "transitions", "ledger"):
        found[name] = table.rows[name][0].tobytes()
    for name in ("counts", "sums"):
        for place, each in enumerate(getattr(table.layout, name)):
            found[f"{name} {each}"] = table.rows[name][0][place].tobytes()
    for place, each in enumerate(table.layout.forbids):
        found[f"marks {each}"] = table.rows["marks"][0][:, place].tobytes()
    return {name: data for name, data in found.items() if any(data)}


def encoded(table: ProfileTable) -> bytes:
    """The stored form of the only row."""
    return RowFormat(table.layout, KEY.id).encode(table, [0])[0]


@given(tables(), layouts, st.binary(max_size=50))
def test_a_row_comes_back_as_it_was(table: ProfileTable, layout: Layout, tail: bytes) -> None:
    """In a layout of any order all comes back that it names, and the tail; the rest is skipped."""
    stored, other = encoded(table), table_of(layout)
    found = RowFormat(layout, KEY.id).restore(other, 0, with_tail(stored, tail))
    assert found == tail
    named = {
        *("head", "contexts", "transitions", "ledger"),
        *(f"counts {each}" for each in layout.counts),
        *(f"sums {each}" for each in layout.sums),
        *(f"marks {each}" for each in layout.forbids),
    }
    assert content(other) == {name: data for name, data in content(table).items() if name in named}


@given(tables(), st.permutations(COUNTS), st.permutations(SUMS), st.permutations(FORBIDS))
def test_equal_rows_are_equal_bytes(
    table: ProfileTable, counts: list[int], sums: list[int], forbids: list[int]
) -> None:
    """Whatever places a layout gives to windows and marks, the stored row is the same."""
    other = table_of(Layout(tuple(counts), tuple(sums), tuple(forbids)))
    RowFormat(other.layout, KEY.id).restore(other, 0, encoded(table))
    assert encoded(other) == encoded(table)


@given(tables())
def test_what_is_unused_is_left_out(table: ProfileTable) -> None:
    """Only sections that hold something take room, and an empty row is its head."""
    table.rows["local"] = 0
    stored, row = encoded(table), table.rows[0].tobytes()
    assert len(stored) <= 16 + len(row) + 16 * 64
    empty = encoded(table_of())
    assert len(empty) == 16 + 16 + HEAD.itemsize


@given(tables(), st.binary(max_size=20), st.data())
def test_any_flipped_bit_is_noticed(table: ProfileTable, tail: bytes, data: st.DataObject) -> None:
    """One bit that is not as written makes the row corrupt, and leaves an empty one."""
    stored = bytearray(with_tail(encoded(table), tail))
    bit = data.draw(st.integers(0, len(stored) * 8 - 1))
    stored[bit // 8] ^= 1 << bit % 8
    other = table_of()
    before = other.rows.tobytes()
    with pytest.raises(RowCorrupt):
        RowFormat(LAYOUT, KEY.id).restore(other, 0, bytes(stored))
    assert other.rows.tobytes() == before


@given(tables(), st.binary(min_size=1, max_size=20), st.data())
def test_a_row_cut_short_is_noticed(table: ProfileTable, tail: bytes, data: st.DataObject) -> None:
    """A row without its last bytes is corrupt, however many are missing."""
    stored = with_tail(encoded(table), tail)
    end = data.draw(st.integers(0, len(stored) - 1))
    with pytest.raises(RowCorrupt):
        RowFormat(LAYOUT, KEY.id).restore(table_of(), 0, stored[:end])


@given(st.binary(max_size=300))
def test_what_is_no_row_is_noticed(data: bytes) -> None:
    """Any bytes are a row or corrupt; nothing else is raised."""
    with pytest.raises(RowCorrupt):
        RowFormat(LAYOUT, KEY.id).restore(table_of(), 0, data)


@given(st.binary(max_size=300), st.integers(0, 40))
def test_the_clock_of_any_bytes_is_some_time(data: bytes, length: int) -> None:
    """Whoever only asks for the clock gets one, of what is too short one beyond all times."""
    assert isinstance(stored_clock_ms(data), int)
    assert stored_clock_ms(data[:length]) > T0_MS


def restored(stored: bytes, key: HashKey = KEY) -> State:
    """A process that has restored a row of the workload `w`."""
    state = State(key, 4, 1)
    change = change_of(policy_of())
    state.adopt(0, change.conditions, change.policy)
    state.restore("spiffe://td/w", (KEY.hash("spiffe://td/w"), 5, 0), stored)
    return state


@given(st.binary(max_size=60))
def test_a_tail_that_is_not_ours_is_corrupt(tail: bytes) -> None:
    """Bytes with a right checksum that are no commands are refused, and the row is not there."""
    requests = [Request(T0_MS, "spiffe://td/w", "tool:x")]
    log = log_of(policy_of(), *requests)
    row = Driver(log).run(log.lines).rows()["spiffe://td/w"]
    if not tail:
        assert len(restored(row).table) == 1
        return
    with pytest.raises(RowCorrupt, match="spiffe://td/w"):
        restored(with_tail(row, tail))


@given(st.binary(min_size=16, max_size=16))
def test_a_row_under_another_key_is_refused(secret: bytes) -> None:
    """Its hashes would mean nothing; the key's id in the row tells."""
    log = log_of(policy_of(), Request(T0_MS, "spiffe://td/w", "tool:x"))
    row = Driver(log).run(log.lines).rows()["spiffe://td/w"]
    other = HashKey(secret)
    if other.id == KEY.id:
        return
    with pytest.raises(RowCorrupt, match="another hash key"):
        restored(row, other)
