"""A store without room: saves wait by name, what forgets goes first, events go on."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from stream.errors import StoreFull
from stream.runtime.fullness import Fullness
from stream.runtime.saving import ITEMS_PER_SAVE, _store_part
from stream.store import MemoryStore, Save
from tests.estate import Estate, busy, stored
from tests.live import differences, other_rows, wait_until

EVENTS = 800


class Tight(MemoryStore):
    """A store that has no room for more while somebody says so."""

    is_full = False
    saves: list[Save]

    async def save(self, partition: int, save: Save) -> int:
        """Save what needs no room."""
        if Tight.is_full and save.adds:
            raise StoreFull("used memory > maxmemory")
        Tight.saves.append(save)
        return await super().save(partition, save)


@pytest.fixture(autouse=True)
def fresh() -> None:
    """A store with room."""
    Tight.is_full, Tight.saves = False, []


async def holding(estate: Estate, mode: str, value: str) -> None:
    """Wait until the gauge of a mode has a value."""

    async def shown() -> bool:
        return f'enforcer_mode{{mode="{mode}"}} {value}' in estate.metrics.text().decode()

    await wait_until(shown, bool)


def shown(estate: Estate, name: str) -> float:
    """The sum of a gauge over its labels."""
    lines = estate.metrics.text().decode().splitlines()
    return sum(float(each.rpartition(" ")[2]) for each in lines if each.startswith(name))


async def told(estate: Estate, payloads: list[bytes]) -> None:
    """Wait until all commands that follow from events are on the topic."""
    count = len(estate.replayed(payloads)[0])

    async def commands() -> int:
        return len(estate.bodies())

    await wait_until(commands, lambda found: found >= count)


async def showing(estate: Estate, name: str, value: float) -> None:
    """Wait until a gauge has a value."""

    async def found() -> float:
        return shown(estate, name)

    await wait_until(found, lambda each: each == value)


def come_to_the_same(
    estate: Estate, payloads: list[bytes], story: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Let a story happen; commands and stored rows are then those of an undisturbed replay."""
    asyncio.run(story())
    bodies, images = estate.replayed(payloads)
    assert differences(estate.bodies(), bodies) == ""
    assert other_rows(asyncio.run(estate.rows()), images) == []


def test_events_go_on_while_saves_wait() -> None:
    """All commands of what fits in memory come meanwhile; afterwards the rows are stored."""
    estate, payloads = Estate(), busy(EVENTS, agents=40)
    estate.store = Tight

    async def story() -> None:
        await estate.topics()
        async with estate.worker(slots_max=1_024, look_every_ms=20) as worker:
            Tight.is_full = True
            await estate.feed(payloads)
            await told(estate, payloads)
            await holding(estate, "store_full", "1.0")
            assert any(each.startswith("store_full") for each in worker.ready())
            assert await estate.rows() == {}
            # What a crash would cost grows, and is seen to.
            await showing(estate, "enforcer_replay_events{", len(payloads))
            assert shown(estate, "enforcer_rows_in_memory ") > 0
            Tight.is_full = False
            await stored(worker, len(payloads))
            await holding(estate, "store_full", "0.0")
            await showing(estate, "enforcer_replay_events{", 0)

    come_to_the_same(estate, payloads, story)
    assert "enforcer_restarts_total{" not in estate.metrics.text().decode()


def test_stops_while_saves_wait() -> None:
    """Nothing waits for room at the end; who comes next applies what was not stored again."""
    estate, payloads = Estate(), busy(EVENTS, agents=40)
    estate.store = Tight

    async def story() -> None:
        await estate.topics()
        async with estate.worker(slots_max=1_024, look_every_ms=20):
            Tight.is_full = True
            await estate.feed(payloads)
            await told(estate, payloads)
            await holding(estate, "store_full", "1.0")
            began_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began_s < 5
        Tight.is_full = False
        async with estate.worker(slots_max=1_024) as worker:
            await stored(worker, len(payloads))

    come_to_the_same(estate, payloads, story)


def test_more_workloads_than_rows_wait_for_room() -> None:
    """Where rows must be stored to make room in memory, events wait; none is lost or refused."""
    estate, payloads = Estate(), busy(EVENTS, agents=601)
    estate.store = Tight

    async def story() -> None:
        await estate.topics()
        async with estate.worker(slots_max=64, look_every_ms=20) as worker:
            Tight.is_full = True
            await estate.feed(payloads)
            await holding(estate, "store_full", "1.0")
            Tight.is_full = False
            await stored(worker, len(payloads))

    come_to_the_same(estate, payloads, story)


def part_of(**fields: Any) -> Save:
    """A call of a save."""
    return Save("n", 0, [], {}, {}, [], [], None)._replace(**fields)


def test_what_forgets_goes_first() -> None:
    """A call that adds and forgets is cut in two; what a sweep found meanwhile goes with it."""
    owned: Any = SimpleNamespace(partition=0, number=0, forget=[7, 8], saving=asyncio.Lock())
    waits = []

    async def wait(full: StoreFull) -> None:
        waits.append(full.message)
        Tight.is_full = False

    async def story() -> None:
        store = Tight(Estate().server)
        await store.claim(0, "n", "")
        Tight.is_full = True
        part = part_of(rows=[(1, b"1")], forget=[5], records_gone=[b"r"], domains=[(1, 9)])
        await _store_part(store, owned, part, wait)

    asyncio.run(story())
    lean, rest = Tight.saves
    assert (list(lean.forget), list(lean.records_gone)) == ([5, 7, 8], [b"r"])
    assert (list(lean.rows), list(lean.domains), lean.checkpoint) == ([], [], None)
    assert (list(rest.rows), list(rest.forget), list(rest.domains)) == ([(1, b"1")], [], [(1, 9)])
    assert (owned.number, owned.forget, len(waits)) == (2, [], 1)


def test_forgets_no_more_than_a_call_may() -> None:
    """What a sweep found is taken in pieces."""
    many = list(range(10, 10 + ITEMS_PER_SAVE + 5))
    owned: Any = SimpleNamespace(partition=0, number=0, forget=many, saving=asyncio.Lock())

    async def wait(_: StoreFull) -> None:
        Tight.is_full = False

    async def story() -> None:
        store = Tight(Estate().server)
        await store.claim(0, "n", "")
        Tight.is_full = True
        await _store_part(store, owned, part_of(rows=[(1, b"1")]), wait)

    asyncio.run(story())
    assert [len(each.forget) for each in Tight.saves] == [ITEMS_PER_SAVE, 5, 0]


def test_who_is_in_a_hurry_does_not_wait() -> None:
    """A partition that must be let go is let go without what found no room."""

    async def story() -> None:
        fullness = Fullness(asyncio.Event())
        owned: Any = SimpleNamespace(partition=3, number=0, forget=[], saving=asyncio.Lock())
        taken: Any = SimpleNamespace(owned=owned, outputs=[])
        with pytest.MonkeyPatch.context() as patch:
            parts = lambda _: [part_of(rows=[(1, b"1")])]  # noqa: E731
            patch.setattr("stream.runtime.saving._parts", parts)
            Tight.is_full = True
            state: Any = None
            saving = asyncio.create_task(fullness.save(state, Tight(Estate().server), taken))
            await asyncio.sleep(0.01)
            assert fullness.why == {3: "used memory > maxmemory"}
            with fullness.hurry(), pytest.raises(StoreFull):
                await saving
        assert fullness.why == {}

    asyncio.run(story())
