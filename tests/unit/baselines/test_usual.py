"""Usual calls: one entry that says all of a call is known, and changes no evidence."""

from __future__ import annotations

import numpy as np
import pytest

from stream.baselines import (
    ENTRY,
    USUAL_MIN,
    asked_of,
    done,
    find_usual,
    is_larger,
    place_of,
    promote,
    table_of,
    usual_entries,
)
from stream.baselines.promotion import counted
from stream.detectors import JUDGES
from stream.detectors.novelty_tasks import score_tasks
from tests.models.tasks import KEY, T0_MS, call, learned, task

VALUES = "one", "two", "three", "four five", "DE89370400440532013000", "a@bank.example"
PURPOSES = "pay-bill", "book-trip", "say"


def tasks_of(*runs):
    """Ended tasks in this order, each of a purpose and its calls, each by an agent of its own."""
    events = []
    for number, (purpose, *calls) in enumerate(runs):
        events += task(f"t{number}", f"agent-{number}", purpose, calls, T0_MS + number * 60_000)
    tasks = learned(events)
    return tasks.chosen(np.argsort(tasks.tasks["ended_ms"]))


def known_of(tasks):
    """What is known of tasks beside usual calls, and the usual calls."""
    listed = counted(tasks, KEY.id, np.zeros(len(tasks.tasks), bool)).listed
    return listed, usual_entries(tasks, listed)


def found(tasks, usual, number=0, own=0):
    """The entry of the first call of one of the tasks among usual ones, if it is one."""
    one = tasks.tasks[number]
    asked = asked_of(tasks.calls[one["calls_from"]], tasks.values)
    table = table_of(usual)
    place = np.uint64(place_of(one["group"], one["purpose"]))
    at = find_usual(table, place, own, np.uint64(asked))
    return table[at] if at >= 0 else None


READ = call("read", "path:a", "day:1", effect="read", size=600)


def test_a_call_is_usual_once_two_tasks_of_a_purpose_made_it():
    """Not of one task, however often it made it, nor of one and another purpose's."""
    one = tasks_of(("pay-bill", READ, READ), ("book-trip", READ))
    assert len(known_of(one)[1]) == 0
    two = tasks_of(("pay-bill", READ), ("pay-bill", READ, READ), ("book-trip", READ))
    entry = found(two, known_of(two)[1])
    assert entry is not None and entry["support"] == USUAL_MIN


def test_what_the_asking_task_added_does_not_count():
    """A call that it and one other made is not usual for it; of three tasks it is."""
    two = tasks_of(("pay-bill", READ), ("pay-bill", READ))
    assert found(two, known_of(two)[1], own=1) is None
    three = tasks_of(*[("pay-bill", READ)] * 3)
    assert found(three, known_of(three)[1], own=1) is not None


def test_another_value_makes_another_call():
    """Whatever else is the same; values in another order make the same one."""
    turned = call("read", "day:1", "path:a", effect="read")
    other = call("read", "path:a", "day:2", effect="read")
    tasks = tasks_of(("pay-bill", READ), ("pay-bill", turned), ("pay-bill", other))
    usual = known_of(tasks)[1]
    assert len(usual) == 1
    assert found(tasks, usual, 0) is not None and found(tasks, usual, 2) is None


def test_it_holds_the_largest_result_of_its_class():
    """Of any purpose; where nobody read it nothing is larger."""
    large = READ | {"bytes": 5_000}
    change = call("send", "to:a", size=7)
    tasks = tasks_of(("pay-bill", READ), ("pay-bill", READ), ("book-trip", large))
    entry = found(tasks, known_of(tasks)[1])
    assert is_larger(5_049, entry) and not is_larger(5_048, entry)
    tasks = tasks_of(("pay-bill", change), ("pay-bill", change))
    assert not is_larger(1 << 44, found(tasks, known_of(tasks)[1]))


def test_no_tasks_have_no_usual_calls():
    """Nor is anything found where nothing is known."""
    tasks = tasks_of()
    assert len(usual_entries(tasks, np.zeros(0, ENTRY))) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_evidence_is_the_same_with_and_without(seed):
    """Of random tasks, those that were learned and others, reads that bring more among them."""
    chance = np.random.Generator(np.random.PCG64(seed))

    def run():
        calls = []
        for _ in range(chance.integers(1, 5)):
            tool = f"tool-{chance.integers(6)}"
            names = [f"{name}:{chance.choice(VALUES)}" for name in "ab"[: chance.integers(3)]]
            size = int(chance.choice([10, 10, 10, 500]))
            effect = str(chance.choice(["read", "change"]))
            calls.append(call(tool, *names, effect=effect, size=size))
        return str(chance.choice(PURPOSES)), *calls

    tasks, _ = done(tasks_of(*(run() for _ in range(90))))
    made = promote(tasks, KEY.id, JUDGES, {}, calibrated=False)
    usual = usual_entries(tasks, made.listed)
    is_usual = np.isin(made.listed["key"], usual["key"])
    assert is_usual.sum() > 5
    without = made._replace(listed=made.listed[~is_usual])
    others, _ = done(tasks_of(*(run() for _ in range(60))))
    shown = set()
    for asking, own in ((tasks, 1), (tasks, 0), (others, 0)):
        owns = np.full(len(asking.tasks), own)
        bits, modes = score_tasks(made, asking, owns)
        bare_bits, bare_modes = score_tasks(without, asking, owns)
        assert bits.tolist() == bare_bits.tolist() and modes.tolist() == bare_modes.tolist()
        shown |= set(bits.tolist())
    assert len(shown) > 5
