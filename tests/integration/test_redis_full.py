"""A server whose memory is full takes nothing more until it has room: saves wait, nothing else."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import redis

from stream.cli.doors import worker_doors
from stream.config import load_config
from stream.errors import StoreFull
from stream.local import Addresses
from stream.metrics import Metrics
from stream.runtime import outbox
from stream.store import NAMES_MAX, Bequest, Fence, RedisStore, Store
from tests.faults import redis as scenarios
from tests.faults.run import assert_nothing_lost
from tests.redis_use import BIRTH, attempt, spec
from tests.stores import save, take_over
from tests.valkey import running_valkey


@pytest.mark.timeout(180)
def test_memory_is_full_for_a_while(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """No session ends by it, and with room again all goes on where it was."""
    outcome = asyncio.run(scenarios.memory_full(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.causes["oom"] >= 5
    assert not outcome.restarts
    assert not outcome.modes


def with_a_limit(
    folder: Path, scene: Callable[[RedisStore, redis.Redis], Coroutine[Any, Any, None]]
) -> None:
    """Run a scene with a store and with who says how much memory there is."""
    with running_valkey(folder) as server, contextlib.closing(server.client()) as admin:
        attempt(spec(server.url), lambda store: scene(store, admin))


def test_a_save_that_was_written_is_known_in_a_full_memory(tmp_path: Path) -> None:
    """Where its reply was lost it returns its number again; what was never written is refused."""

    async def scene(store: RedisStore, admin: redis.Redis) -> None:
        await take_over(store, 0, "a")
        written = save(0, rows=[(1, b"a" * 600)], forget=[7])
        assert await store.save(0, written) == 1
        admin.config_set("maxmemory", "1mb")
        assert await store.save(0, written) == 1
        for other in (
            save(0, rows=[(1, b"b")]),
            save(1, rows=[(1, b"b")]),
            written._replace(number=1),
            written._replace(nonce="b"),
        ):
            with pytest.raises(StoreFull):
                await store.save(0, other)
        assert await store.save(0, save(1, forget=[1])) == 2
        assert await store.load(0, [1]) == [None]

    with_a_limit(tmp_path, scene)


def test_a_bequest_that_was_written_is_known_in_a_full_memory(tmp_path: Path) -> None:
    """It is a write as any other, and its reply may be lost as well."""

    async def scene(store: RedisStore, admin: redis.Redis) -> None:
        claim = await take_over(store, 0, "a")
        store.first_partitions = 1
        birth = Bequest(Fence("a", claim.epoch, 0), 1, {}, begins=True, checkpoint=BIRTH)
        assert await store.bequeath(0, birth) == "written"
        admin.config_set("maxmemory", "1mb")
        assert await store.bequeath(0, birth) == "written"
        with pytest.raises(StoreFull):
            await store.bequeath(0, birth._replace(fence=Fence("a", claim.epoch, 1)))

    with_a_limit(tmp_path, scene)


def test_names_without_room_are_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's store tells metrics how many texts it did not keep, and says so in the log."""
    monkeypatch.setattr(outbox.rarely, "_next_at", {})
    metrics = Metrics()

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, names=dict.fromkeys(range(NAMES_MAX), "n")))
        assert "enforcer_names_unstored_total 0.0" in metrics.text().decode()
        await store.save(0, save(1, names={NAMES_MAX + 1: "n", NAMES_MAX + 2: "n"}))

    async def whole(url: str) -> None:
        store = worker_doors(load_config("", {"ENFORCER_REDIS": url}), metrics).store()
        try:
            await scene(store)
        finally:
            await store.stop()

    with running_valkey(tmp_path) as server:
        asyncio.run(whole(server.url))
    assert "enforcer_names_unstored_total 2.0" in metrics.text().decode()
    assert [each for each in caplog.messages if "names of operations" in each]
