"""What is compiled ahead is what is needed: nothing is compiled once more for what comes later."""

from __future__ import annotations

import pytest

from stream.cli.warm import warm_learning
from stream.detectors import habit_tasks, novelty_tasks
from stream.kernel import is_compiled
from stream.profiles import ProfileTable
from stream.records import batches
from stream.warm import warm
from tests.unit.profiles.test_table import LAYOUT


@pytest.mark.skipif(not is_compiled(), reason="kernels run as plain Python")
def test_what_a_broker_answers_is_taken_apart_without_compiling() -> None:
    """A worker's first fetch waits for no compiler."""
    warm()
    assert batches._find_all.signatures
    assert batches._read_all.signatures


@pytest.mark.skipif(not is_compiled(), reason="kernels run as plain Python")
def test_what_learns_is_compiled_ahead() -> None:
    """Who learns a baseline waits for no compiler after `enforcer warm`."""
    warm_learning()
    assert novelty_tasks._score_all.signatures
    assert habit_tasks._watch.signatures
    assert habit_tasks._follow_all.signatures


@pytest.mark.parametrize("slots", [1, 2, 64])
def test_tables_of_all_sizes_are_one_kind_to_kernels(slots: int) -> None:
    """One row would be contiguous, which its views into a longer array are not."""
    table = ProfileTable(LAYOUT, slots)
    assert (table.free, table.slots_max) == (slots, slots)
    assert not table.sections.head.flags.c_contiguous
