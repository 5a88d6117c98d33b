"""Reading a zone: its topic's events are screened and sent home, where they count once.

A zone's topic is for coming in only. The workers share it as a group of its own, each event leaves
in the envelope that misrouted events leave in, in the order of the zone's offsets, and the owner of
the home drops what it has heard of that source. So reading again repeats nothing, and one order
suffices: the events of a turn are sent, then acknowledged, and only then may the group be told.

Where partitions were multiplied an event goes to its home among the first number of them, for ever,
and the owner there sends it on as it does what is misrouted (see `growth`): read again, each event
must come to whoever has heard of it, whatever the group remembers and whenever partitions grew.

What breaks here alone (the topic is gone, a right is missing) is the mode `zone_down`; it is tried
again, and holds up neither other zones nor requests. What breaks while something is being sent ends
the session: behind an event that was lost nothing of its source may be sent any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stream.bus import Bounds, Chunk, Committed, EventSource, TopicAdmin, TopicSpec
from stream.clock import Clock
from stream.errors import BusUnavailable, ConfigError
from stream.events import Reject
from stream.metrics import Metrics

from .modes import BEHIND, ZONE_DOWN, Modes
from .outbox import Outbox
from .screening import Screen, Zone
from .spec import WorkerSpec

log = logging.getLogger(__name__)
SENT_AT_ONCE: Final = 200
WAIT_MS_MAX: Final = 10_000


class Zones:
    """What the zones of a session have in common: whose turn it is, and which are not read.

    Turns are first come, first served, so one zone's flood keeps no other zone waiting for long,
    and requests are applied between any two.
    """

    def __init__(self, modes: Modes, metrics: Metrics) -> None:
        self._modes = modes
        self._metrics = metrics
        self.turn = asyncio.Lock()
        self.faults: dict[str, str] = {}
        self._read: set[str] = set()

    def began(self, zone: str) -> None:
        """Say that a zone is read, as often as one likes. Mutates: self."""
        if zone not in self._read or zone in self.faults:
            self._read.add(zone)
            self.faults.pop(zone, None)
            self._tell(zone, is_up=True)

    def failed(self, zone: str, why: str) -> None:
        """Say that a zone is not read, and why. Mutates: self."""
        if zone not in self.faults:
            log.warning("zone %s is not read: %s", zone, why)
        self.faults[zone] = why
        self._read.discard(zone)
        self._tell(zone, is_up=False)

    def _tell(self, zone: str, *, is_up: bool) -> None:
        self._metrics.set_zone(zone, is_up=is_up)
        modes = (ZONE_DOWN,) if self.faults else ()
        self._modes.only(modes, (ZONE_DOWN,), "a zone's topic is not read")

    @property
    def is_behind(self) -> bool:
        """Tell whether requests wait already, so that zones should not add to them."""
        return self._modes.holds(BEHIND)

    def texts(self) -> list[str]:
        """Return a line for each zone that is not read; from any thread."""
        return [f"zone {zone}: {why}" for zone, why in sorted(self.faults.copy().items())]


class Ingress:
    """A member of the group that reads one zone."""

    def __init__(
        self,
        zone: tuple[Zone, TopicSpec],
        doors: tuple[Callable[[str], EventSource], TopicAdmin, Outbox],
        spec: WorkerSpec,
        zones: Zones,
        shown: tuple[Clock, Metrics],
        session: tuple[asyncio.Event, int],
    ) -> None:
        self._zone, self._topic_spec = zone
        self._make_source, self._admin, self._outbox = doors
        self._spec = spec
        self._zones = zones
        self._clock, self._metrics = shown
        self._stopping, homes = session
        self._screen = Screen(self._zone, homes)
        self._source: EventSource | None = None
        self._turn = asyncio.Lock()
        self._topic_id = ""
        self._serial = 0
        self._positions: dict[int, int] = {}
        self._is_sending = False
        for what in ("forwarded", "outside_zone"):
            self._metrics.count_zone(self._zone.name, what, 0)

    async def run(self) -> None:
        """Read the zone until the session stops; what breaks of it alone is tried again.

        Errors: BusUnavailable, ConfigError when what was sent may be lost.
        """
        wait_ms = self._spec.restart_wait_ms
        while not self._stopping.is_set():
            try:
                await self._read()
            except (BusUnavailable, ConfigError) as error:
                if self._is_sending:
                    raise
                if self._zone.name not in self._zones.faults:
                    wait_ms = self._spec.restart_wait_ms
                self._zones.failed(self._zone.name, str(error))
                await self._pause(wait_ms)
                wait_ms = min(2 * wait_ms, max(WAIT_MS_MAX, self._spec.restart_wait_ms))

    async def _pause(self, span_ms: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(span_ms / 1_000):
                await self._stopping.wait()

    # The group gives and takes.

    async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Return where each partition begins: where the group was told that we are."""
        source = self._started()
        topic_id = await self._identify()
        bounds = await source.bounds(partitions)
        known = await source.committed(partitions)
        async with self._turn:
            self._serial += 1
            self._topic_id = topic_id
            starts = {each: self._start(each, bounds[each], known.get(each)) for each in partitions}
            self._positions |= starts
        return starts

    def _start(self, partition: int, bounds: Bounds, known: Committed | None) -> int:
        if known is None:
            return bounds.start
        if known.note != self._topic_id or known.offset > bounds.end:
            # Of a log cut short what comes under offsets that were used is taken for repeats.
            log.warning(
                "zone %s partition %d is not the log that was read: it begins at its start",
                self._zone.name,
                partition,
            )
            return bounds.start
        missed = bounds.start - known.offset
        if missed > 0:
            log.warning(
                "zone %s partition %d: retention took %d events before they were read",
                self._zone.name,
                partition,
                missed,
            )
            self._metrics.count_zone_missed(self._zone.name, missed)
        return max(known.offset, bounds.start)

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Tell the group how far we are, and let the partitions go."""
        async with self._turn:
            await self._commit()
            self._serial += 1
            for each in partitions:
                self._positions.pop(each, None)

    async def _identify(self) -> str:
        states = await self._admin.describe([self._zone.topic])
        if not states:
            raise BusUnavailable(f"topic {self._zone.topic} is gone")
        return states[0].id

    # Reading.

    async def _read(self) -> None:
        """Have the topic, join its group, and take turns until the session stops."""
        await self._admin.ensure([self._topic_spec])
        async with contextlib.AsyncExitStack() as stack:
            source = self._source = self._make_source(self._zone.name)
            self._positions = {}
            stack.push_async_callback(self._leave, source)
            await source.start(self)
            looked_s = committed_s = self._clock.monotonic_s()
            while not self._stopping.is_set():
                if self._zones.is_behind:
                    await self._pause(self._spec.look_every_ms)
                await self._one_turn(source)
                self._zones.began(self._zone.name)
                now_s = self._clock.monotonic_s()
                if now_s - committed_s >= self._spec.save_every_ms / 1_000:
                    committed_s = now_s
                    async with self._turn:
                        await self._commit()
                if now_s - looked_s >= self._spec.look_every_ms / 1_000:
                    looked_s = now_s
                    await self._look(source)

    async def _leave(self, source: EventSource) -> None:
        try:
            async with asyncio.timeout(self._spec.stop_wait_ms / 1_000):
                await source.stop()
        except (BusUnavailable, ConfigError, TimeoutError) as error:
            log.warning("left zone %s: %s %s", self._zone.name, type(error).__name__, error)

    async def _one_turn(self, source: EventSource) -> None:
        """Carry what has come, at most `zone_events_max` events."""
        chunks = await source.fetch(self._spec.zone_events_max, self._spec.fetch_wait_ms / 1_000)
        # No await stands between the fetch and this line, so the chunks are of this serial.
        serial = self._serial
        if not chunks:
            return
        async with self._turn:
            if serial == self._serial:
                self._is_sending = True
                await self._carry(chunks)
                self._is_sending = False

    async def _carry(self, chunks: Sequence[Chunk]) -> None:
        """Send what may go home and letters of the rest; positions move once all is acknowledged.

        Errors: BusUnavailable, ConfigError: what was sent may be lost.
        """
        acknowledgements, counts = [], dict.fromkeys(("forwarded",), 0)
        async with self._zones.turn:
            for chunk in chunks:
                for place in range(len(chunk.offsets)):
                    for found in self._screen.judge(chunk, place, self._topic_id):
                        if isinstance(found, Reject):
                            what, count = found.code.value, 1
                            sent = await self._outbox.letter(found)
                        else:
                            what, count = "forwarded", found.events
                            sent = await self._outbox.carry(found.event, found.key, found.home)
                        counts[what] = counts.get(what, 0) + count
                        acknowledgements.append(sent)
                        if len(acknowledgements) % SENT_AT_ONCE == 0:
                            await asyncio.sleep(0)
        for each in acknowledgements:
            await each
        for chunk in chunks:
            self._positions[chunk.partition] = int(chunk.offsets[-1]) + 1
        for what, amount in counts.items():
            self._metrics.count_zone(self._zone.name, what, amount)

    async def _commit(self) -> None:
        """Tell the group what is acknowledged, again where it is no news. Requires: the turn.

        What it was told may have been lost on the way, or forgotten there.
        """
        if self._positions:
            await self._started().commit(self._positions, self._topic_id)

    async def _look(self, source: EventSource) -> None:
        """See that the topic is still the one that is read, and how far behind we are.

        Errors: BusUnavailable when it is not: the next attempt makes it, or begins with it anew.
        """
        topic_id = await self._identify()
        positions = dict(self._positions)
        if positions and topic_id != self._topic_id:
            raise BusUnavailable(f"topic {self._zone.topic} was made anew")
        bounds = await source.bounds(list(positions)) if positions else {}
        lag = sum(max(0, bounds[each].end - position) for each, position in positions.items())
        self._metrics.set_zone(self._zone.name, lag=lag)

    def _started(self) -> EventSource:
        assert self._source is not None, "not started"
        return self._source
