"""Amounts by interval: what a slow model makes of the same events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.detectors import (
    AMOUNTS,
    COUNTED,
    LEVEL,
    LEVEL_PARTS,
    MEASURED,
    OBSERVED,
    RATE,
    RATE_PARTS,
    REPORTED,
    SINCE_MS,
    counted,
    is_rate_ready,
    observe_rate,
    score_level,
)
from tests.models.intervals import closed_intervals

INTERVAL_MS = 60_000
START_MS = 1_700_000_000_000 // INTERVAL_MS * INTERVAL_MS

gaps = st.one_of(st.integers(0, 90_000), st.integers(0, 400 * INTERVAL_MS))
amounts = st.one_of(st.integers(0, 20), st.just((1 << 53) - 1))
steps = st.lists(st.tuples(gaps, amounts), min_size=1, max_size=40)


def events_of(drawn: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Events (clock, amount) whose distances were drawn."""
    clock_ms, events = START_MS, []
    for gap_ms, amount in drawn:
        clock_ms += gap_ms
        events.append((clock_ms, amount))
    return events


STATE = np.dtype([("rate", RATE), ("series", LEVEL)])


def observe(
    events: list[tuple[int, int]], kind: int, state: np.ndarray | None = None
) -> tuple[np.ndarray, list[list[int]]]:
    """The state after events, and the parts at each. Shapes: state [1] of STATE."""
    state = np.zeros(1, STATE) if state is None else state
    of = state["rate"][0], state["series"][0]
    scratch, parts = np.zeros(RATE_PARTS, np.int64), np.zeros(RATE_PARTS, np.int64)
    found = []
    for clock_ms, amount in events:
        bits = observe_rate(of, clock_ms, amount, (kind, INTERVAL_MS, scratch), parts)
        assert bits == parts[REPORTED]
        found.append(parts.tolist())
    return state, found


@pytest.mark.parametrize("kind", [COUNTED, MEASURED, AMOUNTS])
@given(steps)
def test_intervals_are_those_of_the_model(kind: int, drawn: list[tuple[int, int]]) -> None:
    """Amounts, empty intervals and long silences become the values that the model lists."""
    events = events_of(drawn)
    state, _ = observe(events, kind)
    closed, amount = closed_intervals(events, INTERVAL_MS)
    series, parts = np.zeros(1, LEVEL), np.zeros(LEVEL_PARTS, np.int64)
    for since_ms, value in closed:
        scale = counted(value) if kind == COUNTED else float(value)
        score_level(series[0], scale, since_ms, kind, parts)
    assert state["rate"]["amount"][0] == amount
    for name in set(LEVEL.names or ()) - {"peaks"}:
        assert np.array_equal(state["series"][name], series[name])
    for name in ("rests_until_ms", "highest"):
        assert state["series"]["peaks"][name] == series["peaks"][name]


@given(steps, st.integers(0, 40))
def test_a_stored_rate_goes_on(drawn: list[tuple[int, int]], cut: int) -> None:
    """However events are cut into batches, and the state stored between, all is the same."""
    events = events_of(drawn)
    whole, found = observe(events, COUNTED)
    first, before = observe(events[:cut], COUNTED)
    restored = np.frombuffer(first.tobytes(), STATE).copy()
    second, after = observe(events[cut:], COUNTED, restored)
    assert before + after == found
    assert second.tobytes() == whole.tobytes()


@given(steps)
def test_evidence_is_of_what_was_there(drawn: list[tuple[int, int]]) -> None:
    """Evidence names an interval that had begun, with an amount that events brought into it."""
    events = events_of([(INTERVAL_MS, 3)] * 150 + drawn)
    state, found = observe(events, COUNTED)
    assert is_rate_ready(state["rate"][0])
    sums: dict[int, int] = {}
    for (clock_ms, amount), parts in zip(events, found, strict=True):
        since_ms = clock_ms // INTERVAL_MS * INTERVAL_MS
        sums[since_ms] = sums.get(since_ms, 0) + amount
        if parts[REPORTED]:
            assert parts[OBSERVED] == sums[parts[SINCE_MS]]
            assert parts[SINCE_MS] <= since_ms
