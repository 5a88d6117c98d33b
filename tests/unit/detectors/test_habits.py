"""Loops, retry storms, fallbacks, bursts of errors, strange orders, wide spreads: caught, when."""

from __future__ import annotations

import numpy as np
import pytest

from stream.baselines import ENTRY, table_of
from stream.detectors import (
    ASSERTED,
    BIT,
    CLASS,
    COUNTED,
    DENIAL,
    ERROR,
    FALLBACK,
    FALLBACK_PARTS,
    FIRST_PART,
    LEVEL,
    LOOP_PARTS,
    LOOPS,
    OBSERVED,
    RATE,
    RATE_PARTS,
    SEQUENCE,
    SEQUENCE_PARTS,
    SHARE_PARTS,
    SHARES,
    SPREAD,
    USUAL_LOOPS,
    USUAL_ORDER,
    BenignTask,
    end_stretch,
    fallback_bits,
    follow_fallback,
    follow_loops,
    follow_order,
    follow_usual,
    learn_fallbacks,
    learn_loops,
    learn_sequences,
    learn_shares,
    observe_spread,
    repeated_bits,
    usual_in,
)
from stream.detectors.facts import as_bits
from stream.detectors.loops import PLACES, RETRY
from stream.detectors.sequence import IS_KEPT, WITH_LEFT, WITH_MARKS, WITH_PAIR, mark_of

NOTHING = table_of(np.zeros(0, ENTRY))
GROUP = np.uint64(3)
SERVED, FAILED, DENIED = 0, 1, 2
READ, CHANGE = 0, 1


def looped(symbols: list[int], failed: int, facts: np.ndarray) -> np.ndarray:
    """The parts after following symbols."""
    state, parts = np.zeros(1, LOOPS), np.zeros(LOOP_PARTS, np.int64)
    for symbol in symbols:
        follow_loops(state[0], np.uint64(symbol), failed)
    how = int(usual_in(GROUP, facts)[USUAL_LOOPS, 0])
    repeated_bits(state[0], how, (GROUP, facts), parts)
    return parts


@pytest.mark.parametrize("period", range(1, 9))
def test_a_loop_of_any_period_is_caught_cold(period: int) -> None:
    """After its 13th turn it has 6.6 asserted bits and names the period; after three, 2.3."""
    cycle = list(range(10, 10 + period))
    after = looped(cycle * 13, 0, NOTHING)
    assert after.tolist()[1:] == [period, 12, ASSERTED]
    assert after[0] == round(np.log2(100) * BIT)
    assert looped(cycle * 4, 0, NOTHING)[0] < 2.4 * BIT
    assert looped(list(range(10, 30)), 0, NOTHING)[0] == 0


def test_a_retry_storm_is_caught_sooner_than_a_loop() -> None:
    """Nine failed calls in a row have 7.6 asserted bits; the same calls served 5.1."""
    storm = looped([9] * 9, 1, NOTHING)
    assert storm.tolist() == [round(-np.log2(0.005) * BIT), RETRY, 8, ASSERTED]
    assert looped([9] * 9, 0, NOTHING)[0] == round(-np.log2(0.03) * BIT)


def test_what_benign_tasks_repeat_is_no_news() -> None:
    """A class whose tasks page through lists twenty times is used to that, and to no more."""
    state, levels = np.zeros(1, LOOPS), np.zeros((50, PLACES), np.uint8)
    for row in levels:
        for _ in range(20):
            follow_loops(state[0], np.uint64(9), 0)
        end_stretch(state[0], row)
        state[:] = 0
    facts = table_of(learn_loops(np.full(50, GROUP), levels))
    usual, more = looped([9] * 20, 0, facts), looped([9] * 61, 0, facts)
    assert usual[0] < BIT // 4 and usual[3] == CLASS
    assert more[0] > 12 * BIT


def fell_back(calls: list[tuple[int, int, int]], facts: np.ndarray) -> list[int]:
    """The evidence of each call (operation, effect, outcome)."""
    state, parts, found = np.zeros(1, FALLBACK), np.zeros(FALLBACK_PARTS, np.int64), []
    for operation, effect, outcome in calls:
        denied = np.uint64(follow_fallback(state[0], (np.uint64(operation), effect, outcome)))
        bits = 0
        if denied:
            bits = fallback_bits(denied, np.uint64(operation), GROUP, facts, parts)
        found.append(bits)
    return found


def test_a_fallback_after_a_denial_is_caught_at_its_call() -> None:
    """Cold 3.3 asserted bits; 7.6 where 50 denials had none; under 1 where it is usual."""
    calls = [(5, CHANGE, DENIED), (6, READ, SERVED), (7, CHANGE, SERVED), (8, CHANGE, SERVED)]
    assert fell_back(calls, NOTHING) == [0, 0, round(np.log2(10) * BIT), 0]
    never = table_of(learn_fallbacks([(GROUP, 5, 0)] * 50))
    assert fell_back(calls, never)[2] > 7.5 * BIT
    usual = table_of(learn_fallbacks([(GROUP, 5, 7)] * 50))
    assert fell_back(calls, usual)[2] < BIT


def test_no_fallback_without_a_change_of_another_operation_in_time() -> None:
    """Reading, trying the same again, failing again, or coming late is none."""
    denied = (5, CHANGE, DENIED)
    reads = [(6, READ, SERVED)]
    assert not any(fell_back([denied, *reads, (5, CHANGE, SERVED)], NOTHING))
    assert not any(fell_back([denied, (7, CHANGE, FAILED)], NOTHING))
    assert not any(fell_back([denied, *reads * 5, (7, CHANGE, SERVED)], NOTHING))
    assert any(fell_back([denied, *reads * 4, (7, CHANGE, SERVED)], NOTHING))


def test_a_burst_of_denials_is_caught_and_a_usual_share_of_errors_is_not() -> None:
    """Cold, three denials have 11 bits; learned, 5 % of errors for 1,000 calls stay under 11."""
    state, parts = np.zeros(1, SHARES), np.zeros(SHARE_PARTS, np.int64)
    for _ in range(3):
        follow_usual(state[0], (1, 1), usual_in(GROUP, NOTHING)[DENIAL], parts)
    assert parts[0] > 11 * BIT
    chance = np.random.default_rng(2)
    failures = np.stack([chance.binomial(10, 0.05, 200), np.zeros(200, int)], axis=1)
    facts = table_of(learn_shares(np.full(200, GROUP), np.full(200, 10), failures))
    state[:] = 0
    most, usual = 0, usual_in(GROUP, facts)[ERROR]
    for failed in chance.random(1000) < 0.05:
        most = max(most, follow_usual(state[0], (int(failed), 1), usual, parts))
    assert most < 11 * BIT
    for _ in range(6):
        follow_usual(state[0], (1, 1), usual, parts)
    assert parts[0] > 15 * BIT


def test_who_always_failed_more_often_is_no_news() -> None:
    """Three times the class's errors for 5,000 calls stay under 40 bits; then a rise has 60."""
    chance = np.random.default_rng(5)
    failures = np.stack([chance.binomial(10, 0.05, 200), np.zeros(200, int)], axis=1)
    facts = table_of(learn_shares(np.full(200, GROUP), np.full(200, 10), failures))
    state, parts = np.zeros(1, SHARES), np.zeros(SHARE_PARTS, np.int64)
    expected = usual_in(GROUP, facts)[ERROR]

    def share_over(calls: int, share: float) -> list[int]:
        return [
            follow_usual(state[0], (int(failed), 1), expected, parts)
            for failed in chance.random(calls) < share
        ]

    usual = share_over(5_000, 0.15)
    assert max(usual) < 40 * BIT
    assert min(usual) == 0  # nothing is said at a call that does not fail
    assert max(share_over(60, 0.8)) > 60 * BIT


def test_a_strange_order_of_known_operations_is_caught() -> None:
    """Calls of a benign task backwards pass 10 bits at the fifth; forwards they never have any."""
    steps = [(10, READ), (11, READ), (12, READ), (13, CHANGE), (14, READ), (15, CHANGE)]
    facts = table_of(learn_sequences(BenignTask(int(GROUP), steps) for _ in range(100)))
    known, usual = (GROUP, facts), usual_in(GROUP, facts)[USUAL_ORDER]
    for calls, passed in ((steps, None), (steps[::-1], 5)):
        state, parts = np.zeros(1, SEQUENCE), np.zeros(SEQUENCE_PARTS, np.int64)
        bits = [
            follow_order(state[0], (np.uint64(operation), effect), known, usual, parts)
            for operation, effect in calls
        ]
        over = [place for place, each in enumerate(bits, 1) if each >= 10 * BIT]
        assert bits[:2] == [0, 0] if passed is None else over and over[0] <= passed


def test_a_context_keeps_what_comes_after_a_call() -> None:
    """What may come next, whether the last two are a pair, what is left of others."""
    steps = [(10, READ), (11, READ), (12, READ)]
    facts = table_of(learn_sequences(BenignTask(int(GROUP), steps) for _ in range(100)))
    state, parts = np.zeros(1, SEQUENCE), np.zeros(SEQUENCE_PARTS, np.int64)
    kept, usual = [], usual_in(GROUP, facts)[USUAL_ORDER]
    for operation in (10, 11, 10, 99, 12):
        follow_order(state[0], (np.uint64(operation), READ), (GROUP, facts), usual, parts)
        kept.append(int(state["spare"][0]))
    left = as_bits(1 / 101) * WITH_LEFT
    assert kept == [
        IS_KEPT + WITH_PAIR + WITH_MARKS * mark_of(np.uint64(11)) + left,
        IS_KEPT + WITH_PAIR + WITH_MARKS * mark_of(np.uint64(12)) + left,
        IS_KEPT + WITH_MARKS * mark_of(np.uint64(11)) + left,
        IS_KEPT,  # nothing comes after what nobody did
        0,  # nothing came after this one: the next call looks
    ]


def test_a_first_change_counts_more_than_a_first_read() -> None:
    """Where tasks often read what was never read, but never changed anything new: 3 and 9 bits."""
    tasks = [BenignTask(int(GROUP), [(100 + each, READ), *[(5, CHANGE)] * 4]) for each in range(80)]
    facts = table_of(learn_sequences(tasks))
    found, usual = [], usual_in(GROUP, facts)[USUAL_ORDER]
    for effect in (READ, CHANGE):
        state, parts = np.zeros(1, SEQUENCE), np.zeros(SEQUENCE_PARTS, np.int64)
        follow_order(state[0], (np.uint64(99), effect), (GROUP, facts), usual, parts)
        found.append(int(parts[FIRST_PART]) / BIT)
    assert found[0] < 2.5 and found[1] > 9


def test_many_customers_in_five_minutes_are_caught() -> None:
    """Three a interval for two days, then three hundred: 22 bits before the interval is over."""
    rate, parts = np.zeros(1, RATE), np.zeros(RATE_PARTS, np.int64)
    state = np.zeros(1, SPREAD)[0], rate[0], np.zeros(1, LEVEL)[0]
    measure = (COUNTED, 300_000, np.zeros(RATE_PARTS, np.int64))
    for interval in range(576):
        for each in range(12):
            symbol = np.uint64(1 + each % 3 + 3 * interval)
            observe_spread(state, interval * 300_000 + each, symbol, measure, parts)
    assert rate["amount"][0] == 3
    at = [
        place
        for place in range(300)
        if observe_spread(state, 576 * 300_000, np.uint64(10**6 + place), measure, parts)
        >= 22 * BIT
    ]
    assert at and at[0] < 60
    assert abs(int(rate["amount"][0]) - 300) < 20
    assert 0 < parts[OBSERVED] <= rate["amount"][0] or parts[OBSERVED] == 0


def test_sizes_are_whole_words() -> None:
    """States are whole words, as rows want them."""
    sizes = {each.itemsize for each in (LOOPS, FALLBACK, SEQUENCE, SHARES, SPREAD, ENTRY)}
    assert sizes == {96, 16, 24, 72}
