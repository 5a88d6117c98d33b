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
        worker._session = SimpleNamespace(turned_at_s=now_s - waited_s)
        assert worker.healthy() is is_healthy
