"""Connections to Redis end when they are left, also those to a server that reads nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import psutil
import pytest
from redis import exceptions as vendor

from stream.store import RedisSpec
from stream.store.redis_link import connection_settings, parse_address
from stream.store.redis_patience import _opener
from stream.store.redis_route import Hop, Node, Servers

MORE_THAN_SOCKETS_HOLD = b"x" * 60_000_000


@asynccontextmanager
async def deaf_servers(count: int) -> AsyncIterator[list[Node]]:
    """Servers that greet and then hang: sockets fill, and nobody reads what is in them."""
    over = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (said := await reader.read(65_536)) and b"key" not in said:
            writer.write(b"+OK\r\n" * said.count(b"SETINFO"))
        writer.transport.pause_reading()
        await over.wait()
        writer.transport.abort()

    listening = [await asyncio.start_server(hang, "127.0.0.1", 0) for _ in range(count)]
    try:
        yield [Node("127.0.0.1", each.sockets[0].getsockname()[1]) for each in listening]
    finally:
        over.set()
        for each in listening:
            each.close()


def servers_of(timeout_s: float) -> Servers:
    """The clients that a store has of its servers."""
    url = "redis://127.0.0.1:1"
    patience = {"timeout_s": timeout_s, "connect_timeout_s": 0.3}
    spec = msgspec.convert({"kind": "redis", "url": url, **patience}, RedisSpec)
    address = parse_address(url)
    return Servers(_opener(spec, address, connection_settings(spec, address)))


def is_connected(nodes: list[Node]) -> bool:
    """Whether this process has a socket that is connected to one of these."""
    ports = {each.port for each in nodes}
    found = psutil.Process().net_connections("tcp")
    return any(each.raddr and each.raddr.port in ports for each in found)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - the kernel's table has no event
            await asyncio.sleep(0.01)


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scene."""
    asyncio.run(scene())


def test_a_call_that_timed_out_leaves_no_connection() -> None:
    """What was not sent by then is not held for a reader that may never come.

    Or each call that times out would leave a socket, and megabytes, to a server that hangs.
    """

    async def scene() -> None:
        servers = servers_of(timeout_s=0.3)
        async with deaf_servers(1) as nodes:
            hop = Hop(nodes[0], servers.client(nodes[0]))
            with pytest.raises(vendor.TimeoutError):
                await hop.send("SET", "key", MORE_THAN_SOCKETS_HOLD)
            await until(lambda: not is_connected(nodes))
            await servers.stop()

    run(scene)


def test_all_connections_end_though_one_of_them_cannot_in_good_order() -> None:
    """A server that reads nothing keeps neither its own connection open nor those to others."""

    async def scene() -> None:
        servers = servers_of(timeout_s=60)
        async with deaf_servers(3) as nodes:
            calls = []
            for node in nodes:
                hop = Hop(node, servers.client(node))
                calls.append(asyncio.create_task(hop.send("SET", "key", MORE_THAN_SOCKETS_HOLD)))
            await until(lambda: is_connected(nodes))
            await asyncio.sleep(0.1)
            await servers.stop()
            await until(lambda: not is_connected(nodes))
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    run(scene)


@pytest.mark.parametrize("steps", range(12))
@pytest.mark.parametrize("is_gone_first", [True, False])
def test_what_is_closed_while_it_connects_leaves_no_socket(
    steps: int, *, is_gone_first: bool
) -> None:
    """Nor does what was cancelled then, at whichever step, or what begins when all is closed."""

    async def scene() -> None:
        servers = servers_of(timeout_s=60)
        async with deaf_servers(1) as nodes:
            hop = Hop(nodes[0], servers.client(nodes[0]))
            calls = [asyncio.create_task(hop.send("SETINFO"))]
            for _ in range(steps):
                await asyncio.sleep(0)
            if is_gone_first:
                calls[0].cancel()
                await asyncio.sleep(0)
            await servers.stop()
            calls.append(asyncio.create_task(hop.send("SETINFO")))
            with pytest.raises(vendor.ConnectionError, match="closed"):
                servers.client(nodes[0])
            await asyncio.wait(calls, timeout=0.05)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: not is_connected(nodes))

    run(scene)
