"""A round of saves goes in slices; the checkpoint moves with the last of each partition."""

import asyncio
from itertools import islice, pairwise
from types import SimpleNamespace

import pytest

from benchmarks.bugs import BUGS, planted
from stream.engine import State, missing
from stream.errors import BusUnavailable, StoreUnavailable
from stream.events import Request, encode_request
from stream.identity import home_partition
from stream.profiles import Arrival
from stream.runtime.saving import slices, verify
from stream.runtime.session import Session
from stream.store import MemoryStore, Save
from tests.estate import START_MS, TOPICS, Estate, busy, stored
from tests.live import KEY, differences, other_rows, wait_until
from tests.models.logs import change_of, policy_of

SLICE_ROWS = 7
EVENTS = 1_500


class Noted(MemoryStore):
    """A store that notes what it is to save, and may fail at one of the calls."""

    saves: list[tuple[int, Save]]
    fails_at = 0

    async def save(self, partition: int, save: Save) -> int:
        """Save, or fail once, writing nothing."""
        Noted.saves.append((partition, save))
        if len(Noted.saves) == Noted.fails_at:
            raise StoreUnavailable("away")
        return await super().save(partition, save)


async def applied(estate: Estate, payloads: list[bytes], **settings: int) -> dict[int, bytes]:
    """What is stored when a worker has applied all."""
    await estate.topics()
    await estate.feed(payloads)
    async with estate.worker(slots_max=1_024, save_slice_rows=SLICE_ROWS, **settings) as worker:
        await stored(worker, len(payloads))
    return await estate.rows()


def test_round_goes_in_slices() -> None:
    """No call writes more rows than a slice has, and what stands before its end moves nothing."""
    estate, payloads = Estate(), busy(EVENTS, agents=600)
    estate.store, Noted.saves, Noted.fails_at = Noted, [], 0
    rows = asyncio.run(applied(estate, payloads))
    bodies, images = estate.replayed(payloads)
    assert differences(estate.bodies(), bodies) == ""
    assert other_rows(rows, images) == []
    # The last round is that of the end, in one go.
    regular = Noted.saves[: -TOPICS.partitions]
    assert max(len(save.rows) for _, save in regular) == SLICE_ROWS
    assert {save.checkpoint is None for _, save in regular} == {True, False}
    for partition in range(TOPICS.partitions):
        moved = [save.checkpoint for each, save in Noted.saves if each == partition]
        offsets = [each.next_offset for each in moved if each is not None]
        assert all(before <= after for before, after in pairwise(offsets))


class Far(MemoryStore):
    """A store that is far away, and knows how many saves were under way at once."""

    now = most = 0

    async def save(self, partition: int, save: Save) -> int:
        """Save, after a while."""
        Far.now += 1
        Far.most = max(Far.most, Far.now)
        await asyncio.sleep(0.02)
        Far.now -= 1
        return await super().save(partition, save)


def test_few_rows_of_all_partitions_go_side_by_side() -> None:
    """A store that is far away takes as long for one of them as for all."""
    estate, payloads = Estate(), busy(300, agents=40)
    estate.store, Far.now, Far.most = Far, 0, 0

    async def story() -> dict[int, bytes]:
        await estate.topics()
        await estate.feed(payloads)
        async with estate.worker(save_every_ms=50) as worker:
            await stored(worker, len(payloads))
            regular, Far.most = Far.most, 0
            assert regular == TOPICS.partitions
        return await estate.rows()

    assert other_rows(asyncio.run(story()), estate.replayed(payloads)[1]) == []


def test_all_partitions_are_verified_side_by_side() -> None:
    """A round waits for it: for one journey to a store that is far away, not for one of each."""
    now = most = 0

    class Asked:
        async def load(self, *_: object) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    async def story() -> None:
        owned = [SimpleNamespace(partition=p, fence=None, saving=asyncio.Lock()) for p in range(6)]
        await verify(Asked(), owned)  # type: ignore[arg-type]

    asyncio.run(story())
    assert most == 6


def test_pieces_of_a_round() -> None:
    """At most so many rows in each, a partition at most once; those that have none are there."""
    state = State(KEY, 64, 4)
    change = change_of(policy_of())
    owned = []
    for partition, count in enumerate((5, 0, 2, 1)):
        state.adopt(partition, change.conditions, change.policy)
        for number in range(count):
            slot = state.table.admit(10 * partition + number + 1, f"w{number}", 0, partition)
            state.table.sections.local["unsaved_from"][slot] = number + 1
        owned.append(SimpleNamespace(partition=partition))
    pieces = slices(state, owned, 1_000, 3)  # type: ignore[arg-type]
    said = [
        [(each.owned.partition, len(each.slots), each.is_last) for each in one] for one in pieces
    ]
    assert said == [[(0, 3, False)], [(0, 2, True), (1, 0, True)], [(2, 2, True), (3, 1, True)]]


def test_round_that_breaks_off() -> None:
    """What a round had stored before it failed is counted once by the session that follows."""
    for fails_at in (2, 5, 9, 13):
        estate, payloads = Estate(), busy(EVENTS, agents=600)
        estate.store, Noted.saves, Noted.fails_at = Noted, [], fails_at
        rows = asyncio.run(applied(estate, payloads, restart_wait_ms=10))
        bodies, images = estate.replayed(payloads)
        assert differences(estate.bodies(), bodies) == ""
        assert other_rows(rows, images) == []
        assert len(Noted.saves) > fails_at


class Stuck(MemoryStore):
    """A store whose second regular save of rows hangs until it is let go, and then fails."""

    held: asyncio.Event
    let_go: asyncio.Event
    regular = 0

    async def save(self, partition: int, save: Save) -> int:
        """Save; the second time that rows come without the end of a round, fail, late."""
        if save.rows and save.checkpoint is None:
            Stuck.regular += 1
            if Stuck.regular == 2:
                Stuck.held.set()
                await Stuck.let_go.wait()
                raise StoreUnavailable("away")
        return await super().save(partition, save)


def rebalanced_while_saving() -> list[tuple[int, int]]:
    """Let partitions be asked back while a save hangs that then fails; return wrong rows."""
    estate, payloads = Estate(), busy(EVENTS, agents=600)
    estate.store = Stuck

    async def story() -> dict[int, bytes]:
        Stuck.held, Stuck.let_go, Stuck.regular = asyncio.Event(), asyncio.Event(), 0
        await estate.topics()
        await estate.feed(payloads)
        settings = {"slots_max": 1_024, "save_slice_rows": SLICE_ROWS, "restart_wait_ms": 10}
        async with estate.worker(**settings) as first:
            await Stuck.held.wait()
            session = first._session
            assert session is not None
            async with estate.worker(**settings) as second:
                # Whoever lets go has the turn, and waits for the round that hangs.
                await wait_until(lambda: _is_waiting(session), bool)
                Stuck.let_go.set()

                async def applied() -> int:
                    parts = (*first.progress().items(), *second.progress().items())
                    return sum({p: saved for p, (_, saved) in parts}.values())

                await wait_until(applied, lambda count: count == len(payloads))
        return await estate.rows()

    return other_rows(asyncio.run(story()), estate.replayed(payloads)[1])


async def _is_waiting(session: Session) -> bool:
    return session.turn.locked() and bool(session._round._waiters)


def test_save_that_waits_for_one_that_fails() -> None:
    """It writes nothing: what the other left looks stored, and the checkpoint would pass it."""
    assert rebalanced_while_saving() == []


def test_save_that_waits_for_one_that_fails_is_noticed() -> None:
    """The same where it does write, so that the test above is known to see it."""
    bug = next(each for each in BUGS if each.name == "round-after-failure")
    with planted(bug):
        assert rebalanced_while_saving() != []


def test_nothing_is_refused_for_want_of_room_after_a_save_failed() -> None:
    """No row may go then, so all would look full: the session ends, and the next applies them."""
    estate, payloads = Estate(), busy(EVENTS, agents=601)
    estate.store, Noted.saves, Noted.fails_at = Noted, [], 0

    async def story() -> dict[int, bytes]:
        await estate.topics()
        await estate.feed(payloads[:200])
        async with estate.worker(slots_max=64, restart_wait_ms=10) as worker:
            await stored(worker, 200)
            session = worker._session
            assert session is not None
            some = Arrival("requests", 0, range(100), [START_MS] * 100, crowd(100))
            batch, rejects = session.decoder.decode([some])
            assert not rejects
            async with session.turn:
                session.is_broken = True
                with pytest.raises(BusUnavailable, match="cut short"):
                    await session._load(batch, missing(session.state, batch))
            session.stopping.set()
            await estate.feed(payloads[200:])
            await stored(worker, len(payloads))
        return await estate.rows()

    rows = asyncio.run(story())
    assert estate.values(TOPICS.dead_letters) == []
    assert other_rows(rows, estate.replayed(payloads)[1]) == []


def crowd(count: int) -> list[bytes]:
    """An event of each of so many workloads whose home is partition 0."""
    names = (f"spiffe://test.example/crowd/{each}" for each in range(100 * count))
    mine = (each for each in names if home_partition(each.encode(), TOPICS.partitions) == 0)
    return [encode_request(Request(START_MS, each, "GET /")) for each in islice(mine, count)]
