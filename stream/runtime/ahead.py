"""Fetching and reading ahead: while events are applied, the next are read, those behind fetched.

Only where there are many: a few are read and applied at once, so that none waits for others. Three
fetches are in memory at most. How much one fetch may bring follows the time that applying takes:
large fetches cost less an event, but whoever comes behind one waits for all of it. What lies
ahead belongs to whoever owned its partition when it was fetched; who does not own it any more when
its turn comes leaves it alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from stream.bus import EventSource
from stream.clock import Clock
from stream.metrics import Metrics
from stream.profiles import Arrival, Decoder, Read

from .owned import Owned
from .returning import behind_proof
from .spec import WorkerSpec

# Below so many events the way to a thread and back costs more than reading or applying them.
INLINE_EVENTS: Final = 512
# A fetch may always bring so many, and the weight of the latest among all fetches so far.
RECORDS_MIN: Final = 1_000
LATEST: Final = 0.25

Result = TypeVar("Result")


class Fetched(NamedTuple):
    """Events as they came, an entry a partition: its owner then, and what a kernel could read."""

    arrivals: list[Arrival]
    owners: list[Owned | None]
    read: list[Read]

    @property
    def records(self) -> int:
        """Return how many records came."""
        return sum(len(each.offsets) for each in self.arrivals)

    def held(self, owned: Mapping[int, Owned]) -> list[Read]:
        """Return what was read of partitions that are owned as they were then."""
        return [
            read
            for read, owner in zip(self.read, self.owners, strict=True)
            if owner is not None and owner is owned.get(owner.partition)
        ]


class Ahead:
    """Gives what was fetched, read.

    Errors: what the source's `fetch` raises; OwnershipLost where a log is another one now.
    """

    def __init__(
        self,
        source: EventSource,
        decoder: Decoder,
        spec: WorkerSpec,
        shown: tuple[Clock, Metrics],
        owned: Mapping[int, Owned],
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._spec = spec
        self._clock, self._metrics = shown
        self._owned = owned
        self._per_s = spec.batch_events_max * 1_000 / spec.batch_ms
        self._next: asyncio.Task[Fetched] | None = None
        self._behind: asyncio.Task[Fetched] | None = None

    async def next(self) -> Fetched:
        """Return the next events, or none after a while."""
        begun, self._next = self._next, None
        fetched = await (begun or self._read())
        if fetched.records > INLINE_EVENTS:
            self._next = asyncio.create_task(self._read())
        return fetched

    def took(self, records: int, seconds: float) -> None:
        """Learn how long so many records took to apply."""
        if records > INLINE_EVENTS and seconds > 0:
            self._per_s += LATEST * (records / seconds - self._per_s)

    @property
    def records_max(self) -> int:
        """Return how many records the next fetch may bring: as many as `batch_ms` suffices for."""
        wanted = int(self._per_s * self._spec.batch_ms / 1_000)
        return min(max(wanted, RECORDS_MIN), self._spec.batch_events_max)

    async def stop(self) -> None:
        """Give up what is under way."""
        begun = [each for each in (self._next, self._behind) if each is not None]
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)

    async def _read(self) -> Fetched:
        """Read events as far as that needs nothing but their bytes."""
        begun, self._behind = self._behind, None
        fetched = await (begun or self._fetch())
        if fetched.records > INLINE_EVENTS:
            self._behind = asyncio.create_task(self._fetch())
        began_s = self._clock.monotonic_s()
        read = await beside(fetched.records, self._decoder.read, fetched.arrivals)
        self._metrics.spend("read", self._clock.monotonic_s() - began_s)
        return fetched._replace(read=read)

    async def _fetch(self) -> Fetched:
        began_s = self._clock.monotonic_s()
        chunks = await self._source.fetch(self.records_max, self._spec.fetch_wait_ms / 1_000)
        arrivals, owners = [], []
        # No await stands between the fetch and this line, so the chunks are of these owners.
        for chunk in chunks:
            owner = self._owned.get(chunk.partition)
            arrival: Arrival | None = Arrival(*chunk)
            if owner is not None and owner.is_unproven:
                arrival = behind_proof(owner, Arrival(*chunk))
            if arrival is not None:
                arrivals.append(arrival)
                owners.append(owner)
        self._metrics.spend("fetch", self._clock.monotonic_s() - began_s)
        return Fetched(arrivals, owners, [])


async def beside(events: int, function: Callable[..., Result], *args: Any) -> Result:
    """Do something with so many events, in a thread where they are many: the loop goes on then.

    Kernels hold no lock. Whatever else touches the state meanwhile waits for its turn, so whoever
    is cancelled keeps the turn until the thread has let go.
    """
    if events <= INLINE_EVENTS:
        return function(*args)
    work = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(work)
    finally:
        await asyncio.wait({work})
