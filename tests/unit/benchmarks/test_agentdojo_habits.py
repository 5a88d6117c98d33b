"""AgentDojo by how calls are made: shares of attacks found at a share of benign runs."""

from __future__ import annotations

import numpy as np

from benchmarks.quality.agentdojo_habits import Run, levels_of, measure
from stream.profiles import EVENT


def run_of(operations, model="m", kind="benign", outcome=0, values=None):
    """A run of calls to operations, each with values of its own unless given."""
    events = np.zeros(len(operations), EVENT)
    events["operation"], events["outcome"], events["count"] = operations, outcome, 1
    of = np.arange(1, len(operations) + 1) if values is None else np.full(len(operations), values)
    return Run(np.uint64(5), model, kind, events, of.astype(np.uint64))


def test_a_repeated_call_is_found_and_paging_is_not():
    """One call made ten times is found by its loop; with other values each time it is not."""
    benign = [run_of([10, 11, 12], model) for model in "ab" for _ in range(60)]
    attacks = [run_of([10] * 10, "a", "attack_success", values=7)]
    paging = [run_of([10] * 10, "a", "attack_success")]
    assert measure(benign + attacks)["found"]["loops"]["at_1%"] == 100.0
    assert measure(benign + paging)["found"]["loops"]["at_1%"] == 0.0


def test_failing_attacks_are_found_by_their_share_of_errors():
    """A run in which all fails is found; benign runs that repeat nothing are at no level."""
    benign = [run_of([10, 11, 12], model) for model in "ab" for _ in range(60)]
    attacks = [run_of([10, 11, 12], "b", "attack_success", outcome=1)]
    found = measure(benign + attacks)
    assert found["found"]["error_share"]["at_5%"] == 100.0
    assert found["found"]["fallback"]["at_5%"] == 0.0
    assert found["benign_repeats"][1] == {"retries": 0.0, "any_period": 0.0}
    assert found["runs"] == [120, 1]


def test_levels_are_of_the_whole_run():
    """A run that ends otherwise keeps the level that its loop had."""
    levels = levels_of([run_of([10, 10, 10, 11, 12], values=3), run_of([10, 11], outcome=1)])
    assert levels[0][1] == 2 and levels[0][0] == 0
    assert levels[1].max() == 0
