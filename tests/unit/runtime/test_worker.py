"""A whole worker on the doors in memory: no server, the same bodies and rows as a replay."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from stream.bus import (
    Chunk,
    MemoryLog,
    MemoryPublisher,
    MemoryReader,
    MemorySource,
    MemoryTopics,
)
from stream.errors import BusUnavailable, StoreUnavailable
from stream.events import Request, SubjectRecord, decode_value, encode, encode_request
from stream.kernel import HashKey
from stream.metrics import Metrics
from stream.policy import load_policy
from stream.replay import Replay
from stream.runtime import NO_KEYS, Doors, SystemClock, TopicsSpec, Worker, WorkerSpec
from stream.store import BUCKETS, MemoryServer, MemoryStore, Save, StoreFacts
from tests.live import POLICY, differences, events_in, fixed_part, key_of, other_rows, wait_until

KEY = HashKey(b"a test key, 16 b")
TOPICS = TopicsSpec()
START_MS = 1_790_000_000_000


class Estate:
    """A log and a store in memory, and workers on them."""

    def __init__(self) -> None:
        self.log = MemoryLog(SystemClock())
        self.server = MemoryServer()
        self.store: Callable[[MemoryServer], MemoryStore] = MemoryStore
        self.admin: Callable[[MemoryLog], MemoryTopics] = MemoryTopics
        self.source: Callable[[MemoryLog, str], MemorySource] = MemorySource
        self.metrics = Metrics()
        self.policy = load_policy(POLICY, "test")
        self.keys = NO_KEYS

    @contextlib.asynccontextmanager
    async def worker(self, **settings: int) -> AsyncIterator[Worker]:
        """A worker, stopped at the end."""
        doors = Doors(
            source=lambda: self.source(self.log, TOPICS.requests),
            publisher=lambda: MemoryPublisher(self.log),
            reader=lambda: MemoryReader(self.log),
            admin=lambda: self.admin(self.log),
            store=lambda: self.store(self.server),
        )
        spec = WorkerSpec(slots_max=64, save_every_ms=20, heartbeat_ms=20, **settings)
        shown = (SystemClock(), self.metrics, "test")
        policy = self.policy, load_policy
        worker = Worker((spec, TOPICS), doors, policy, KEY, shown, self.keys)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task

    async def topics(self) -> None:
        """Create the topics."""
        admin = MemoryTopics(self.log)
        await admin.start()
        await admin.ensure(TOPICS.specs())

    async def feed(self, payloads: list[bytes]) -> None:
        """Send payloads as gateways do."""
        publisher = MemoryPublisher(self.log)
        await publisher.start()
        for payload in payloads:
            await publisher.send(TOPICS.requests, key_of(payload), payload)

    async def bodies(self) -> list[bytes]:
        """The bodies of all commands ever published, once each."""
        reader, found = MemoryReader(self.log), {}
        await reader.start()
        for partition, bounds in (await reader.bounds(TOPICS.enforcement)).items():
            for record in await reader.read(TOPICS.enforcement, partition, 0, bounds.end):
                value = decode_value(record.value) if record.value else None
                if isinstance(value, SubjectRecord):
                    found |= {each.id: encode(each.body) for each in value.commands}
        return list(found.values())

    async def rows(self) -> dict[int, bytes]:
        """All stored rows, without what differs between a log and a file."""
        store = MemoryStore(self.server)
        await store.start()
        return {
            row_id: fixed_part(row)
            for partition in range(TOPICS.partitions)
            for bucket in range(BUCKETS)
            for row_id, row in await store.scan(partition, bucket)
        }


async def stored(worker: Worker, count: int) -> None:
    """Wait until so many events are applied and stored."""

    async def ask() -> int:
        return sum(position for _, position in worker.progress().values())

    await wait_until(ask, lambda position: position >= count)


def test_sessions_one_after_another_equal_a_replay() -> None:
    """Three workers, few slots, small batches: bodies and rows are those of one replay."""
    payloads = [
        encode_request(
            Request(
                at_ms=START_MS + each * 40,
                workload=f"spiffe://test.example/agents/a{each * each % 131}",
                operation=f"tool:{('get', 'send', 'delete')[each % 3]}_{each % 5}",
                outcome=("served", "failed", "denied")[each % 7 % 3],
                task=f"t{each % 4}",
            )
        )
        for each in range(2_400)
    ]
    estate = Estate()

    async def story() -> tuple[list[bytes], dict[int, bytes]]:
        await estate.topics()
        for part in range(3):
            async with estate.worker(batch_events_max=90) as worker:
                await estate.feed(payloads[part * 800 : (part + 1) * 800])
                await stored(worker, (part + 1) * 800)
        return await estate.bodies(), await estate.rows()

    bodies, rows = asyncio.run(story())
    replay = Replay(estate.policy, KEY, TOPICS.partitions, 1_000)
    expected = [
        encode(each.command.body) for result, _ in replay.run(payloads) for each in result.outgoing
    ]
    table = replay.state.table
    slots = table.used_slots().tolist()
    ids = table.sections.head["workload"][slots].tolist()
    images = map(fixed_part, replay.state.stored(slots))
    assert len(expected) > 20
    assert differences(bodies, expected) == ""
    assert other_rows(rows, dict(zip(ids, images, strict=True))) == []


def test_another_log_under_the_same_name_is_noticed() -> None:
    """A log that was cut and grew past the checkpoint is a new era, by the record before it.

    Where the two part is not known, so what the log holds now is all that counts, once.
    """
    estate = Estate()

    async def story() -> dict[int, bytes]:
        await estate.topics()
        async with estate.worker() as worker:
            await estate.feed([event(each, "first") for each in range(40)])
            await stored(worker, 40)
        before = estate.log.states([TOPICS.requests])[0]
        estate.log.remake(TOPICS.requests)
        # Restored from an older copy, a topic keeps its id.
        estate.log._topics[TOPICS.requests].state = before
        await estate.feed([event(each, "second") for each in range(60)])
        async with estate.worker() as worker:
            await stored(worker, 60)
        return await estate.rows()

    assert list(map(events_in, asyncio.run(story()).values())) == [60]


def test_log_made_anew_under_a_worker_begins_one_era() -> None:
    """The session that meets the new log stores its id, so the next counts nothing again."""
    estate = Estate()

    async def story() -> tuple[list[int], list[int]]:
        await estate.topics()
        async with estate.worker() as worker:
            await estate.feed([event(each, "first") for each in range(60)])
            await stored(worker, 60)
            estate.log.remake(TOPICS.requests)
            await estate.feed([event(each, "second") for each in range(40)])

            async def moved() -> int:
                return sum(position for position, _ in worker.progress().values())

            await wait_until(moved, lambda position: position == 40)
            await stored(worker, 40)
        once = list(map(events_in, (await estate.rows()).values()))
        async with estate.worker() as worker:
            await stored(worker, 40)
        return once, list(map(events_in, (await estate.rows()).values()))

    assert asyncio.run(story()) == ([100], [100])


class Unreachable(MemoryStore):
    """A store that cannot be reached for the first write of rows it is given, ever."""

    failures = 0

    async def save(self, partition: int, save: Save) -> int:
        """Fail once, writing nothing."""
        if save.rows and Unreachable.failures == 0:
            Unreachable.failures += 1
            raise StoreUnavailable("away")
        return await super().save(partition, save)


def test_nothing_is_saved_after_a_save_that_failed() -> None:
    """The session that could not save leaves its checkpoint behind: all is counted, once."""
    estate = Estate()
    estate.store = Unreachable

    async def story() -> dict[int, bytes]:
        await estate.topics()
        await estate.feed([event(each, "x") for each in range(40)])
        async with estate.worker() as worker:
            await stored(worker, 40)
        return await estate.rows()

    assert list(map(events_in, asyncio.run(story()).values())) == [40]
    assert Unreachable.failures == 1


class Deaf(MemorySource):
    """A source that loses a cancellation, as what waits by asyncio.wait_for of Python 3.11 may."""

    cancellations_lost = 0

    async def fetch(self, records_max: int, wait_s: float) -> list[Chunk]:
        """Fetch, and answer once where it is cancelled."""
        try:
            return await super().fetch(records_max, wait_s)
        except asyncio.CancelledError:
            Deaf.cancellations_lost += 1
            if Deaf.cancellations_lost == 1:
                return []
            raise


def test_session_ends_though_a_cancellation_was_lost() -> None:
    """One task that was not told does not keep the next session from beginning."""
    estate = Estate()
    estate.store, estate.source = Unreachable, Deaf
    Unreachable.failures = 0

    async def story() -> dict[int, bytes]:
        await estate.topics()
        await estate.feed([event(each, "x") for each in range(40)])
        async with estate.worker() as worker:
            await stored(worker, 40)
            return await estate.rows()

    assert list(map(events_in, asyncio.run(story()).values())) == [40]
    assert Deaf.cancellations_lost > 0


class Away(MemoryTopics):
    """A broker that is away for the first sessions that are tried."""

    tries_left = 2

    async def start(self) -> None:
        """Fail twice."""
        if Away.tries_left:
            Away.tries_left -= 1
            raise BusUnavailable("connect: nobody answers")
        await super().start()


class AwayStore(MemoryStore):
    """A store that is away for the first sessions that are tried."""

    tries_left = 2

    async def start(self) -> StoreFacts:
        """Fail twice."""
        if AwayStore.tries_left:
            AwayStore.tries_left -= 1
            raise StoreUnavailable("nobody answers")
        return await super().start()


def test_worker_that_cannot_begin_names_its_mode() -> None:
    """Who is away shows in /readyz and in the gauge before any session, and not any more after."""
    estate = Estate()
    estate.admin, estate.store = Away, AwayStore

    async def story() -> list[list[str]]:
        seen = []
        await estate.topics()
        async with estate.worker(restart_wait_ms=400) as worker:

            async def ask() -> list[str]:
                missing = worker.ready()
                if missing[:1] and missing[0].split()[0] not in [each[0] for each in seen]:
                    shown = estate.metrics.text().decode()
                    seen.append([missing[0].split()[0], shown])
                return missing

            await wait_until(ask, lambda missing: missing == [])
        return seen

    seen = asyncio.run(story())
    names = [name for name, _ in seen]
    assert [each for each in names if each.endswith("_down")] == ["broker_down", "store_down"]
    for name, shown in seen:
        if name.endswith("_down"):
            assert f'enforcer_mode{{mode="{name}"}} 1.0' in shown
    assert 'enforcer_mode{mode="broker_down"} 0.0' in estate.metrics.text().decode()
    assert 'enforcer_mode{mode="store_down"} 0.0' in estate.metrics.text().decode()


def event(number: int, operation: str) -> bytes:
    """One event of one workload."""
    return encode_request(
        Request(
            at_ms=START_MS + number,
            workload="spiffe://test.example/agents/a",
            operation=f"tool:{operation}_{number}",
        )
    )
