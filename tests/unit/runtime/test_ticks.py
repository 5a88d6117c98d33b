"""Whoever should have called by now is asked about, by name, whoever owns the partition."""

from __future__ import annotations

import asyncio
import time

import msgspec

from stream.engine import State, missing
from stream.events import Request, SubjectRecord, decode_request, decode_value, encode_request
from stream.identity import home_partition
from stream.profiles import Arrival, Decoder
from stream.runtime import Worker
from stream.runtime.loading import wanting_rows
from tests.estate import TOPICS, Estate, stored
from tests.live import wait_until
from tests.models.driver import KEY
from tests.models.logs import T0_MS
from tests.unit.runtime.test_baselines import made, offered

POLICY = """
name: missed
rules:
- name: silence
  anomaly: {of: silence, false_alarms: 1 per workload per 365 days}
  action: revoke
  for: 1d
"""
INTERVAL_MS = 300_000
STEADY, OTHER = (f"spiffe://shop.example/services/{each}" for each in ("steady", "other"))


def steady(workload: str, until_ms: int, days: float = 8) -> list[Request]:
    """One request in each interval, for so long."""
    count = round(days * 288)
    first_ms = until_ms - count * INTERVAL_MS
    return [Request(first_ms + each * INTERVAL_MS, workload, "GET /") for each in range(count)]


def ticks(estate: Estate) -> list[str]:
    """Who was asked about, in the order of partitions."""
    found = [decode_request(each) for each in estate.values(TOPICS.requests)]
    return [each.workload for each in found if each.kind == "tick"]


def missed(estate: Estate) -> list[tuple[str, str]]:
    """Who is missed, as the records of the enforcement topic have it, and why."""
    values = [decode_value(each) for each in estate.values(TOPICS.enforcement)]
    records = [each for each in values if isinstance(each, SubjectRecord)]
    bodies = [command.body for record in records for command in record.commands]
    return [(each.subject.workload, each.reason.text) for each in bodies if each.rule == "silence"]


def quick(estate: Estate) -> Worker:
    """A worker that looks through all rows within a second."""
    settings = {"sweep_every_ms": 256, "restart_wait_ms": 10}
    return offered(estate.made(**settings), made(24))


async def working(worker: Worker, count: int) -> asyncio.Task[None]:
    """Begin to work, and wait until so many events are stored."""
    task = asyncio.create_task(worker.run())
    await stored(worker, count)
    return task


def test_who_falls_silent_is_missed_by_any_owner() -> None:
    """By the next one too, which never heard of it; and who still calls is not."""
    estate, now_ms = Estate(POLICY), time.time_ns() // 1_000_000
    events = steady(STEADY, now_ms - 6 * 3_600_000) + steady(OTHER, now_ms)
    events.sort(key=lambda each: each.at_ms)

    async def story() -> None:
        await estate.topics()
        # What arrives now is of long ago, so the first owner is asked about nobody it still reads.
        await estate.feed([encode_request(each) for each in events])
        worker = estate.made(sweep_every_ms=86_400_000)
        task = await working(offered(worker, made(24)), len(events))
        worker.stop()
        await task
        assert ticks(estate) == []
        heir = quick(estate)
        task = asyncio.create_task(heir.run())

        async def is_missed() -> bool:
            return bool(missed(estate))

        await estate.feed([encode_request(Request(now_ms, OTHER, "GET /"))])
        await wait_until(is_missed, bool)
        heir.stop()
        await task

    asyncio.run(story())
    assert set(ticks(estate)) == {STEADY}
    ((workload, why), *more) = missed(estate)
    assert not more
    assert workload == STEADY
    assert why.startswith("no event for 6h")
    assert "requests or more were expected" in why


def test_nobody_is_asked_about_while_nothing_arrives() -> None:
    """Then it is not the workloads that fail; and a tick, whoever wrote it, is nothing."""
    estate, now_ms = Estate(POLICY), time.time_ns() // 1_000_000
    events = steady(STEADY, now_ms - 6 * 3_600_000)
    forged = Request(now_ms - 7 * 86_400_000, STEADY, "x", kind="tick")

    async def story() -> None:
        await estate.topics()
        await estate.feed([encode_request(each) for each in events])
        worker = offered(estate.made(sweep_every_ms=25_600, restart_wait_ms=10), made(24))
        task = await working(worker, len(events))
        session = worker._session
        assert session is not None
        for each in session.owned.values():
            each.clock_ms = each.called_ms = now_ms - 3_600_000
        await estate.feed([encode_request(forged)])
        await stored(worker, len(events) + 1)
        mine = session.owned[home_partition(STEADY.encode(), TOPICS.partitions)]
        assert mine.clock_ms >= now_ms
        assert mine.called_ms == now_ms - 3_600_000
        for each in session.owned.values():
            policy = worker._policies.compiled(each.conditions)
            assert not session.ticks.may_miss(each, policy, session.owned.values(), 0)
            each.called_ms = now_ms
            assert session.ticks.may_miss(each, policy, session.owned.values(), 0)
            session.ticks.is_deaf = lambda: True
            assert not session.ticks.may_miss(each, policy, session.owned.values(), 0)
            session.ticks.is_deaf = lambda: False
            each.called_ms = now_ms - 3_600_000
        worker.stop()
        await task

    asyncio.run(story())
    assert ticks(estate) == [STEADY], "the forged one alone"
    assert missed(estate) == [], "which asked about a time before the last call"


def test_whom_a_tick_precedes_has_a_row_wanted() -> None:
    """A first call finds room in a full table, though it was asked about in the same batch."""
    state = State(KEY, 4, 1)
    asks = Request(T0_MS, STEADY, "x", kind="tick")
    calls = [asks, Request(T0_MS, STEADY, "GET /"), msgspec.structs.replace(asks, workload=OTHER)]
    payloads = [encode_request(each) for each in calls]
    arrival = Arrival("t", 0, range(3), [T0_MS] * 3, payloads)
    batch, _ = Decoder(KEY, 1).decode([arrival])
    absent = missing(state, batch)
    assert absent == [1, 2]
    assert wanting_rows(state, batch, absent, {}) == 1
    assert wanting_rows(state, batch, absent, {1: b"", 2: b""}) == 2
