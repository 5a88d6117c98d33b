"""Reports requests to the topic `requests` without ever making a request wait.

`offer` only puts an event in a bounded buffer. One task takes them out and sends them, in order.
What finds no room is summed up (`Sums`), so a flood that outruns the reporting still shows its full
count; what finds no room there is counted in `lost`.

Each event is handed to Kafka's client once. When the client says that it never took it, it is
offered again; when the answer to one it had taken is lost, the event is counted in `unconfirmed`
and not sent again, because an event that is counted twice can revoke the innocent.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Final

from stream.bus import Publisher
from stream.clock import Clock
from stream.errors import BusUnavailable, ConfigError
from stream.events import Request

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


class Reporter:
    """A bounded buffer of events and the loop that empties it; belongs to one event loop.

    `counts`: `offered`, `sent`, `summed` (requests that went into a sum), `lost` (requests that
    nothing will show), `unreportable` (events that no worker would accept), `unconfirmed`,
    `pauses` (times that Kafka was out of reach). `io_s` is the deadline of one round of sending.
    """

    def __init__(self, topic: str, clock: Clock, spec: ReportSpec, io_s: float) -> None:
        self._topic = topic
        self._clock = clock
        self._spec = spec
        self._events_max = spec.events_max
        self._bytes_max = spec.bytes_max
        self._io_s = io_s
        self._waiting: deque[tuple[bytes, bytes, int]] = deque()
        self._waiting_bytes = 0
        self._sums = Sums(spec.sums_max)
        self._sums_sent_s = clock.monotonic_s()
        self._in_flight: deque[Awaitable[int]] = deque()
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
            room = self._events_max
            if request.kind != "request":
                room += room // 8 + 1
            if len(waiting) < room and self._waiting_bytes < self._bytes_max:
                payload = encode(request)
                key = request.workload.encode()
                waiting.append((key, payload, request.count))
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
        self._counts["lost"] += sum(count for _, _, count in self._waiting)
        self._counts["lost"] += sum(request.count for request in self._sums.drain())
        self._counts["unconfirmed"] += len(self._in_flight)
        self._in_flight.clear()
        self._waiting.clear()
        self._waiting_bytes = 0

    def _append(self, request: Request) -> None:
        """Let an event wait. Errors: WRONG_TYPE."""
        payload = encode_fitting(request)
        key = request.workload.encode()
        self._waiting.append((key, payload, request.count))
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

        Only after a round that succeeded: while Kafka is out of reach what waits must not grow.
        """
        now_s = self._clock.monotonic_s()
        if not self._waiting or now_s - self._sums_sent_s >= SUMS_EVERY_S:
            self._sums_sent_s = now_s
            for request in self._sums.drain():
                self._append(request)

    async def _send_round(self, publisher: Publisher) -> None:
        """Send the events that have waited longest.

        Errors: BusUnavailable, ConfigError or TimeoutError; the event that was not taken waits
                still, as the first.
        """
        for _ in range(min(ROUND, len(self._waiting))):
            while len(self._in_flight) >= self._spec.in_flight_max:
                self._settled.clear()
                await self._settled.wait()
            key, payload, _ = self._waiting[0]
            acknowledged = await publisher.send(self._topic, key, payload)
            self._pop_first()
            self._in_flight.append(acknowledged)
            self._sent.set()
            self._counts["sent"] += 1

    def _pop_first(self) -> int:
        """Take the first that waits away; return for how many requests it stands."""
        key, payload, count = self._waiting.popleft()
        self._waiting_bytes -= len(key) + len(payload)
        return count

    async def _settle(self) -> None:
        """Hear the answers to what is in flight, the oldest first, for ever."""
        while True:
            await self._sent.wait()
            while self._in_flight:
                try:
                    await self._in_flight[0]
                except (BusUnavailable, ConfigError):
                    self._counts["unconfirmed"] += 1
                del self._in_flight[0]
                self._settled.set()
            self._sent.clear()
