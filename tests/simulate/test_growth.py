"""A zombie that does not know of a growth, and its heir that does: both forward."""

from __future__ import annotations

import asyncio

from stream.bus import MemoryTopics
from stream.events import FORWARDED, Request, encode_request
from stream.identity import canonical_workload, home_partition
from stream.profiles import Layout
from stream.simulate.estate import KEY, Estate
from stream.simulate.rest import at_rest
from stream.simulate.scenarios import Scenario, plan_for
from stream.simulate.story import judged, run
from stream.simulate.traffic import workload
from stream.store import BUCKETS, MemoryStore

COUNTED_AT = 32 + Layout((), (), ()).dtype["head"].fields["events"][1]
NAME = next(
    workload(number)
    for number in range(100)
    if home_partition(canonical_workload(workload(number)).encode(), 4) >= 2
)
WIRE = canonical_workload(NAME).encode()
ASTRAY = 1 - home_partition(WIRE, 2)
SENT = 6


async def counted(estate: Estate) -> int:
    """How many events its stored row has counted."""
    store = MemoryStore(estate.server)
    store.first_partitions = 2
    rows = {
        row_id: row
        for partition in range(2)
        for bucket in range(BUCKETS)
        for row_id, row in await store.scan(partition, bucket)
    }
    row = rows[KEY.hash(WIRE.decode())]
    return int.from_bytes(row[COUNTED_AT : COUNTED_AT + 8], "little")


def test_a_zombie_beside_a_growth_forwards_nothing_twice() -> None:
    """What both send home has one home, whichever growths they know of."""
    found: list[int] = []

    async def tell(estate: Estate) -> list[str]:
        await MemoryTopics(estate.log).ensure(estate.topics.specs())
        for member in estate.members:
            member.start()
        await asyncio.sleep(2)

        async def stray(pause_s: float) -> None:
            now_ms = estate.broker_clock.wall_ms()
            request = Request(at_ms=now_ms, workload=NAME, operation="GET /a")
            estate.log.append(estate.topics.requests, ASTRAY, WIRE, encode_request(request))
            await asyncio.sleep(pause_s)

        for _ in range(SENT // 2):
            await stray(0.3)
        zombie = next(each for each in estate.members if ASTRAY in each.worker.progress())
        zombie.freeze(14.0, 2.0, lambda process: process.thaw(estate.loop))
        await asyncio.sleep(7.5)
        estate.log.grow(estate.topics.journal, 4)
        estate.log.grow(estate.topics.requests, 4)
        while not await estate.has_grown():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        for _ in range(SENT // 2):
            await stray(0.2)
        await asyncio.sleep(8)
        broken = await at_rest(estate)
        broken += await judged(estate)
        found.append(await counted(estate))
        parts = estate.log.partitions(estate.topics.requests)
        forwards = [each for part in parts for each in part.records if _is_forward(each.value)]
        found.append(len(forwards))
        return broken

    outcome = run(plan_for(Scenario("x", "x", None, 2, 2)), lambda _: None, tell)
    assert outcome.violations == []
    assert found[0] == SENT
    assert found[1] > 2 * (SENT // 2), "both forwarded"


def _is_forward(value: bytes | None) -> bool:
    return (value or b"").startswith(FORWARDED)
