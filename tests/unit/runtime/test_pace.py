"""Rows are saved at the declared pace, more rarely where that costs too much of the time."""

import asyncio
import time

import pytest

from stream.bus import Chunk, MemorySource
from stream.runtime import WorkerSpec
from stream.runtime.pace import SavePace
from stream.store import MemoryStore, Save
from tests.estate import Estate, busy, stored
from tests.live import differences, other_rows, wait_until

ROUND_MS = 50
SLOW_S = 0.02


@pytest.mark.parametrize(
    ("busy_s", "round_ms"), [(0.0, 1_000), (0.09, 1_000), (0.2, 2_000), (5.0, 4_000)]
)
def test_round_lasts_as_its_share_allows(busy_s: float, round_ms: float) -> None:
    """Between the two bounds; a longer round may write more rows, as many a second."""
    pace = SavePace(WorkerSpec())
    pace.is_idle = False
    pace.spend(busy_s / 2)
    pace.spend(busy_s / 2)
    pace.end_round()
    assert pace.round_ms == pytest.approx(round_ms)
    assert pace.rows_max == pytest.approx(50_000 * round_ms / 1_000, abs=1)


def test_each_round_is_judged_by_itself() -> None:
    """What one round took says nothing of the one after the next."""
    pace = SavePace(WorkerSpec())
    pace.is_idle = False
    pace.spend(0.3)
    pace.end_round()
    assert pace.round_ms == pytest.approx(3_000)
    pace.end_round()
    assert pace.round_ms == 1_000


def test_idle_worker_saves_at_the_declared_pace() -> None:
    """Nothing is dirty again by then, so nothing is gained by waiting."""
    pace = SavePace(WorkerSpec())
    pace.is_idle = False
    pace.spend(10)
    pace.end_round()
    pace.is_idle = True
    assert (pace.round_ms, pace.rows_max) == (1_000, 50_000)


def test_idle_worker_saves_without_pauses() -> None:
    """Nobody waits for the pieces of a round, and a round begins at the declared pace."""
    pace = SavePace(WorkerSpec())
    pace.is_idle = False
    pace.spend(0.2)
    pace.end_round()
    assert [pace.pause_ms(10, lasted_ms) for lasted_ms in (None, 0.0, 5_000.0)] == [200.0] * 3
    pace.is_idle = True
    pauses = [pace.pause_ms(10, lasted_ms) for lasted_ms in (None, 0.0, 300.0, 5_000.0)]
    assert pauses == [1.0, 1_000.0, 700.0, 1.0]


def test_what_is_left_of_a_round_is_saved_once_no_events_come() -> None:
    """Whoever waits for the next piece meanwhile waits no longer; who is told to stop, stops."""
    pace, steps = SavePace(WorkerSpec(save_every_ms=4_000, fetch_wait_ms=100)), list[float]()
    pace.is_idle = False

    async def pause(span_ms: float) -> bool:
        steps.append(span_ms)
        pace.is_idle = len(steps) == 3
        return len(steps) < 5

    assert asyncio.run(pace.wait(pause, 4))
    assert steps == [100.0] * 3
    assert not asyncio.run(pace.wait(pause, 4))
    assert len(steps) == 5


def test_replaying_worker_saves_little_but_always_something() -> None:
    """Each row that it applies is read first, and decisions wait for that."""
    pace = SavePace(WorkerSpec())
    pace.is_idle, pace.is_replaying = False, True
    assert (pace.round_ms, pace.rows_max) == (4_000, 50_000)
    pace.is_replaying = False
    assert (pace.round_ms, pace.rows_max) == (1_000, 50_000)


def test_declared_pace_may_be_slower_than_the_slowest() -> None:
    """A pace that an operator declares is kept."""
    pace = SavePace(WorkerSpec(save_every_ms=60_000))
    pace.is_idle = False
    pace.spend(100)
    pace.end_round()
    assert pace.round_ms == 60_000


class Slow(MemoryStore):
    """A store that takes a while for each call, and notes when it was given rows."""

    saves: list[float]

    async def save(self, partition: int, save: Save) -> int:
        """Save, after a while."""
        if save.rows:
            Slow.saves.append(time.monotonic())
        await asyncio.sleep(SLOW_S)
        return await super().save(partition, save)


def counted_saves(share: float) -> int:
    """How often rows are saved while the same events come for the same time."""
    estate, payloads = Estate(), busy(2_000, agents=4)
    estate.store, Slow.saves = Slow, []
    settings = {"save_every_ms": ROUND_MS, "fetch_wait_ms": 200}

    async def story() -> dict[int, bytes]:
        await estate.topics()
        async with estate.worker(**settings, save_share=share) as worker:
            for start in range(0, len(payloads), 50):
                await estate.feed(payloads[start : start + 50])
                await asyncio.sleep(0.03)
            await stored(worker, len(payloads))
        return await estate.rows()

    rows = asyncio.run(story())
    bodies, images = estate.replayed(payloads)
    assert differences(estate.bodies(), bodies) == ""
    assert other_rows(rows, images) == []
    return len(Slow.saves)


def test_slow_store_is_asked_more_rarely() -> None:
    """Where saving may take all of the time it is done at the declared pace, else at its share's.

    And the last rows are stored all the same, once no events come.
    """
    assert counted_saves(0.05) < counted_saves(1.0) / 2


class OneByOne(MemorySource):
    """A source that gives one event at a time, every few milliseconds."""

    async def fetch(self, records_max: int, wait_s: float) -> list[Chunk]:
        """Fetch one event."""
        await asyncio.sleep(0.005)
        return await super().fetch(1, wait_s)


def saves_of(*, is_new: bool) -> int:
    """How often rows are saved while the same events are applied, all of them new or none."""
    estate, payloads = Estate(), busy(100, agents=20)
    estate.source, estate.store, Slow.saves = OneByOne, Slow, []

    async def story() -> dict[int, bytes]:
        await estate.topics()
        if not is_new:
            await estate.feed(payloads)
        async with estate.worker(save_every_ms=20, save_share=1.0) as worker:
            await wait_until(lambda: asyncio.sleep(0, worker.ready()), lambda lacks: not lacks)
            before = len(Slow.saves)
            if is_new:
                await estate.feed(payloads)
            await stored(worker, len(payloads))
            Slow.saves = Slow.saves[before:] if is_new else Slow.saves[:before]
        return await estate.rows()

    assert other_rows(asyncio.run(story()), estate.replayed(payloads)[1]) == []
    return len(Slow.saves)


def test_who_replays_what_another_may_have_applied_saves_little_meanwhile() -> None:
    """Decisions wait for rows that are read, and saves for decisions; then all is stored."""
    assert saves_of(is_new=False) < saves_of(is_new=True) / 4
