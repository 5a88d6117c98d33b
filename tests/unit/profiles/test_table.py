"""The table of rows: its bounds, and what it says about rows that hold more than a layout."""

from __future__ import annotations

import pytest

from stream.profiles import Layout, ProfileTable
from stream.profiles.table import SLOTS_MAX_MAX

LAYOUT = Layout((1, 2), (3,), (4, 5))


def table_of(count: int) -> ProfileTable:
    """A table with so many rows, all clean."""
    table = ProfileTable(LAYOUT, count)
    for key in range(1, count + 1):
        table.admit(key, f"w{key}", 0, 0)
    return table


@pytest.mark.parametrize("slots_max", [0, -1, SLOTS_MAX_MAX + 1])
def test_a_table_has_a_stated_number_of_slots(slots_max: int) -> None:
    """None at all, or more than a 32-bit slot can name, is refused."""
    with pytest.raises(ValueError, match="slots_max must be 1"):
        ProfileTable(LAYOUT, slots_max)


def test_a_full_table_admits_nobody() -> None:
    """Whoever admits makes room first; anything else is a mistake of ours."""
    with pytest.raises(AssertionError, match="evict first"):
        table_of(2).admit(9, "w9", 0, 0)


def test_a_slot_used_again_holds_nothing_of_the_last_row() -> None:
    """Who comes next finds an empty row."""
    table = table_of(1)
    table.rows[0:1].view("u1")[:] = 255
    table.sections.local[["learned", "habits"]][0] = 0
    table.sections.head[0]["workload"] = 1
    table.remove(0)
    assert table.free == 1
    slot = table.admit(7, "w7", 70, 2)
    head = table.sections.head[slot]
    assert head[["workload", "offset", "home", "partition", "clock_ms"]].tolist() == (
        7,
        -1,
        70,
        2,
        0,
    )
    local = table.sections.local[slot]
    assert local[["unsaved_from", "serial", "in_use", "saving"]].tolist() == (0, -1, 1, 0)
    assert not table.sections.marks[slot]["at_ms"].any()


def test_rows_that_wait_to_be_stored_are_no_victims() -> None:
    """Neither unsaved ones, nor those whose write is under way, nor those of this batch."""
    table = table_of(4)
    local = table.sections.local
    local["used"][:4] = [1, 2, 3, 9]
    local["unsaved_from"][0] = 1
    local["saving"][1] = 1
    assert table.victims(4, 9).tolist() == [2]
    local["unsaved_from"][0] = local["saving"][1] = 0
    assert sorted(table.victims(2, 9).tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("section", "place", "left", "lacking"),
    [
        ("counts", (0, 1), Layout((1,), (3,), (4, 5)), Layout((2,), (), ())),
        ("sums", (0, 0), Layout((1, 2), (), (4, 5)), Layout((), (3,), ())),
        ("marks", (0, 6, 1), Layout((1, 2), (3,), (4,)), Layout((), (), (5,))),
    ],
)
def test_a_row_beyond_a_layout_is_named(
    section: str, place: tuple[int, ...], left: Layout, lacking: Layout
) -> None:
    """A stored row that holds more may leave memory; of an unsaved one the place must be kept."""
    table = table_of(3)
    nothing = Layout((), (), ())
    assert table.beyond(left)[0].tolist() == []
    getattr(table.sections, section)[place]["at_ms" if section == "marks" else "total"] = 1
    assert table.beyond(LAYOUT)[0].tolist() == []
    stored, held = table.beyond(left)
    assert (stored.tolist(), held) == ([0], nothing)
    table.sections.local[0]["unsaved_from"] = 1
    stored, held = table.beyond(left)
    assert (stored.tolist(), held) == ([], lacking)
    table.sections.local[0]["unsaved_from"] = 0
    table.sections.local[0]["saving"] = 1
    assert table.beyond(left)[1] == lacking
    assert table.beyond(left.union(lacking))[1] == nothing
