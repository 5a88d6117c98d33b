"""Fetching and reading ahead: order, owners, bounds."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from stream.bus import Chunk, MemoryLog, MemoryPublisher, MemorySource, MemoryTopics
from stream.events import Conditions, Request, Version, encode_request
from stream.metrics import Metrics
from stream.profiles import Decoder
from stream.runtime import Published, SystemClock, WorkerSpec
from stream.runtime.ahead import INLINE_EVENTS, RECORDS_MIN, Ahead, Fetched, beside
from stream.runtime.owned import Owned
from tests.estate import START_MS, TOPICS
from tests.live import KEY


class Counting(MemorySource):
    """A source that keeps what it was asked for and what it gave."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[int] = []
        self.given: list[Chunk] = []

    async def fetch(self, records_max: int, wait_s: float) -> list[Chunk]:
        """Fetch, and remember."""
        self.asked.append(records_max)
        found = await super().fetch(records_max, wait_s)
        self.given += found
        return found


def taken(partition: int) -> Owned:
    """A partition that was taken at its beginning."""
    conditions = Conditions(nonce="n", era=0, from_offset=0, policy_hash="h", policy_text="{}")
    return Owned(
        partition=partition,
        nonce="n",
        epoch=1,
        number=0,
        position=0,
        replay_until=0,
        topic_id="t",
        conditions=conditions,
        journal_offset=0,
        published=Published({}),
        coming=deque(),
        version=Version(0, -1),
    )


class Everybody:
    """Gives all partitions from their beginning, and minds no loss."""

    async def assigned(self, partitions: Any) -> dict[int, int]:
        """Begin at the beginning."""
        return dict.fromkeys(partitions, 0)

    async def revoked(self, partitions: Any) -> None:
        """Mind nothing."""


def played(
    count: int, story: Callable[[Ahead, Counting, dict[int, Owned]], Any], **spec: Any
) -> Any:
    """Feed events of one workload and play a story on them."""

    async def play() -> Any:
        log = MemoryLog(SystemClock())
        await MemoryTopics(log).ensure(TOPICS.specs())
        publisher = MemoryPublisher(log)
        for each in range(count):
            request = Request(START_MS + each, "spiffe://test.example/agents/a", "tool:x")
            await publisher.send(TOPICS.requests, b"spiffe://test.example/agents/a",
                                 encode_request(request))  # fmt: skip
        source = Counting(log, TOPICS.requests)
        await source.start(Everybody())
        owned = {each: taken(each) for each in range(TOPICS.partitions)}
        ahead = Ahead(
            source,
            Decoder(KEY, TOPICS.partitions),
            WorkerSpec(**{"fetch_wait_ms": 10} | spec),
            (SystemClock(), Metrics()),
            owned,
        )
        try:
            return await story(ahead, source, owned)
        finally:
            await ahead.stop()
            await source.stop()

    return asyncio.run(play())


async def first(ahead: Ahead) -> Fetched:
    """The first events: partitions are assigned meanwhile."""
    while not (fetched := await ahead.next()).records:
        pass
    return fetched


def test_all_comes_in_order_and_once() -> None:
    """Many fetches, read ahead in threads, give each event once, in the log's order."""

    async def story(ahead: Ahead, source: Counting, owned: dict[int, Owned]) -> list[int]:
        seen: list[int] = []
        decoder = Decoder(KEY, TOPICS.partitions)
        while len(seen) < 5_000:
            fetched = await ahead.next()
            batch, rejects = decoder.finish(fetched.held(owned))
            assert not rejects
            offsets = batch.events["offset"].tolist()
            assert batch.events["at_ms"].tolist() == [START_MS + offset for offset in offsets]
            seen += offsets
        return seen

    assert played(5_000, story, batch_events_max=700) == list(range(5_000))


def test_at_most_two_fetches_lie_ahead() -> None:
    """Who takes one fetch and applies it for long has two more in memory, and no third."""

    async def story(ahead: Ahead, source: Counting, owned: dict[int, Owned]) -> int:
        await first(ahead)
        for _ in range(200):
            await asyncio.sleep(0.001)
        return len(source.given)

    assert played(9_000, story, batch_events_max=700) == 3


def test_a_few_events_are_not_kept_waiting() -> None:
    """Few events are given as soon as they are there, and nothing is fetched behind them."""

    async def story(ahead: Ahead, source: Counting, owned: dict[int, Owned]) -> tuple[int, int]:
        fetched = await first(ahead)
        asked = len(source.asked)
        for _ in range(50):
            await asyncio.sleep(0.001)
        return fetched.records, len(source.asked) - asked

    assert played(INLINE_EVENTS, story) == (INLINE_EVENTS, 0)


def test_what_lies_ahead_is_its_owner_s_alone() -> None:
    """Of a partition that was lost and came back meanwhile, nothing fetched before is applied."""

    async def story(ahead: Ahead, source: Counting, owned: dict[int, Owned]) -> list[int]:
        held = [len((await first(ahead)).held(owned))]
        for _ in range(200):
            await asyncio.sleep(0.001)
        (partition,) = {each.partition for each in source.given}
        owned[partition] = taken(partition)
        behind = [await ahead.next(), await ahead.next()]
        held += [len(each.held(owned)) for each in behind]
        after = await ahead.next()
        return [*held, len(after.held(owned))]

    assert played(9_000, story, batch_events_max=700) == [1, 0, 0, 1]


def test_a_fetch_brings_what_can_be_applied_in_time() -> None:
    """Slow applying makes fetches small, but not smaller than RECORDS_MIN; fast makes them full."""

    async def story(ahead: Ahead, source: Counting, owned: dict[int, Owned]) -> list[int]:
        asked = [ahead.records_max]
        for _ in range(40):
            ahead.took(10_000, 1.0)
        asked.append(ahead.records_max)
        for _ in range(40):
            ahead.took(100_000, 1.0)
        asked.append(ahead.records_max)
        for _ in range(40):
            ahead.took(1_000_000, 0.1)
        return [*asked, ahead.records_max]

    asked = played(1, story, batch_events_max=20_000, batch_ms=50)
    assert asked[0] == asked[3] == 20_000
    assert asked[1] == RECORDS_MIN
    assert abs(asked[2] - 5_000) < 100


def test_who_is_cancelled_waits_for_the_thread() -> None:
    """A thread that changes the state has ended before anybody else can have the turn."""
    begun, may_end, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(60)
        done.set()

    async def story() -> bool:
        task = asyncio.create_task(beside(INLINE_EVENTS + 1, work))
        await asyncio.to_thread(begun.wait, 60)
        task.cancel()
        for _ in range(20):
            await asyncio.sleep(0.001)
        was_waiting = not task.done()
        may_end.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return was_waiting and task.cancelled() and done.is_set()

    assert asyncio.run(story())
