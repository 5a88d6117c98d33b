"""Windows never under-count: the kernels against a model that keeps every amount."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.detectors import count_windows, total_of
from stream.policy import Policy, PolicyTables
from stream.profiles import BINS, EVENT, Layout, add_count, add_sum, bin_of, clear, slide
from stream.profiles.layout import COUNT_WINDOW, SUM_WINDOW, U32_MAX, Sections
from stream.profiles.table import ProfileTable
from stream.profiles.windows import SUM_BIN_MAX
from tests.models.logs import DAY, T0_MS, policy_of
from tests.models.windows import WindowModel

spans = st.one_of(
    st.sampled_from([1_000, 1_001, 1_009, 7_777, 10_000, 60_000, 3_600_000, DAY - 1, DAY]),
    st.integers(1_000, DAY),
)
# A step is some sixteenths of the first window and a little: the edges of bins are where it hurts.
steps = st.tuples(
    st.one_of(st.integers(-3, 3), st.integers(-40, 40)), st.integers(-2, 2), st.integers(0, 3)
)


class Windows:
    """One row with a window of each span, and a model of each."""

    def __init__(self, spans_ms: list[int], measure: str) -> None:
        policy: Policy = policy_of(
            *(
                {
                    "limit": {"measure": measure, "at_most": 10**6, "per": f"{each}ms"},
                    "action": "observe",
                }
                for each in spans_ms
            )
        )
        table = ProfileTable(policy.layout, 1)
        table.admit(1, "w", 0, 0)
        self.sections: Sections = table.sections
        self.tables: PolicyTables = policy.bind(policy.layout)
        self.models = [WindowModel(pair.window_ms) for pair in policy.pairs]
        self.clock_ms = 0
        self._event: Any = np.zeros(1, EVENT)

    def add(self, at_ms: int, amount: int) -> bool:
        """Count an event; tell whether it came too late for some window."""
        event = self._event[0]
        event["count"], event["bytes"] = max(1, amount), amount
        event["kind"] = 0 if amount else 1  # a grant adds nothing, but moves the clock
        old_ms, self.clock_ms = self.clock_ms, max(self.clock_ms, at_ms)
        times = (0, old_ms, self.clock_ms, at_ms)
        return count_windows(self.sections, self.tables, event, times, (np.uint64(0), 0))

    def totals(self) -> list[int]:
        """What each window reports."""
        return [total_of(self.sections, 0, pair) for pair in self.tables.pairs]


def times_of(drawn: list[tuple[int, int, int]], span_ms: int) -> list[tuple[int, int]]:
    """Times on both sides of a clock that moves by sixteenths of a span, with amounts."""
    at_ms, events = T0_MS, []
    for sixteenths, little, amount in drawn:
        at_ms = max(0, at_ms + sixteenths * span_ms // 16 + little)
        events.append((at_ms, amount))
    return events


@given(
    st.lists(spans, min_size=1, max_size=3, unique=True),
    st.lists(steps, max_size=40),
    st.sampled_from(["requests", "bytes"]),
)
def test_a_window_reports_between_the_two_true_counts(
    spans_ms: list[int], drawn: list[tuple[int, int, int]], measure: str
) -> None:
    """At least the count of (t-W, t], at most that of (t-W-W/16, t], exactly the ring's 17 bins."""
    windows = Windows(spans_ms, measure)
    for at_ms, amount in times_of(drawn, spans_ms[0]):
        is_late = windows.add(at_ms, amount)
        missed = [model.add(at_ms, amount) for model in windows.models]
        assert is_late == any(missed)
        for model, total in zip(windows.models, windows.totals(), strict=True):
            assert model.least() <= total <= model.most()
            assert total == model.total()


@given(spans, st.lists(steps, max_size=40))
def test_order_within_the_ring_does_not_matter(
    span_ms: int, drawn: list[tuple[int, int, int]]
) -> None:
    """An event that comes late counts as if it had come in time, while the ring holds its bin."""
    events = [each for each in times_of(drawn, span_ms) if each[1]]
    there, here = Windows([span_ms], "requests"), Windows([span_ms], "requests")
    late = [each for each in events if there.add(*each)]
    in_time = list(events)
    for each in late:
        in_time.remove(each)
    for at_ms, amount in sorted(in_time):
        assert not here.add(at_ms, amount)
    assert here.totals() == there.totals()


amounts = st.one_of(st.integers(0, 1 << 33), st.sampled_from([1, U32_MAX - 1, U32_MAX]))
sums = st.one_of(st.integers(0, 1 << 60), st.sampled_from([SUM_BIN_MAX - 1, SUM_BIN_MAX, 1]))


@pytest.mark.parametrize(
    ("dtype", "add", "ceiling", "drawn"),
    [(COUNT_WINDOW, add_count, U32_MAX, amounts), (SUM_WINDOW, add_sum, SUM_BIN_MAX, sums)],
)
@given(st.data())
def test_a_bin_saturates_and_never_wraps(
    dtype: Any, add: Any, ceiling: int, drawn: Any, data: st.DataObject
) -> None:
    """A bin stops at its ceiling, the total stays the sum of the bins, and all of it slides out."""
    window, bins, newest = np.zeros(1, dtype)[0], [0] * BINS, 10_000
    steps = data.draw(st.lists(st.tuples(st.sampled_from([0, 0, 1, 5, 20]), drawn), max_size=20))
    for moved, amount in steps:
        slide(window, newest, newest + moved)
        bins = ([0] * min(moved, BINS) + bins)[:BINS]
        newest += moved
        add(window, newest, amount)
        bins[0] = min(bins[0] + amount, ceiling)
        assert window["total"] == sum(bins)
        assert sorted(window["bins"].tolist()) == sorted(bins)
    slide(window, newest, newest + BINS)
    assert window["total"] == 0
    assert not window["bins"].any()


@given(st.integers(0, 253_402_300_799_999), spans)
def test_bins_are_a_sixteenth_of_the_window(at_ms: int, span_ms: int) -> None:
    """A bin begins where 16 t is a multiple of W, whether or not 16 divides it."""
    place = bin_of(at_ms, span_ms)
    assert place * span_ms <= 16 * at_ms < (place + 1) * span_ms


@given(st.lists(st.integers(1, 9), max_size=5))
def test_a_cleared_window_is_as_new(drawn: list[int]) -> None:
    """Nothing is left in any bin, nor in the total."""
    windows = np.zeros(2, COUNT_WINDOW)
    for amount in drawn:
        add_count(windows[0], 100 + amount, amount)
    clear(windows[0])
    assert windows[0].tobytes() == windows[1].tobytes()


def test_a_policy_without_windows_counts_nothing() -> None:
    """No pair, no count, and no event is late."""
    policy = policy_of()
    table = ProfileTable(Layout((), (), ()), 1)
    event = np.zeros(1, EVENT)[0]
    tables = policy.bind(policy.layout)
    assert not count_windows(table.sections, tables, event, (0, 0, 5, 5), (np.uint64(0), 0))
    assert not table.sections.counts["total"].any()
