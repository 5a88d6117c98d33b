"""A cluster: slots that move and primaries that die, under load; how the store finds its way."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import exceptions as vendor

from stream.errors import ConfigError
from stream.local import Addresses
from stream.store import RedisSpec, RedisStore, redis_rules
from tests.faults import redis as scenarios
from tests.faults.run import assert_nothing_lost
from tests.stores import save, take_over
from tests.valkey import running_valkey
from tests.valkeys import ClusterOfSix, Member, raw, running, until


@pytest.mark.timeout(180)
def test_primary_killed(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """A primary that is killed under load is replaced, and the worker goes on with its replica."""
    outcome = asyncio.run(scenarios.cluster_primary_killed(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)


@pytest.mark.timeout(180)
def test_primary_hung(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """A primary that hangs is left before its timeout; what it does when it wakes is discarded."""
    outcome = asyncio.run(scenarios.cluster_primary_hung(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.late_write in ("refused", "discarded, and its writer is told")


@pytest.mark.timeout(180)
def test_slot_moved_key_by_key(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """A slot that moves while it is written costs waiting only: TRYAGAIN, ASK and MOVED are met."""
    outcome = asyncio.run(scenarios.cluster_slot_moved(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.causes["tryagain"] and outcome.causes["ask"] and outcome.causes["moved"]
    assert not outcome.restarts


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_slot_moved_as_a_whole(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """Valkey's own migration moves a slot in one instant: MOVED is all that is met."""
    outcome = asyncio.run(scenarios.cluster_slot_moved_at_once(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.causes["moved"] and not outcome.causes["tryagain"]


# Two primaries without replicas, and no worker.


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfSix]:
    with running(ClusterOfSix(tmp_path_factory.mktemp("cluster"), 2, 0)) as cluster:
        yield cluster


def play(
    url: str, scene: Callable[[RedisStore], Coroutine[Any, Any, None]], **options
) -> Counter[str]:
    """Run a scene with a store; return why calls were repeated."""
    causes: Counter[str] = Counter()
    settings = {"kind": "redis", "url": url, "prefix": "t", **options}

    async def whole() -> None:
        spec = msgspec.convert(settings, RedisSpec)
        store = RedisStore(spec, lambda each: causes.update([each]))
        try:
            await scene(store)
        finally:
            await store.stop()

    asyncio.run(whole())
    return causes


def test_partitions_live_on_all_primaries(two: ClusterOfSix) -> None:
    """Calls on many partitions side by side go to the primaries of their slots."""

    async def scene(store: RedisStore) -> None:
        assert (await store.start()).mode == "cluster"
        await asyncio.gather(*(take_over(store, each, "a") for each in range(24)))
        rows = [(1 << 56, b"1"), (2, b"2")]
        whole = save(0, rows=rows, names={1: "n"}, records={b"r": b"1"})
        saved = await asyncio.gather(*(store.save(each, whole) for each in range(24)))
        assert saved == [1] * 24
        loads = await asyncio.gather(*(store.load(each, [2, 1 << 56]) for each in range(24)))
        assert loads == [[b"2", b"1"]] * 24

    assert not play(two.url, scene)
    assert all(each.client.dbsize() for each in two.primaries)


def test_a_slot_that_nobody_serves_is_waited_for(two: ClusterOfSix) -> None:
    """CLUSTERDOWN is waited for until the slot is served again."""
    owner = two.owner_of(scenarios.SLOT_OF_1)

    async def scene(store: RedisStore) -> None:
        await take_over(store, 1, "a")
        raw(owner, "CLUSTER DELSLOTS", scenarios.SLOT_OF_1)
        call = asyncio.create_task(take_over(store, 1, "b"))
        await asyncio.sleep(0.2)
        assert not call.done()
        raw(owner, "CLUSTER ADDSLOTS", scenarios.SLOT_OF_1)
        assert (await call).epoch >= 2

    assert play(two.url, scene, deadline_s=60)["clusterdown"]


def test_every_primary_is_vetted(two: ClusterOfSix) -> None:
    """One primary of a cluster that may evict is enough to be refused, with its address."""
    last = two.primaries[-1]
    last.client.config_set("maxmemory-policy", "allkeys-lru")

    async def scene(store: RedisStore) -> None:
        with pytest.raises(ConfigError, match=rf"{last.port}.*allkeys-lru"):
            await store.start()

    try:
        play(two.url, scene)
    finally:
        last.client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(("kind", "host"), [("hostname", "localhost"), ("unknown-endpoint", "")])
def test_endpoints_are_taken_as_the_cluster_tells_them(
    two: ClusterOfSix, kind: str, host: str
) -> None:
    """Host names where certificates need them; where no host is told, it is that of the teller."""

    async def scene(store: RedisStore) -> None:
        await store.start()
        await asyncio.gather(*(take_over(store, each, kind) for each in range(6)))
        found = [each.node for each in await store._link._route.primaries()]
        assert {each.host for each in found} == {host or "127.0.0.1"}
        moved = vendor.MovedError(f"{scenarios.SLOT_OF_1} {host}:{found[0].port}")
        hop = await store._link._route.hop(b"{1}")
        assert (await store._link._route.after(hop, b"{1}", moved)).node == found[0]

    try:
        for each in two.primaries:
            each.client.config_set("cluster-announce-hostname", host)
            each.client.config_set("cluster-preferred-endpoint-type", kind)
        for each in two.primaries:
            until(lambda each=each: hosts_of(each) == {host.encode() or None}, "all know the hosts")
        play(two.url, scene)
    finally:
        for each in two.primaries:
            each.client.config_set("cluster-preferred-endpoint-type", "ip")


def hosts_of(member: Member) -> set[bytes | None]:
    """The hosts of primaries as a member tells them."""
    return {primary[0] for _, _, primary, *_ in raw(member, "CLUSTER", "SLOTS")}


def test_the_rights_a_user_needs(two: ClusterOfSix) -> None:
    """Beside what one server needs a user needs CLUSTER SLOTS, and is told so without it."""
    rules = redis_rules(RedisSpec(url=two.url, prefix="t"), writes=True)
    rights = {each for each in rules if each.startswith("+")}
    for each in two.primaries:
        each.client.acl_setuser("least", enabled=True, passwords=["+least"], keys=["t:*"])
        each.client.acl_setuser("least", enabled=True, commands=sorted(rights - {"+cluster|slots"}))

    async def works(store: RedisStore) -> None:
        await store.start()
        await asyncio.gather(*(take_over(store, each, "least") for each in range(6)))

    async def does_not(store: RedisStore) -> None:
        with pytest.raises(ConfigError, match=r"'cluster\|slots'.*ACL"):
            await store.start()

    url = two.url.replace("://", "://least:least@")
    play(url, does_not)
    for each in two.primaries:
        each.client.acl_setuser("least", enabled=True, commands=["+cluster|slots"])
    play(url, works)


def test_seeds_that_are_gone_are_passed_over(two: ClusterOfSix) -> None:
    """One server that answers is enough to find all the others."""

    async def scene(store: RedisStore) -> None:
        for partition in range(6):
            await take_over(store, partition, "c")

    play(f"redis+cluster://127.0.0.1:1,127.0.0.1:{two.primaries[0].port}", scene)


def test_a_server_of_no_cluster_is_told(tmp_path: Path) -> None:
    """A single server under a cluster's url is a ConfigError that says what to write."""

    async def scene(store: RedisStore) -> None:
        with pytest.raises(ConfigError, match=r"no cluster.*redis://"):
            await store.start()

    with running_valkey(tmp_path) as server:
        play(f"redis+cluster://127.0.0.1:{server.port}", scene)
