"""The size of fetches: it follows the link, and a narrow one gets all through in the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bus.kafka_pace import FIRST_BYTES, LEAST_BYTES, Pace

REQUEST_S = 20.0
MAX_BYTES = 50 << 20


def fetched(pace: Pace, waiting: int, bytes_per_s: float) -> tuple[int, int, float]:
    """Fetch what waits over a link; return how much is left, how often given up, and the time."""
    given_up, took_s = 0, 0.0
    for _ in range(10_000):
        if waiting <= 0:
            break
        size = min(pace.bytes, waiting)
        span_s = size / bytes_per_s
        if span_s > REQUEST_S:
            pace.gave_up()
            given_up += 1
            took_s += REQUEST_S
        else:
            pace.came(size, span_s)
            waiting -= size
            took_s += span_s
    return waiting, given_up, took_s


@given(st.floats(2_000, 1e9))
def test_everything_comes_over_any_link(bytes_per_s: float) -> None:
    """No link is so narrow that it stays at what it cannot carry; at most few are in vain."""
    pace = Pace(MAX_BYTES, REQUEST_S)
    left, given_up, took_s = fetched(pace, 40 << 20, bytes_per_s)
    assert left <= 0
    assert given_up <= 3
    assert took_s <= (40 << 20) / bytes_per_s + given_up * REQUEST_S + 1e-6


def test_a_fast_link_is_at_full_size_soon() -> None:
    """Eight answers that were full."""
    pace = Pace(MAX_BYTES, REQUEST_S)
    for _ in range(8):
        pace.came(pace.bytes, 0.01)
    assert pace.bytes == MAX_BYTES


def test_a_link_that_becomes_narrow_is_noticed() -> None:
    """Down by half before anything is given up, and never below the least."""
    pace = Pace(MAX_BYTES, REQUEST_S)
    before = pace.bytes
    pace.came(before, REQUEST_S / 3)
    assert pace.bytes == before // 2
    for _ in range(100):
        pace.gave_up()
    assert pace.bytes == LEAST_BYTES
    pace.came(LEAST_BYTES, REQUEST_S / 3)
    assert pace.bytes == LEAST_BYTES


@pytest.mark.parametrize("took_s", [0.0, 0.5, 19.0])
def test_waiting_for_news_says_nothing(took_s: float) -> None:
    """An answer that was far from full changes nothing, however long the broker waited."""
    pace = Pace(MAX_BYTES, REQUEST_S)
    pace.came(FIRST_BYTES // 3, took_s)
    assert pace.bytes == FIRST_BYTES


def test_what_was_declared_is_the_most() -> None:
    """A setting below the first size is obeyed from the start, and kept when given up."""
    pace = Pace(5_000, REQUEST_S)
    for _ in range(3):
        pace.came(5_000, 0.0)
    pace.gave_up()
    assert pace.bytes == 5_000
