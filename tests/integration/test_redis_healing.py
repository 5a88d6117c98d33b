"""What passes by itself: each refusal a real server can give, met for real, and the call heals."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from stream.errors import ConfigError, StoreUnavailable
from stream.store import RedisSpec, RedisStore
from tests.stores import save, take_over
from tests.valkey import Valkey, running_valkey
from tests.valkeys import Member, running, until

SHORT = {"deadline_s": 0.5, "timeout_s": 0.3, "connect_timeout_s": 0.3}
ROWS = [(n << 56, b"x" * 500) for n in range(256)]


def run(
    scene: Callable[[RedisStore, RedisStore], Awaitable[None]], server: Valkey | Member
) -> Counter[str]:
    """Run a scene with an impatient and a patient store; return why calls were repeated."""
    causes: Counter[str] = Counter()

    def store(**options) -> RedisStore:
        settings = {"kind": "redis", "url": server.url, "prefix": "t", **options}
        return RedisStore(msgspec.convert(settings, RedisSpec), lambda each: causes.update([each]))

    async def whole() -> None:
        impatient, patient = store(**SHORT), store(deadline_s=60)
        try:
            await scene(impatient, patient)
        finally:
            await impatient.stop()
            await patient.stop()

    asyncio.run(whole())
    return causes


async def beside(call: Awaitable[object], heal: Callable[[], object]) -> object:
    """Heal what is wrong while a call waits; return its answer."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    await asyncio.to_thread(heal)
    return await task


def test_a_server_that_is_loading_is_waited_for(tmp_path: Path) -> None:
    """LOADING after a restart is waited for, and what was saved is there."""
    server = Member(tmp_path, ["--save", "", "--loading-process-events-interval-bytes", "1024"])
    with running(server):

        async def scene(_: RedisStore, patient: RedisStore) -> None:
            await asyncio.to_thread(server.await_up)
            await take_over(patient, 0, "a")
            await patient.save(0, save(0, rows=ROWS))
            for number in range(30):
                server.client.set(f"other-{number}", "x" * 2_000)
            server.client.save()
            server.kill()
            # A pause of 10 ms at every key, made for tests like this one.
            server.options += ["--key-load-delay", "10000"]
            server.launch()
            assert await patient.load(0, [ROWS[5][0]]) == [ROWS[5][1]]

        assert run(scene, server)["loading"]


def test_a_replica_without_its_primary_is_waited_for(tmp_path: Path) -> None:
    """MASTERDOWN and READONLY are waited for until the server is promoted."""
    with running_valkey(tmp_path) as server, contextlib.closing(server.client()) as client:

        async def scene(impatient: RedisStore, patient: RedisStore) -> None:
            await take_over(patient, 0, "a")
            client.config_set("replica-serve-stale-data", "no")
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreUnavailable, match=r"for 0\.5 s"):
                await impatient.load(0, [1])
            load = patient.load(0, [1])
            assert await beside(load, lambda: client.replicaof("NO", "ONE")) == [None]
            assert await patient.save(0, save(0, rows=ROWS)) == 1

        assert run(scene, server)["masterdown"]


def test_a_primary_without_enough_replicas_is_waited_for(tmp_path: Path) -> None:
    """NOREPLICAS (min-replicas-to-write) keeps a save waiting, and loads go on."""
    with running_valkey(tmp_path) as server, contextlib.closing(server.client()) as client:

        async def scene(impatient: RedisStore, patient: RedisStore) -> None:
            await take_over(patient, 0, "a")
            client.config_set("min-replicas-to-write", 1)
            with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
                await impatient.save(0, save(0, rows=ROWS))
            assert await patient.load(0, [1]) == [None]
            whole = patient.save(0, save(0, rows=ROWS))
            assert await beside(whole, lambda: client.config_set("min-replicas-to-write", 0)) == 1

        assert run(scene, server)["noreplicas"]


def test_a_server_that_cannot_write_its_disk_is_waited_for(tmp_path: Path) -> None:
    """MISCONF (a snapshot that failed) keeps a save waiting until a snapshot succeeds."""
    with (
        running_valkey(tmp_path, "--enable-protected-configs", "yes") as server,
        contextlib.closing(server.client()) as client,
    ):

        def snapshot(folder: str, status: str) -> None:
            client.config_set("dir", folder)
            client.bgsave()
            until(
                lambda: client.info("persistence")["rdb_last_bgsave_status"] == status,
                f"a snapshot ended with {status}",
            )

        async def scene(impatient: RedisStore, patient: RedisStore) -> None:
            await take_over(patient, 0, "a")
            client.config_set("save", "3600 1000000")
            snapshot("/proc", "err")
            with pytest.raises(StoreUnavailable, match="MISCONF"):
                await impatient.save(0, save(0, rows=ROWS))
            whole = patient.save(0, save(0, rows=ROWS))
            assert await beside(whole, lambda: snapshot(str(tmp_path), "ok")) == 1

        assert run(scene, server)["misconf"]


def test_a_server_that_comes_back_evicting_is_refused(tmp_path: Path) -> None:
    """After an outage a server is vetted again: what may drop profiles is not gone on with."""
    with running_valkey(tmp_path) as server:

        async def scene(_: RedisStore, patient: RedisStore) -> None:
            await take_over(patient, 0, "a")
            server.kill()
            server.launch("--maxmemory-policy", "allkeys-lru")
            with pytest.raises(ConfigError, match=r"allkeys-lru.*noeviction"):
                await take_over(patient, 0, "b")

        run(scene, server)
