"""What a candidate keeps: a function of the set of tasks, within its caps, whatever their order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.baselines import Tasks, candidate, learned_from, no_tasks, put_together, together
from stream.baselines.tasks import CALL, DAY_MS, RATES, TASK

OF_WORKLOAD, OF_PURPOSE, OF_DAY = 3, 12, 3


@pytest.fixture(autouse=True)
def _small_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caps that a few tasks reach."""
    monkeypatch.setattr(candidate, "OF_WORKLOAD_MAX", OF_WORKLOAD)
    monkeypatch.setattr(candidate, "OF_PURPOSE_MAX", OF_PURPOSE)
    monkeypatch.setattr(candidate, "OF_DAY_MAX", OF_DAY)


def one(
    purpose: int, workload: int, name: int, run_ms: int, ended_ms: int = 0, calls: int = 1
) -> Tasks:
    """A task that ended, of so many calls; its hashes are small numbers, which are hashed again."""
    row = np.array([(9, purpose, workload, name, run_ms, ended_ms, 0, calls, [0] * RATES)], TASK)
    return no_tasks()._replace(tasks=row, calls=np.zeros(calls, CALL))


def story(seed: int) -> list[Tasks]:
    """Tasks of some workloads in the order in which they ended, some in parts, on uneven days."""
    chance = random.Random(seed)
    purposes, workloads, days = (chance.randint(1, most) for most in (2, 8, 6))
    busy = [chance.choice((1, 1, 1, 30)) for _ in range(days)]
    made = []
    for name in range(chance.randint(1, 90)):
        (day,) = chance.choices(range(days), busy)
        at_ms = day * DAY_MS + chance.randrange(DAY_MS)
        who = chance.randint(1, purposes), chance.randint(1, workloads), name
        made += [
            (at_ms + part * DAY_MS // 3, at_ms, who, chance.randint(1, 3))
            for part in range(chance.choice((1, 1, 1, 3)))
        ]
    return [one(*who, run_ms, at_ms, calls) for at_ms, run_ms, who, calls in sorted(made)]


def said(tasks: Tasks) -> list[Any]:
    """What tasks are, in an order of its own."""
    names = ["purpose", "workload", "task", "run_ms", "ended_ms", "calls_count"]
    return sorted(tasks.tasks[names].tolist())


def bit_by_bit(events: Sequence[Tasks], chance: random.Random) -> Tasks:
    """What is kept when some tasks at a time come, as a log is read."""
    kept, at = no_tasks(), 0
    while at < len(events):
        end = at + chance.choice((1, 3, 20))
        kept = put_together([kept, together(events[at:end])])
        at = end
    return kept


many = settings(deadline=None, max_examples=settings.default.max_examples * 5 // 2)


@many
@given(st.integers(0, 1 << 30))
def test_batches_and_shares_change_nothing(seed: int) -> None:
    """Read in pieces, by partitions that share the workloads: what all tasks at once would give."""
    chance, events = random.Random(seed), story(seed)
    whole = said(learned_from(put_together(events)))
    assert said(learned_from(bit_by_bit(events, chance))) == whole
    parts: list[list[Tasks]] = [[], [], []]
    for each in events:
        parts[int(each.tasks["workload"][0]) % 3].append(each)
    shares = [bit_by_bit(each, chance) for each in parts]
    chance.shuffle(shares)
    assert said(learned_from(put_together(shares))) == whole


@many
@given(st.integers(0, 1 << 30))
def test_no_order_changes_anything(seed: int) -> None:
    """Tasks and their parts may come in any order."""
    chance, events = random.Random(seed), story(seed)
    whole = said(learned_from(put_together(events)))
    chance.shuffle(events)
    assert said(learned_from(bit_by_bit(events, chance))) == whole


@many
@given(st.integers(0, 1 << 30))
def test_every_cap_holds(seed: int) -> None:
    """Of a purpose, of a workload that shares it, and of a day where there are several."""
    events = story(seed)
    every = put_together(events)
    kept = said(learned_from(every))
    assert {each[:3] for each in kept} <= {each[:3] for each in said(together(events))}
    assert max(Counter(each[0] for each in kept).values()) <= OF_PURPOSE
    assert max(Counter(each[0] for each in said(every)).values()) <= 2 * OF_PURPOSE
    days = {(each[0], each[3] // DAY_MS) for each in said(every)}
    many = Counter(purpose for purpose, _ in days)
    for (purpose, _), count in Counter((each[0], each[3] // DAY_MS) for each in kept).items():
        assert count <= (OF_PURPOSE if many[purpose] < candidate.DAYS_MIN else OF_DAY)
    owners = {purpose: {each[1] for each in kept if each[0] == purpose} for purpose, *_ in kept}
    for (purpose, _), count in Counter(each[:2] for each in kept).items():
        assert count <= OF_WORKLOAD or len(owners[purpose]) == 1


def test_a_busy_day_leaves_the_others_their_part() -> None:
    """A day of very many tasks has its part of the purpose's, and every other day all of its own.

    Neither is cut of few days: the quiet ones would weigh more than they did.
    """
    quiet = [one(1, 100 + day, day, day * DAY_MS) for day in range(1, 7)]
    flood = [one(1, 200 + number, 1_000 + number, 7 * DAY_MS) for number in range(500)]
    kept = learned_from(put_together([*quiet, *flood]))
    days = Counter((kept.tasks["run_ms"] // DAY_MS).tolist())
    assert days == {**dict.fromkeys(range(1, 7), 1), 7: OF_DAY}
    for few in (0, 2):
        kept = learned_from(put_together([*flood, *quiet[:few]]))
        assert len(kept.tasks) == OF_PURPOSE


def test_of_parts_of_a_task_the_longest_counts() -> None:
    """The first of equally long ones, whatever order they come in."""
    parts = [one(1, 1, 1, 5, *part) for part in ((9, 2), (20, 5), (30, 5))]
    assert said(put_together(parts)) == [(1, 1, 1, 5, 20, 5)]
    assert said(put_together(parts[::-1])) == [(1, 1, 1, 5, 20, 5)]
