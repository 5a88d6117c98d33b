"""Rates and levels: what is caught, how soon, and what a steady past is worth."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from stream.detectors import (
    BIT,
    BITS,
    COUNTED,
    EXPECTED,
    LEVEL,
    LEVEL_PARTS,
    MEASURED,
    OBSERVED,
    RATE,
    RATE_PARTS,
    REPORTED,
    SINCE_MS,
    counted,
    expected_of,
    is_rate_ready,
    is_warm,
    log2_of,
    observe_rate,
    odds_of,
    score_level,
)

INTERVAL_MS = 300_000
DAY = 288  # intervals
WEEK = 7 * DAY
# What the Numenta benchmark's 58 series report, outside their anomalies, once in some 60 days.
RARE = 22 * BIT

PASTS = {
    "zero": lambda chance: np.zeros(WEEK, int),
    "forty": lambda chance: np.full(WEEK, 40),
    "poisson": lambda chance: chance.poisson(20, WEEK),
    "seldom": lambda chance: chance.poisson(0.2, WEEK),
}


def learned(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A series that learned counts, and what it reported of each."""
    state, parts = np.zeros(1, LEVEL), np.zeros(LEVEL_PARTS, np.int64)
    found = [
        score_level(state[0], counted(int(count)), place * INTERVAL_MS, COUNTED, parts)
        for place, count in enumerate(counts)
    ]
    return state, np.array(found)


@pytest.mark.parametrize("times", [5, 20])
@pytest.mark.parametrize("past", sorted(PASTS))
def test_a_burst_after_a_steady_week_is_caught_in_its_first_interval(past: str, times: int) -> None:
    """8 of 8: five or twenty times as much (so many, after none) reports 22 bits at once."""
    counts = PASTS[past](np.random.default_rng(7))
    state, reported = learned(counts)
    assert (reported[DAY:] >= RARE).sum() == 0
    burst = times * max(1, round(counts.mean()))
    parts = np.zeros(LEVEL_PARTS, np.int64)
    assert score_level(state[0], counted(burst), WEEK * INTERVAL_MS, COUNTED, parts) >= RARE


@pytest.mark.parametrize("times", [5, 20])
def test_a_burst_is_caught_while_its_interval_is_open(times: int) -> None:
    """Of 40 requests an interval expected, a burst is seen before the interval has half its sum."""
    rate, series = np.zeros(1, RATE), np.zeros(1, LEVEL)
    state, found = (rate[0], series[0]), np.zeros(RATE_PARTS, np.int64)
    measure = (COUNTED, INTERVAL_MS, np.zeros(RATE_PARTS, np.int64))
    for place in range(40 * WEEK):
        observe_rate(state, place * INTERVAL_MS // 40, 1, measure, found)
    assert is_rate_ready(rate[0])
    since_ms = WEEK * INTERVAL_MS
    seen = []
    for place in range(40 * times):
        clock_ms = since_ms + place * INTERVAL_MS // (40 * times)
        if observe_rate(state, clock_ms, 1, measure, found) >= RARE:
            seen.append(found.copy())
    assert seen and seen[0][OBSERVED] < 40 * times // 2
    assert seen[0][EXPECTED] == 40 and seen[0][SINCE_MS] == since_ms


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_boil_shows_in_records(seed: int) -> None:
    """2 % a day is learned as it comes, but passes records: within 30 days it reports 26 bits.

    Measured over 60 days: 2 to 5 reports of 26 bits and more, the first on days 5, 5, 11 and 22,
    when 1.1 to 1.5 times as much came as at the start; as much without a rise has at most one.
    What is expected follows: after 60 days 3.2 times as much, so that only twice that is a burst.
    """
    days = 60
    chance = np.random.default_rng(seed)
    means = 100 * 1.02 ** (np.arange(days * DAY) / DAY)
    state, reported = learned(chance.poisson(means))
    loud = np.flatnonzero(reported >= 26 * BIT)
    assert 2 <= len(loud) <= 5 and loud[0] < 30 * DAY
    at_ms = days * DAY * INTERVAL_MS
    assert 310 <= expected_of(state[0], at_ms, COUNTED) <= 330
    parts = np.zeros(LEVEL_PARTS, np.int64)
    score_level(state[0], counted(2 * 328), at_ms, COUNTED, parts)
    assert parts[BITS] >= RARE
    _, steady = learned(np.random.default_rng(seed).poisson(100, days * DAY))
    assert (steady >= 26 * BIT).sum() <= 1


def test_a_daily_rhythm_is_expected() -> None:
    """Ten times as much by day as by night is no news; by night, half of the day's traffic is."""
    chance = np.random.default_rng(5)
    hours = np.arange(14 * DAY) // 12 % 24
    means = np.where((hours >= 8) & (hours < 18), 200, 20)
    state, reported = learned(chance.poisson(means))
    assert (reported[4 * DAY :] >= RARE).sum() == 0
    at_ms = 14 * DAY * INTERVAL_MS
    assert abs(expected_of(state[0], at_ms, COUNTED) - 20) <= 4
    assert abs(expected_of(state[0], at_ms + 10 * 3_600_000, COUNTED) - 200) <= 20
    parts = np.zeros(LEVEL_PARTS, np.int64)
    score_level(state[0], counted(100), at_ms, COUNTED, parts)
    assert parts[BITS] >= 10 * BIT


def test_a_peak_rests_after_it_was_reported() -> None:
    """What goes on is reported once in a day, its bits stay; usual peaks weigh less and less."""
    state, _ = learned(np.full(WEEK, 10))
    parts = np.zeros((3, LEVEL_PARTS), np.int64)
    for place in range(3):
        score_level(state[0], counted(200), (WEEK + place) * INTERVAL_MS, COUNTED, parts[place])
    assert parts[0][REPORTED] == parts[0][BITS] >= RARE
    assert (parts[1:, REPORTED] == 0).all() and (parts[1:, BITS] > 0).all()


def test_a_long_silence_costs_a_bounded_number_of_scores() -> None:
    """After a year without events the next one costs no more than a day of zeros."""
    rate, series = np.zeros(1, RATE), np.zeros(1, LEVEL)
    state, found = (rate[0], series[0]), np.zeros(RATE_PARTS, np.int64)
    measure = (COUNTED, INTERVAL_MS, np.zeros(RATE_PARTS, np.int64))
    observe_rate(state, 0, 1, measure, found)
    observe_rate(state, 365 * 86_400_000, 1, measure, found)
    assert series["points"][0] == 1 + DAY


def test_sizes_are_as_stated() -> None:
    """A series takes 384 bytes, its rate 32; both are whole words of integers."""
    assert (LEVEL.itemsize, RATE.itemsize) == (384, 32)

    def kinds(of: np.dtype) -> set[str]:
        of = of.base
        if of.names is None:
            return {of.kind}
        return set().union(*(kinds(of.fields[name][0]) for name in of.names))

    assert kinds(LEVEL) | kinds(RATE) <= {"i", "u"}


def test_the_state_is_the_same_bit_for_bit_everywhere() -> None:
    """Compiled or not, on any machine, 400 drawn values leave exactly this state and evidence."""
    generator = 12345
    state, parts = np.zeros(2, LEVEL), np.zeros(LEVEL_PARTS, np.int64)
    digest = hashlib.sha256()
    for place in range(400):
        generator = (generator * 1_103_515_245 + 12_345) % (1 << 31)
        amount = generator >> 20 if place % 50 else generator
        for kind, value in ((COUNTED, counted(amount)), (MEASURED, amount / 7.0)):
            score_level(state[kind], value, place * INTERVAL_MS, kind, parts)
            digest.update(parts.tobytes())
    digest.update(state.tobytes())
    assert is_warm(state[0])
    assert digest.hexdigest()[:16] == "582581789c17c192"


def test_logarithms_are_those_of_mathematics() -> None:
    """Within 1e-11, from the smallest numbers to the largest, and exact at powers of 2."""
    values = np.concatenate([np.exp(np.linspace(-690, 700, 5000)), 1 + np.linspace(-0.5, 1, 500)])
    worst = max(abs(log2_of(float(value)) - np.log2(value)) for value in values)
    assert worst < 1e-11 * 1024
    assert [log2_of(2.0**power) for power in (-900, 0, 1, 900)] == [-900.0, 0.0, 1.0, 900.0]


def test_odds_are_the_power_of_minus_bits() -> None:
    """To the last place or the one before; none of what is beyond all comparison."""
    chance = np.random.default_rng(3)
    for bits in [0, 1, 1023, 1024, -1, -6_144, *chance.integers(-9_000, 900_000, 500).tolist()]:
        assert abs(odds_of(bits) / 2.0 ** (-bits / BIT) - 1.0) < 4e-16
    assert (odds_of(1_000 * BIT + 1), odds_of(1 << 40)) == (0.0, 0.0)
