"""What was heard of each source, at every offset that a checkpoint may name."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.events import Source
from stream.runtime import Heard

batches = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 9)), max_size=4),
    ),
    max_size=30,
)


@given(batches)
def test_a_place_counts_once_and_only_forwards(given_batches: Any) -> None:
    """An entry is new when its offset is beyond every earlier one of its source."""
    heard, highest = Heard(()), {}
    for _, entries in given_batches:
        for partition, log, offset in entries:
            expected = offset > highest.get((partition, log), -1)
            assert heard.is_new(Source("t", partition, log, offset)) == expected
            if expected:
                highest[partition, log] = offset
    assert {each[1:3]: each[3] for each in heard.now()} == highest


@given(batches, st.integers(0, 200))
def test_what_was_heard_fits_the_offset(given_batches: Any, asked: int) -> None:
    """At the offset that comes back, exactly what lies before it had been heard."""
    heard, position, known = Heard(()), 0, {0: ()}
    for length, entries in given_batches:
        for partition, log, offset in entries:
            heard.is_new(Source("t", partition, log, offset))
        heard.applied(position, position + length)
        position += length
        known[position] = heard.now()
    at, places = heard.at(min(asked, position))
    assert at <= asked
    assert places == known[max(each for each in known if each <= at)]
    # Back to the start of its batch, at most.
    assert at >= max(each for each in known if each <= min(asked, position))


def test_what_is_heard_and_not_applied_yet_is_not_stored() -> None:
    """Between decoding and applying a checkpoint holds what was heard before."""
    heard = Heard((("t", 0, 0, 1),))
    assert heard.is_new(Source("t", 0, 0, 2))
    assert heard.at(6) == (6, (("t", 0, 0, 1),))
    heard.applied(6, 7)
    assert heard.at(7) == (7, (("t", 0, 0, 2),))


def test_it_stays_bounded_and_right() -> None:
    """With thousands of changes what comes back is coarser, and still what had been heard."""
    heard, known = Heard(()), {0: ()}
    for each in range(3_000):
        assert heard.is_new(Source("t", 0, 0, each))
        heard.applied(each, each + 1)
        known[each + 1] = heard.now()
    for offset in range(0, 3_000, 7):
        at, places = heard.at(offset)
        assert places == known[at]
    heard.forget_before(2_990)
    assert heard.at(2_999) == (2_999, known[2_999])
