"""Stores to play with: several workers on one server, in memory and on a real Valkey."""

import asyncio
import inspect
import uuid
from collections.abc import Awaitable, Callable

import msgspec
import redis

from stream.store import (
    BUCKETS,
    Checkpoint,
    Claim,
    MemoryServer,
    MemoryStore,
    RedisSpec,
    RedisStore,
    Save,
    Store,
)

ID_LAST = 2**64 - 1
CHECKPOINT = Checkpoint(
    next_offset=7,
    journal_offset=3,
    topic_id="T-äöü",
    era=1,
    check=2**32 - 1,
    version_offset=6,
    version_ordinal=2,
    at_ms=1_700_000_000_000,
)


def save(number: int, nonce: str = "a", **what) -> Save:
    """A save of nothing but what is named."""
    nothing = Save(
        nonce=nonce,
        number=number,
        rows=[],
        names={},
        records={},
        records_gone=[],
        forget=[],
        checkpoint=None,
    )
    return nothing._replace(**what)


async def take_over(store: Store, partition: int, nonce: str, above: int = 0) -> Claim:
    """Claim a partition from whoever owns it, as a new owner does."""
    return await store.claim(partition, nonce, await store.owner(partition), above)


class MemoryLab:
    """Stores that share a MemoryServer."""

    def __init__(self) -> None:
        self._server = MemoryServer()

    def store(self) -> Store:
        return MemoryStore(self._server)

    def image(self) -> object:
        return self._server.image()

    def restore(self, image: object) -> None:
        self._server.restore(image)

    def spoil_checkpoint(self, partition: int, stored: bytes) -> None:
        self._server.partition(partition).checkpoint = stored


class RedisLab:
    """Stores that share a prefix, which nobody else uses, on a real server."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, protocol=2)
        self._url = url
        self._prefix = f"t{uuid.uuid4().hex}"

    def store(self) -> Store:
        # Small loads, so that splitting them is under test too.
        settings_ = {"kind": "redis", "url": self._url, "prefix": self._prefix, "ids_per_load": 50}
        return RedisStore(msgspec.convert(settings_, RedisSpec))

    def close(self) -> None:
        self.restore({})
        self._client.close()

    def image(self) -> object:
        keys = self._client.keys(f"{self._prefix}:*")
        return {key: self._client.dump(key) for key in keys}

    def restore(self, image: object) -> None:
        if keys := self._client.keys(f"{self._prefix}:*"):
            self._client.delete(*keys)
        for key, dumped in image.items():
            self._client.restore(key, 0, dumped)

    def spoil_checkpoint(self, partition: int, stored: bytes) -> None:
        self._client.hset(f"{self._prefix}:{{{partition}}}:state", "checkpoint", stored)


Lab = MemoryLab | RedisLab


def play(lab: Lab, scene: Callable[..., Awaitable[None]]) -> None:
    """Run a scene with as many stores as it has parameters, each as another worker has it."""

    async def run() -> None:
        parameters = inspect.signature(scene).parameters.values()
        stores = [lab.store() for each in parameters if each.default is each.empty]
        try:
            await scene(*stores)
        finally:
            for store in stores:
                await store.stop()

    asyncio.run(run())


async def everything(store: Store, partition: int) -> tuple:
    """All that a partition holds and that a store shows without claiming it."""
    rows = [row for bucket in range(BUCKETS) for row in await store.scan(partition, bucket)]
    return (
        rows,
        await store.names(partition, [*range(20), ID_LAST]),
        await store.checkpoint(partition),
    )
