"""Counts of transitions: never below the truth, and the heavy ones stay."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.kernel import mix64
from stream.profiles import TRANSITION_SETS, TRANSITION_WAYS, count_transition
from stream.profiles.layout import TRANSITION, U32_MAX
from tests.models.transitions import Pair, TransitionsModel

few = st.tuples(st.integers(1, 9), st.integers(1, 9))
many = st.tuples(st.integers(1, (1 << 64) - 1), st.integers(1, (1 << 64) - 1))
amounts = st.one_of(st.just(1), st.integers(1, 50), st.just(1 << 31))


def set_of(pair: Pair) -> int:
    """The set that a pair belongs to."""
    return int(mix64(np.uint64(pair[0]), np.uint64(pair[1]))) % TRANSITION_SETS


@given(st.lists(st.tuples(st.one_of(few, many), amounts), max_size=150))
def test_counts_are_those_of_the_model(drawn: list[tuple[Pair, int]]) -> None:
    """Never below the truth, no more above than the error says; the heavy pairs of a set stay."""
    entries = np.zeros(TRANSITION_SETS * TRANSITION_WAYS, TRANSITION)
    model = TransitionsModel(set_of, U32_MAX)
    for pair, amount in drawn:
        source, target = map(np.uint64, pair)
        dropped = count_transition(entries, source, target, amount)
        assert dropped == model.count(pair, amount)
    found = {
        (source, target): (count, error)
        for source, target, count, error in entries.tolist()
        if count
    }
    assert found == {way[0]: way[1:] for ways in model.kept.values() for way in ways}
    for pair, (count, error) in found.items():
        assert count >= min(model.truth[pair], U32_MAX)
        assert count - error <= model.truth[pair]
    if sum(model.truth.values()) < U32_MAX:
        assert {pair for pair in model.truth if model.is_heavy(pair)} <= found.keys()
