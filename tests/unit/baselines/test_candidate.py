"""What is learned depends on the tasks, not on how they came."""

from __future__ import annotations

import random

import numpy as np
import pytest

from stream.baselines import (
    OF_PURPOSE_MAX,
    OF_WORKLOAD_MAX,
    done,
    encode_baseline,
    put_together,
)
from stream.baselines.tasks import without_denied
from tests.models.tasks import T0_MS, baseline, content, history, learned, pay_bill, task

EVENTS = history()


@pytest.mark.parametrize("cut", [1, 7, 50])
def test_batches_do_not_matter(cut):
    """Read in pieces of any size, the same events teach the same tasks."""
    assert content(learned(EVENTS, cut)) == content(learned(EVENTS))


def test_every_task_is_there_with_its_calls():
    """Each task of the history ends once, with all its calls, under its purpose."""
    tasks = learned(EVENTS)
    assert len(tasks.tasks) == 48
    assert tasks.tasks["calls_count"].tolist() == [2] * 48
    assert len(np.unique(tasks.tasks["purpose"])) == 2
    assert len(np.unique(tasks.tasks["group"])) == 1


def test_shares_put_together_are_the_whole():
    """Partitions that share workloads among them learn together what one would."""
    parts = [
        learned([each for each in EVENTS if (int(each.workload[-1]) % 3 == part)])
        for part in range(3)
    ]
    random.Random(1).shuffle(parts)
    assert content(put_together(parts)) == content(learned(EVENTS))
    assert content(put_together([*parts, parts[0]])) == content(learned(EVENTS))


def test_the_baseline_of_shuffled_tasks_is_the_same_bytes():
    """A baseline is a function of a set of tasks."""
    others = history()
    made = encode_baseline(baseline(EVENTS))
    by_agent = sorted(others, key=lambda each: (each.workload, each.at_ms))
    assert encode_baseline(baseline(by_agent)) == made


def test_one_workload_teaches_only_so_much():
    """However many tasks a workload does, so many count; the others' all stay."""
    flood = [
        event
        for number in range(3 * OF_WORKLOAD_MAX)
        for event in task(f"x{number}", "flood", "pay-bill", pay_bill(number), T0_MS + number)
    ]
    tasks = learned([*EVENTS, *flood]).tasks
    counts = np.unique(tasks["workload"], return_counts=True)[1]
    assert sorted(counts.tolist()) == [8] * 6 + [OF_WORKLOAD_MAX]


def test_a_purpose_of_one_workload_keeps_more_of_it():
    """Until another workload has it too: then no one's tasks count for more than the cap."""
    alone = [
        event
        for number in range(OF_PURPOSE_MAX + 40)
        for event in task(f"m{number}", "alone", "file-tax", pay_bill(number), T0_MS + number)
    ]
    other = list(task("o", "other", "file-tax", pay_bill(1), T0_MS))
    assert len(learned(alone).tasks) == OF_PURPOSE_MAX
    assert len(learned([*other, *alone]).tasks) == OF_WORKLOAD_MAX + 1
    shares = put_together([learned(alone), learned(other)])
    assert content(shares) == content(learned([*other, *alone]))


def test_what_is_done_each_day_under_one_name_is_many_tasks():
    """Also across a midnight, where a run that pauses stays one."""
    day_ms = 86_400_000
    daily = [
        event
        for day in range(9)
        for event in task("report", "a", "report", pay_bill(day), T0_MS + day * day_ms)
    ]
    assert len(learned(daily).tasks) == 9
    midnight = (T0_MS // day_ms + 1) * day_ms
    pausing = [
        event
        for hours in range(4)
        for event in task("report", "a", "report", pay_bill(1), midnight + (hours - 2) * 3_600_000)
    ]
    assert len(learned(pausing).tasks) == 1


def test_a_purpose_keeps_only_so_many_tasks():
    """Beyond the bound the tasks of a purpose are drawn by hash."""
    many = [
        event
        for number in range(OF_PURPOSE_MAX + 40)
        for event in task(f"m{number}", f"a{number}", "pay-bill", pay_bill(number), T0_MS + number)
    ]
    assert len(learned(many).tasks) == OF_PURPOSE_MAX


def test_refused_calls_teach_nothing_and_denied_ones_how_calls_are_made():
    """What was not done is not what tasks do; of what was denied only the denial is learned."""
    events = list(task("t", "a", "pay-bill", pay_bill(1)))
    for outcome, calls in (("refused", []), ("denied", [2])):
        changed = [
            type(each)(**{**_fields(each), "outcome": outcome}) if each.kind == "request" else each
            for each in events
        ]
        tasks = learned(changed)
        assert tasks.tasks["calls_count"].tolist() == calls
        assert without_denied(tasks).tasks["calls_count"].tolist() == [0] * len(calls)
        assert not len(done(tasks)[0].tasks)


def test_a_denied_call_leaves_the_others_of_its_task():
    """Of a task in which one call was denied, what was done is learned as if it had not been."""
    events = history(8)
    denied = [
        type(each)(**{**_fields(each), "outcome": "denied", "operation": "tool:vault"})
        for each in events
        if each.kind == "request" and each.id.endswith("/0")
    ]
    more = sorted([*events, *denied], key=lambda each: each.at_ms)
    assert content(without_denied(learned(more))) == content(learned(events))


def _fields(request):
    return {name: getattr(request, name) for name in request.__struct_fields__}
