"""Silences beside those of the same workload before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stream.detectors import (
    COUNTED,
    INTERVAL_MS,
    MISSED,
    RATE,
    RATE_PARTS,
    SILENCE_PARTS,
    SILENT_FROM_MS,
    observe_rate,
)
from stream.detectors.series import LEVEL
from stream.detectors.silence import (
    SILENCE,
    SILENCES,
    learn_silence,
    silence_allowed,
    silence_bits,
)

DAY = 288
BIT = 1_024
YEAR_MS = 365 * 86_400_000


class Past:
    """A workload's requests by interval, and what is known of its silences."""

    def __init__(self) -> None:
        self.state = np.zeros(1, SILENCE)[0], np.zeros(1, RATE)[0], np.zeros(1, LEVEL)[0]
        self._parts = np.zeros((2, RATE_PARTS), np.int64)
        self.out = np.zeros(SILENCE_PARTS, np.int64)
        self.most = 0
        self.last = 0

    def run(self, days: float, count: Callable[[int], int]) -> Past:
        """Go on for so long, with so many requests in each interval."""
        _, rate, series = self.state
        for place in range(self.last + 1, self.last + 1 + round(days * DAY)):
            if amount := count(place):
                at_ms = place * INTERVAL_MS + 1
                self.most = max(self.most, silence_bits(self.state, at_ms, INTERVAL_MS, self.out))
                learn_silence(self.state, at_ms, INTERVAL_MS)
                measure = COUNTED, INTERVAL_MS, self._parts[0]
                observe_rate((rate, series), at_ms, amount, measure, self._parts[1])
                self.last = place
        return self

    def bits(self, intervals: int) -> float:
        """What a silence of so many intervals shows."""
        at_ms = (self.last + 1 + intervals) * INTERVAL_MS
        return silence_bits(self.state, at_ms, INTERVAL_MS, self.out) / BIT

    def allowed(self, per_year: int = 1) -> float:
        """By how many bits so many false alarms a year are allowed."""
        silence, _, series = self.state
        return silence_allowed((silence, series), per_year, YEAR_MS, INTERVAL_MS) / BIT

    def missed_after(self) -> float:
        """Hours of silence until a budget of one false alarm a year is passed."""
        return next(each for each in range(1, 60 * DAY) if self.bits(each) > self.allowed()) / 12


def hourly(place: int) -> int:
    """A job that comes each hour."""
    return int(place % 12 == 0)


def office(place: int) -> int:
    """Five days a week from 8 to 18."""
    return 6 * ((place // 12) % 24 in range(8, 18) and (place // DAY) % 7 < 5)


def test_silence_is_told_from_rest() -> None:
    """Each by its own past: minutes, hours, and not on the second weekend."""
    steady, job, worker = (
        Past().run(21, lambda _: 30),
        Past().run(21, hourly),
        Past().run(12, office),
    )
    assert steady.missed_after() < 1
    assert 1 < job.missed_after() < 9
    # The second Friday's last call is over: the weekend is as quiet as the first, Thursday is not.
    assert worker.bits(62 * 12 - 1) < worker.allowed()
    assert worker.bits(6 * DAY) > worker.allowed()


def test_chance_misses_nobody() -> None:
    """Rare calls by chance have long gaps, and a year's worth of them passes no threshold."""
    chance = np.random.default_rng(5)
    past = Past().run(60, lambda _: int(chance.random() < 0.05))
    assert past.most / BIT < past.allowed()
    assert past.missed_after() < 24 * 14


def test_asking_changes_nothing() -> None:
    """However often; and what is told is what was missed, since when, and how many came before."""
    past = Past().run(10, hourly)
    before = [each.tobytes() for each in past.state]
    bits = past.bits(48)
    assert [past.bits(48) for _ in range(3)] == [bits] * 3
    assert [each.tobytes() for each in past.state] == before
    # At least so many: roots of counts are averaged, which is less than 4 where they are rare.
    assert past.out[MISSED] in (2, 3, 4)
    assert past.out[SILENT_FROM_MS] == (past.last + 1) * INTERVAL_MS
    assert past.out[SILENCES] > 60


@pytest.mark.parametrize("days", [0, 1, 7])
def test_a_week_is_cold(days: int) -> None:
    """Before that nobody is missed, but what is silence here is learned already."""
    past = Past().run(days, hourly)
    assert past.bits(10 * DAY) == 0
    assert (past.state[0]["count"] > 0) == (days >= 1)


def test_more_silences_allow_fewer() -> None:
    """Who is silent often must be silent for longer: of its silences one in so many is as odd."""
    often, seldom = Past().run(21, lambda at: int(at % 2 == 0)), Past().run(21, hourly)
    assert often.allowed() > seldom.allowed() > 8
    assert seldom.allowed(4) == pytest.approx(seldom.allowed() - 2, abs=0.01)


def test_long_silences_cost_no_more() -> None:
    """Years are days, each like the others."""
    past = Past().run(8, lambda _: 2)
    day, year = (past.bits(DAY * days) and int(past.out[MISSED]) for days in (1, 365))
    assert year == pytest.approx(365 * day, rel=0.01)
