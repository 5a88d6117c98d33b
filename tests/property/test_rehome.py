"""A row at a later home of its workload: nothing of it counts as an event of the new log."""

from hypothesis import given
from hypothesis import strategies as st

from stream.profiles import Layout, ProfileTable

numbers = st.integers(0, 1 << 40)


@given(numbers, numbers, numbers, st.booleans())
def test_what_was_applied_lies_before_the_first_offset(
    applied: int, lifted: int, cut: int, is_known: bool
) -> None:
    """And lifts keep their order: one is met after the move exactly if it was before."""
    table = ProfileTable(Layout((), (), ()), 1)
    slot = table.admit(5, "w", 9, 1)
    head = table.sections.head[slot]
    head["offset"], head["lift_offset"] = applied, lifted
    table.rehome(slot, 7, {1: cut} if is_known else {})
    assert head["partition"] == 7
    assert head["offset"] < 0
    for lift in (lifted - 1, lifted, lifted + 1):
        if is_known:
            assert (lift - cut > head["lift_offset"]) == (lift > lifted)
    before = head.copy()
    table.rehome(slot, 7, {1: cut, 7: 3})
    assert head == before


def test_rows_that_move_are_those_whose_home_is_elsewhere() -> None:
    """By the murmur2 that a row carries, and only rows of the partition."""
    table = ProfileTable(Layout((), (), ()), 8)
    slots = {home: table.admit(home + 1, "w", home, home % 2) for home in range(6)}
    assert sorted(table.moved(0, 4).tolist()) == [slots[2]]
    assert sorted(table.moved(1, 6).tolist()) == [slots[3], slots[5]]
