"""Thresholds keep the share of false alarms that was declared."""

from __future__ import annotations

import numpy as np
import pytest

from stream.baselines import (
    BIT,
    NEVER,
    Prior,
    Tail,
    fit_tail,
    rate_of,
    smoothed_tail,
    sureness,
    threshold_of,
)


@pytest.mark.parametrize("rate", [0.05, 0.01, 0.005, 0.001])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_declared_share_is_kept_on_new_scores(rate, seed):
    """Of light and heavy tails about the declared share is above the threshold."""
    chance = np.random.default_rng(seed)
    for draw in (
        lambda n: chance.exponential(2, n),
        lambda n: chance.pareto(4, n) * 3,
        lambda n: chance.gamma(2, 1, n),
    ):
        tail = fit_tail(draw(4_000) * BIT)
        over = float((draw(400_000) * BIT > threshold_of(tail, rate)).mean())
        assert rate / 3 <= over <= rate * (2 if rate >= 0.005 else 3)


def test_thresholds_rise_as_the_budget_falls():
    """Less false alarms never come from a lower threshold."""
    tail = fit_tail(np.random.default_rng(5).exponential(2, 900) * BIT)
    rates = np.geomspace(0.1, 1e-6, 60)
    thresholds = [threshold_of(tail, float(each)) for each in rates]
    assert thresholds == sorted(thresholds)


def test_few_or_equal_scores_alarm_never_or_above():
    """Of too few tasks nothing follows; of equal ones nothing lower than what they have."""
    assert threshold_of(fit_tail(np.ones(39)), 0.01) == NEVER
    equal = fit_tail(np.full(400, 3 * BIT))
    assert threshold_of(equal, 0.03) == 3 * BIT
    # Nobody has seen one in a million: that it has no more than all others is not known either.
    assert 3 * BIT <= threshold_of(equal, 0.01) < 4 * BIT < threshold_of(equal, 1e-6) < 7 * BIT
    assert threshold_of(Tail(), 0.5) == NEVER


def test_the_rate_of_a_threshold_is_what_it_was_set_for():
    """`rate_of` undoes `threshold_of`."""
    tail = fit_tail(np.random.default_rng(9).exponential(2, 2_000) * BIT)
    for rate in (0.05, 0.01, 0.001):
        assert rate_of(tail, threshold_of(tail, rate)) == pytest.approx(rate, rel=0.05)


def test_more_tasks_make_it_surer():
    """The interval holds the rate and shrinks."""
    few, many = (sureness(Tail(tasks=each, beyond=0.1), 0.01) for each in (200, 20_000))
    assert few[0] < many[0] < 0.01 < many[1] < few[1]


@pytest.mark.parametrize("prior", [Prior(0.0, 1.0, 1.0), Prior(-5.0, 4.3, 0.0), Prior(6, 1, 0.5)])
def test_a_smoothed_tail_falls_everywhere_and_keeps_what_was_seen(prior):
    """Thresholds rise strictly, as far as anybody asks; new tasks pass them no more than declared.

    Most benign tasks have no evidence at all, some have a lot: a fitted tail has nothing to fit.
    """
    chance = np.random.default_rng(3)

    def draw(count):
        return np.where(chance.random(count) < 0.03, chance.exponential(3, count), 0.0) * BIT

    for seen in (draw(2_000), draw(60), np.zeros(500), ()):
        tail = smoothed_tail(seen, prior)
        thresholds = [threshold_of(tail, 0.5**power) for power in range(1, 40)]
        positive = [each for each in thresholds if each > 0]
        assert positive == sorted(set(positive))
        assert len(positive) > 20
    tail = smoothed_tail(draw(2_000), prior)
    for rate in (0.02, 0.005, 0.001):
        assert float((draw(100_000) > threshold_of(tail, rate)).mean()) <= 1.5 * rate


def test_what_nobody_ever_did_is_rarer_the_more_tasks_did_not():
    """The same evidence is the rarer the more tasks were seen without any."""
    prior = Prior(0.0, 1.0, 0.0)
    rates = [rate_of(smoothed_tail(np.zeros(count), prior), 8 * BIT) for count in (0, 50, 5_000)]
    assert rates[0] == pytest.approx(2**-8, rel=0.1)
    assert rates[0] > 5 * rates[1] > 50 * rates[2]
