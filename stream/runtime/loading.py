"""Rows that a batch needs, read back from the store under the owner's fence.

Read first and restored then: where trust domains are full, how much room there must be in memory
is known only in between, since a workload of which nothing is stored gets no row there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

from stream.bus import Rarely
from stream.enforcement import domains_of
from stream.engine import State
from stream.metrics import Metrics
from stream.profiles import TICK, Batch
from stream.store import Store

from .owned import Owned

rarely = Rarely(logging.getLogger(__name__), every_s=10.0)


async def fetch_rows(
    store: Store, owned: dict[int, Owned], batch: Batch, absent: list[int]
) -> dict[int, bytes]:
    """Return the stored rows of events, by event, where there are any.

    Errors: StoreUnavailable, OwnershipLost.
    """
    found: dict[int, bytes] = {}
    async with contextlib.aclosing(fetched_rows(store, owned, batch, absent)) as parts:
        async for part in parts:
            found |= part
    return found


async def fetched_rows(
    store: Store, owned: dict[int, Owned], batch: Batch, absent: list[int]
) -> AsyncGenerator[dict[int, bytes], None]:
    """Give the same, a partition at a time: all are asked for, and some are restored meanwhile."""
    by_partition: dict[int, list[int]] = {}
    for event in absent:
        by_partition.setdefault(int(batch.events["partition"][event]), []).append(event)

    async def fetch(one: Owned, events: list[int]) -> dict[int, bytes]:
        ids = batch.events["workload"][events].tolist()
        async with one.saving:
            rows = await store.load(one.partition, ids, one.fence)
        return {event: row for event, row in zip(events, rows, strict=True) if row is not None}

    tasks = [asyncio.ensure_future(fetch(owned[each], by_partition[each])) for each in by_partition]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def wanting_rows(state: State, batch: Batch, absent: list[int], stored: dict[int, bytes]) -> int:
    """Return how many of some workloads that are not in memory will have a row there."""
    asks = batch.events["kind"] == TICK  # a tick makes no row
    new = [event for event in absent if event not in stored and not asks[event]]
    partitions = batch.events["partition"][new].tolist()
    domains = domains_of(state.key, batch.workloads(new))
    shut = sum(
        partition in state.closed and state.closed[partition].is_full(domain)
        for partition, domain in zip(partitions, domains, strict=True)
    )
    return len(stored) + len(new) - shut


def restore_rows(state: State, metrics: Metrics, batch: Batch, stored: dict[int, bytes]) -> None:
    """Bring stored rows of events into memory. Mutates: state.

    A row that cannot be ours is discarded, and its workload starts anew.
    Requires: as many free slots. Errors: NewerFormat.
    """
    if not stored:
        return
    some = batch.events[list(stored)]
    names = batch.workloads(list(stored))
    places = some["home"], some["partition"]
    good, faults = state.restore_all(some["workload"], names, places, list(stored.values()))
    metrics.count_rows(loaded=len(good), corrupt=len(faults))
    for fault in faults:
        rarely.warning("discarded: %s", fault.message)
