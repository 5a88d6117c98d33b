"""A TCP proxy of the tests' own: a network between two processes that can be made bad.

It runs in a thread with a loop of its own, so that drivers may block and workers live elsewhere.
What it can do is what networks do. `hold` lets nothing through in one or both directions and loses
nothing, as a cut cable does: TCP sends again until the link is back. `refuse` ends all connections
and accepts none, as a dead machine behind a live router. `reset` sends RST. `delay_s` and
`bytes_per_s` make a slow link. Bytes are never dropped inside a connection: no network does that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"
PIECE_BYTES = 65_536
RST = struct.pack("ii", 1, 0)
ROUNDS = 10
LOOK_S = 0.01


class Link:
    """The state of a link; set from any thread, read by the proxy's."""

    def __init__(self) -> None:
        self.holds_up = False  # from the client to the server
        self.holds_down = False
        self.delay_s = 0.0
        self.bytes_per_s = 0


class Proxy:
    """Listens on `port` and passes on to `target`, which may change."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.link = Link()
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._call(self._listen())

    def stop(self) -> None:
        """End everything."""
        self._call(self._deafen())
        self._call(self._end_all(with_reset=True))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.run_until_complete(self._wind_up())
        self._loop.close()

    async def _wind_up(self) -> None:
        """End what was accepted, or begun to connect, in the last moment: no socket stays open."""
        for _ in range(ROUNDS):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for transport in list(self._loop._transports.values()):
                transport.abort()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)

    def hold(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing through in these directions, and lose nothing."""
        self.link.holds_up, self.link.holds_down = up, down

    def slow(self, delay_s: float = 0.0, bytes_per_s: int = 0) -> None:
        """Delay each piece in each direction, and let no more than so many bytes a second pass."""
        self.link.delay_s, self.link.bytes_per_s = delay_s, bytes_per_s

    def refuse(self) -> None:
        """End all connections and accept no new one."""
        self._call(self._deafen())
        self._call(self._end_all(with_reset=True))

    def reset(self) -> None:
        """End all connections with RST; new ones are welcome."""
        self._call(self._end_all(with_reset=True))

    def heal(self) -> None:
        """Be a good network again: what was held arrives, new connections are accepted."""
        self.hold(up=False, down=False)
        self.slow()
        self._call(self._listen())

    def _call(self, step: object) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(timeout=20)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _deafen(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            # What was accepted already becomes a connection first: a server that is closed lets go
            # of those sockets without closing them (CPython: Server._attach fails an assertion).
            for each in server.sockets:
                self._loop.remove_reader(each.fileno())
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            server.close()

    async def _end_all(self, *, with_reset: bool) -> None:
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            if with_reset and raw is not None:
                with contextlib.suppress(OSError):  # It has ended by itself.
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()

    async def _may_pass(self, *, is_up: bool) -> None:
        while self.link.holds_up if is_up else self.link.holds_down:  # noqa: ASYNC110 - see Link
            await asyncio.sleep(LOOK_S)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Known from its first moment, so that nothing is forgotten when all must end.
        self._writers.add(writer)
        task = self._loop.create_task(self._connected(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with self._kept(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            there = await asyncio.open_connection(HOST, self.target)
            with self._kept(there[1]):
                await asyncio.gather(
                    self._pass(reader, there[1], is_up=True),
                    self._pass(there[0], writer, is_up=False),
                )

    @contextlib.contextmanager
    def _kept(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        """Pass bytes on in one direction, each piece when the link lets it."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        link, loop = self.link, self._loop

        async def take() -> None:
            with contextlib.suppress(OSError):
                while piece := await reader.read(PIECE_BYTES):
                    await pieces.put((loop.time() + link.delay_s, piece))
            await pieces.put((loop.time(), b""))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._may_pass(is_up=is_up)
                if link.bytes_per_s:
                    await asyncio.sleep(len(piece) / link.bytes_per_s)
                if not piece:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()
        except OSError:
            reader.feed_eof()
            writer.close()
        finally:
            taking.cancel()


@contextlib.contextmanager
def between(target: int, port: int = 0) -> Iterator[Proxy]:
    """A proxy before a port of this machine, gone when the block ends."""
    proxy = Proxy(target, port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
