"""A store without room for more: saves wait, and events go on being judged in memory.

What only forgets is written even then, so a sweep makes room. A save that waits gives up when its
session ends, or when a partition must be let go: then nothing is saved, and whoever has the
partition next applies the events again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from stream.engine import State
from stream.errors import StoreFull
from stream.store import Store

from .saving import Snapshot, save

AGAIN_S: Final = 0.5


class Fullness:
    """Which saves of a session wait for room; `why` is the store's word, by partition."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self.why: dict[int, str] = {}
        self._stopping = stopping
        self._in_a_hurry = 0

    @contextlib.contextmanager
    def hurry(self) -> Iterator[None]:
        """Let no save wait for room meanwhile: whoever saves may have what we wait for."""
        self._in_a_hurry += 1
        try:
            yield
        finally:
            self._in_a_hurry -= 1

    async def save(self, state: State, store: Store, taken: Snapshot) -> None:
        """Save a snapshot as `saving.save` does, however long there is no room.

        Errors: those of `saving.save`; StoreFull when there is no time to wait.
        """
        partition = taken.owned.partition

        async def wait(full: StoreFull) -> None:
            self.why[partition] = full.message
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await self._stopping.wait()
            if self._stopping.is_set() or self._in_a_hurry:
                raise full

        try:
            await save(state, store, taken, wait)
        finally:
            self.why.pop(partition, None)
