"""A whole worker on the doors in memory: no server, the same bodies and rows as a replay."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable

from stream.bus import (
    Chunk,
    MemoryPublisher,
    MemorySource,
    MemoryTopics,
)
from stream.errors import BusUnavailable, StoreUnavailable
from stream.events import Request, encode_request
from stream.store import MemoryStore, Save, StoreFacts
from tests.estate import START_MS, TOPICS, Estate, busy, stored
from tests.live import differences, events_in, other_rows, wait_until


def test_sessions_one_after_another_equal_a_replay() -> None:
    """Three workers, few slots, small batches: bodies and rows are those of one replay."""
    payloads = busy(2_400, agents=131)
    estate = Estate()

    async def story() -> tuple[list[bytes], dict[int, bytes]]:
        await estate.topics()
        for part in range(3):
            async with estate.worker(batch_events_max=90) as worker:
                await estate.feed(payloads[part * 800 : (part + 1) * 800])
                await stored(worker, (part + 1) * 800)
        return estate.bodies(), await estate.rows()

    bodies, rows = asyncio.run(story())
    expected, images = estate.replayed(payloads)
    assert len(expected) > 20
    assert differences(bodies, expected) == ""
    assert other_rows(rows, images) == []


def test_another_log_under_the_same_name_is_noticed() -> None:
    """A log that was cut and grew past the checkpoint is a new era, by the record before it.

    Where the two part is not known, so what the log holds now is all that counts, once.
    """
    estate = Estate()

    async def story() -> dict[int, bytes]:
        await estate.topics()
        async with estate.worker() as worker:
            await estate.feed([event(each, "first") for each in range(40)])
            await stored(worker, 40)
        before = estate.log.states([TOPICS.requests])[0]
        estate.log.remake(TOPICS.requests)
        # Restored from an older copy, a topic keeps its id.
        estate.log._topics[TOPICS.requests].state = before
        await estate.feed([event(each, "second") for each in range(60)])
        async with estate.worker() as worker:
            await stored(worker, 60)
        return await estate.rows()

    assert list(map(events_in, asyncio.run(story()).values())) == [60]


def test_log_made_anew_under_a_worker_begins_one_era() -> None:
    """The session that meets the new log stores its id, so the next counts nothing again."""
    estate = Estate()

    async def story() -> tuple[list[int], list[int]]:
        await estate.topics()
        async with estate.worker() as worker:
            await estate.feed([event(each, "first") for each in range(60)])
            await stored(worker, 60)
            estate.log.remake(TOPICS.requests)
            await estate.feed([event(each, "second") for each in range(40)])

            async def moved() -> int:
                return sum(position for position, _ in worker.progress().values())

            await wait_until(moved, lambda position: position == 40)
            await stored(worker, 40)
        once = list(map(events_in, (await estate.rows()).values()))
        async with estate.worker() as worker:
            await stored(worker, 40)
        return once, list(map(events_in, (await estate.rows()).values()))

    assert asyncio.run(story()) == ([100], [100])


class Unreachable(MemoryStore):
    """A store that cannot be reached for the first write of rows it is given, ever."""

    failures = 0

    async def save(self, partition: int, save: Save) -> int:
        """Fail once, writing nothing."""
        if save.rows and Unreachable.failures == 0:
            Unreachable.failures += 1
            raise StoreUnavailable("away")
        return await super().save(partition, save)


def test_nothing_is_saved_after_a_save_that_failed() -> None:
    """The session that could not save leaves its checkpoint behind: all is counted, once."""
    estate = Estate()
    estate.store = Unreachable

    async def story() -> dict[int, bytes]:
        await estate.topics()
        await estate.feed([event(each, "x") for each in range(40)])
        async with estate.worker() as worker:
            await stored(worker, 40)
        return await estate.rows()

    assert list(map(events_in, asyncio.run(story()).values())) == [40]
    assert Unreachable.failures == 1


class Deaf(MemorySource):
    """A source that loses a cancellation, as what waits by asyncio.wait_for of Python 3.11 may."""

    cancellations_lost = 0

    async def fetch(self, records_max: int, wait_s: float) -> list[Chunk]:
        """Fetch, and answer once where it is cancelled."""
        try:
            return await super().fetch(records_max, wait_s)
        except asyncio.CancelledError:
            Deaf.cancellations_lost += 1
            if Deaf.cancellations_lost == 1:
                return []
            raise


def test_session_ends_though_a_cancellation_was_lost() -> None:
    """One task that was not told does not keep the next session from beginning."""
    estate = Estate()
    estate.store, estate.source = Unreachable, Deaf
    Unreachable.failures = 0

    async def story() -> dict[int, bytes]:
        await estate.topics()
        await estate.feed([event(each, "x") for each in range(40)])
        async with estate.worker() as worker:
            await stored(worker, 40)
            return await estate.rows()

    assert list(map(events_in, asyncio.run(story()).values())) == [40]
    assert Deaf.cancellations_lost > 0


class Full(MemoryPublisher):
    """A client whose buffer is full at the eleventh command, until the process is killed."""

    commands_left = 10
    is_waiting = False
    looks = 0

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        """Queue a record, or wait for room that never comes."""
        if topic == TOPICS.enforcement and b"heartbeat" not in (key or b""):
            Full.commands_left -= 1
            if Full.commands_left < 0:
                Full.is_waiting = True
                await asyncio.Event().wait()
        return await super().send(topic, key, value, partition)


def test_nothing_is_saved_while_commands_of_a_step_wait_to_be_sent() -> None:
    """Killed while a step's commands wait for room in the client, a worker loses none of them."""
    payloads = busy(1_200, agents=131)
    estate = Estate()

    async def story() -> list[bytes]:
        await estate.topics()
        await estate.feed(payloads)
        estate.publisher = Full
        killed = asyncio.create_task(estate.made().run())

        async def looks() -> int:
            Full.looks += Full.is_waiting
            return Full.looks

        # Many times as long as the worker waits between two saves.
        await wait_until(looks, lambda looks: looks >= 5)
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        estate.publisher = MemoryPublisher
        async with estate.worker() as worker:
            await stored(worker, len(payloads))
        return estate.bodies()

    bodies = asyncio.run(story())
    expected, _ = estate.replayed(payloads)
    assert len(expected) > 20
    assert differences(bodies, expected) == ""


class Away(MemoryTopics):
    """A broker that is away for the first sessions that are tried."""

    tries_left = 2

    async def start(self) -> None:
        """Fail twice."""
        if Away.tries_left:
            Away.tries_left -= 1
            raise BusUnavailable("connect: nobody answers")
        await super().start()


class AwayStore(MemoryStore):
    """A store that is away for the first sessions that are tried."""

    tries_left = 2

    async def start(self) -> StoreFacts:
        """Fail twice."""
        if AwayStore.tries_left:
            AwayStore.tries_left -= 1
            raise StoreUnavailable("nobody answers")
        return await super().start()


def test_worker_that_cannot_begin_names_its_mode() -> None:
    """Who is away shows in /readyz and in the gauge before any session, and not any more after."""
    estate = Estate()
    estate.admin, estate.store = Away, AwayStore

    async def story() -> list[list[str]]:
        seen = []
        await estate.topics()
        async with estate.worker(restart_wait_ms=400) as worker:

            async def ask() -> list[str]:
                missing = worker.ready()
                if missing[:1] and missing[0].split()[0] not in [each[0] for each in seen]:
                    shown = estate.metrics.text().decode()
                    seen.append([missing[0].split()[0], shown])
                return missing

            await wait_until(ask, lambda missing: missing == [])
        return seen

    seen = asyncio.run(story())
    names = [name for name, _ in seen]
    assert [each for each in names if each.endswith("_down")] == ["broker_down", "store_down"]
    for name, shown in seen:
        if name.endswith("_down"):
            assert f'enforcer_mode{{mode="{name}"}} 1.0' in shown
    assert 'enforcer_mode{mode="broker_down"} 0.0' in estate.metrics.text().decode()
    assert 'enforcer_mode{mode="store_down"} 0.0' in estate.metrics.text().decode()


def event(number: int, operation: str) -> bytes:
    """One event of one workload."""
    return encode_request(
        Request(
            at_ms=START_MS + number,
            workload="spiffe://test.example/agents/a",
            operation=f"tool:{operation}_{number}",
        )
    )


class BrokenOnce(MemoryStore):
    """A store that fails at one save."""

    is_broken = False

    async def save(self, partition: int, save: Save) -> int:
        """Save, or fail once."""
        if BrokenOnce.is_broken:
            BrokenOnce.is_broken = False
            raise StoreUnavailable("away")
        return await super().save(partition, save)


def test_session_that_ends_gives_its_rows_back() -> None:
    """Two sessions' rows are never in memory together, whoever still holds the first one."""
    estate = Estate()
    estate.store = BrokenOnce
    payloads = busy(200, agents=10)

    async def story() -> None:
        await estate.topics()
        async with estate.worker(restart_wait_ms=10) as worker:
            await estate.feed(payloads[:100])
            await stored(worker, 100)
            first = worker._session
            rows = weakref.ref(first.state.table.rows)
            BrokenOnce.is_broken = True
            await estate.feed(payloads[100:])
            await stored(worker, 200)
            assert worker._session is not first
            assert rows() is None

    gc.disable()
    try:
        asyncio.run(story())
    finally:
        gc.enable()
    assert differences(estate.bodies(), estate.replayed(payloads)[0]) == ""
