"""Behind Sentinels: whom the store believes, and what a failover under load costs."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.errors import ConfigError, OwnershipLost, StoreUnavailable
from stream.local import Addresses
from stream.store import RedisSpec, RedisStore, redis_rules
from stream.store.redis_patience import DOUBT_S
from stream.store.redis_route import TRUSTED_S, Hop
from tests.faults import redis as scenarios
from tests.faults.run import assert_nothing_lost
from tests.ports import free_port
from tests.stores import save, take_over
from tests.valkeys import SERVICE, Member, raw


@pytest.mark.timeout(180)
def test_primary_killed(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """A primary that is killed under load is replaced, and the worker goes on with the next."""
    outcome = asyncio.run(scenarios.sentinel_primary_killed(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.causes["connection"]


@pytest.mark.timeout(180)
def test_replica_behind(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """Acknowledged writes that no replica had are noticed, and replayed from the log."""
    outcome = asyncio.run(scenarios.sentinel_replica_behind(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.writes_lost > 0
    assert outcome.restarts["StoreForgot"] == 1


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_primary_hung(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """A primary that hangs is left before its timeout; what it does when it wakes is discarded."""
    outcome = asyncio.run(scenarios.sentinel_primary_hung(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.late_write in ("refused", "discarded, and its writer is told")


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_planned_failover(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """A primary that lives on beside the next is not believed for longer than a moment."""
    outcome = asyncio.run(scenarios.sentinel_switched(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)


# One Sentinel and servers of no relation: it is told at once whom to name.


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Member, Member, Callable[..., Member]]]:
    """Two servers, and what makes a Sentinel that names one of them."""
    members = [Member(tmp_path, ["--save", ""]) for _ in range(2)]

    def sentinel(named: Member, *lines: str) -> Member:
        port = free_port()
        member = Member(tmp_path, [str(tmp_path / str(port) / "conf"), "--sentinel"], port)
        watch = f"sentinel monitor {SERVICE} 127.0.0.1 {named.port} 1"
        (member.folder / "conf").write_text("\n".join([watch, *lines, ""]))
        members.append(member)
        member.launch()
        member.await_listening()
        return member

    try:
        for each in members:
            each.launch()
            each.await_up()
        yield members[0], members[1], sentinel
    finally:
        for each in members:
            each.close()


def name(sentinel: Member, named: Member) -> None:
    """Make a Sentinel name another server."""
    raw(sentinel, "SENTINEL REMOVE", SERVICE)
    raw(sentinel, "SENTINEL MONITOR", SERVICE, "127.0.0.1", named.port, 1)


def play(
    sentinels: list[Member], scene: Callable[[RedisStore], Coroutine[Any, Any, None]], **options
) -> None:
    """Run a scene with a store that asks these Sentinels."""
    places = ",".join(f"127.0.0.1:{each.port}" for each in sentinels)
    url = f"redis+sentinel://{places}/{options.pop('service', SERVICE)}"
    settings = {"kind": "redis", "url": url, "prefix": "t"} | options

    async def whole() -> None:
        store = RedisStore(msgspec.convert(settings, RedisSpec))
        try:
            await scene(store)
        finally:
            await store.stop()

    asyncio.run(whole())


async def claim_until(store: RedisStore, is_so: Callable[[], object]) -> None:
    """Claim again and again until something is so, or the store refuses."""
    async with asyncio.timeout(20):
        while not is_so():
            # One server says who was seen, and another one may know nothing of that.
            with contextlib.suppress(OwnershipLost):
                await take_over(store, 0, "a")
            await asyncio.sleep(0.05)


def test_a_silent_server_is_left_for_its_successor(pair) -> None:
    """A call that waits for a hung server goes on at the next one, long before its timeout."""
    one, two, sentinel_of = pair
    sentinel = sentinel_of(one)

    async def scene(store: RedisStore) -> None:
        await take_over(store, 0, "a")
        one.stall()
        call = asyncio.create_task(take_over(store, 0, "b"))
        await asyncio.sleep(0.1)
        name(sentinel, two)
        async with asyncio.timeout(10):
            assert (await call).epoch == 1
        one.go_on()
        # What comes now goes to the next one, at once.
        assert await store.save(0, save(0, "b", rows=[(1, b"1")])) == 1

    play([sentinel], scene, timeout_s=60, deadline_s=60)


def test_a_server_that_was_demoted_in_silence_is_left(pair) -> None:
    """Another name by the Sentinels is followed although the old server goes on answering."""
    one, two, sentinel_of = pair
    sentinel = sentinel_of(one)

    async def scene(store: RedisStore) -> None:
        await take_over(store, 0, "a")
        name(sentinel, two)
        await claim_until(store, two.client.dbsize)

    play([sentinel], scene)


def test_a_promoted_server_that_may_evict_is_refused(pair) -> None:
    """Every primary is vetted before it is used, the next one too."""
    one, two, sentinel_of = pair
    sentinel = sentinel_of(one)
    two.client.config_set("maxmemory-policy", "allkeys-lru")

    async def scene(store: RedisStore) -> None:
        assert (await store.start()).mode == "sentinel"
        await take_over(store, 0, "a")
        name(sentinel, two)
        with pytest.raises(ConfigError, match=rf"{two.port}.*allkeys-lru"):
            await claim_until(store, lambda: False)
        assert two.client.dbsize() == 0

    play([sentinel], scene)


def test_a_name_that_is_doubted_while_it_is_learned(pair) -> None:
    """A call that fails while another one learns the name takes nothing away from it."""
    one, _, sentinel_of = pair
    sentinel = sentinel_of(one)

    async def scene(store: RedisStore) -> None:
        route = store._link._route
        keep = route._servers.keep

        async def doubt(nodes: list[Any]) -> None:
            await keep(nodes)
            await route.after(Hop(nodes[0], route._servers.client(nodes[0])), b"", OSError())

        route._servers.keep = doubt
        assert (await take_over(store, 0, "a")).epoch == 1
        assert not await route.has_left(await route.hop(b""), b"")

    play([sentinel], scene)


def test_the_rights_a_user_needs(pair) -> None:
    """Beside what one server needs a user needs ROLE, and is told so without it."""
    one, _, sentinel_of = pair
    sentinel = sentinel_of(one)
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}"
    rules = redis_rules(RedisSpec(url=url, prefix="t"), writes=True)
    rights = {each for each in rules if each.startswith("+")}
    one.client.acl_setuser("least", enabled=True, passwords=["+least"], keys=["t:*"])
    one.client.acl_setuser("least", enabled=True, commands=sorted(rights - {"+role"}))

    async def works(store: RedisStore) -> None:
        await store.start()
        claim = await take_over(store, 0, "a")
        await store.save(0, save(claim.number, "a", rows=[(1, b"1")], names={1: "n"}))

    async def does_not(store: RedisStore) -> None:
        with pytest.raises(ConfigError, match=r"'role'.*ACL"):
            await store.start()

    url = f"redis+sentinel://least:least@127.0.0.1:{sentinel.port}/{SERVICE}"
    play([], does_not, url=url)
    one.client.acl_setuser("least", enabled=True, commands=["+role"])
    play([], works, url=url)


def test_a_replica_that_is_named_is_not_believed(pair) -> None:
    """Where the name leads to a replica, the store waits until it is a primary."""
    one, _, sentinel_of = pair
    one.client.replicaof("127.0.0.1", 1)
    sentinel = sentinel_of(one)

    async def impatient(store: RedisStore) -> None:
        with pytest.raises(StoreUnavailable, match="not the primary"):
            await store.load(0, [1])

    async def patient(store: RedisStore) -> None:
        call = asyncio.create_task(store.load(0, [1]))
        await asyncio.sleep(0.1)
        one.client.replicaof("NO", "ONE")
        assert await call == [None]

    play([sentinel], impatient, deadline_s=1)
    play([sentinel], patient, deadline_s=30)


def test_a_sentinel_that_missed_a_failover_is_outvoted(pair) -> None:
    """The newest answer counts, whoever gives it first; a dead Sentinel holds nobody up."""
    one, two, sentinel_of = pair
    stale = sentinel_of(one)
    newer = f"sentinel config-epoch {SERVICE} 7"
    sentinels = [stale, sentinel_of(two, newer), sentinel_of(two, newer)]

    async def scene(store: RedisStore) -> None:
        await take_over(store, 0, "a")
        assert two.client.exists("t:{0}:state")
        stale.kill()
        sentinels[1].stall()
        await asyncio.sleep(1.1)
        assert (await take_over(store, 0, "b")).epoch == 2

    try:
        play(sentinels, scene)
    finally:
        with contextlib.suppress(ProcessLookupError):
            sentinels[1].go_on()
    assert not one.client.exists("t:{0}:state")


def test_an_unknown_name_is_told(pair) -> None:
    """A name that no Sentinel knows is a ConfigError that says where it stands."""
    one, _, sentinel_of = pair

    async def scene(store: RedisStore) -> None:
        with pytest.raises(ConfigError, match=r"'other'.*sentinel monitor"):
            await store.start()

    play([sentinel_of(one)], scene, service="other")


def test_a_name_that_sentinels_forgot_is_waited_for(pair) -> None:
    """Once they named a primary, Sentinels that know none any more are as those that are silent."""
    one, _, sentinel_of = pair
    sentinel = sentinel_of(one)

    async def scene(store: RedisStore) -> None:
        await take_over(store, 0, "a")
        raw(sentinel, "SENTINEL REMOVE", SERVICE)
        await asyncio.sleep(TRUSTED_S + 0.1)
        assert await store.load(0, [1]) == [None]
        one.stall()
        doubting = asyncio.create_task(store.load(0, [1]))
        await asyncio.sleep(DOUBT_S + 0.2)
        one.go_on()
        assert await doubting == [None]
        one.kill()
        one.launch()
        waiting = asyncio.create_task(store.load(0, [1]))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        raw(sentinel, "SENTINEL MONITOR", SERVICE, "127.0.0.1", one.port, 1)
        assert await waiting == [None]

    play([sentinel], scene, timeout_s=60, deadline_s=60)


def test_sentinels_have_a_password_of_their_own(pair, tmp_path: Path) -> None:
    """The password of Sentinels is in a file of its own; without it they are refused by name."""
    one, _, sentinel_of = pair
    sentinel = sentinel_of(one, "requirepass s3cret")
    file = tmp_path / "password"
    file.write_text("s3cret\n")

    async def knows(store: RedisStore) -> None:
        assert (await store.start()).mode == "sentinel"

    async def does_not(store: RedisStore) -> None:
        with pytest.raises(ConfigError, match=r"(?i)auth.*sentinel_password_file") as caught:
            await store.start()
        assert "s3cret" not in str(caught.value)

    play([sentinel], knows, sentinel_password_file=str(file))
    play([sentinel], does_not)
