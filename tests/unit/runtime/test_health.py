"""What /healthz says of a worker that waits."""

import asyncio
from types import SimpleNamespace

from stream.errors import StoreUnavailable
from stream.runtime import SystemClock, Worker
from stream.store import MemoryStore, RedisSpec
from tests.estate import Estate, busy, stored
from tests.live import wait_until


class Fleeting(MemoryStore):
    """A store that goes away."""

    is_away = False

    async def start(self) -> object:
        """Answer while it is there."""
        if Fleeting.is_away:
            raise StoreUnavailable("away")
        return await super().start()

    async def save(self, partition: int, save: object) -> int:
        """Save while it is there."""
        if Fleeting.is_away:
            raise StoreUnavailable("away")
        return await super().save(partition, save)


def test_who_waits_for_its_store_shows_no_partition() -> None:
    """What was shown before the session ended would say that somebody owns them."""
    estate = Estate()
    estate.store = Fleeting

    async def owned() -> list[str]:
        lines = estate.metrics.text().decode().splitlines()
        names = "partitions_owned", "rows_in_memory", "records_in_force"
        return [each for each in lines if each.startswith(tuple(f"enforcer_{n} " for n in names))]

    async def story() -> None:
        await estate.topics()
        async with estate.worker(look_every_ms=20) as worker:
            await estate.feed(busy(200, agents=40))
            await stored(worker, 200)
            await wait_until(owned, lambda each: all(not one.endswith(" 0.0") for one in each))
            Fleeting.is_away = True
            await estate.feed(busy(100, agents=40))
            await wait_until(owned, lambda each: all(one.endswith(" 0.0") for one in each))
            assert "enforcer_replay_events{" not in estate.metrics.text().decode()
            Fleeting.is_away = False
            await stored(worker, 300)

    asyncio.run(story())


def test_waiting_for_redis_is_no_stall() -> None:
    """A worker is alive while its turn waits as long as the store's calls may take."""
    worker = object.__new__(Worker)
    worker._clock = SystemClock()
    now_s = worker._clock.monotonic_s()
    for waited_s, is_healthy in ((3 * RedisSpec().deadline_s, True), (120.0, False)):
        worker._session = SimpleNamespace(
            turned_at_s=now_s - waited_s, fullness=SimpleNamespace(why={})
        )
        assert worker.healthy() is is_healthy


def test_waiting_for_room_is_no_stall() -> None:
    """Whoever restarts a worker whose store is full brings no room, and a replay begins anew."""
    worker = object.__new__(Worker)
    worker._clock = SystemClock()
    full = SimpleNamespace(why={3: "used memory > maxmemory"})
    worker._session = SimpleNamespace(turned_at_s=-3_600.0, fullness=full)
    assert worker.healthy()
