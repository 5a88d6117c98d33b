"""What /healthz says of a worker that waits."""

from types import SimpleNamespace

from stream.runtime import SystemClock, Worker
from stream.store import RedisSpec


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
