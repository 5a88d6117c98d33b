"""Partitions that come back at once: kept where nobody else can have had them, else taken anew."""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import pytest

from stream.bus import Bounds, MemoryReader
from stream.errors import OwnershipLost
from stream.events import Owner, encode_entry
from stream.metrics import Metrics
from stream.profiles import Arrival
from stream.runtime import Place, Worker
from stream.runtime.owned import Owned
from stream.runtime.returning import behind_proof, returned, start_of
from tests.estate import TOPICS, Estate, busy, stored
from tests.live import differences, wait_until

EVENTS = 600


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """One sample of a worker's metrics."""
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, name
    return found


async def settled(*workers: Worker) -> None:
    """Wait until workers share the partitions, and have applied and stored all."""

    async def ask() -> int:
        held = [worker.progress() for worker in workers]
        if not all(held) or sum(map(len, held)) != TOPICS.partitions:
            return -1
        return sum(position for each in held for _, position in each.values())

    await wait_until(ask, lambda position: position >= EVENTS)


def test_who_stays_keeps_its_rows() -> None:
    """When another joins and leaves, what stays is read from no store, and all equals a replay."""
    estate = Estate()
    payloads = busy(EVENTS, 40)

    async def story() -> tuple[float, float, float, float]:
        await estate.topics()
        async with estate.worker(slots_max=512) as first:
            mine = estate.metrics
            await estate.feed(payloads[:200])
            await stored(first, 200)
            before = value(mine, "enforcer_rows_loaded_total")
            async with estate.worker(slots_max=512) as second:
                await wait_until(
                    lambda: asyncio.sleep(0, len(first.progress())), lambda held: held == 3
                )
                session = first._session
                assert session is not None
                # Rows of what the other has now are gone, those of what stayed are here.
                held = set(session.owned)
                heads = session.state.table.sections.head
                used = session.state.table.used_slots()
                assert set(heads["partition"][used].tolist()) == held
                await estate.feed(payloads[200:400])
                await wait_until(
                    lambda: asyncio.sleep(0, sum(b for _, b in first.progress().values())),
                    lambda position: position > 0,
                )
                await estate.feed(payloads[400:])
                await settled(first, second)
                loaded = value(mine, "enforcer_rows_loaded_total") - before
                kept = value(mine, "enforcer_partitions_given_total", what="kept")
            await settled(first)
            pauses = value(mine, "enforcer_rebalance_seconds_count")
            return loaded, kept, value(mine, "enforcer_partitions_given_total", what="kept"), pauses

    loaded, kept, kept_later, pauses = asyncio.run(story())
    assert (loaded, kept, kept_later) == (0, 3, 6)
    assert pauses >= 2
    bodies, rows = estate.replayed(payloads)
    assert differences(estate.bodies(), bodies) == ""
    assert asyncio.run(estate.rows()) == rows


async def lived(estate: Estate) -> Owned:
    """A partition as a worker let it go that has ended."""
    await estate.topics()
    await estate.feed(busy(EVENTS, 40))
    async with estate.worker() as worker:
        await stored(worker, EVENTS)
        session = worker._session
        assert session is not None
        return next(each for each in session.owned.values() if each.check_offset > 5)


Change = Callable[[Estate, Owned], Place | None]


def _of(estate: Estate, owned: Owned) -> Place:
    bounds = estate.log.partitions(TOPICS.requests)[owned.partition]
    return Place(
        owned.partition, Bounds(bounds.start, bounds.end), owned.topic_id, TOPICS.requests,
        TOPICS.journal, (TOPICS.enforcement, owned.partition), "test", "another", (6,),
    )  # fmt: skip


def untouched(estate: Estate, owned: Owned) -> Place:
    """Nothing has happened."""
    return _of(estate, owned)


def claimed(estate: Estate, owned: Owned) -> Place:
    """Another had it meanwhile."""
    asyncio.run(estate.store(estate.server).claim(owned.partition, "heir", owned.nonce))
    return _of(estate, owned)


def claimed_and_forgotten(estate: Estate, owned: Owned) -> Place:
    """Another had it meanwhile, and only the journal knows."""
    entry = Owner(nonce="heir", epoch=owned.epoch + 1, checkpoint=0, worker="heir")
    estate.log.append(TOPICS.journal, owned.partition, b"heir", encode_entry(entry))
    return _of(estate, owned)


def remade(estate: Estate, owned: Owned) -> Place:
    """The topic is another one of the same name."""
    return _of(estate, owned)._replace(topic_id="another")


def cut_behind(estate: Estate, owned: Owned) -> Place:
    """Retention took what would be read next."""
    return _of(estate, owned)._replace(bounds=Bounds(owned.position + 1, owned.position + 2))


def cut_before(estate: Estate, owned: Owned) -> Place:
    """The log ends before what was applied."""
    return _of(estate, owned)._replace(bounds=Bounds(0, owned.position - 1))


def replaying(estate: Estate, owned: Owned) -> Place:
    """It had not come again to the record that its checkpoint names."""
    owned.position = owned.check_offset - 2
    return _of(estate, owned)


def newer(estate: Estate, owned: Owned) -> Place:
    """A newer version has written to the journal: whoever takes it anew says so."""
    entry = msgspec.json.decode(encode_entry(Owner(nonce="x", epoch=99, checkpoint=0))) | {
        "format": 99
    }
    estate.log.append(TOPICS.journal, owned.partition, b"x", msgspec.json.encode(entry))
    return _of(estate, owned)


@pytest.mark.parametrize(
    ("change", "is_kept"),
    [
        (untouched, True),
        (claimed, False),
        (claimed_and_forgotten, False),
        (remade, False),
        (cut_behind, False),
        (cut_before, False),
        (replaying, False),
        (newer, False),
    ],
)
def test_what_may_be_kept(change: Change, is_kept: bool) -> None:
    """Only what nobody touched, in store, journal and log; and then as a new object."""
    estate = Estate()
    owned = asyncio.run(lived(estate))
    place = change(estate, owned)
    assert place is not None

    async def asked() -> Owned | None:
        reader = MemoryReader(estate.log)
        async with contextlib.AsyncExitStack() as stack:
            await reader.start()
            stack.push_async_callback(reader.stop)
            end = (await reader.bounds(TOPICS.journal))[owned.partition].end
            return await returned(owned, place, end, estate.store(estate.server), reader)

    again = asyncio.run(asked())
    if not is_kept:
        assert again is None
        return
    assert again is not None
    assert again is not owned
    assert (again.nonce, again.number, again.position) == (
        owned.nonce, owned.number, owned.position,
    )  # fmt: skip
    assert not again.is_read_back
    assert start_of(again) == owned.check_offset < again.position


def test_the_last_record_proves_the_log() -> None:
    """It is read once more and not applied again; another one in its place ends the session."""
    estate = Estate()
    owned = asyncio.run(lived(estate))
    offset = owned.check_offset
    (last,) = estate.log.partitions(TOPICS.requests)[owned.partition].between(offset, offset + 1)

    def read(*records: tuple[int, bytes | None]) -> Arrival | None:
        owned.is_unproven = True
        offsets, values = [each[0] for each in records], [each[1] for each in records]
        append_ms = [last.append_ms] * len(records)
        arrival = Arrival(TOPICS.requests, owned.partition, offsets, append_ms, values)
        return behind_proof(owned, arrival)

    rest = read((offset, last.value), (offset + 1, b"next"))
    assert rest is not None
    assert (rest.offsets, rest.values) == ([offset + 1], [b"next"])
    assert not owned.is_unproven
    assert read((offset, last.value)) is None
    # Retention took it meanwhile.
    rest = read((offset + 3, b"later"))
    assert rest is not None
    assert rest.offsets == [offset + 3]
    for value in (b"another", None):
        with pytest.raises(OwnershipLost, match="another record stands where"):
            read((offset, value), (offset + 1, b"next"))
