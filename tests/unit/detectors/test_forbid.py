"""Marks of forbidden sequences, at the edges of their spans."""

from __future__ import annotations

import numpy as np
import pytest

from stream.detectors import is_match, may_renew, set_mark
from stream.profiles.layout import LEDGER_ENTRY, MARK

X, Y = np.uint64(7), np.uint64(8)


@pytest.mark.parametrize(
    ("at_ms", "within_ms", "matches"),
    [(100, 0, True), (101, 0, False), (110, 10, True), (111, 10, False), (90, 10, True),
     (89, 10, False)],
)  # fmt: skip
def test_a_span_reaches_both_ways_and_includes_its_end(
    at_ms: int, within_ms: int, matches: bool
) -> None:
    """The distance is that of event times, whichever was earlier."""
    mark = np.zeros(1, MARK)[0]
    assert not is_match(mark, within_ms, at_ms)
    set_mark(mark, X, 100)
    assert is_match(mark, within_ms, at_ms) == matches


def test_the_latest_first_is_kept() -> None:
    """An earlier one that comes late changes nothing; at the same time the one seen first stays."""
    mark = np.zeros(1, MARK)[0]
    for operation, at_ms in ((X, 100), (Y, 99), (Y, 100)):
        set_mark(mark, operation, at_ms)
        assert mark.tolist() == (101, 7)
    set_mark(mark, Y, 101)
    assert mark.tolist() == (102, 8)


def test_time_nought_is_a_time() -> None:
    """A mark at the beginning of time is a mark."""
    mark = np.zeros(1, MARK)[0]
    set_mark(mark, X, 0)
    assert is_match(mark, 5, 5)


@pytest.mark.parametrize(("span_ms", "first_ms"), [(1_600, 100), (1_000, 63), (16, 1), (1, 1)])
def test_a_match_renews_after_a_sixteenth(span_ms: int, first_ms: int) -> None:
    """Not a millisecond sooner, so at most 16 times in a command's duration."""
    entry = np.zeros(1, LEDGER_ENTRY)[0]
    entry["since_ms"], entry["until_ms"] = 5_000, 5_000 + span_ms
    assert not may_renew(entry, 5_000 + first_ms - 1)
    assert may_renew(entry, 5_000 + first_ms)
