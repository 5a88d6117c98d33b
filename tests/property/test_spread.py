"""Spread: how many different symbols an interval had, against a set of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.detectors import (
    COUNTED,
    LEVEL,
    RATE,
    RATE_PARTS,
    SPREAD,
    observe_rate,
    observe_resources,
    observe_spread,
)
from stream.kernel import mix64
from stream.profiles import VALUE

INTERVAL_MS = 300_000
ROWS = np.dtype([("spread", SPREAD), ("rate", RATE), ("series", LEVEL)])

symbols = st.integers(0, (1 << 64) - 1)
seen = st.lists(st.tuples(st.integers(0, INTERVAL_MS), st.one_of(symbols, st.integers(0, 5))))


def observe(events: list[tuple[int, int]], rows: np.ndarray) -> list[int]:
    """The amounts after each event (clock, symbol). Mutates: rows."""
    row = rows[0]
    scratch, parts = np.zeros(RATE_PARTS, np.int64), np.zeros(RATE_PARTS, np.int64)
    state, measure = (row["spread"], row["rate"], row["series"]), (COUNTED, INTERVAL_MS, scratch)
    amounts = []
    for clock_ms, symbol in events:
        observe_spread(state, clock_ms, np.uint64(symbol), measure, parts)
        amounts.append(int(row["rate"]["amount"]))
    return amounts


def clocks(drawn: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Events (clock, symbol) whose distances were drawn."""
    clock_ms, events = 0, []
    for gap_ms, symbol in drawn:
        clock_ms += gap_ms
        events.append((clock_ms, symbol))
    return events


@given(seen)
def test_few_are_counted_almost_exactly(drawn: list[tuple[int, int]]) -> None:
    """Of an interval's symbols the amount is that of the set, within 10 % and two; 0 is none."""
    events = clocks(drawn)
    different: dict[int, set[int]] = {}
    for (clock_ms, symbol), amount in zip(events, observe(events, np.zeros(1, ROWS)), strict=True):
        own = different.setdefault(clock_ms // INTERVAL_MS, set())
        if symbol:
            own.add(symbol)
        assert abs(amount - len(own)) <= 2 + len(own) // 10


named = st.lists(st.tuples(st.integers(1, 3), st.one_of(symbols, st.integers(0, 5))), max_size=4)


@given(st.lists(st.tuples(st.integers(0, INTERVAL_MS), named)))
def test_resources_are_the_symbols_of_all_that_events_name(drawn: list) -> None:
    """A resource is its name and value; an interval has those of a set, by one event or by many."""
    rows, single = np.zeros(1, ROWS), np.zeros(1, ROWS)
    row, scratch, parts = rows[0], np.zeros(RATE_PARTS, np.int64), np.zeros(RATE_PARTS, np.int64)
    state, measure = (row["spread"], row["rate"], row["series"]), (COUNTED, INTERVAL_MS, scratch)
    values = np.array([(*each, 0, 0, 0) for _, of in drawn for each in of], VALUE)
    clock_ms, first, seen_now, number = 0, 0, set[tuple[int, int]](), 0
    for gap_ms, of in drawn:
        clock_ms += gap_ms
        if clock_ms // INTERVAL_MS != number:
            seen_now, number = set(), clock_ms // INTERVAL_MS
        seen_now |= set(of)
        given = values, first, first + len(of)
        observe_resources(state, clock_ms, given, measure, parts)
        first += len(of)
        assert abs(int(row["rate"]["amount"]) - len(seen_now)) <= 2 + len(seen_now) // 10
        hashes = [int(mix64(np.uint64(name), np.uint64(value))) for name, value in of]
        observe([(clock_ms, each) for each in hashes or [0]], single)
    assert rows["spread"].tobytes() == single["spread"].tobytes()
    assert rows["rate"]["amount"] == single["rate"]["amount"]
    assert rows["series"].tobytes() == single["series"].tobytes()


@given(st.integers(0, 1 << 30), st.sampled_from([50, 200, 500]))
def test_hundreds_are_counted_within_some_percent(seed: int, count: int) -> None:
    """Up to five hundred different ones within 15 %, however often each comes."""
    chance = np.random.default_rng(seed)
    drawn = chance.integers(1, 1 << 63, count)
    events = [(0, int(symbol)) for symbol in np.concatenate([drawn, drawn])]
    assert abs(observe(events, np.zeros(1, ROWS))[-1] - count) <= 0.15 * count


@given(seen, st.integers(0, 30))
def test_it_is_a_rate_of_new_ones(drawn: list[tuple[int, int]], cut: int) -> None:
    """The series is that of a rate given each change of the amount; storing changes nothing."""
    events = clocks(drawn)
    whole = np.zeros(1, ROWS)
    amounts = observe(events, whole)
    parted = np.zeros(1, ROWS)
    observe(events[:cut], parted)
    parted = np.frombuffer(parted.tobytes(), ROWS).copy()
    observe(events[cut:], parted)
    assert parted.tobytes() == whole.tobytes()
    rate, series = np.zeros(1, RATE), np.zeros(1, LEVEL)
    scratch, parts = np.zeros(RATE_PARTS, np.int64), np.zeros(RATE_PARTS, np.int64)
    before, number = 0, -1
    for (clock_ms, _), amount in zip(events, amounts, strict=True):
        if clock_ms // INTERVAL_MS != number:
            before, number = 0, clock_ms // INTERVAL_MS
        measure = COUNTED, INTERVAL_MS, scratch
        observe_rate((rate[0], series[0]), clock_ms, amount - before, measure, parts)
        before = amount
    assert series.tobytes() == whole["series"].tobytes()
    assert rate.tobytes() == whole["rate"].tobytes()
