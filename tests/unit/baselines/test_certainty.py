"""How sure a threshold is: exact intervals hold, draws are the same each time, budgets convert."""

from __future__ import annotations

import numpy as np
import pytest

from stream.baselines import BIT, NEVER, Facts, apart_ms, certain, exact_interval, share_of

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("seen", "count", "low", "high"),
    # Clopper-Pearson at 90 %, from tables: the 5 % and 95 % points of beta distributions.
    [(0, 10, 0.0, 0.2589), (1, 10, 0.0051, 0.3942), (5, 10, 0.2224, 0.7776), (10, 10, 0.7411, 1.0)],
)
def test_exact_intervals_are_those_of_tables(seen, count, low, high):
    """As published for ten trials."""
    assert exact_interval(seen, count) == pytest.approx((low, high), abs=1e-4)


def test_exact_intervals_hold_the_rate_and_shrink():
    """The more was seen, the closer; of nothing nothing is known; many are no trouble."""
    assert exact_interval(0, 0) == (0.0, 1.0)
    wide, narrow = exact_interval(5, 1_000), exact_interval(5_000, 1_000_000)
    assert wide[0] < narrow[0] < 0.005 < narrow[1] < wide[1]


def test_about_nine_of_ten_intervals_hold_the_true_rate():
    """Clopper-Pearson covers at least as often as it says."""
    chance = np.random.default_rng(3)
    held = 0
    for over in chance.binomial(800, 0.01, 300):
        low, high = exact_interval(int(over), 800)
        held += low <= 0.01 <= high
    assert held >= 270


def test_a_threshold_lies_within_its_interval_and_left_out_tasks_keep_the_share():
    """Of like workloads about the declared share of left-out tasks passes."""
    chance = np.random.default_rng(5)
    scores, owners = chance.exponential(2, 6_000) * BIT, np.repeat(np.arange(60), 100)
    found = certain(scores, owners, 0.01)
    assert found.least < found.bits < found.most
    assert 0.005 < found.over / found.tasks < 0.02
    assert found.low < 0.01 < found.high
    assert found == certain(scores, owners, 0.01)


def test_workloads_that_differ_make_it_less_sure():
    """The same scores, each workload's its own kind, leave a wider interval than if mixed."""
    chance = np.random.default_rng(6)
    owners = np.repeat(np.arange(20), 100)
    scores = np.sort(chance.exponential(2, 2_000) * BIT)
    alike, unlike = certain(chance.permutation(scores), owners, 0.01), certain(scores, owners, 0.01)
    assert unlike.most - unlike.least > 1.5 * (alike.most - alike.least)


def test_too_few_tasks_give_no_threshold():
    """Under forty tasks nothing alarms; one workload is drawn by its tasks."""
    assert certain(np.ones(39), np.arange(39), 0.01).bits == NEVER
    assert certain(np.zeros(0), np.zeros(0), 0.01).bits == NEVER
    scores = np.random.default_rng(7).exponential(2, 400) * BIT
    found = certain(scores, np.zeros(400), 0.01)
    assert found.least < found.bits < found.most


def test_a_budget_a_workload_follows_from_how_many_tasks_it_has():
    """Ten tasks a day for 30 days are 300: one false alarm is a third of a percent."""
    facts = Facts(key_id=1, tasks=100, seen=2_000, workloads=20, from_ms=0, until_ms=10 * DAY_MS)
    assert share_of(facts, 1, 30 * DAY_MS) == pytest.approx(1 / 300)
    assert share_of(facts, 2, 30 * DAY_MS) == pytest.approx(2 / 300)
    assert share_of(facts, 100, 30 * DAY_MS) == 0.1
    assert share_of(Facts(key_id=1, tasks=0), 1, DAY_MS) == 0.0


def test_a_clock_that_is_wrong_by_years_changes_no_budget() -> None:
    """The span of a history is told without its first and last tasks."""
    ended_ms = np.arange(400) * DAY_MS // 40
    wrong = ended_ms.copy()
    wrong[0], wrong[1] = -(10**12), 10**12
    assert apart_ms(ended_ms) == pytest.approx(10 * DAY_MS, rel=0.03)
    assert apart_ms(wrong) == pytest.approx(10 * DAY_MS, rel=0.03)
    assert apart_ms(ended_ms[:0]) == 0
    facts = Facts(key_id=0, tasks=400, workloads=4, until_ms=10**12, apart_ms=apart_ms(wrong))
    assert share_of(facts, 1, 30 * DAY_MS) == pytest.approx(1 / 300, rel=0.05)
