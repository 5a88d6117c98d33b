"""Reports requests to the topic `requests` without ever making a request wait.

`offer` only puts an event in a bounded buffer. One task takes them out and sends them, in order.
What finds no room is summed up (`Sums`), so a flood that outruns the reporting still shows its full
count; what finds no room there is counted in `lost`.

Each event is handed to Kafka's client once. When the client says that it never took it, it is
offered again; when the answer to one it had taken is lost, the event is counted in `unconfirmed`
and not sent again, because an event that is counted twice can revoke the innocent.

With `together_max` above 1 a record holds as many of the events that wait as have one home, in
their order: what a record costs is most of what sending costs. Homes are told by the number of
partitions that heartbeats name, and until there is one, or where it is wrong, less well: workers
send home what lies elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from stream.bus import Publisher
from stream.clock import Clock
from stream.errors import BusUnavailable, ConfigError
from stream.events import PAYLOAD_BYTES_MAX, Request, join_requests
from stream.identity import positive_murmur2

from .fitting import encode_fitting
from .pauses import Pauses
from .spec import ReportSpec
from .sums import Sums

WRONG_TYPE: Final = (ValueError, TypeError, AttributeError)
"""What an event with a field of a wrong type raises: it costs that event, not the caller."""

REFUSALS_MAX: Final = 3
"""Attempts at an event that Kafka refuses, before it is lost for the sake of those behind it."""

SUMS_EVERY_S: Final = 1.0
"""Sums go out when the buffer is empty, and at least this often while it is not."""

COUNTED: Final = ("offered", "sent", "summed", "lost", "unreportable", "unconfirmed", "pauses")
ROUND: Final = 200
"""Events sent under one deadline and before the loop's other tasks have their turn."""

_hash_of = lru_cache(maxsize=65_536)(positive_murmur2)


class _Waiting(NamedTuple):
    """An event that waits: its workload, its payload, for how many requests it stands."""

    key: bytes
    payload: bytes
    requests: int


class Reporter:
    """A bounded buffer of events and the loop that empties it; belongs to one event loop.

    `counts`: `offered`, `sent`, `summed` (requests that went into a sum), `lost` (requests that
    nothing will show), `unreportable` (events that no worker would accept), `unconfirmed`,
    `pauses` (times that Kafka was out of reach). `io_s` is the deadline of one round of sending,
    `partitions` tells how many the workers' topic has, 0 while nobody knows.
    """

    def __init__(
        self,
        topic: str,
        clock: Clock,
        spec: ReportSpec,
        io_s: float,
        partitions: Callable[[], int] = int,
    ) -> None:
        self._partitions = partitions
        self._topic = topic
        self._clock = clock
        self._spec = spec
        self._events_max = spec.events_max
        self._bytes_max = spec.bytes_max
        self._io_s = io_s
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._sums = Sums(spec.sums_max)
        self._sums_sent_s = clock.monotonic_s()
        self._sums_due = 0
        self._in_flight: deque[tuple[Awaitable[int], int]] = deque()
        self._events_in_flight = 0
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()
        self._settled = asyncio.Event()
        self._is_closing = False
        self._is_awake = False
        self._counts: dict[str, int] = dict.fromkeys(COUNTED, 0)

    def __len__(self) -> int:
        """Return the number of events and sums that wait."""
        return len(self._waiting) + len(self._sums)

    @property
    def counts(self) -> Counter[str]:
        """Return what became of events until now."""
        return Counter(self._counts)

    def offer(self, request: Request, encode: Callable[[Request], bytes] = encode_fitting) -> None:
        """Take one event for reporting; return at once, whatever becomes of it.

        `encode` makes it a payload that a worker accepts, or raises one of WRONG_TYPE; whoever
        knows that every field fits passes one that need not look.

        Requires: called from the thread of the event loop; `request.workload` is canonical.
        """
        counts, waiting = self._counts, self._waiting
        counts["offered"] += 1
        try:
            # The start and the end of a task cannot be summed up: an eighth of the room is theirs.
            room, bytes_room = self._events_max, self._bytes_max
            if request.kind != "request":
                room += room // 8 + 1
                bytes_room += bytes_room // 8
            if len(waiting) < room and self._waiting_bytes < bytes_room:
                payload = encode(request)
                key = request.workload.encode()
                waiting.append(_Waiting(key, payload, request.count))
                self._waiting_bytes += len(key) + len(payload)
            else:
                self._sum_up(request)
        except WRONG_TYPE:
            counts["unreportable"] += 1
        if not self._is_awake:
            self._is_awake = True
            self._wake.set()

    def close(self) -> None:
        """Take no more; `run` returns when everything that waits is sent."""
        self._is_closing = True
        # Nothing finds room from now on.
        self._events_max = self._bytes_max = 0
        self._wake.set()

    async def run(self, publisher: Publisher) -> None:
        """Send what is offered until closed.

        Requires: the publisher is started; one `run` at a time.
        """
        async with asyncio.TaskGroup() as tasks:
            settling = tasks.create_task(self._settle(), name="gateway-acknowledged")
            await self._send_all(publisher)
            while self._in_flight:
                self._settled.clear()
                await self._settled.wait()
            settling.cancel()

    def abandon(self) -> None:
        """Count everything that still waits as lost, after the time for sending is over."""
        self._counts["lost"] += sum(each.requests for each in self._waiting)
        self._counts["lost"] += sum(request.count for request in self._sums.drain())
        self._sums_due = 0
        self._counts["unconfirmed"] += self._events_in_flight
        self._events_in_flight = 0
        self._in_flight.clear()
        self._waiting.clear()
        self._waiting_bytes = 0

    def _append(self, request: Request) -> None:
        """Let an event wait. Errors: WRONG_TYPE."""
        payload = encode_fitting(request)
        key = request.workload.encode()
        self._waiting.append(_Waiting(key, payload, request.count))
        self._waiting_bytes += len(key) + len(payload)

    def _sum_up(self, request: Request) -> None:
        if not self._is_closing and self._sums.add(request):
            self._counts["summed"] += request.count
        else:
            self._counts["lost"] += request.count

    async def _send_all(self, publisher: Publisher) -> None:
        """Send what waits, round by round, until closed and nothing waits."""
        pauses = Pauses()
        refusals = 0
        while not self._is_closing or len(self):
            await self._wake.wait()
            try:
                async with asyncio.timeout(self._io_s):
                    await self._send_round(publisher)
            except (BusUnavailable, ConfigError, TimeoutError) as fault:
                refusals = refusals + 1 if isinstance(fault, ConfigError) else 0
                if refusals >= REFUSALS_MAX:
                    self._counts["lost"] += self._pop_first()
                    refusals = 0
                self._counts["pauses"] += 1
                await asyncio.sleep(pauses.next_s())
                continue
            pauses.reset()
            refusals = 0
            self._take_up_sums()
            if not len(self) and not self._is_closing:
                self._wake.clear()
                self._is_awake = False
            await asyncio.sleep(0)

    def _take_up_sums(self) -> None:
        """Let the sums wait as events behind the others, when it is time.

        As many as find room; the rest of those that are there then follow as room comes, before
        later ones. At the end all find room: nothing more is offered.
        """
        now_s = self._clock.monotonic_s()
        if not self._waiting or now_s - self._sums_sent_s >= SUMS_EVERY_S:
            self._sums_sent_s = now_s
            self._sums_due = len(self._sums)
        while self._sums_due and (self._has_room() or self._is_closing):
            self._sums_due -= 1
            for request in self._sums.take_first():
                self._append(request)

    def _has_room(self) -> bool:
        spec = self._spec
        return len(self._waiting) < spec.events_max and self._waiting_bytes < spec.bytes_max

    async def _send_round(self, publisher: Publisher) -> None:
        """Send the events that have waited longest.

        Errors: BusUnavailable, ConfigError or TimeoutError; what was not taken waits still, in its
                order, and what Kafka would not have is the first.
        """
        some = list(islice(self._waiting, ROUND))
        sent: set[int] = set()
        try:
            for places in self._records_of(some):
                while self._events_in_flight + len(places) > self._spec.in_flight_max:
                    self._settled.clear()
                    await self._settled.wait()
                value = join_requests([some[each].payload for each in places])
                acknowledged = await publisher.send(self._topic, some[places[0]].key, value)
                sent.update(places)
                self._in_flight.append((acknowledged, len(places)))
                self._events_in_flight += len(places)
                self._sent.set()
                self._counts["sent"] += len(places)
        finally:
            for _ in some:
                self._pop_first()
            left = [each for place, each in enumerate(some) if place not in sent]
            self._waiting.extendleft(reversed(left))
            self._waiting_bytes += sum(len(each.key) + len(each.payload) for each in left)

    def _records_of(self, some: Sequence[_Waiting]) -> list[list[int]]:
        """Return the places of the events that go in each record, that of the first one first."""
        most = min(self._spec.together_max, self._spec.in_flight_max)
        if most == 1:
            return [[place] for place in range(len(some))]
        partitions = self._partitions()
        records: list[list[int]] = []
        filling: dict[bytes | int, tuple[list[int], int]] = {}
        for place, each in enumerate(some):
            home = _hash_of(each.key) % partitions if partitions else each.key
            places, size = filling.get(home, ([], 2))
            size += len(each.payload) + 1
            if not places or len(places) == most or size > PAYLOAD_BYTES_MAX:
                places, size = [], 3 + len(each.payload)
                records.append(places)
            places.append(place)
            filling[home] = places, size
        return records

    def _pop_first(self) -> int:
        """Take the first that waits away; return for how many requests it stands."""
        first = self._waiting.popleft()
        self._waiting_bytes -= len(first.key) + len(first.payload)
        return first.requests

    async def _settle(self) -> None:
        """Hear the answers to what is in flight, the oldest first, for ever."""
        while True:
            await self._sent.wait()
            while self._in_flight:
                acknowledged, count = self._in_flight[0]
                try:
                    await acknowledged
                except (BusUnavailable, ConfigError):
                    self._counts["unconfirmed"] += count
                del self._in_flight[0]
                self._events_in_flight -= count
                self._settled.set()
            self._sent.clear()
