"""Benign soak: recorded benign runs, drawn again and again, at the pace of real requests.

    python -m benchmarks.quality --only soak --events 10000000

Tasks begin as requests of the weblogs came: gaps between them are drawn in stretches of GAPS, so
that bursts stay bursts. What a task does is a benign AgentDojo run, drawn with repetition, its
task id new, scored by a baseline of the other models whose thresholds were set without it. So its
alarms are false, and are counted against the budget of the default policy.

What is drawn again says nothing new about how odd benign tasks are: there are some thousand of
them. It shows that the engine keeps the rate over a long stream: contexts that are dropped, tasks
side by side, records that are taken from others.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from benchmarks.quality import novelty, weblogs
from benchmarks.quality.figures import at_most, figure
from stream.baselines import exact_interval
from stream.events import encode_request
from stream.policy import default_policy
from stream.replay import Replay, batches

EVENTS: Final = 100_000
GAPS: Final = 200
SEED: Final = 11
RATIO_MAX: Final = 1.5


def gaps_ms(folder: Path) -> list[int]:
    """Return the times between requests of the weblogs, in their order."""
    times = np.array([each.at_ms for each in weblogs.read_events(folder)])
    return np.diff(np.sort(times)).tolist()


def starts_of(gaps: Sequence[int], chance: random.Random) -> Iterator[int]:
    """Yield when tasks begin, without end."""
    at_ms = novelty.agentdojo.START_MS
    while True:
        first = chance.randrange(len(gaps))
        for gap in gaps[first : first + GAPS]:
            # The recorded times are whole seconds.
            at_ms += max(0, gap + chance.randrange(-500, 500))
            yield at_ms


def stream_of(
    runs: Sequence[novelty.Run], gaps: Sequence[int], events: int, chance: random.Random
) -> Iterator[tuple[int, bytes]]:
    """Yield so many events, or some more, in order of time: the number of the task, its payload."""
    waiting: list[tuple[int, int, int, bytes]] = []
    made = order = 0
    for number, start_ms in enumerate(starts_of(gaps, chance)):
        while waiting and waiting[0][0] <= start_ms:
            _, _, task, payload = heapq.heappop(waiting)
            yield task, payload
        if made >= events:
            break
        run = chance.choice(runs)
        by_ms = start_ms - run.events[0].at_ms
        for event in run.events:
            changed = msgspec.structs.replace(
                event, at_ms=event.at_ms + by_ms, task=f"soak-{number}", id=""
            )
            order += 1
            heapq.heappush(waiting, (changed.at_ms, order, number, encode_request(changed)))
        made += len(run.events)
    for _, _, task, payload in sorted(waiting):
        yield task, payload


def alarms_of(baseline: Any, stream: Iterator[tuple[int, bytes]]) -> tuple[int, int, int]:
    """Return how many tasks alarmed, how many there were, and how many events."""
    machine = Replay(default_policy(), novelty.KEY, slots_max=novelty.SLOTS)
    machine.expect(baseline, "soak")
    alarmed: set[int] = set()
    tasks = events = 0
    numbers: list[int] = []

    def payloads() -> Iterator[bytes]:
        for number, payload in stream:
            numbers.append(number)
            yield payload

    for part in batches(payloads()):
        _, rejects, scores = machine.score(part)
        assert not rejects, rejects[0]
        here = np.array(numbers)
        raised = scores.positions[scores.rows["alarm"] != 0] - events
        alarmed.update(here[raised].tolist())
        tasks = max(tasks, int(here.max()) + 1)
        events += len(part)
        numbers.clear()
    return len(alarmed), tasks, events


def declared_percent() -> float:
    """Return what the default policy declares for task novelty, in percent of tasks."""
    rules = default_policy().rules
    return next(each.false_alarms_ppm for each in rules if each.false_alarms_ppm) / 10_000


def measure(data: novelty.Data, folder: Path, events: int = EVENTS) -> dict[str, dict[str, Any]]:
    """Return how many benign tasks alarm, beside what was declared."""
    gaps, chance = gaps_ms(folder), random.Random(SEED)
    benign = [run for run in data.runs if not run.is_attack]
    alarmed = tasks = seen = 0
    for model in sorted({run.model for run in benign}):
        mine = [run for run in benign if run.model == model]
        learned, _ = novelty.of_others(data, model)
        made = novelty.baseline_of(data, learned)
        share = round(events * len(mine) / len(benign))
        found = alarms_of(made, stream_of(mine, gaps, share, chance))
        alarmed, tasks, seen = (
            sum(pair) for pair in zip((alarmed, tasks, seen), found, strict=True)
        )
    declared = declared_percent()
    low, high = exact_interval(alarmed, tasks)
    return {
        "soak false alarms, % of tasks": {
            **at_most(round(100 * alarmed / tasks, 3), RATIO_MAX * declared),
            "declared": declared,
            "between": [round(100 * low, 3), round(100 * high, 3)],
        },
        "soak tasks": figure(tasks),
        "soak events": figure(seen),
    }
