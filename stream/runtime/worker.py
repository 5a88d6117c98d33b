"""A worker: sessions one after another, until it is told to stop.

What can break (Kafka, Redis, a fence) ends a session and begins the next after a pause; what must
not be (a wrong setting, a broken invariant) ends the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from stream.clock import Clock
from stream.engine import State
from stream.errors import BusUnavailable, OwnershipLost, StoreUnavailable
from stream.kernel import HashKey
from stream.metrics import Metrics
from stream.policy import Policy
from stream.profiles import Decoder
from stream.store import StoreFacts

from .doors import Doors
from .operators import Operators
from .policies import Policies
from .session import Session
from .spec import TopicsSpec, WorkerSpec

log = logging.getLogger(__name__)

UNREACHABLE = (BusUnavailable, StoreUnavailable, OwnershipLost)
# A turn may wait for Redis three times (room is made, that is saved, rows are loaded), each time
# for as long as a call may take: whoever ends a worker for that makes a failover worse.
STALL_S = 60.0


class Worker:
    """Runs sessions; one per process.

    `load` compiles a policy from its text, for policies that the journal names.
    """

    def __init__(
        self,
        specs: tuple[WorkerSpec, TopicsSpec],
        doors: Doors,
        policy: tuple[Policy, Callable[[str, str], Policy]],
        key: HashKey,
        shown: tuple[Clock, Metrics, str],
    ) -> None:
        self.spec, self.topics = specs
        self._doors = doors
        self._policies = Policies(*policy)
        self._key = key
        self._clock, self._metrics, self._name = shown
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.facts: StoreFacts | None = None
        self._metrics.rows_max.set(self.spec.slots_max)

    def ready(self) -> list[str]:
        """Return what is missing, nothing when events are being applied."""
        if self._session is None:
            return ["no session: Kafka or Redis is not reachable"]
        if not self._session.owned:
            return ["no partitions yet"]
        waiting = [each for each in self._session.owned.values() if not each.is_settled]
        return [f"partition {each.partition} is replaying" for each in waiting]

    def progress(self) -> dict[int, tuple[int, int]]:
        """Return, for each owned partition, the next offset to apply and the next to store from."""
        session = self._session
        owned = session.owned.values() if session else ()
        return {each.partition: (each.position, each.saved_position) for each in owned}

    def healthy(self) -> bool:
        """Tell whether the loop still turns."""
        session = self._session
        return session is None or self._clock.monotonic_s() - session.turned_at_s < STALL_S

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
        self._metrics.count_restart(cause)
        log.warning("the session ended, a new one begins: %s: %s", cause, error)
        await asyncio.sleep(self.spec.restart_wait_ms / 1_000)

    async def _one_session(self) -> None:
        """Open all doors, work, and close them whatever happens."""
        async with contextlib.AsyncExitStack() as stack:

            async def opened(door: Any) -> Any:
                stack.push_async_callback(door.stop)
                return await door.start()

            admin, store = self._doors.admin(), self._doors.store()
            publisher, reader = self._doors.publisher(), self._doors.reader()
            await opened(admin)
            states = await admin.ensure(self.topics.specs())
            self.facts = await opened(store)
            await opened(publisher)
            await opened(reader)
            partitions = states[0].partitions
            state = State(self._key, self.spec.slots_max, partitions)
            operators = Operators()
            starts = await _read_operators(reader, self.topics.enforcement, operators)
            source = self._doors.source()
            session = Session(
                (self.spec, self.topics),
                (source, publisher, reader, store),
                (state, Decoder(self._key, partitions), operators),
                self._policies,
                (self._clock, self._metrics, self._name),
                self._doors.nonce,
            )
            session.topic_id = states[0].id
            session.turned_at_s = self._clock.monotonic_s()
            stack.push_async_callback(self._leave, source)
            await source.start(session)
            self._session = session
            async with asyncio.TaskGroup() as group:
                group.create_task(session.consume())
                group.create_task(session.keep_saving())
                group.create_task(session.keep_beating())
                group.create_task(session.keep_reading_back())
                group.create_task(session.keep_conditions())
                group.create_task(session.keep_sweeping())
                group.create_task(session.keep_following(starts))

    async def _leave(self, source: Any) -> None:
        """Leave the group: partitions are saved on the way out, unless a door is broken."""
        self._session = None
        try:
            async with asyncio.timeout(self.spec.stop_wait_ms / 1_000):
                await source.stop()
        except (*UNREACHABLE, TimeoutError) as error:
            log.warning("left without saving: %s %s", type(error).__name__, error)


async def _read_operators(reader: Any, topic: str, operators: Operators) -> dict[int, int]:
    """Read what operators have in force; return where to go on reading, by partition."""
    starts = {}
    for partition, bounds in (await reader.bounds(topic)).items():
        for record in await reader.read(topic, partition, bounds.start, bounds.end):
            operators.apply(record)
        starts[partition] = bounds.end
    return starts


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
