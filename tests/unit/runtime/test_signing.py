"""A worker with a key publishes what it would publish without, and the signature beside it."""

import asyncio

import pytest

from stream.bus import MemoryReader, Record
from stream.events import (
    OperatorAct,
    OperatorRecord,
    SubjectRecord,
    decode_value,
    encode,
    operator_key,
    split_signature,
)
from stream.gateway import CommandTable, TableSpec
from stream.runtime import Keys, SystemClock
from tests.estate import TOPICS, Estate, busy, stored
from tests.live import differences, other_rows, wait_until
from tests.signed import ALGORITHMS, signed, signer, trust


async def records_of(estate: Estate) -> list[Record]:
    """All records of the enforcement topic, in the order of each partition."""
    reader, found = MemoryReader(estate.log), []
    await reader.start()
    for partition, bounds in (await reader.bounds(TOPICS.enforcement)).items():
        found += await reader.read(TOPICS.enforcement, partition, 0, bounds.end)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signing_changes_no_body_row_or_digest(algorithm: str) -> None:
    """Bodies and rows equal an undisturbed replay's; a gateway with the keys finds no fault.

    Half way the worker is stopped, and goes on with the same key.
    """
    estate, sent = Estate(), busy(900, agents=41)
    estate.keys = Keys(signer("worker", algorithm), trust(algorithm))

    async def story() -> tuple[list[bytes], dict[int, bytes], list[Record]]:
        await estate.topics()
        for first, last in ((0, 500), (500, len(sent))):
            # Seldom, so that who reads and verifies them all keeps up, also on a busy machine.
            async with estate.worker(batch_events_max=90, heartbeat_ms=500) as worker:
                await estate.feed(sent[first:last])
                await stored(worker, last)
                await wait_until(lambda: is_ready(estate, algorithm), bool)
        return estate.bodies(), await estate.rows(), await records_of(estate)

    bodies, rows, records = asyncio.run(story())
    expected, images = estate.replayed(sent)
    assert len(expected) > 20
    assert differences(bodies, expected) == ""
    assert other_rows(rows, images) == []
    values = [each for each in records if each.value is not None]
    assert sum(isinstance(decode_value(each.value or b""), SubjectRecord) for each in values) > 20
    believed = trust(algorithm)
    for each in values:
        one = split_signature(each.value or b"")
        assert encode(decode_value(one.payload)) == one.payload
        value = decode_value(one.payload)
        assert believed.fault_of(each.key or b"", each.append_ms, one, value) is None


async def is_ready(estate: Estate, algorithm: str) -> bool:
    """Whether a gateway with the keys that reads the topic now knows what is in force."""
    table = CommandTable(TableSpec(), TOPICS.enforcement_partitions, trust(algorithm))
    for record in await records_of(estate):
        table.apply(record)
    table.finish_loading()
    return table.state(SystemClock().wall_ms()) == "ready"


def test_a_worker_obeys_signed_operators_only() -> None:
    """An unsigned stop reaches no journal and is counted; workers go on as they were."""
    estate = Estate()
    estate.keys = Keys(signer(), trust())

    def stop(now_ms: int) -> tuple[bytes, bytes]:
        act = OperatorAct(act="stop", reason="x", by="x", at_ms=now_ms, until_ms=now_ms + 3_600_000)
        record = OperatorRecord(workload="", acts=(act,), at_ms=now_ms, until_ms=act.until_ms)
        return operator_key(""), encode(record)

    async def story() -> None:
        await estate.topics()
        async with estate.worker() as worker:

            async def journalled() -> set[int]:
                session = worker._session
                owned = session.owned.values() if session else ()
                return {each.conditions.stopped_until_ms for each in owned}

            await wait_until(journalled, lambda found: found == {0})
            name, payload = stop(SystemClock().wall_ms())
            estate.log.append(TOPICS.enforcement, 0, name, payload)

            async def refused() -> bytes:
                return worker._metrics.text()

            counted = b'enforcer_operator_records_refused_total{why="unsigned"} 1.0'
            await wait_until(refused, lambda text: counted in text)
            assert await journalled() == {0}
            value = signer("operator").sign(name, payload)
            estate.log.append(TOPICS.enforcement, 0, name, value)
            await wait_until(journalled, lambda found: found and 0 not in found)

    asyncio.run(story())


def test_a_stop_that_was_ended_is_not_the_last_of_its_key() -> None:
    """Who writes an old signed stop again, to be all that compaction leaves, is written over."""
    estate = Estate()
    estate.keys = Keys(signer(), trust())
    now_ms = SystemClock().wall_ms()
    until_ms = now_ms + 3_600_000
    act = OperatorAct(act="stop", reason="x", by="x", at_ms=now_ms, until_ms=until_ms)
    stop, start = (
        signed((operator_key(""), encode(record)), "operator")
        for record in (
            OperatorRecord(workload="", acts=(act,), at_ms=now_ms, until_ms=until_ms),
            OperatorRecord(workload="", acts=(), at_ms=now_ms + 1, until_ms=until_ms),
        )
    )

    async def last() -> bytes | None:
        return [each.value for each in await records_of(estate) if each.key == stop[0]][-1]

    async def story() -> None:
        await estate.topics()
        estate.log.append(TOPICS.enforcement, 0, *stop)
        estate.log.append(TOPICS.enforcement, 0, *start)
        estate.log.append(TOPICS.enforcement, 0, *stop)
        async with estate.worker():
            await wait_until(last, lambda value: value == start[1])
            estate.log.append(TOPICS.enforcement, 0, stop[0], None)
            await wait_until(last, lambda value: value == start[1])
            await asyncio.sleep(0.2)
            assert len([each for each in await records_of(estate) if each.key == stop[0]]) == 6

    asyncio.run(story())
