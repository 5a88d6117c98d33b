"""The memory doors behind a network that delays, loses and repeats, as a seed says.

Only what a real client promises is kept: records of one producer and partition stay in order, and
none is appended behind one that was lost, since an idempotent producer leaves no gap (KIP-98).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from stream.bus import Bounds, Chunk, MemoryPublisher, MemoryReader, MemorySource, Record
from stream.errors import BusUnavailable, StoreUnavailable
from stream.store import Bequest, Checkpoint, Claim, Fence, MemoryStore, Save, StoreFacts

from .log import SimLog
from .loop import Process, current_process
from .network import APPENDED, ENDS, LATE_S, Network, heard

Result = TypeVar("Result")
# A real client's batch holds more; so few, that a step's records often do not fit at once.
QUEUED_MAX: Final = 2


class SimStore:
    """A store behind the network."""

    def __init__(self, inner: MemoryStore, network: Network) -> None:
        self._inner = inner
        self._network = network
        self.names_refused = 0
        self.first_partitions = 0

    async def start(self) -> StoreFacts:
        """Connect."""
        return await self._network.call(self._inner.start, StoreUnavailable, "start")

    async def owner(self, partition: int) -> str:
        """Return the nonce of whoever claimed the partition last."""
        return await self._call("owner", lambda: self._inner.owner(partition))

    async def claim(self, partition: int, nonce: str, seen: str, above: int = 0) -> Claim:
        """Become the owner of the partition."""
        return await self._write("claim", lambda: self._inner.claim(partition, nonce, seen, above))

    async def load(
        self, partition: int, ids: Sequence[int], fence: Fence | None = None
    ) -> list[bytes | None]:
        """Return the stored rows."""
        return await self._call("load", lambda: self._inner.load(partition, ids, fence))

    async def save(self, partition: int, save: Save) -> int:
        """Write all of it or nothing."""
        return await self._write("save", lambda: self._inner.save(partition, save))

    async def bequeath(self, partition: int, bequest: Bequest) -> str:
        """Write a part of what a child begins with."""
        return await self._write("bequeath", lambda: self._inner.bequeath(partition, bequest))

    async def scan(self, partition: int, bucket: int) -> list[tuple[int, bytes]]:
        """Return the rows of a bucket."""
        return await self._call("scan", lambda: self._inner.scan(partition, bucket))

    async def domains(self, partition: int) -> dict[int, int]:
        """Return how many rows there are of each trust domain."""
        return await self._call("domains", lambda: self._inner.domains(partition))

    async def names(self, partition: int, hashes: Sequence[int]) -> dict[int, str]:
        """Return the texts of operation hashes."""
        return await self._call("names", lambda: self._inner.names(partition, hashes))

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the checkpoint."""
        return await self._call("checkpoint", lambda: self._inner.checkpoint(partition))

    async def _write(self, what: str, op: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        try:
            return await self._call(what, op)
        finally:
            self._network.echo(op)

    async def _call(self, what: str, op: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        self._inner.first_partitions = self.first_partitions
        return await self._network.call(op, StoreUnavailable, what)

    async def stop(self) -> None:
        """Disconnect."""


class SimPublisher:
    """An idempotent producer behind the network: one queue for each partition it sends to."""

    def __init__(self, log: SimLog, network: Network) -> None:
        self._inner = MemoryPublisher(log)
        self._network = network
        self._queues: dict[tuple[str, int], deque[tuple[Any, asyncio.Future[int]]]] = {}
        self._broken: set[tuple[str, int]] = set()
        self._busy: set[tuple[str, int]] = set()
        self._full: dict[tuple[str, int], list[asyncio.Future[None]]] = {}
        self._owner: Process | None = None

    async def start(self) -> None:
        """Connect."""
        self._owner = current_process()
        await self._network.call(self._inner.start, BusUnavailable, "start a producer")

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        """Queue a record; the awaitable gives its offset, or says that nobody knows.

        As with a real client, whoever comes when the queue is full waits for it first.
        """
        assert partition is not None, "a worker says where"
        place = topic, partition
        queue = self._queues.setdefault(place, deque())
        loop = asyncio.get_running_loop()
        while len(queue) >= QUEUED_MAX:
            room: asyncio.Future[None] = loop.create_future()
            self._full.setdefault(place, []).append(room)
            await room
        done: asyncio.Future[int] = loop.create_future()
        done.add_done_callback(heard)
        queue.append(((topic, key, value, partition), done))
        if place not in self._busy:
            self._busy.add(place)
            _ = self._network.loop.spawn(self._network.process, self._drain(place))
        return done

    async def _drain(self, place: tuple[str, int]) -> None:
        """Append what is queued, in order; nothing behind a record that was lost."""
        queue = self._queues[place]
        while queue:
            await asyncio.sleep(self._network.delay_s() + self._network.append_s)
            is_led = place not in self._network.leaderless or await self._network.led(place)
            is_gone = self._owner is not None and self._owner.is_dead
            kind = self._network.draw(
                f"append to {place[0]}",
                ("refuse", "lose_ack", "repeat"),
                APPENDED if not is_gone else (),
                self._owner,
            )
            if is_gone and (kind or not is_led):
                break
            if not is_led:
                kind = "refuse"
            record, done = queue.popleft()
            for room in self._full.pop(place, []):
                if not room.done():
                    room.set_result(None)
            if kind in ENDS or kind == "freeze":
                await self._struck(kind, record)
                if kind != "freeze":
                    break
            if kind in ("refuse", "late"):
                self._broken.add(place)
            offset = -1
            if place not in self._broken:
                offset = await (await self._inner.send(*record))
            if kind == "repeat" and offset >= 0:
                await (await self._inner.send(*record))
            if kind == "late":
                self._later(record)
            if kind == "lose_ack" or place in self._broken:
                self._broken.add(place) if kind != "lose_ack" else None
                error = BusUnavailable(f"send to {place[0]}: nobody knows")
                done.get_loop().call_soon(_fail, done, error)
            else:
                done.get_loop().call_soon(_resolve, done, offset)
        self._busy.discard(place)

    async def _struck(self, kind: str, record: Any) -> None:
        """Let the sender die or stand still at a record, which arrives or does not."""
        assert self._owner is not None, "whoever sends has started"
        self._network.fate("freeze" if kind == "freeze" else "kill", self._owner)
        if kind == "kill_sent":
            await (await self._inner.send(*record))
        elif kind == "kill_late":
            self._later(record)

    def _later(self, record: Any) -> None:
        """Append a record when nobody waits for it any more."""

        async def late() -> None:
            await asyncio.sleep(LATE_S)
            await (await self._inner.send(*record))

        _ = self._network.loop.spawn(self._network.process, late())

    async def flush(self) -> None:
        """Wait until nothing is queued."""
        waiting = [done for queue in self._queues.values() for _, done in queue]
        if waiting:
            await asyncio.wait(waiting)

    async def stop(self) -> None:
        """Flush and disconnect."""
        await self.flush()


def _fail(done: asyncio.Future[int], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _resolve(done: asyncio.Future[int], offset: int) -> None:
    if not done.done():
        done.set_result(offset)


class SimReader(MemoryReader):
    """A reader behind the network."""

    def __init__(self, log: SimLog, network: Network) -> None:
        super().__init__(log)
        self._network = network

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return what the log holds of each partition of a topic."""
        ask = super().bounds
        return await self._network.call(lambda: ask(topic), BusUnavailable, f"bounds of {topic}")

    async def read(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
        """Return the records in [start, end) that the log holds now; `read_some` asks here too."""
        ask = super().read
        return await self._network.call(
            lambda: ask(topic, partition, start, end), BusUnavailable, f"read {topic}"
        )

    async def follow(
        self, topic: str, starts: Mapping[int, int], wait_s: float = 0.5
    ) -> AsyncGenerator[list[Record], None]:
        """Yield what comes from `starts` on, late, until the connection is lost."""
        async for records in super().follow(topic, starts, wait_s):
            await asyncio.sleep(self._network.delay_s())
            await self._network.ask(f"follow {topic}", BusUnavailable)
            yield records


class SimSource(MemorySource):
    """A member of the group behind the network; the broker's calls run in its own process."""

    def __init__(self, log: SimLog, topic: str, network: Network) -> None:
        super().__init__(log, topic)
        self._network = network
        self._home: Process | None = None
        self.is_member = False
        self.siblings: list[SimSource] = []

    async def start(self, listener: Any) -> None:
        """Begin to join the group."""
        self._home = current_process()
        await asyncio.sleep(self._network.delay_s())
        await self._network.ask("join", BusUnavailable)
        await super().start(listener)
        # Not before: a group that lets in who has not started gives it what it cannot take.
        self.is_member = True

    def take(self) -> asyncio.Task[None]:
        """Let all partitions go, in the member's own process."""
        return self._network.loop.run_in(self._home, super().take)

    def give(self, partitions: Sequence[int]) -> None:
        """Have these partitions, in the member's own process."""
        give = super().give
        self._network.loop.run_in(self._home, lambda: give(partitions))

    def expire(self) -> None:
        """End this session, and those of the same process in other groups."""
        super().expire()
        for each in self.siblings:
            each.expire()

    def notice(self) -> None:
        """Find out, in all groups, that the session has ended."""
        super().notice()
        for each in self.siblings:
            if each.is_member:
                each.notice()

    async def fetch(self, records_max: int, wait_s: float) -> list[Chunk]:
        """Return what has come; nothing is awaited once it is known."""
        await self._network.ask("fetch", BusUnavailable)
        return await super().fetch(records_max, wait_s)

    async def stop(self) -> None:
        """Leave the group."""
        self.is_member = False
        await super().stop()

    async def bounds(self, partitions: Sequence[int]) -> dict[int, Bounds]:
        """Return what the log holds of each partition."""
        ask = super().bounds
        return await self._network.call(lambda: ask(partitions), BusUnavailable, "bounds")
