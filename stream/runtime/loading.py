"""Rows that a batch needs, read back from the store under the owner's fence.

Read first and restored then: where trust domains are full, how much room there must be in memory
is known only in between, since a workload of which nothing is stored gets no row there.
"""

from __future__ import annotations

import asyncio
import logging

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
    by_partition: dict[int, list[int]] = {}
    for event in absent:
        by_partition.setdefault(int(batch.events["partition"][event]), []).append(event)

    async def fetch(one: Owned, events: list[int]) -> list[bytes | None]:
        ids = batch.events["workload"][events].tolist()
        async with one.saving:
            return await store.load(one.partition, ids, one.fence)

    found = await asyncio.gather(*(fetch(owned[each], some) for each, some in by_partition.items()))
    pairs = zip(by_partition.values(), found, strict=True)
    return {
        event: row
        for events, rows in pairs
        for event, row in zip(events, rows, strict=True)
        if row is not None
    }


def wanting_rows(state: State, batch: Batch, absent: list[int], stored: dict[int, bytes]) -> int:
    """Return how many of some workloads that are not in memory will have a row there."""
    asks = batch.events["kind"] == TICK  # a tick makes no row
    new = [event for event in absent if event not in stored and not asks[event]]
    partitions = batch.events["partition"][new].tolist()
    domains = domains_of(state.key, map(batch.workload, new))
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
    names = [batch.workload(event) for event in stored]
    places = some["home"], some["partition"]
    good, faults = state.restore_all(some["workload"], names, places, list(stored.values()))
    metrics.count_rows(loaded=len(good), corrupt=len(faults))
    for fault in faults:
        rarely.warning("discarded: %s", fault.message)
