"""Redis or Valkey, asked patiently: every call is repeated until its answer is known.

Everything sent through a `Link` may be sent twice: reads, claims (a nonce claims once) and saves
(their write id is recognised). So a call that fails for a passing reason (connection cut, server
loading, read-only or failing over) is repeated here until the deadline; only then is it
`StoreUnavailable`. The client's own retries are off: two loops would multiply.

A script is one EVALSHA on the keys of one hash slot, and EVAL where the server does not know it.
Which server that is (the only one, the primary that Sentinels name, the primary of the slot) is
the business of a `Route`; it is asked again after each failure, and while a server lets us wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import redis.asyncio as client
from redis import exceptions as vendor

from stream.errors import StoreUnavailable

from .redis_cluster import BySlots
from .redis_connection import Lease, PlainConnection, TlsConnection
from .redis_link import (
    Address,
    RedisSpec,
    Script,
    cause_of,
    connection_settings,
    parse_address,
    sentinel_settings,
    translate,
)
from .redis_route import BySentinels, Hop, Node, OneServer, Route, Servers, as_primary

RETRY_FIRST_S: Final = 0.02
RETRY_MAX_S: Final = 0.5
# How often it is asked, during a call, whether another server has taken over meanwhile: a hung
# server (or a machine that is gone) says nothing, and timeout_s is long.
DOUBT_S: Final = 0.5
# How often a call goes where servers send it before it waits.
HOPS_MAX: Final = 5
SAY_EVERY_S: Final = 5.0

log = logging.getLogger(__name__)


class Link:
    """Pools of connections to one installation of Redis, which heal by themselves.

    `vet` is given what a server says of itself (INFO) and its place before it is used, and again
    after a failure: what was promoted or restarted may be another one. It raises ConfigError.
    """

    def __init__(
        self,
        spec: RedisSpec,
        vet: Callable[[Mapping[str, Any], str], None],
        count: Callable[[str], None],
    ) -> None:
        address = parse_address(spec.url)
        self.place = address.place
        self.mode = address.mode
        self._deadline_s = spec.deadline_s
        self._vet, self._count = vet, count
        self._vetted: set[Node] = set()
        self._said_s = -SAY_EVERY_S
        self._route = _route(spec, address)

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        """Run a script on keys of one slot and return its reply.

        Errors: StoreUnavailable, RowCorrupt, ConfigError.
        """

        async def attempt(hop: Hop) -> Any:
            try:
                return await hop.send("EVALSHA", script.sha, len(keys), *keys, *args)
            except vendor.NoScriptError:
                return await hop.send("EVAL", script.text, len(keys), *keys, *args)

        return await self._patiently(keys[0], attempt)

    async def ask(self, command: str, key: bytes, *args: Any) -> Any:
        """Send a command that only reads one key and return its reply.

        Errors: StoreUnavailable, RowCorrupt, ConfigError.
        """
        return await self._patiently(key, lambda hop: hop.send(command, key, *args))

    async def survey(self) -> list[Mapping[str, Any]]:
        """Return what every primary says of itself, after having vetted it.

        Errors: StoreUnavailable, ConfigError.
        """

        async def attempt(_: Hop) -> list[Mapping[str, Any]]:
            return [await self._look_at(hop) for hop in await self._route.primaries()]

        found: list[Mapping[str, Any]] = await self._patiently(b"", attempt)
        return found

    async def stop(self) -> None:
        """Close all connections."""
        await self._route.stop()

    async def _look_at(self, hop: Hop) -> Mapping[str, Any]:
        """Vet a server."""
        info: Mapping[str, Any] = await hop.send("INFO")
        self._vet(info, str(hop.node))
        self._vetted.add(hop.node)
        return info

    async def _patiently(self, key: bytes, attempt: Callable[[Hop], Awaitable[Any]]) -> Any:
        """Attempt until it succeeds, fails for good, or the deadline is over."""
        last: vendor.RedisError | OSError | None = None
        wait_s = RETRY_FIRST_S
        hops = 0
        sent: Hop | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                while True:
                    hop, sent = sent, None
                    try:
                        hop = hop or await self._route.hop(key)
                        return await self._watched(hop, key, attempt)
                    except (vendor.RedisError, OSError) as error:
                        last = error
                        self._count(cause_of(error))
                        sent = await self._route.after(hop, key, error)
                        place = str(hop.node) if hop else self.place
                        fault, is_passing = translate(error, place)
                        if not is_passing:
                            raise fault from error
                    hops += 1
                    if sent is not None and hops < HOPS_MAX:
                        continue
                    sent, hops = None, 0
                    self._trouble(hop, last)
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, RETRY_MAX_S)
        except TimeoutError as error:
            cause = last or error
            reason = f"Redis at {self.place} was of no use for {self._deadline_s:g} s"
            text = f"{reason}: {last}" if last else reason
            raise StoreUnavailable(text) from cause

    async def _watched(self, hop: Hop, key: bytes, attempt: Callable[[Hop], Awaitable[Any]]) -> Any:
        """Attempt once, and give up early when another server has taken over meanwhile."""
        if self.mode == "standalone":
            return await self._vetted_attempt(hop, attempt)
        task = asyncio.ensure_future(self._vetted_attempt(hop, attempt))
        try:
            while not (await asyncio.wait({task}, timeout=DOUBT_S))[0]:
                if await self._route.has_left(hop, key):
                    raise vendor.ConnectionError(f"{hop.node} is silent, and was replaced")
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _vetted_attempt(self, hop: Hop, attempt: Callable[[Hop], Awaitable[Any]]) -> Any:
        if hop.node not in self._vetted:
            await self._look_at(hop)
        try:
            return await attempt(hop)
        except (vendor.ConnectionError, vendor.TimeoutError, OSError):
            self._vetted.discard(hop.node)
            raise

    def _trouble(self, hop: Hop | None, error: Exception) -> None:
        """Log that a call must wait, every SAY_EVERY_S at most."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._said_s >= SAY_EVERY_S:
            self._said_s = now_s
            place = hop.node if hop else self.place
            log.warning("Redis at %s: %s: %s; waiting", place, cause_of(error), error)


def _route(spec: RedisSpec, address: Address) -> Route:
    """Return the route to the servers of an address."""
    settings = connection_settings(spec, address)
    if address.mode == "standalone":
        return OneServer(address.nodes[0], Servers(_opener(spec, address, settings)))
    if address.mode == "cluster":
        return BySlots(address.nodes, Servers(_opener(spec, address, settings)))
    return BySentinels(
        address.service,
        address.nodes,
        Servers(_opener(spec, address, sentinel_settings(spec, settings))),
        Servers(_opener(spec, address, settings | {"redis_connect_func": as_primary})),
    )


def _opener(
    spec: RedisSpec, address: Address, settings: Mapping[str, Any]
) -> Callable[[Node], Any]:
    """Return what makes the client of a server; nothing is connected by that."""
    connection = TlsConnection if address.has_tls else PlainConnection

    def opened(node: Node) -> Any:
        pool: Any = client.BlockingConnectionPool(
            max_connections=spec.connections,
            timeout=spec.timeout_s,
            connection_class=connection,
            lease=Lease(),
            host=node.host,
            port=node.port,
            **settings,
        )
        return client.Redis.from_pool(pool)

    return opened
