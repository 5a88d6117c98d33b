"""What can happen to Redis, on real servers, under load: killed, hung, behind, emptied, moved.

Each scenario is a function of Kafka's address, a name and a folder; it starts servers of its own,
and returns an `Outcome`. None of them judges: tests do, and benchmarks print.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from stream.errors import OwnershipLost
from stream.store import Fence, RedisSpec, RedisStore
from tests.faults.run import Load, Outcome, play
from tests.live import wait_until
from tests.stores import save, take_over
from tests.valkeys import (
    BRISK,
    SERVICE,
    ClusterOfSix,
    Member,
    Sentinels,
    raw,
    running,
    until,
)

# Where the state of partitions 0 and 1 lies: CRC16 of the hash tag.
SLOT_OF_0, SLOT_OF_1 = 13_907, 9_842

# A partition that no worker takes; its slot is with that of partition 0.
ASIDE = 4_002


async def promoted(ask: Callable[[], object], what: str) -> float:
    """Wait until somebody is promoted; return when."""
    await asyncio.to_thread(until, ask, what)
    return time.monotonic()


async def replaced(first: Member, servers: Sentinels) -> float:
    """Wait until the Sentinels have promoted a replica; return when."""
    return await promoted(lambda: servers.primary(but=first), "a replica is promoted")


async def sentinel_primary_killed(kafka: str, name: str, folder: Path) -> Outcome:
    """SIGKILL of the primary; its Sentinels promote a replica."""
    with running(Sentinels(folder)) as servers:
        first = servers.servers[0]

        async def fault(_: Load) -> float:
            with servers.alert():
                first.kill()
                return await replaced(first, servers)

        return await play(Load(kafka, servers.url, name), fault)


async def sentinel_switched(kafka: str, name: str, folder: Path) -> Outcome:
    """A planned failover (SENTINEL FAILOVER): the primary lives on and becomes a replica."""
    with running(Sentinels(folder)) as servers:
        first = servers.servers[0]

        async def fault(_: Load) -> float:
            await asyncio.to_thread(raw, servers.sentinels[0], "SENTINEL FAILOVER", SERVICE)
            # Until all of them say so, two servers are primaries and both may be believed.
            return await promoted(
                lambda: all(servers.named_by(each) != first.port for each in servers.sentinels),
                "the Sentinels name another",
            )

        async def aftermath() -> None:
            await promoted(lambda: first.role() == "slave", "the old primary follows")

        return await play(Load(kafka, servers.url, name), fault, aftermath)


async def sentinel_primary_hung(kafka: str, name: str, folder: Path) -> Outcome:
    """SIGSTOP of the primary, and SIGCONT once another serves: it wakes as a primary.

    A write of a zombie waits in its socket meanwhile, and is done when it wakes.
    """
    with running(Sentinels(folder)) as servers:
        first = servers.servers[0]
        late = LateWrite(first, servers.url)
        load = Load(kafka, servers.url, name)

        async def fault(_: Load) -> float:
            with servers.alert():
                await late.begin()
                return await replaced(first, servers)

        async def aftermath() -> None:
            load.late_write = await late.end()

        return await play(load, fault, aftermath)


async def sentinel_replica_behind(kafka: str, name: str, folder: Path) -> Outcome:
    """The replica that is promoted lacks writes that the primary had acknowledged."""
    with running(Sentinels(folder)) as servers:
        first, *replicas = servers.servers

        def cut_replication() -> None:
            for each in replicas:
                # The primary has no password, and refuses one: the replica tries for ever.
                each.client.config_set("primaryauth", "wrong")
            first.client.client_kill_filter(_type="replica")
            for each in replicas:
                until(lambda each=each: not follows(each), "replication is cut")

        async def fault(load: Load) -> float:
            await asyncio.to_thread(cut_replication)
            saved = await load.saved()
            await load.reach(saved / len(load.payloads) + 0.05)
            acknowledged = writes_of(first, load)
            kept = max(writes_of(each, load) for each in replicas)
            load.writes_lost = acknowledged - kept
            with servers.alert():
                first.kill()
                served_s = await replaced(first, servers)
            for each in replicas:
                each.client.config_set("primaryauth", "")
            return served_s

        return await play(Load(kafka, servers.url, name), fault)


async def emptied(kafka: str, name: str, folder: Path) -> Outcome:
    """A server without persistence is killed and comes back empty."""
    with running(Alone(folder)) as server:

        async def fault(_: Load) -> float:
            return await restarted(server)

        return await play(Load(kafka, server.url, name), fault)


async def older_snapshot(kafka: str, name: str, folder: Path) -> Outcome:
    """A server is killed and comes back with a snapshot (RDB) of before."""
    with running(Alone(folder)) as server:

        async def fault(load: Load) -> float:
            server.client.save()
            return await later_restarted(server, load)

        return await play(Load(kafka, server.url, name), fault)


async def older_log(kafka: str, name: str, folder: Path) -> Outcome:
    """A server is killed and comes back with what its log (AOF) held before."""
    with running(Alone(folder, "--appendonly", "yes")) as server:
        kept, log = server.folder / "kept", server.folder / "appendonlydir"

        async def fault(load: Load) -> float:
            shutil.copytree(log, kept)

            def exchange() -> None:
                shutil.rmtree(log)
                kept.rename(log)

            return await later_restarted(server, load, exchange)

        return await play(Load(kafka, server.url, name), fault)


async def memory_full(kafka: str, name: str, folder: Path) -> Outcome:
    """The memory is full (`maxmemory`) until an operator gives it more."""
    with running(Alone(folder)) as server:

        async def fault(load: Load) -> float:
            server.client.config_set("maxmemory", "1mb")

            async def refused() -> int:
                return load.causes["oom"]

            await wait_until(refused, lambda count: count >= 5)
            server.client.config_set("maxmemory", "0")
            return time.monotonic()

        return await play(Load(kafka, server.url, name), fault)


async def cluster_primary_killed(kafka: str, name: str, folder: Path) -> Outcome:
    """SIGKILL of one primary of three; its replica is promoted."""
    with running(ClusterOfSix(folder)) as cluster:
        place = cluster.primaries.index(cluster.owner_of(SLOT_OF_0))

        async def fault(_: Load) -> float:
            cluster.primaries[place].kill()
            heir = cluster.replicas[place]
            return await promoted(lambda: heir.role() == "master", "its replica is promoted")

        return await play(Load(kafka, cluster.url, name), fault)


async def cluster_primary_hung(kafka: str, name: str, folder: Path) -> Outcome:
    """The same in a cluster."""
    with running(ClusterOfSix(folder)) as cluster:
        place = cluster.primaries.index(cluster.owner_of(SLOT_OF_0))
        first, heir = cluster.primaries[place], cluster.replicas[place]
        late = LateWrite(first, cluster.url, f"redis+cluster://127.0.0.1:{first.port}")
        load = Load(kafka, cluster.url, name)

        async def fault(_: Load) -> float:
            await late.begin()
            return await promoted(lambda: heir.role() == "master", "its replica is promoted")

        async def aftermath() -> None:
            load.late_write = await late.end()

        return await play(load, fault, aftermath)


async def cluster_slot_moved(kafka: str, name: str, folder: Path) -> Outcome:
    """A slot moves key by key (MIGRATE) to another primary, while it is written."""
    with running(ClusterOfSix(folder)) as cluster:
        source = cluster.owner_of(SLOT_OF_0)
        target = next(each for each in cluster.primaries if each is not source)
        states = (("IMPORTING", target, source), ("MIGRATING", source, target))

        async def met(load: Load, cause: str) -> None:
            before = load.causes[cause]

            async def count() -> int:
                return load.causes[cause]

            await wait_until(count, lambda now: now > before)

        def move(*, half: bool) -> None:
            while keys := raw(source, "CLUSTER GETKEYSINSLOT", SLOT_OF_0, 1_000):
                some = keys[: -(-len(keys) // 2)] if half else keys
                place = ("127.0.0.1", target.port, "", 0, 5_000)
                raw(source, "MIGRATE", *place, "KEYS", *some)
                if half:
                    return

        async def fault(load: Load) -> float:
            for state, here, there in states:
                raw(here, "CLUSTER SETSLOT", SLOT_OF_0, state, cluster.id_of(there))
            await asyncio.to_thread(move, half=True)
            await met(load, "tryagain")
            await asyncio.to_thread(move, half=False)
            await met(load, "ask")
            for each in (target, source, *cluster.primaries):
                raw(each, "CLUSTER SETSLOT", SLOT_OF_0, "NODE", cluster.id_of(target))
            served_s = time.monotonic()
            await met(load, "moved")
            return served_s

        return await play(Load(kafka, cluster.url, name), fault)


async def cluster_slot_moved_at_once(kafka: str, name: str, folder: Path) -> Outcome:
    """A slot moves as a whole (CLUSTER MIGRATESLOTS of Valkey 9), while it is written."""
    with running(ClusterOfSix(folder)) as cluster:
        source = cluster.owner_of(SLOT_OF_1)
        target = next(each for each in cluster.primaries if each is not source)

        async def fault(_: Load) -> float:
            slots = ("SLOTSRANGE", SLOT_OF_1, SLOT_OF_1)
            raw(source, "CLUSTER MIGRATESLOTS", *slots, "NODE", cluster.id_of(target))
            return await promoted(
                lambda: cluster.owner_of(SLOT_OF_1) is target, "the slot has moved"
            )

        return await play(Load(kafka, cluster.url, name), fault)


class Alone(Member):
    """One server, without persistence where the options say nothing else."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder, ["--save", "", *BRISK, *options])

    def launch(self) -> None:
        super().launch()
        self.await_up()


async def later_restarted(
    server: Alone, load: Load, meanwhile: Callable[[], None] = lambda: None
) -> float:
    """Kill a server after some more writes, and start it again; return when it answers."""
    saved = await load.saved()
    before = writes_of(server, load)
    await load.reach(saved / len(load.payloads) + 0.1)
    load.writes_lost = writes_of(server, load) - before
    return await restarted(server, meanwhile)


async def restarted(server: Alone, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Kill a server and start it again; return when it answers."""
    server.kill()
    meanwhile()
    await asyncio.to_thread(server.launch)
    return time.monotonic()


async def _never(*_: object) -> bool:
    return False


class LateWrite:
    """A write of a zombie that a hung primary finds in its socket when it wakes."""

    def __init__(self, primary: Member, url: str, own_url: str = "") -> None:
        self._primary = primary
        self._zombie = store_at(own_url or primary.url, timeout_s=60, deadline_s=60)
        self._owner = store_at(url)
        # It never asks whether another server has taken over: nobody could reach it meanwhile.
        self._zombie._link._route.has_left = _never
        self._write: asyncio.Task[int] | None = None

    async def begin(self) -> None:
        """Stall the primary with the write on its way."""
        await take_over(self._owner, ASIDE, "zombie")
        await self._owner.save(ASIDE, save(0, "zombie", rows=[(1, b"before")]))
        await asyncio.to_thread(until, lambda: is_followed(self._primary), "replicas have it")
        # A connection that is open already, so that nothing but the write waits.
        assert await self._zombie.load(ASIDE, [1]) == [b"before"]
        self._primary.stall()
        late = save(1, "zombie", rows=[(1, b"late")], epoch=1)
        self._write = asyncio.create_task(self._zombie.save(ASIDE, late))

    async def end(self) -> str:
        """Take the partition at the successor, then wake the primary; return what came of it."""
        await take_over(self._owner, ASIDE, "heir")
        self._primary.go_on()
        for is_so in (lambda: self._primary.role() == "slave", lambda: follows(self._primary)):
            await asyncio.to_thread(until, is_so, "the old primary follows")
        try:
            return await self._fate()
        finally:
            self._write.cancel()
            await asyncio.gather(self._write, return_exceptions=True)
            await self._zombie.stop()
            await self._owner.stop()

    async def _fate(self) -> str:
        if await self._owner.load(ASIDE, [1]) != [b"before"]:
            return "kept"
        if not self._write.done() or self._write.exception() is not None:
            return "refused"
        try:
            await self._owner.load(ASIDE, [], Fence("zombie", 1, self._write.result()))
        except OwnershipLost:
            return "discarded, and its writer is told"
        return "discarded in silence"


def is_followed(primary: Member) -> bool:
    """Tell whether all replicas have all that a primary has."""
    facts = primary.client.info("replication")
    offsets = [facts[f"slave{place}"]["offset"] for place in range(facts["connected_slaves"])]
    return bool(offsets) and min(offsets) == facts["master_repl_offset"]


def store_at(url: str, **options: float) -> RedisStore:
    """A store beside the worker's."""
    settings = {"kind": "redis", "url": url, "prefix": "aside", **options}
    return RedisStore(msgspec.convert(settings, RedisSpec))


def follows(replica: Member) -> bool:
    """Tell whether a replica hears its primary."""
    return replica.client.info("replication")["master_link_status"] == "up"


def writes_of(server: Member, load: Load) -> int:
    """How many writes a server holds of all partitions."""
    config = load.installation.config
    keys = (
        f"{config.redis.prefix}:{{{partition}}}:state"
        for partition in range(config.topics.partitions)
    )
    return sum(int(server.client.hget(key, "number") or 0) for key in keys)


SCENARIOS = (
    sentinel_primary_killed,
    sentinel_switched,
    sentinel_primary_hung,
    sentinel_replica_behind,
    emptied,
    older_snapshot,
    older_log,
    memory_full,
    cluster_primary_killed,
    cluster_primary_hung,
    cluster_slot_moved,
    cluster_slot_moved_at_once,
)
