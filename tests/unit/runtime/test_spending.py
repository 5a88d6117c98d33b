"""Alarms beside their budget: by chance, far more than that, and forgotten after a day."""

from __future__ import annotations

import pytest

from stream.runtime.spending import BUCKET_S, BUCKETS, Spending, at_least

HOUR = BUCKET_S


def test_nothing_is_not_too_much() -> None:
    """Before anything was compared, too."""
    spending = Spending()
    assert spending.spent(0.0) == (0, 0, 0.0)
    assert not spending.is_over(0.0)


@pytest.mark.parametrize(
    ("alarmed", "is_over"), [(0, False), (5, False), (12, False), (17, True), (50, True)]
)
def test_a_thousand_contexts_of_which_five_may_alarm(alarmed: int, *, is_over: bool) -> None:
    """Five are what was promised, twelve come by chance once in hundreds of days."""
    spending = Spending()
    for _ in range(10):
        spending.add(7.0, 100, 0, 100 * 5_000)
    spending.add(7.0, 0, alarmed, 0)
    assert spending.spent(8.0) == (1_000, alarmed, pytest.approx(5.0))
    assert spending.is_over(8.0) == is_over


def test_few_are_never_too_many() -> None:
    """Four alarms of ten contexts are unlikely, and nobody is woken for four."""
    spending = Spending()
    spending.add(0.0, 10, 4, 50_000)
    assert not spending.is_over(0.0)
    spending.add(0.0, 0, 1, 0)
    assert spending.is_over(0.0)


def test_it_ends_when_alarms_are_likely_again() -> None:
    """Not at the edge at which it began; and a day later it was long ago."""
    spending = Spending()
    spending.add(0.0, 1_000, 17, 5_000_000)
    assert spending.is_over(0.0)
    spending.add(HOUR, 1_000, 2, 5_000_000)
    assert spending.is_over(HOUR), "still unlikely"
    spending.add(2 * HOUR, 2_000, 0, 10_000_000)
    assert not spending.is_over(2 * HOUR)
    spending.add(3 * HOUR, 0, 60, 0)
    assert spending.is_over(3 * HOUR)
    late_s = (3 + BUCKETS) * HOUR
    assert not spending.is_over(late_s)
    assert spending.spent(late_s) == (0, 0, 0.0)


@pytest.mark.parametrize(
    ("count", "mean", "chance"),
    [(0, 3.0, 1.0), (1, 0.0, 0.0), (1, 1.0, 0.63212), (3, 1.0, 0.080301), (10, 2.0, 4.6498e-5)],
)
def test_chance_of_so_many(count: int, mean: float, chance: float) -> None:
    """The upper tail of Poisson's distribution, from tables."""
    assert at_least(count, mean) == pytest.approx(chance, rel=1e-4)


def test_chance_of_very_many() -> None:
    """Neither overflows nor takes long."""
    assert 0.49 < at_least(1_000_000, 1_000_000.0) < 0.51
    assert at_least(2_000_000, 1_000_000.0) == pytest.approx(0.0)
    assert at_least(10, 1_000_000.0) == pytest.approx(1.0)
