"""A session in which something was cut short applies nothing more, whoever waited for its turn."""

import asyncio
from typing import Any

from benchmarks.bugs import BUGS, planted
from stream.runtime import Worker
from tests.estate import Estate, busy, stored
from tests.live import differences, other_rows, wait_until

FIRST, THEN = 200, 100


async def positions_after_the_break(worker: Worker, estate: Estate) -> dict[int, tuple[int, int]]:
    """Break a session that waits for its turn with events read; return what it moved, from, to.

    What breaks it here is what a lost reply to a journal entry leaves behind.
    """
    session = worker._session
    assert session is not None
    owned = dict(session.owned)
    async with session.turn:
        before = {partition: one.position for partition, one in owned.items()}
        await estate.feed(busy(FIRST + THEN, agents=20)[FIRST:])

        async def is_waiting() -> bool:
            return bool(session.turn._waiters)

        await wait_until(is_waiting, bool)
        session.is_broken = True

    async def is_another() -> bool:
        return worker._session not in (None, session)

    session.stopping.set()
    await wait_until(is_another, bool)
    return {
        partition: (before[partition], one.position)
        for partition, one in owned.items()
        if one.position != before[partition]
    }


def broken_with_events_read() -> tuple[Any, str, list[Any]]:
    """Return what a broken session moved, and what differs from a replay at the end."""
    estate, payloads = Estate(), busy(FIRST + THEN, agents=20)

    async def story() -> tuple[Any, dict[int, bytes]]:
        await estate.topics()
        await estate.feed(payloads[:FIRST])
        async with estate.worker(restart_wait_ms=10) as worker:
            await stored(worker, FIRST)
            moved = await positions_after_the_break(worker, estate)
            await stored(worker, FIRST + THEN)
        return moved, await estate.rows()

    moved, rows = asyncio.run(story())
    bodies, images = estate.replayed(payloads)
    return moved, differences(estate.bodies(), bodies), other_rows(rows, images)


def test_nothing_is_applied_after_a_break() -> None:
    """Conditions that were journalled may not hold in it; the next session applies all of it."""
    assert broken_with_events_read() == ({}, "", [])


def test_what_is_applied_after_a_break_is_noticed() -> None:
    """The same where it goes on, so that the test above is known to see it."""
    with planted(next(each for each in BUGS if each.name == "acts-after-failure")):
        assert broken_with_events_read()[0]
