"""What one member of a group holds, and the calls of its listener, one after another.

Sources differ in how the group tells them of partitions; what follows is the same and is here.
A partition yields records only while it is placed: from the listener's answer to `assigned` until
the group takes it. Calls of the listener run in tasks of their own, chained, so that a slow call
holds up neither the heartbeat to the group nor the task that fetches; a call that fails fails the
source at its next fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

from .contract import Listener

Turn = Callable[[], Coroutine[Any, Any, None]]


class Membership:
    """The partitions of one member, and whose turn it is.

    `place` is called with the listener's answer and moves the source's positions there.
    """

    def __init__(self, listener: Listener, place: Callable[[Mapping[int, int]], None]) -> None:
        self._listener = listener
        self._place = place
        self._held: frozenset[int] = frozenset()
        self._turns = 0
        self._is_open = False
        self._is_leaving = False
        self._last: asyncio.Task[None] | None = None
        self._failed: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def held(self) -> frozenset[int]:
        """The partitions that the listener was told it has."""
        return self._held

    @property
    def is_open(self) -> bool:
        """Whether all that was given is placed, so that records may be handed out."""
        return self._is_open

    @property
    def turn(self) -> int:
        """Rises whenever partitions begin to be given or taken."""
        return self._turns

    @property
    def changed(self) -> asyncio.Future[None]:
        """Done when partitions begin to be given or taken, are placed, or a call has failed."""
        return self._changed

    def check(self) -> None:
        """Raise what a call of the listener raised."""
        if self._failed is not None:
            self._failed.result()

    def give(self, partitions: Collection[int]) -> None:
        """Tell the listener of all its partitions, then place them, in its turn."""
        self._shut()
        self._last = self._queued(partial(self._given, frozenset(partitions), self._turns))

    def give_again(self, partition: int) -> None:
        """Take one partition from the listener and give it back, to be placed anew."""
        self._last = self._queued(partial(self._given_again, partition, self._turns))

    def take(self) -> asyncio.Task[None]:
        """Hand out no record from here on; tell the listener in its turn. Done when it let go."""
        self._shut()
        self._last = self._queued(self._taken)
        return self._last

    def leave(self) -> asyncio.Task[None]:
        """Take everything, and take nothing more from the group."""
        self._is_leaving = True
        return self.take()

    async def _given(self, partitions: frozenset[int], turn: int) -> None:
        if self._is_leaving:
            return
        if partitions:
            self._held = partitions
            await self._start(partitions)
        # Whoever came meanwhile to take them waits for this turn, and has shut the source.
        if turn == self._turns:
            self._is_open = True
            self._tell()

    async def _given_again(self, partition: int, turn: int) -> None:
        if turn != self._turns or partition not in self._held:
            return
        await self._listener.revoked([partition])
        await self._start({partition})

    async def _taken(self) -> None:
        if self._held:
            await self._listener.revoked(sorted(self._held))
        self._held = frozenset()

    async def _start(self, partitions: Collection[int]) -> None:
        starts = await self._listener.assigned(sorted(partitions))
        assert all(starts.get(partition, 0) >= 0 for partition in partitions), starts
        here = [partition for partition in sorted(partitions) if partition in starts]
        self._place({partition: starts[partition] for partition in here})

    def _shut(self) -> None:
        self._turns += 1
        self._is_open = False
        self._tell()

    def _tell(self) -> None:
        if not self._changed.done():
            self._changed.set_result(None)
        self._changed = asyncio.get_running_loop().create_future()

    def _queued(self, turn: Turn) -> asyncio.Task[None]:
        task = asyncio.create_task(_after(self._last, turn))
        task.add_done_callback(self._ended)
        return task

    def _ended(self, turn: asyncio.Task[None]) -> None:
        if not turn.cancelled() and turn.exception() is not None and self._failed is None:
            self._failed = turn
            self._tell()


async def _after(before: asyncio.Task[None] | None, turn: Turn) -> None:
    if before is not None:
        await asyncio.wait({before})
    await turn()
