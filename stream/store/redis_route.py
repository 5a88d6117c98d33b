"""Which server to ask: the one there is, or the primary that Sentinels name.

A route only finds and remembers; the patience (waiting, deadlines, repeats) is the Link's. Replicas
are never read: they are older than what we know. A route through a cluster is `redis_cluster`.

Sentinels are asked side by side and the answer with the highest config epoch counts, once most of
them answered: one that was cut off goes on naming the primary of before. What they say is checked
at each new connection (`as_primary`), because a name may lead to a server that was demoted. A name
that none of them knows is a wrong setting at first; later they were restarted, and will learn it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from redis import exceptions as vendor

from stream.errors import ConfigError

# How long to wait for Sentinels, at most, and for the last of them when most have answered.
ASK_S: Final = 1.0
LAST_S: Final = 0.25
# How old what Sentinels said may be while all goes well. A primary that was cut off from its
# Sentinels but not from us answers happily, and all that it is told will be lost.
TRUSTED_S: Final = 1.0
# How many servers that were left may still have calls of ours under way.
LEFT_MAX: Final = 8

log = logging.getLogger(__name__)


class Node(NamedTuple):
    """The address of one server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Hop(NamedTuple):
    """One server to send one command to; `is_asking` where it only begins to serve the slot."""

    node: Node
    client: Any
    is_asking: bool = False

    async def send(self, *command: Any) -> Any:
        """Send a command and return its reply.

        Errors: the client's, and the system's.
        """
        if not self.is_asking:
            return await self.client.execute_command(*command)
        # The server forgets ASKING after the next command of the same connection.
        async with self.client.pipeline(transaction=False) as pipe:
            pipe.execute_command("ASKING")
            pipe.execute_command(*command)
            reply = (await pipe.execute(raise_on_error=False))[1]
        if isinstance(reply, BaseException):
            raise reply
        return reply


class Servers:
    """A client, with its pool of connections, for each server in use."""

    def __init__(self, opened: Callable[[Node], Any]) -> None:
        self._opened = opened
        self._clients: dict[Node, Any] = {}
        self._left: deque[Any] = deque()
        self._is_stopped = False

    def client(self, node: Node) -> Any:
        """Return the client of a server, made at its first use; it connects when it sends.

        Errors: the client's ConnectionError once all is stopped.
        """
        if self._is_stopped:
            raise vendor.ConnectionError("all connections to Redis are closed")
        if node not in self._clients:
            self._clients[node] = self._opened(node)
        return self._clients[node]

    async def keep(self, nodes: Iterable[Node]) -> None:
        """Leave all other servers; calls that are under way there end by themselves."""
        kept = set(nodes)
        for node in [each for each in self._clients if each not in kept]:
            self._left.append(self._clients.pop(node))
            await self._left[-1].connection_pool.disconnect(inuse_connections=False)
        while len(self._left) > LEFT_MAX:
            await _close(self._left.popleft())

    async def stop(self) -> None:
        """Close everything for good."""
        self._is_stopped = True
        clients = [*self._clients.values(), *self._left]
        self._clients.clear()
        self._left.clear()
        # Side by side: each may take its time, and none may keep the others open.
        await asyncio.gather(*map(_close, clients))


class Route(Protocol):
    """Finds the server for a key."""

    async def hop(self, key: bytes) -> Hop:
        """Return where to send a command on a key.

        Errors: the client's ConnectionError when nobody is known; ConfigError.
        """
        ...

    async def after(self, hop: Hop | None, key: bytes, error: Exception) -> Hop | None:
        """Learn from a failure; return where to go at once, or None: wait, then ask `hop`."""
        ...

    async def has_left(self, hop: Hop, key: bytes) -> bool:
        """Tell whether the key is served by another server than the one that keeps us waiting."""
        ...

    async def primaries(self) -> list[Hop]:
        """Return every server that rows may be written to."""
        ...

    async def stop(self) -> None:
        """Close all connections."""
        ...


class OneServer:
    """The route to the only server there is."""

    def __init__(self, node: Node, servers: Servers) -> None:
        self._servers = servers
        self._hop = Hop(node, servers.client(node))

    async def hop(self, key: bytes) -> Hop:
        """Return the server."""
        return self._hop

    async def after(self, hop: Hop | None, key: bytes, error: Exception) -> Hop | None:
        """Let connections to a demoted server go: its name may lead to another one by now."""
        if isinstance(error, vendor.AskError):
            raise ConfigError(
                f"Redis at {self._hop.node} is one of a cluster: {error}",
                hint="write redis+cluster://host:6379,host:6379, or rediss+cluster:// for TLS",
            ) from error
        if isinstance(error, vendor.ReadOnlyError):
            await self._hop.client.connection_pool.disconnect(inuse_connections=False)
        return None

    async def has_left(self, hop: Hop, key: bytes) -> bool:
        """Tell that nobody else can serve it."""
        return False

    async def primaries(self) -> list[Hop]:
        """Return the server."""
        return [self._hop]

    async def stop(self) -> None:
        """Close all connections."""
        await self._servers.stop()


class BySentinels:
    """The route to the primary that Sentinels name."""

    def __init__(
        self, service: str, sentinels: Sequence[Node], asked: Servers, servers: Servers
    ) -> None:
        self._service = service
        self._sentinels = list(sentinels)
        self._asked, self._servers = asked, servers
        self._node: Node | None = None
        self._was_named = False
        self._told_s = 0.0
        self._asking = asyncio.Lock()

    async def hop(self, key: bytes) -> Hop:
        """Return the primary, as the Sentinels named it a moment ago."""
        # Others may change what is known at each await; what this call was told is its own.
        node = self._node
        if node is None:
            node = await self._find()
        elif _now_s() - self._told_s > TRUSTED_S and not self._asking.locked():
            try:
                node = await self._find()
            except (vendor.RedisError, OSError) as error:
                self._told_s = _now_s()
                log.warning("no Sentinel of %s answers, going on: %s", self._service, error)
        return Hop(node, self._servers.client(node))

    async def after(self, hop: Hop | None, key: bytes, error: Exception) -> Hop | None:
        """Ask the Sentinels again before the next attempt."""
        if hop is not None and hop.node == self._node:
            self._node = None
            await hop.client.connection_pool.disconnect(inuse_connections=False)
        return None

    async def has_left(self, hop: Hop, key: bytes) -> bool:
        """Tell whether the Sentinels name another server by now."""
        try:
            return await self._find() != hop.node
        except (vendor.RedisError, OSError):
            return False

    async def primaries(self) -> list[Hop]:
        """Return the primary."""
        return [await self.hop(b"")]

    async def stop(self) -> None:
        """Close all connections."""
        await self._asked.stop()
        await self._servers.stop()

    async def _find(self) -> Node:
        """Ask the Sentinels, once for everybody who wants to know at this moment."""
        wanted_s = _now_s()
        async with self._asking:
            if self._node is not None and self._told_s > wanted_s:
                return self._node
            node = await self._named()
            if self._node != node:
                log.info("the primary of %s is %s", self._service, node)
            self._node, self._told_s, self._was_named = node, _now_s(), True
            await self._servers.keep([node])
            return node

    async def _named(self) -> Node:
        """Return the primary by the newest answer of most Sentinels."""
        tasks = [asyncio.create_task(self._ask(each)) for each in self._sentinels]
        until_s = _now_s() + ASK_S
        try:
            waiting = (await asyncio.wait(tasks, timeout=LAST_S))[1]
            while waiting and not _most_answered(tasks) and (left_s := until_s - _now_s()) > 0:
                waiting = (
                    await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                )[1]
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        answers = [each for each in ended if isinstance(each, tuple)]
        if answers:
            return max(answers)[1]
        errors = [each for each in ended if isinstance(each, Exception)]
        if not self._was_named and any("No such master" in str(each) for each in errors):
            raise ConfigError(
                f"the Sentinels know no primary called {self._service!r}",
                hint="the url is redis+sentinel://host:26379,host:26379/NAME, "
                "NAME as in `sentinel monitor NAME ...`",
            )
        place = ", ".join(map(str, self._sentinels))
        refused = (vendor.AuthenticationError, vendor.NoPermissionError)
        for error in errors:
            if isinstance(error, refused):
                raise ConfigError(
                    f"Sentinels at {place}: {error}",
                    hint="sentinel_user and sentinel_password_file say who we are to Sentinels; "
                    "the user needs SENTINEL MASTER and SENTINEL GET-MASTER-ADDR-BY-NAME",
                ) from error
        cause = errors[0] if errors else "none answered in time"
        raise vendor.ConnectionError(f"Sentinels at {place}: {cause}")

    async def _ask(self, sentinel: Node) -> tuple[int, Node]:
        """Return the config epoch and the primary as one Sentinel knows them.

        During a failover GET-MASTER-ADDR-BY-NAME names the new one earlier than MASTER does.
        """
        client = self._asked.client(sentinel)
        facts = await client.execute_command("SENTINEL", "MASTER", self._service)
        pairs = dict(zip(facts[::2], facts[1::2], strict=True))
        named = await client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        if named is None:
            raise vendor.ConnectionError(f"{sentinel} knows no address of {self._service}")
        return int(pairs[b"config-epoch"]), Node(named[0].decode(), int(named[1]))


async def _close(opened: Any) -> None:
    """Close the connections of a client, those too that are being made."""
    opened.connection_pool.connection_kwargs["lease"].is_over = True
    await opened.aclose()


async def as_primary(connection: Any) -> None:
    """Set up a new connection, and refuse it where the server is no primary.

    Errors: the client's, ReadOnlyError for a replica.
    """
    await connection.on_connect()
    await connection.send_command("ROLE", check_health=False)
    role = (await connection.read_response())[0]
    if role != b"master":
        raise vendor.ReadOnlyError(f"this server is a {role.decode()}, not the primary")


def _most_answered(tasks: Sequence[asyncio.Task[Any]]) -> bool:
    """Tell whether more than half of the Sentinels answered."""
    answered = [each for each in tasks if each.done() and each.exception() is None]
    return 2 * len(answered) > len(tasks)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
