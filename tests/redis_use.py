"""A Redis of a test's own, used as the product uses it: all calls of a worker, all of a reader."""

import asyncio
from typing import Any

import msgspec

from stream.store import BUCKETS, Bequest, Birth, Fence, Grown, RedisSpec, RedisStore, Save
from tests.stores import CHECKPOINT, take_over

# A busy machine takes its time; what is refused is refused at once all the same.
PATIENCE = {"deadline_s": 20.0, "timeout_s": 10.0, "connect_timeout_s": 10.0}

BIRTH = msgspec.structs.replace(
    CHECKPOINT, format=2, next_offset=0, growth=Grown((1, 2), Birth(0, 0, 7, 3))
)


def spec(url: str, **options: Any) -> RedisSpec:
    """Settings as a configuration file gives them."""
    given = {"kind": "redis", "url": url, "prefix": "t", **PATIENCE, **options}
    return msgspec.convert(given, RedisSpec)


async def work(store: RedisStore) -> None:
    """All that a worker does: children, rows, names, records, also where there is no room."""
    await store.start()
    claim = await take_over(store, 0, "a")
    store.first_partitions = 1
    fence = Fence("a", claim.epoch, claim.number)
    done = await store.bequeath(0, Bequest(fence, 1, {}, begins=True, checkpoint=BIRTH))
    first = claim.number + (done == "written")
    rows = [(n << 56, b"1") for n in range(BUCKETS)]
    whole = Save("a", first, rows, {1: "n"}, {b"r": b"1"}, [b"gone"], [5], None)
    whole = whole._replace(domains=[(row_id, 7) for row_id, _ in rows])
    number = await store.save(0, whole)
    full = dict.fromkeys(range(2**16 + 1), "n")
    await store.save(0, whole._replace(number=number, names=full))
    assert await store.load(0, [0]) == [b"1"]
    assert await store.scan(0, 0) == [(0, b"1")]
    assert await store.domains(0) == {7: BUCKETS}
    assert await store.checkpoint(0) is None


async def look(store: RedisStore) -> None:
    """All that `explain` does with a store."""
    await store.start()
    assert await store.load(0, [0]) == [b"1"]
    assert await store.names(0, [1]) == {1: "n"}
    assert await store.checkpoint(0) is None
    store.first_partitions = 1
    assert await store.checkpoint(1) == BIRTH


def attempt(given: RedisSpec, use: Any = work) -> None:
    """Use a store and close it."""

    async def whole() -> None:
        store = RedisStore(given)
        try:
            await use(store)
        finally:
            await store.stop()

    asyncio.run(whole())
