"""The route through a Redis or Valkey Cluster: which primary serves the slot of a key.

The map of slots comes from CLUSTER SLOTS of any server, and is corrected by what servers answer:

* MOVED: the slot has another server; go there at once, and read the map again.
* ASK: the slot is on its way, and none of our keys is left here; go there for this one command.
* TRYAGAIN: some keys are here and some there. A script names all keys it may touch, so a
  partition waits until its slot has moved as a whole (`CLUSTER MIGRATESLOTS` of Valkey 9 moves
  it in one instant); other partitions go on.
* CLUSTERDOWN, no connection, no answer: somebody else may have been promoted; read the map again,
  from another server than the one in doubt, and each time from the next, so that one which is cut
  off and does not know it misleads us once only.

The client's own cluster has retries of its own and its pipeline refuses EVALSHA; what we send is
one script on one slot, so it is not needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from redis import exceptions as vendor
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from stream.errors import ConfigError

from .redis_route import Hop, Node, Servers

# A server that does not tell its map in this time is passed over.
MAP_S: Final = 1.0

log = logging.getLogger(__name__)


class BySlots:
    """The route to the primary of a key's slot; `seeds` are servers to begin with."""

    def __init__(self, seeds: Sequence[Node], servers: Servers) -> None:
        self._seeds = list(seeds)
        self._servers = servers
        self._owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._turn = 0
        self._is_stale = True
        self._told_s = 0.0
        self._reading = asyncio.Lock()
        self._doubted: Node | None = None

    async def hop(self, key: bytes) -> Hop:
        """Return the primary of the key's slot."""
        if self._is_stale:
            await self._read_map()
        node = self._owners[key_slot(key)]
        if node is None:
            self._is_stale = True
            raise vendor.ClusterDownError(f"no server has slot {key_slot(key)}")
        return Hop(node, self._servers.client(node))

    async def after(self, hop: Hop | None, key: bytes, error: Exception) -> Hop | None:
        """Go where a server sends us, or doubt the map."""
        if hop is not None and isinstance(error, vendor.AskError):
            node = Node(error.host or hop.node.host, error.port)
            is_asking = not isinstance(error, vendor.MovedError)
            if not is_asking:
                self._owners[key_slot(key)] = node
                self._is_stale = True
            return Hop(node, self._servers.client(node), is_asking)
        if not isinstance(error, vendor.TryAgainError):
            self._is_stale = True
            if hop is not None:
                self._doubted = hop.node
                await hop.client.connection_pool.disconnect(inuse_connections=False)
        return None

    async def has_left(self, hop: Hop, key: bytes) -> bool:
        """Tell whether other servers say that the slot has another primary by now."""
        self._doubted = hop.node
        try:
            await self._read_map()
        except (vendor.RedisError, OSError):
            return False
        owner = self._owners[key_slot(key)]
        return owner is not None and owner != hop.node and not hop.is_asking

    async def primaries(self) -> list[Hop]:
        """Return every primary that has slots."""
        await self._read_map()
        nodes = dict.fromkeys(each for each in self._owners if each is not None)
        return [Hop(node, self._servers.client(node)) for node in nodes]

    async def stop(self) -> None:
        """Close all connections."""
        await self._servers.stop()

    async def _read_map(self) -> None:
        """Read the map of slots, once for everybody who wants it at this moment.

        Errors: the client's ConnectionError when no server tells it, ConfigError.
        """
        wanted_s = _now_s()
        async with self._reading:
            if self._told_s > wanted_s:
                return
            known = dict.fromkeys([*(each for each in self._owners if each), *self._seeds])
            nodes = list(known)
            self._turn += 1
            start = self._turn % len(nodes)
            nodes = nodes[start:] + nodes[:start]
            nodes.sort(key=lambda each: each == self._doubted)
            last: Exception | None = None
            for node in nodes:
                try:
                    async with asyncio.timeout(MAP_S):
                        reply = await self._ask(node)
                except (vendor.RedisError, OSError) as error:
                    if isinstance(error, vendor.AuthenticationError | vendor.NoPermissionError):
                        raise
                    last = error
                    continue
                if reply:
                    await self._learn(node, reply)
                    return
            raise vendor.ConnectionError(f"no server tells the map of slots: {last}") from last

    async def _ask(self, node: Node) -> Any:
        try:
            return await self._servers.client(node).execute_command("CLUSTER", "SLOTS")
        except vendor.ResponseError as error:
            if "cluster support disabled" in str(error):
                raise ConfigError(
                    f"Redis at {node} is no cluster", hint="write redis://, or redis+sentinel://"
                ) from error
            raise

    async def _learn(self, teller: Node, ranges: Any) -> None:
        """Take over what CLUSTER SLOTS says: start, end, the primary, its replicas."""
        owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        everybody = set(self._seeds)
        for first, last, primary, *replicas in ranges:
            nodes = [_node(teller, each) for each in (primary, *replicas)]
            everybody.update(nodes)
            owners[int(first) : int(last) + 1] = [nodes[0]] * (int(last) - int(first) + 1)
        before, now = {*self._owners} - {None}, {*owners} - {None}
        if before and before != now:
            names = ", ".join(sorted(map(str, now)))
            log.info("the primaries of the cluster are %s", names)
        self._owners = owners
        self._is_stale = False
        self._doubted = None
        self._told_s = _now_s()
        await self._servers.keep(everybody)


def _node(teller: Node, told: Any) -> Node:
    """Return an address as CLUSTER SLOTS gives it; without a host it is that of who told it."""
    host = told[0].decode() if told[0] else ""
    return Node(host if host not in ("", "?") else teller.host, int(told[1]))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
