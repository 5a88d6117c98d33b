"""Durations, quantities and rates."""

from __future__ import annotations

import pytest

from stream.errors import PolicyError
from stream.events import Rate
from stream.policy import alarm_budget, duration_ms, quantity, rate, spell_duration


@pytest.mark.parametrize(
    ("text", "span_ms"),
    [("10s", 10_000), ("0s", 0), ("5m", 300_000), ("1h30m", 5_400_000), ("7d", 604_800_000)],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, span_ms: int) -> None:
    """Numbers with units, from milliseconds to days."""
    assert duration_ms(text) == span_ms


@pytest.mark.parametrize(
    "text", ["", "s", "5", "5 m", "-5m", "5min", "1.5h", "\u0665m", "9" * 10 + "d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """No sign, no fraction, no space, no unit of our own."""
    with pytest.raises(PolicyError, match="is not a duration"):
        duration_ms(text)


def test_a_duration_is_spelled_the_shortest_way() -> None:
    """Units from large to small, those that are zero left out."""
    assert [spell_duration(each) for each in (0, 1, 1_000, 90_000, 86_400_000, 90_061_001)] == [
        "0ms",
        "1ms",
        "1s",
        "1m30s",
        "1d",
        "1d1h1m1s1ms",
    ]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        (100, 100),
        ("100", 100),
        ("20k", 20_000),
        ("5M", 5_000_000),
        ("20 MB", 20_000_000),
        ("1KiB", 1_024),
        ("2GiB", 2 << 30),
        ("1TB", 10**12),
    ],
)
def test_a_quantity_is_a_number_with_a_prefix(text: int | str, amount: int) -> None:
    """Decimal prefixes for all that is counted, decimal and binary ones for bytes."""
    assert quantity(text) == amount


@pytest.mark.parametrize("text", ["", "k", "1.5k", "1e6", "1_000", "5 Kb", "5k k", "0x10", "-1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """What could be read in two ways is read in none."""
    with pytest.raises(PolicyError, match="is not a quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5/s", Rate(5, 1_000)),
        ("300/5m", Rate(300, 300_000)),
        ("1 / 10s", Rate(1, 10_000)),
        ("1/1m30s", Rate(1, 90_000)),
        ("1000000/d", Rate(1_000_000, 86_400_000)),
    ],
)
def test_a_rate_is_a_number_over_a_duration(text: str, expected: Rate) -> None:
    """A unit alone is one of it."""
    assert rate(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "5", "5/", "/s", "0/s", "5/0s", "5/2d", "1000001/s", "5//s", "5/week", "-5/s", "5/ 5"],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """A rate lets something through, within a day."""
    with pytest.raises(PolicyError, match="is not a rate"):
        rate(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5% of tasks", (5_000, 0, 0)),
        ("0.5 % of tasks", (5_000, 0, 0)),
        ("10% of tasks", (100_000, 0, 0)),
        ("1 per workload per 30 days", (0, 1, 30 * 86_400_000)),
        ("2 per workload per 1 week", (0, 2, 7 * 86_400_000)),
        ("3 per workload per 12hours", (0, 3, 12 * 3_600_000)),
    ],
)
def test_a_budget_is_a_share_or_a_number_a_workload(text: str, expected: tuple[int, ...]) -> None:
    """As operators write it."""
    assert alarm_budget(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "5%", "0% of tasks", "11% of tasks", "0.00001% of tasks", "1 per workload per day"),
        *("0 per workload per 1 day", "1 per workload per 0 days", "1 per workload per 367 days"),
        *("1 per task per 1 day", "99999 per workload per 1 day", "1 per workload per 1 year"),
    ],
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    """Bounded on both sides, a number always said."""
    with pytest.raises(PolicyError, match="no budget of false alarms"):
        alarm_budget(text)
