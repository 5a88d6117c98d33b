"""Rows that a batch needs: all partitions are asked at once, and what has come goes ahead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from stream.errors import StoreUnavailable
from stream.events import Request, encode_request
from stream.identity import home_partition
from stream.kernel import HashKey
from stream.profiles import Arrival, Batch, Decoder
from stream.runtime.loading import fetch_rows, fetched_rows

PARTITIONS = 3
KEY = HashKey(bytes(16))


def one_each() -> Batch:
    """A batch with two events of each partition."""
    values: dict[int, list[bytes]] = {each: [] for each in range(PARTITIONS)}
    for number in range(100):
        name = f"spiffe://td/w{number}"
        home = home_partition(name.encode(), PARTITIONS)
        if len(values[home]) < 2:
            values[home].append(encode_request(Request(1, name, "tool:x")))
    arrivals = [Arrival("t", each, range(2), [0] * 2, values[each]) for each in values]
    batch, rejects = Decoder(KEY, PARTITIONS).decode(arrivals)
    assert not rejects
    return batch


class Waiting:
    """A store whose partitions answer when they are told to."""

    def __init__(self) -> None:
        self.may_answer = [asyncio.Event() for _ in range(PARTITIONS)]
        self.asked: list[int] = []
        self.given_up: list[int] = []

    async def load(self, partition: int, ids: Sequence[int], _: Any) -> list[bytes | None]:
        """Give a row to the first, none to the others; the last one fails."""
        self.asked.append(partition)
        try:
            await self.may_answer[partition].wait()
        except asyncio.CancelledError:
            self.given_up.append(partition)
            raise
        if partition == PARTITIONS - 1:
            raise StoreUnavailable("away")
        return [b"row %d" % partition, *[None] * (len(ids) - 1)]


def owned() -> Any:
    """What the loader looks at of the owned partitions."""
    one = [SimpleNamespace(partition=p, fence=None, saving=asyncio.Lock()) for p in range(9)]
    return dict(enumerate(one))


def absent_of(batch: Batch) -> list[int]:
    """All events of the batch, grouped by no order in particular."""
    return [*range(0, len(batch.events), 2), *range(1, len(batch.events), 2)]


def test_rows_of_one_partition_are_there_while_others_are_waited_for() -> None:
    """All are asked before the first is given, and who leaves early leaves no question behind."""
    batch = one_each()
    store_of: list[Waiting] = []

    async def story() -> list[dict[int, bytes]]:
        store = Waiting()
        store_of.append(store)
        store.may_answer[0].set()
        parts = fetched_rows(store, owned(), batch, absent_of(batch))  # type: ignore[arg-type]
        async with asyncio.timeout(5), contextlib.aclosing(parts):
            first = await anext(parts)
            assert store.asked == list(range(PARTITIONS))
        return [first]

    (first,) = asyncio.run(story())
    places = [each for each, event in enumerate(batch.events) if event["partition"] == 0]
    assert first == {places[0]: b"row 0"}
    assert store_of[0].given_up == [1, 2]


def test_what_one_partition_fails_with_is_raised_and_the_others_end() -> None:
    """As if it had been asked alone."""
    batch = one_each()

    async def story() -> list[int]:
        store = Waiting()
        store.may_answer[0].set()
        store.may_answer[PARTITIONS - 1].set()
        rows = fetch_rows(store, owned(), batch, absent_of(batch))  # type: ignore[arg-type]
        asking = asyncio.create_task(rows)
        await asyncio.sleep(0.01)
        assert not asking.done()
        store.may_answer[1].set()
        with pytest.raises(StoreUnavailable):
            await asking
        return store.given_up

    assert asyncio.run(story()) == []
