"""The store on a real Valkey that restarts, stalls, fills up, or holds what is not ours."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import pytest
import redis

from stream.errors import ConfigError, EnforcerError, RowCorrupt, StoreUnavailable
from stream.store import Fence, RedisSpec, RedisStore, StoreForgot
from tests.ports import free_port
from tests.stores import save, take_over
from tests.valkey import Valkey, running_valkey

IDS = [n << 56 | n for n in range(256)]
SHORT = {"deadline_s": 0.5, "timeout_s": 0.3, "connect_timeout_s": 0.3}


def spec(url: str, **options) -> RedisSpec:
    """Settings as a configuration file gives them."""
    return msgspec.convert({"kind": "redis", "url": url, "prefix": "t", **options}, RedisSpec)


def run(scene: Callable[[RedisStore], Awaitable[None]], url: str, **options) -> None:
    """Run a scene with a store, and close it."""

    async def whole() -> None:
        store = RedisStore(spec(url, **options))
        try:
            await scene(store)
        finally:
            await store.stop()

    asyncio.run(whole())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(shared: Valkey) -> Valkey:
    """The module's server, empty."""
    with contextlib.closing(shared.client()) as client:
        client.flushall()
        client.script_flush()
    return shared


def test_facts_of_valkey(valkey: Valkey) -> None:
    """A Valkey says what it is; its version is its own, not that of the Redis it resembles."""

    async def scene(store: RedisStore) -> None:
        facts = await store.start()
        assert facts.server == "valkey"
        assert int(facts.version.split(".")[0]) >= 8
        assert facts.maxmemory_bytes == 0

    run(scene, valkey.url)


def test_load_of_more_rows_than_lua_holds_values(valkey: Valkey) -> None:
    """One call may ask for 20,000 rows of one bucket, and for none."""
    ids = list(range(20_000))

    async def scene(store: RedisStore) -> None:
        await take_over(store, 0, "a")
        for number in range(4):
            part = ids[number * 5000 : (number + 1) * 5000]
            await store.save(0, save(number, rows=[(n, b"%d" % n) for n in part]))
        assert await store.load(0, ids, Fence("a", 1, 4)) == [b"%d" % n for n in ids]
        assert await store.load(0, []) == []

    run(scene, valkey.url, ids_per_load=65_536)


def test_unknown_script_heals(valkey: Valkey) -> None:
    """A server that forgot the scripts gets them again, in the call that needs them."""
    with contextlib.closing(valkey.client()) as client:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            for number in range(3):
                client.script_flush()
                assert await store.save(0, save(number, rows=[(1, b"1")])) == number + 1
                client.script_flush()
                assert await store.load(0, [1]) == [b"1"]
            client.script_flush()
            assert (await take_over(store, 0, "b")).number == 3

        run(scene, valkey.url)


def test_pooled_connections_heal_after_a_restart(tmp_path) -> None:
    """Every connection of the pool survives that the server was killed and came back."""
    with running_valkey(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            await store.save(0, save(0, rows=[(n, b"%d" % n) for n in IDS]))
            # As many calls at once as there are connections, so that all of them are open.
            await asyncio.gather(*(store.load(0, IDS) for _ in range(4)))
            server.kill()
            server.launch()
            loads = await asyncio.gather(*(store.load(0, IDS, Fence("a", 1, 1)) for _ in range(8)))
            assert all(rows == [b"%d" % n for n in IDS] for rows in loads)
            assert await store.save(0, save(1, rows=[(1, b"new")])) == 2

        run(scene, server.url, connections=4)


def test_server_that_is_down_is_waited_for(tmp_path) -> None:
    """A call during an outage shorter than its deadline succeeds, late."""
    with running_valkey(tmp_path) as server:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            server.kill()
            call = asyncio.create_task(take_over(store, 0, "b"))
            await asyncio.to_thread(server.launch)
            assert (await call).epoch == 1

        run(scene, server.url, deadline_s=30)


def test_server_that_stays_down_is_unavailable(tmp_path) -> None:
    """Beyond the deadline it is StoreUnavailable, from the client's own error; later it heals."""
    with running_valkey(tmp_path) as server:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            server.kill()
            with pytest.raises(StoreUnavailable, match=str(server.port)) as caught:
                await store.load(0, [1])
            assert caught.value.__cause__ is not None
            server.launch()
            assert await store.load(0, [1]) == [None]
            # It came back empty: whoever owned something there is told.
            with pytest.raises(StoreForgot):
                await store.save(0, save(0, rows=[(1, b"1")]))

        run(scene, server.url, **SHORT)


def test_lost_reply_of_a_save_is_recognised(tmp_path) -> None:
    """A save that a stalled server did after we gave up is recognised when it is sent again."""
    with running_valkey(tmp_path) as server:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            first = save(0, rows=[(1, b"1")], records={b"r": b"1"})
            server.signal(signal.SIGSTOP)
            with pytest.raises(StoreUnavailable):
                await store.save(0, first)
            server.signal(signal.SIGCONT)
            assert await store.save(0, first) == 1
            assert await store.save(0, save(1)) == 2
            assert await store.load(0, [1]) == [b"1"]

        run(scene, server.url, **SHORT)


def test_cancelled_calls_mix_up_no_replies(valkey: Valkey) -> None:
    """A call that is cancelled at any moment leaves no reply behind for the next one."""

    async def scene(store: RedisStore) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, rows=[(n, b"%d" % n * 400) for n in IDS]))
        loop = asyncio.get_running_loop()
        for step in range(200):
            call = asyncio.create_task(store.load(0, IDS))
            loop.call_later(step * 2e-5, call.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await call
            one = IDS[step]
            assert await store.load(0, [one]) == [b"%d" % one * 400]

    run(scene, valkey.url, connections=1)


def test_read_only_server_is_waited_for(tmp_path) -> None:
    """A server demoted to a replica refuses writes; when it is primary again, the call succeeds."""
    with running_valkey(tmp_path) as server, contextlib.closing(server.client()) as client:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreUnavailable, match=r"for 0\.5 s: .*read only"):
                await store.save(0, save(0, rows=[(1, b"1")]))
            call = asyncio.create_task(store.save(0, save(0, rows=[(1, b"1")])))
            await asyncio.to_thread(client.replicaof, "NO", "ONE")
            assert await call == 1

        run(scene, server.url, **SHORT)


def await_busy(client: redis.Redis) -> None:
    """Return once the server says that it is held up."""
    with contextlib.suppress(redis.ResponseError):
        while client.ping():
            pass


def test_busy_server_is_waited_for(tmp_path) -> None:
    """A server held up by somebody's endless script is asked again until it answers."""
    with (
        running_valkey(tmp_path, "--busy-reply-threshold", "1") as server,
        contextlib.closing(server.client()) as client,
        contextlib.closing(server.client()) as killer,
    ):

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            endless = asyncio.create_task(asyncio.to_thread(client.eval, "while true do end", 0))
            await asyncio.to_thread(await_busy, killer)
            with pytest.raises(StoreUnavailable, match=r"(?i)busy"):
                await store.load(0, [1])
            call = asyncio.create_task(store.load(0, [1]))
            await asyncio.to_thread(killer.script_kill)
            assert await call == [None]
            with pytest.raises(redis.ResponseError, match=r"(?i)kill"):
                await endless

        run(scene, server.url, **SHORT)


@pytest.mark.parametrize("part", ["names", "records", "rows:5", "state", "domains", "members"])
def test_key_of_a_wrong_type_stops_a_save_before_it_writes(valkey: Valkey, part: str) -> None:
    """What another application put under our keys is RowCorrupt with a hint, and no half save."""
    key = f"t:{{0}}:{part}"
    whole = save(
        1,
        rows=[(n, b"new") for n in IDS],
        names={1: "new"},
        records={b"r": b"new"},
        forget=[IDS[5]],
        domains=[(n, 9) for n in IDS],
    )
    with contextlib.closing(valkey.client()) as client:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            await store.save(0, save(0, rows=[(n, b"old") for n in IDS]))
            client.delete(key)
            client.set(key, "a string")
            before = {each: client.dump(each) for each in client.keys("t:*")}
            with pytest.raises(RowCorrupt, match="prefix"):
                await store.save(0, whole)
            assert {each: client.dump(each) for each in client.keys("t:*")} == before
            if part in ("records", "state"):
                with pytest.raises(RowCorrupt, match="prefix"):
                    await take_over(store, 0, "b")
                assert {each: client.dump(each) for each in client.keys("t:*")} == before
            if part == "rows:5":
                with pytest.raises(RowCorrupt, match="prefix"):
                    await store.load(0, IDS)
                with pytest.raises(RowCorrupt, match="prefix"):
                    await store.scan(0, 5)
            if part == "names":
                with pytest.raises(RowCorrupt, match="prefix"):
                    await store.names(0, [1])

        run(scene, valkey.url)


@pytest.mark.parametrize(
    ("name", "stored"),
    [("epoch", "x"), ("epoch", "1e3"), ("number", "-1"), ("number", "1e3"), ("number", "9" * 40)],
)
def test_state_that_is_no_number_is_named(valkey: Valkey, name: str, stored: str) -> None:
    """A state that we cannot have written is RowCorrupt for whoever claims or loads by it."""
    with contextlib.closing(valkey.client()) as client:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            client.hset("t:{0}:state", name, stored)
            with pytest.raises(RowCorrupt):
                await take_over(store, 0, "b")
            with pytest.raises(RowCorrupt):
                await store.load(0, [1], Fence("a", 1, 0))

        run(scene, valkey.url)


def test_row_without_a_valid_id_is_named(valkey: Valkey) -> None:
    """A field in a bucket that is no id of ours is RowCorrupt, not a row of somebody else."""
    with contextlib.closing(valkey.client()) as client:
        client.hset("t:{0}:rows:0", "short", "x")

    async def scene(store: RedisStore) -> None:
        with pytest.raises(RowCorrupt, match="bucket 0"):
            await store.scan(0, 0)

    run(scene, valkey.url)


def test_full_memory_refuses_growth_and_allows_the_way_out(valkey: Valkey) -> None:
    """At maxmemory a growing save is refused whole; claims, loads and saves that shrink pass."""
    with contextlib.closing(valkey.client()) as client:

        async def scene(store: RedisStore) -> None:
            await take_over(store, 0, "a")
            await store.save(0, save(0, rows=[(n, b"old") for n in IDS]))
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                await store.save(0, save(1, rows=[(n, b"new") for n in IDS]))
            assert await store.load(0, IDS, Fence("a", 1, 1)) == [b"old"] * 256
            assert (await take_over(store, 0, "b")).epoch == 2
            assert await store.save(0, save(1, "b", forget=IDS[:9], records_gone=[b"r"])) == 2
            assert await store.load(0, IDS[:10]) == [None] * 9 + [b"old"]

        try:
            run(scene, valkey.url)
        finally:
            client.config_set("maxmemory", 0)


def test_server_that_evicts_is_refused(valkey: Valkey) -> None:
    """A server that may drop profiles is a ConfigError that says how to change it."""
    with contextlib.closing(valkey.client()) as client:

        async def scene(store: RedisStore) -> None:
            with pytest.raises(ConfigError, match=r"allkeys-lru.*CONFIG SET.*noeviction"):
                await store.start()

        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            run(scene, valkey.url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_scripts_keep_to_the_slot_they_declare(tmp_path) -> None:
    """A cluster, which refuses keys of other slots and undeclared ones there, accepts all calls."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with (
        running_valkey(tmp_path, *options) as server,
        contextlib.closing(server.client()) as client,
    ):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

        async def as_one_server(store: RedisStore) -> None:
            with pytest.raises(ConfigError, match=r"mode cluster.*redis\+cluster://"):
                await store.start()
            with pytest.raises(ConfigError, match=r"redis\+cluster://"):
                await take_over(store, 0, "a")

        async def scene(store: RedisStore) -> None:
            assert (await store.start()).mode == "cluster"
            for partition in range(8):
                await take_over(store, partition, "a")
                rows = [(n, b"1") for n in IDS]
                whole = save(0, rows=rows, names={1: "n"}, records={b"r": b"1"}, forget=IDS[:3])
                assert await store.save(partition, whole) == 1
                assert await store.load(partition, IDS) == [b"1"] * 256
                assert await store.scan(partition, 7) == [(IDS[7], b"1")]
                assert await store.names(partition, [1]) == {1: "n"}

        run(as_one_server, server.url)
        run(scene, f"redis+cluster://127.0.0.1:{server.port}", deadline_s=30)


@pytest.mark.parametrize(
    ("reply", "error", "match"),
    [
        ("redis_version:6.2.14\r\nredis_mode:standalone", ConfigError, "6.2.14.*Redis 7"),
        ("redis_version:7.2.4\r\nredis_mode:sentinel", ConfigError, "sentinel"),
        ("redis_version:7.2.4\r\nredis_mode:standalone", ConfigError, "unknown"),
        ("redis_version:\r\nredis_mode:standalone", ConfigError, "Redis 7"),
        (None, StoreUnavailable, "Redis at"),
    ],
)
def test_other_servers(reply: str | None, error: type[EnforcerError], match: str) -> None:
    """An old server, a Sentinel, one that hides its policy, one that speaks something else."""
    info = f"# Server\r\n{reply}\r\n".encode()
    answer = b"HTTP/1.1 400 Bad Request\r\n\r\n" if reply is None else b"$%d\r\n" % len(info) + info

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            for command in data.split(b"*")[1:]:
                writer.write(
                    answer + b"\r\n" if b"INFO" in command.split(b"\r\n")[2:3] else b"+OK\r\n"
                )
            await writer.drain()
        writer.close()

    async def scene() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            store = RedisStore(spec(f"redis://127.0.0.1:{port}", **SHORT))
            with pytest.raises(error, match=match):
                await store.start()
            await store.stop()

    asyncio.run(scene())
