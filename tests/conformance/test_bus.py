"""What a member of a group may rely on, over every bus: positions, order, who has what."""

import asyncio
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from stream.bus import Bounds, EventSource, MemoryLog, MemorySource, TopicSpec
from stream.errors import ConfigError, StoreUnavailable
from tests.buses import PATIENCE_S, Bus, Member, WallClock, joined, run, send_all, until


def test_listener_says_where_reading_starts(bus: Bus) -> None:
    """Reading starts at the listener's offsets, whatever the group has committed."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, _):
            await send_all(publisher, topic, [(n % 3, b"%d" % n) for n in range(60)])
            async with joined(bus, topic, {0: 5, 1: 0, 2: 20}) as member:
                await member.read(lambda: len(member.seen) >= 35)
                await member.source.commit({0: 20, 1: 20, 2: 20, 7: 1})
            assert member.calls == [("assigned", [0, 1, 2]), ("revoked", [0, 1, 2])]
            async with joined(bus, topic, {0: 18, 1: 19, 2: 17}) as again:
                await again.read(lambda: len(again.seen) >= 6)
                assert await again.step() == []
            assert sorted(again.seen)[:3] == [(0, 18, b"54"), (0, 19, b"57"), (1, 19, b"58")]
            assert Counter(p for p, _, _ in member.seen) == {0: 15, 1: 20}

    run(scene())


def test_the_group_keeps_what_it_was_told(bus: Bus) -> None:
    """What a member committed, with its note, the next one is told, and of its partitions only."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, _):
            await send_all(publisher, topic, [(n % 3, b"%d" % n) for n in range(30)])
            async with joined(bus, topic, {}) as member:
                await until(lambda: len(member.held) == 3)
                assert await member.source.committed([0, 1, 2]) == {}
                await member.source.commit({0: 4, 2: 7}, "of this log")
                await member.source.commit({2: 9, 7: 1}, "of that one")
            async with joined(bus, topic, {}) as heir:
                # Before it holds anything: whoever is given a partition asks at once.
                known = await heir.source.committed([0, 1, 2])
                assert known == {0: (4, "of this log"), 2: (9, "of that one")}
                await until(lambda: len(heir.held) == 3)
                await heir.source.commit({1: 3})
                assert await heir.source.committed([1]) == {1: (3, "")}

    run(scene())


def test_a_listener_may_ask_what_the_group_knows(bus: Bus) -> None:
    """Also while it is being given partitions, when nothing can be fetched yet."""

    class Asking(Member):
        async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
            known = await self.source.committed(partitions)
            self.checkpoints |= {each: known[each].offset for each in known}
            return await super().assigned(partitions)

    async def scene() -> None:
        async with bus.open() as (topic, publisher, _):
            await send_all(publisher, topic, [(n % 3, b"%d" % n) for n in range(30)])
            async with joined(bus, topic, {}) as member:
                await until(lambda: len(member.held) == 3)
                await member.source.commit({0: 9, 1: 8})
            source = bus.source(topic)
            heir = Asking(source, {})
            await source.start(heir)
            try:
                await heir.read(lambda: len(heir.seen) >= 13)
            finally:
                await source.stop()
            assert Counter(p for p, _, _ in heir.seen) == {0: 1, 1: 2, 2: 10}

    run(scene())


def test_fetch_is_bounded_and_fair(bus: Bus) -> None:
    """A fetch returns at most what was asked for, and a full partition starves no other."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, _):
            await send_all(publisher, topic, [(0, b"x")] * 2_000 + [(1, b"y")] * 3 + [(2, b"z")])
            async with joined(bus, topic, {}) as member:
                fetches = []
                async with asyncio.timeout(PATIENCE_S):
                    while len(fetches) < 4:
                        fetches += [got for got in [await member.step(50)] if got]
                assert max(sum(got) for got in fetches) <= 50
                assert Counter(p for p, _, _ in member.seen)[1] == 3
                assert Counter(p for p, _, _ in member.seen)[2] == 1
                await member.read(lambda: len(member.seen) == 2_004)
                assert [o for p, o, _ in member.seen if p == 0] == list(range(2_000))

    run(scene())


def test_members_come_and_go_and_no_record_does(bus: Bus) -> None:
    """Each record is read once, in order, over members joining and leaving, if all seek right."""

    async def scene() -> None:
        async with bus.open(partitions=4) as (topic, publisher, _):
            checkpoints: dict[int, int] = {}
            is_enough, is_over = asyncio.Event(), asyncio.Event()

            async def send_on() -> int:
                for n in itertools.count():
                    await (await publisher.send(topic, b"key", b"%d" % n, n % 4))
                    if n % 4 == 3 and is_enough.is_set():
                        return n + 1
                    await asyncio.sleep(0)
                raise AssertionError

            async def read_on(member: Member) -> None:
                while not is_over.is_set():
                    await member.step(20)

            async with asyncio.TaskGroup() as tasks, joined(bus, topic, checkpoints) as first:
                sending = tasks.create_task(send_on())
                tasks.create_task(read_on(first))
                await until(lambda: len(first.seen) > 100)
                async with joined(bus, topic, checkpoints) as second:
                    reading = tasks.create_task(read_on(second))
                    await until(lambda: len(second.seen) > 100)
                    assert len(first.held) == len(second.held) == 2
                    assert not first.held & second.held
                    reading.cancel()
                await until(lambda: len(first.held) == 4)
                is_enough.set()
                count = await sending
                await until(lambda: sum(checkpoints.values()) == count)
                is_over.set()
            seen = first.seen + second.seen
            each = [(p, o) for p in range(4) for o in range(count // 4)]
            assert sorted((p, o) for p, o, _ in seen) == each
            assert second.calls[-1][0] == "revoked"

    run(scene())


def test_fetch_returns_when_partitions_are_taken(bus: Bus) -> None:
    """A fetch that waits long does not make the others of the group wait for it."""

    async def scene() -> None:
        async with bus.open() as (topic, _, _), joined(bus, topic, {}) as first:
            await until(lambda: len(first.held) == 3)
            # The first returns because partitions are placed, or has come after that.
            waiting = asyncio.create_task(first.source.fetch(10, 25.0))
            async with joined(bus, topic, {}) as second:
                await until(lambda: bool(second.held))
                assert await waiting == []

    run(scene())


def test_lost_position_is_taken_and_given_again(bus: Bus) -> None:
    """A position that the log does not hold goes back to the listener, alone; nobody guesses."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, _):
            await send_all(publisher, topic, [(n % 3, b"%d" % n) for n in range(30)])
            checkpoints = {0: 0, 1: 999, 2: 0}

            async with joined(bus, topic, checkpoints) as member:
                await until(lambda: len(member.held) == 3)
                checkpoints[1] = 8
                await member.read(lambda: len(member.seen) >= 22)
            assert member.calls == [
                ("assigned", [0, 1, 2]),
                ("revoked", [1]),
                ("assigned", [1]),
                ("revoked", [0, 1, 2]),
            ]
            assert [o for p, o, _ in member.seen if p == 1] == [8, 9]

    run(scene())


async def forever(source: EventSource) -> None:
    """Fetch, and expect nothing."""
    while True:
        assert await source.fetch(10, 1.0) == []


def test_listener_failure_ends_the_fetching(bus: Bus) -> None:
    """What the listener raises, the next fetch raises."""

    class Failing(Member):
        async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
            raise StoreUnavailable("no store")

    async def scene() -> None:
        async with bus.open() as (topic, publisher, _):
            await send_all(publisher, topic, [(0, b"x")])
            source = bus.source(topic)
            await source.start(Failing(source, {}))
            with pytest.raises(StoreUnavailable, match="no store"):
                await forever(source)
            await source.stop()

    run(scene())


def test_source_tells_bounds_and_partitions(bus: Bus) -> None:
    """A source knows what the log holds of its topic, and refuses a topic that is missing."""

    async def scene() -> None:
        async with bus.open() as (topic, publisher, reader):
            await send_all(publisher, topic, [(1, b"x")] * 4)
            async with joined(bus, topic, {}) as member:
                bounds = await member.source.bounds([0, 1])
                assert bounds == {0: Bounds(0, 0), 1: Bounds(0, 4)}
                assert await member.source.partition_count() == 3
            assert await reader.bounds(topic) == {0: (0, 0), 1: (0, 4), 2: (0, 0)}
            missing = bus.source(topic + "-missing")
            with pytest.raises(ConfigError, match="does not exist"):
                await missing.start(Member(missing, {}))

    run(scene())


def test_session_that_ended_is_noticed() -> None:
    """A member whose session ended goes on unknowing, loses all when it hears, and joins again."""

    async def scene() -> None:
        log = MemoryLog(WallClock())
        log.create(TopicSpec(name="t", partitions=2), {"max.message.bytes": "1000"})
        first, second = (Member(MemorySource(log, "t"), {}) for _ in range(2))
        zombie = first.source
        assert isinstance(zombie, MemorySource)
        await zombie.start(first)
        await until(lambda: len(first.held) == 2)
        zombie.expire()
        await second.source.start(second)
        await until(lambda: len(second.held) == 2)
        log.append("t", 0, b"k", b"v")
        await zombie.commit({0: 1})
        assert (await first.step(), log.committed("t")) == ([1], {})
        zombie.notice()
        await until(lambda: len(first.held) == len(second.held) == 1)
        assert first.calls[1] == ("revoked", [0, 1])
        await zombie.stop()
        await second.source.stop()

    run(scene())


def test_room_loads_without_numpy() -> None:
    """A gateway needs this room, and pays for no array, store or compiler by it."""
    heavy = "{'numpy', 'redis', 'numba'}"
    probe = f"import sys, stream.bus; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
