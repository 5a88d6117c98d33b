"""A worker: sessions one after another, until it is told to stop.

What can break (Kafka, Redis, a fence) ends a session and begins the next after a pause; what must
not be (a wrong setting, a broken invariant) ends the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from stream.bus import TopicAdmin
from stream.clock import Clock
from stream.engine import State
from stream.errors import BusUnavailable, OwnershipLost, StoreUnavailable
from stream.identity import Territory
from stream.kernel import HashKey
from stream.metrics import Metrics
from stream.policy import Policy
from stream.profiles import Decoder
from stream.store import StoreFacts

from .baselines import Baselines
from .counting import known_counts
from .doors import NO_KEYS, Doors, Keys
from .growth import speaker_of
from .ingress import Ingress, Zones
from .library import Library
from .looking import Looking
from .modes import BROKER_DOWN, STORE_DOWN, ZONE_DOWN, Modes
from .operators import Operators
from .policies import Policies
from .screening import Zone
from .session import Session
from .spec import TopicsSpec, WorkerSpec
from .spending import Spending

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]
NO_PARTITIONS = "no partitions yet"
"""What a worker lacks, by /readyz, that its group has given nothing."""

UNREACHABLE = (BusUnavailable, StoreUnavailable, OwnershipLost)
# A turn may wait for Redis three times (room is made, that is saved, rows are loaded), each time
# for as long as a call may take: whoever ends a worker for that makes a failover worse.
STALL_S = 60.0


class Worker:
    """Runs sessions; one per process.

    `load` compiles a policy from its text, for policies that the journal names. `keys` sign what it
    publishes, and say which operators it believes.
    """

    def __init__(
        self,
        specs: tuple[WorkerSpec, TopicsSpec],
        doors: Doors,
        policy: tuple[Policy, Callable[[str, str], Policy]],
        key: HashKey,
        shown: tuple[Clock, Metrics, str],
        keys: Keys = NO_KEYS,
    ) -> None:
        self._keys = keys
        self.spec, self.topics = specs
        self._doors = doors
        self._policies = Policies(*policy)
        self.baselines = Baselines(key)
        self._spending = Spending()
        self._key = key
        self._clock, self._metrics, self._name = shown
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._has_begun = False
        self._has_topics = False
        self._zones: Zones | None = None
        self.facts: StoreFacts | None = None
        self._modes = Modes(self._clock, self._metrics)
        self._metrics.rows_max.set(self.spec.slots_max)

    def ready(self) -> list[str]:
        """Return what is missing: nothing when events are applied and no mode takes from that."""
        modes = self._modes.texts() + (self._zones.texts() if self._zones else [])
        session = self._session
        if session is None:
            return [*modes, "no session: Kafka or Redis is not reachable"]
        if not session.owned:
            return [*modes, NO_PARTITIONS]
        waiting = [each for each in list(session.owned.values()) if not each.is_settled]
        unborn = [f"partition {each} waits for its parent" for each in sorted(session.waiting)]
        replaying = [f"partition {each.partition} is replaying" for each in waiting]
        return [*modes, *replaying, *unborn]

    def progress(self) -> dict[int, tuple[int, int]]:
        """Return, for each owned partition, the next offset to apply and the next to store from."""
        session = self._session
        owned = session.owned.values() if session else ()
        return {each.partition: (each.position, each.saved_position) for each in owned}

    def notes(self) -> list[str]:
        """Return what is to be known of a worker that may well be ready."""
        return self._modes.notes()

    def healthy(self) -> bool:
        """Tell whether the loop still turns, or waits for what a restart would not bring."""
        session = self._session
        if session is None or session.fullness.why:
            return True
        return self._clock.monotonic_s() - session.turned_at_s < STALL_S

    def reload(self, policy: Policy) -> None:
        """Let a policy take effect in every partition that this worker owns or comes to own."""
        self._policies.reload(policy)

    def stop(self) -> None:
        """Save, let go and return from `run`."""
        self._is_stopping = True
        if self._session is not None:
            self._session.stopping.set()
        elif self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Work until `stop`.

        Errors: ConfigError when a topic, the store or a setting is not what it must be.
        """
        while not self._is_stopping:
            try:
                self._task = asyncio.create_task(self._one_session())
                await self._task
            except asyncio.CancelledError:
                if not self._is_stopping:
                    raise
            except BaseExceptionGroup as group:
                others = group.split(UNREACHABLE)[1]
                if others is not None:
                    raise _innermost(others) from group
                await self._pause(_innermost(group))
            except UNREACHABLE as error:
                await self._pause(error)

    async def _pause(self, error: BaseException) -> None:
        cause = type(error).__name__
        if not self._has_begun:
            # Nobody looks yet. What ends a session that had begun may be something else.
            if isinstance(error, BusUnavailable):
                self._modes.begin(BROKER_DOWN, str(error))
            elif isinstance(error, StoreUnavailable):
                self._modes.begin(STORE_DOWN, str(error))
        self._metrics.count_restart(cause)
        log.warning("the session ended, a new one begins: %s: %s", cause, error)
        await asyncio.sleep(self.spec.restart_wait_ms / 1_000)

    async def _one_session(self) -> None:
        """Open all doors, work, and close them whatever happens."""
        self._has_begun = False
        async with contextlib.AsyncExitStack() as stack:

            async def opened(door: Any) -> Any:
                stack.push_async_callback(door.stop)
                return await door.start()

            doors = self._doors
            admin, store, publisher = doors.admin(), doors.store(), doors.publisher()
            reader, shelf = doors.reader(), doors.library()
            await opened(admin)
            # What a zone lacks refuses a start; later it holds up that zone only.
            specs = self.topics.core_specs() if self._has_topics else self.topics.specs()
            states = await admin.ensure(specs)
            self._has_topics = True
            self._modes.end(BROKER_DOWN)
            self.facts = await opened(store)
            self._modes.end(STORE_DOWN)
            for door in (publisher, reader, shelf):
                await opened(door)
            believed = self._keys.trust, self._metrics.count_refused
            library = Library(shelf, self.topics.baselines, *believed)
            await self.baselines.begin(library, publisher, self._clock.wall_ms())
            counts = await known_counts(store, reader, self.topics, states[0].partitions)
            store.first_partitions = counts[0]
            state = State(self._key, self.spec.slots_max, counts[-1])
            stack.callback(state.release)
            operators = Operators(*believed)
            starts, speakers = await _read_operators(reader, self.topics.enforcement, operators)
            source = doors.source()
            session = Session(
                (self.spec, self.topics),
                (source, publisher, reader, store),
                (state, Decoder(self._key, counts[-1]), operators),
                (self._policies, self.baselines),
                (self._clock, self._metrics, self._name),
                (doors.nonce, self._keys.signer),
            )
            bounds = self.spec.answer_ms, self.spec.behind_events
            looking = Looking(source, store, self._modes, *bounds)
            session.counts, session.speakers, session.spending = counts, speakers, self._spending
            ingresses = self._ingresses(session, admin)
            session.identify = partial(_topic_id, admin, self.topics.requests)
            session.turned_at_s = self._clock.monotonic_s()
            stack.push_async_callback(self._leave, source)
            await source.start(session)
            self._session, self._has_begun = session, True
            if self._is_stopping:
                # The cancellation that was to end the opening of the doors was lost in one of them.
                session.stopping.set()
            works: tuple[Work, ...] = (
                *_works(session),
                partial(session.keep_looking, looking),
                partial(session.keep_following, starts),
                *(each.run for each in ingresses),
            )
            async with asyncio.TaskGroup() as group:
                for work in works:
                    group.create_task(session.guarded(work))

    def _ingresses(self, session: Session, admin: TopicAdmin) -> list[Ingress]:
        """Return who reads the zones of a session, which misses nobody while one is not read."""
        session.ticks.is_deaf = partial(self._modes.holds, ZONE_DOWN)
        self._zones = zones = Zones(self._modes, self._metrics)
        return [
            Ingress(
                (
                    Zone(name, self.topics.zone_topic(name), Territory(prefixes)),
                    self.topics.zone_spec(name),
                ),
                (self._doors.zone, admin, session.outbox),
                self.spec,
                zones,
                (self._clock, self._metrics),
                (session.stopping, session.counts[0]),
            )
            for name, prefixes in self.topics.zones.items()
        ]

    async def _leave(self, source: Any) -> None:
        """Leave the group: partitions are saved on the way out, unless a door is broken."""
        self._session = None
        try:
            async with asyncio.timeout(self.spec.stop_wait_ms / 1_000):
                await source.stop()
        except (*UNREACHABLE, TimeoutError) as error:
            log.warning("left without saving: %s %s", type(error).__name__, error)
        finally:
            self._metrics.show_nothing(self.topics.zones)


def _works(session: Session) -> list[Work]:
    """Return what a session does all the time by itself."""
    return [
        session.consume,
        session.keep_saving,
        session.keep_beating,
        session.keep_reading_back,
        session.keep_conditions,
        session.keep_sweeping,
        session.keep_waiting,
        session.keep_expecting,
    ]


async def _topic_id(admin: TopicAdmin, topic: str) -> str:
    """Return the broker's id of a topic as it is now.

    Errors: BusUnavailable while it does not exist; the next session makes it.
    """
    states = await admin.describe([topic])
    if not states:
        raise BusUnavailable(f"topic {topic} is gone")
    return states[0].id


async def _read_operators(
    reader: Any, topic: str, operators: Operators
) -> tuple[dict[int, int], set[int]]:
    """Read what operators have in force; return where to go on, and whose heartbeats are there."""
    starts, speakers = {}, set()
    for partition, bounds in (await reader.bounds(topic)).items():
        for record in await reader.read(topic, partition, bounds.start, bounds.end):
            operators.apply(record)
            speakers.add(speaker_of(record.key))
        starts[partition] = bounds.end
    return starts, {each for each in speakers if each is not None}


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
