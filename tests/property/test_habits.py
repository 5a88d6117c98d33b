"""Loops, fallbacks, shares and sequences: what slow models make of the same calls."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.baselines import ENTRY, find_entry, table_of
from stream.detectors import (
    ASSERTED,
    BIT,
    CLASS,
    DENIAL,
    ERROR,
    FALLBACK,
    FALLBACK_PARTS,
    FIRST_PART,
    LOOP_PARTS,
    LOOPS,
    POOLED,
    SEQUENCE,
    SEQUENCE_PARTS,
    SHARE_PARTS,
    SHARES,
    UNREADY,
    USUAL_LOOPS,
    USUAL_ORDER,
    BenignTask,
    fallback_bits,
    follow_fallback,
    follow_loops,
    follow_order,
    follow_usual,
    learn_loops,
    learn_sequences,
    learn_shares,
    repeated_bits,
    usual_in,
)
from stream.detectors.loops import PERIODS, PLACES, RETRY, repeats_of
from stream.detectors.sequence import NEXT, READY_CALLS
from stream.detectors.shares import ASSERTED_STEPS
from tests.models.habits import (
    SequenceModel,
    fallbacks_of,
    retries_of,
    run_of,
    share_weights,
)

NOTHING = table_of(np.zeros(0, ENTRY))
GROUP = np.uint64(77)

symbols = st.integers(1, 3)
repeated = st.builds(
    lambda cycle, times, rest: cycle * times + rest,
    st.lists(symbols, min_size=1, max_size=9),
    st.integers(1, 6),
    st.lists(symbols, max_size=4),
)
operations = st.integers(2, 6)
calls = st.lists(st.tuples(operations, st.integers(0, 1)), max_size=8)
tasks = st.lists(st.tuples(st.sampled_from([5, 6]), calls), max_size=12)


@given(repeated, st.data())
def test_runs_are_those_of_the_model(drawn: list[int], data: st.DataObject) -> None:
    """For each period the run of what equals its like before; retries are calls that all failed."""
    failures = data.draw(st.lists(st.integers(0, 1), min_size=len(drawn), max_size=len(drawn)))
    state, made = np.zeros(1, LOOPS), []
    for symbol, failed in zip(drawn, failures, strict=True):
        follow_loops(state[0], np.uint64(symbol), failed)
        made.append((symbol, failed))
        for period in range(1, PERIODS + 1):
            assert state["runs"][0][period] == run_of([each for each, _ in made], period)
        assert repeats_of(RETRY, int(state["runs"][0][RETRY])) == retries_of(made)


@given(repeated)
def test_cold_loops_are_asserted(drawn: list[int]) -> None:
    """Without anything learned evidence is asserted; stored and restored, a context goes on."""
    state, parts = np.zeros(1, LOOPS), np.zeros(LOOP_PARTS, np.int64)
    for symbol in drawn:
        follow_loops(state[0], np.uint64(symbol), 0)
    how = int(usual_in(GROUP, NOTHING)[USUAL_LOOPS, 0])
    repeated_bits(state[0], how, (GROUP, NOTHING), parts)
    assert parts[-1] == ASSERTED
    assert (parts[0] > 0) == (max(run_of(drawn, each) // each for each in range(1, 9)) > 0)
    restored = np.frombuffer(state.tobytes(), LOOPS).copy()
    for _ in range(2):
        follow_loops(restored[0], np.uint64(drawn[-1]), 0)
    after = np.zeros(LOOP_PARTS, np.int64)
    assert repeated_bits(restored[0], how, (GROUP, NOTHING), after) >= BIT


@given(st.lists(st.lists(st.integers(0, 10), min_size=PLACES, max_size=PLACES), min_size=1))
def test_learned_loops_are_shares_of_tasks(rows: list[list[int]]) -> None:
    """The more tasks came so far, the fewer bits; levels never get more usual with height."""
    levels = np.array(rows, np.uint8)
    facts = table_of(learn_loops(np.full(len(rows), GROUP), levels))
    state, parts = np.zeros(1, LOOPS), np.zeros(LOOP_PARTS, np.int64)
    before, how = 0, int(usual_in(GROUP, facts)[USUAL_LOOPS, 0])
    for place in range(40):
        follow_loops(state[0], np.uint64(9), 0)
        bits = repeated_bits(state[0], how, (GROUP, facts), parts)
        assert bits >= before
        assert parts[-1] == CLASS
        if place == 1:
            share = (levels[:, 1:] > 0).mean(axis=0).min()
            assert bits <= -np.log2((share * len(rows) + 16 / 9) / (len(rows) + 8)) * BIT + BIT
        before = bits
    other = np.uint64(78)
    how = int(usual_in(other, facts)[USUAL_LOOPS, 0])
    assert repeated_bits(state[0], how, (other, facts), parts) > 0
    assert parts[-1] == POOLED


@given(st.lists(st.tuples(operations, st.integers(0, 1), st.integers(0, 3)), max_size=30))
def test_fallbacks_are_those_of_the_model(drawn: list[tuple[int, int, int]]) -> None:
    """After a denial, the first served change by another operation within five calls."""
    state, parts = np.zeros(1, FALLBACK), np.zeros(FALLBACK_PARTS, np.int64)
    found = []
    for operation, effect, outcome in drawn:
        call = np.uint64(operation), effect, outcome
        denied = int(follow_fallback(state[0], call))
        found.append(denied)
        if denied:
            args = np.uint64(denied), np.uint64(operation), GROUP, NOTHING, parts
            assert fallback_bits(*args) > 3 * BIT
            assert parts[-1] == ASSERTED
    assert found == fallbacks_of(drawn, 5)


@given(
    st.sampled_from([ERROR, DENIAL]),
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3)), max_size=40),
)
def test_shares_are_those_of_the_model(which: int, drawn: list[tuple[int, int]]) -> None:
    """The weight is the largest sum over all beginnings, less a bit; said where a call fails."""
    state, parts = np.zeros(1, SHARES), np.zeros(SHARE_PARTS, np.int64)
    usual = usual_in(GROUP, NOTHING)[which]
    for place, call in enumerate(drawn):
        bits = follow_usual(state[0], call, usual, parts)
        most = share_weights(drawn[: place + 1], ASSERTED_STEPS[which])
        assert bits == (max(0, most - BIT) if call[0] else 0)
        assert parts[-1] == ASSERTED


@given(st.floats(0.001, 0.5))
def test_a_share_as_expected_is_no_evidence_on_average(share: float) -> None:
    """Under the class's own share, the mean of 2^x is at most 1 for either suspicion."""
    from stream.detectors.shares import steps_of

    for rise, fall in steps_of(share):
        mean = share * 2 ** (rise / BIT) + (1 - share) * 2 ** (-fall / BIT)
        assert mean <= 1 + 1e-9


@given(
    st.lists(st.tuples(st.sampled_from([5, 6]), st.integers(0, 30), st.integers(0, 30)), min_size=1)
)
def test_learned_shares_are_found(rows: list[tuple[int, int, int]]) -> None:
    """Every class that was learned is judged by its own share, others by all of them."""
    groups = np.array([row[0] for row in rows], np.uint64)
    total = np.array([row[1] for row in rows])
    failures = np.stack([np.minimum(total, [row[2] for row in rows]), total * 0], axis=1)
    facts = table_of(learn_shares(groups, total, failures))
    parts = np.zeros(SHARE_PARTS, np.int64)
    for which in (ERROR, DENIAL):
        for group, how in ((int(groups[0]), CLASS), (99, POOLED)):
            usual = usual_in(np.uint64(group), facts)[which]
            follow_usual(np.zeros(1, SHARES)[0], (1, 1), usual, parts)
            assert parts[-1] == how


@given(tasks, st.sampled_from([1, 60]), calls.filter(bool), st.sampled_from([5, 6, 7]))
def test_sequences_are_those_of_the_model(drawn: list, times: int, task: list, group: int) -> None:
    """Each call's bits are those that counting gives, and evidence is their one-sided sum."""
    drawn = drawn * times
    facts = table_of(learn_sequences(BenignTask(*each) for each in drawn))
    model = SequenceModel(drawn)
    own = group if model.knows(group) else None
    is_ready = len(model.calls(own)) >= READY_CALLS
    state, parts = np.zeros(1, SEQUENCE), np.zeros(SEQUENCE_PARTS, np.int64)
    before, weight = (1, 1), 0
    known = np.uint64(group), facts
    usual = usual_in(*known)[USUAL_ORDER]
    for operation, effect in task:
        call = np.uint64(operation), effect
        bits = follow_order(state[0], call, known, usual, parts)
        first = model.first(own, (operation, effect))
        assert abs(parts[FIRST_PART] - first * BIT) <= 1
        if is_ready:
            assert abs(parts[1] - model.x(own, before, (operation, effect)) * BIT) <= 3
            weight = max(0, weight) + int(parts[1])
        assert parts[2] == ((POOLED if own is None else CLASS) if is_ready else UNREADY)
        assert bits == max(0, weight)
        before = (before[1], operation)


@given(tasks, st.sampled_from([1, 60]), calls.filter(bool), st.sampled_from([5, 6, 7]))
def test_orders_that_are_not_looked_for_are_not_there(
    drawn: list, times: int, task: list, group: int
) -> None:
    """What a context keeps of a call spares look-ups and changes nothing: else all is looked up.

    Nor does it where a baseline has no marks, as those of before have none.
    """
    learned = learn_sequences(BenignTask(*each) for each in drawn * times)
    unmarked = learned.copy()
    unmarked["bits"][:, NEXT] = 0
    tables = table_of(learned), table_of(learned), table_of(unmarked)
    states = np.zeros(3, SEQUENCE)
    parts = np.zeros((3, SEQUENCE_PARTS), np.int64)
    for operation, effect in task:
        states["spare"][1] = 0
        for which, facts in enumerate(tables):
            call = np.uint64(operation), effect
            known = np.uint64(group), facts
            usual = usual_in(*known)[USUAL_ORDER]
            follow_order(states[which], call, known, usual, parts[which])
        assert (parts == parts[0]).all()


@given(st.lists(st.integers(1, (1 << 64) - 1), unique=True, max_size=60), st.data())
def test_facts_are_found_by_key(keys: list[int], data: st.DataObject) -> None:
    """Every key that was put in is found with its bits, and no other."""
    listed = np.zeros(len(keys), ENTRY)
    listed["key"] = keys
    listed["bits"][:, 0] = np.arange(len(keys))
    facts = table_of(listed)
    for number, key in enumerate(keys):
        assert facts[find_entry(facts, np.uint64(key))]["bits"][0] == number
    other = data.draw(st.integers(1, (1 << 64) - 1).filter(lambda each: each not in keys))
    assert find_entry(facts, np.uint64(other)) == -1
