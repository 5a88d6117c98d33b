"""Rows that a batch needs, read back from the store under the owner's fence."""

from __future__ import annotations

import logging

from stream.bus import Rarely
from stream.engine import State
from stream.errors import RowCorrupt
from stream.metrics import Metrics
from stream.profiles import Batch
from stream.store import Store

from .owned import Owned

rarely = Rarely(logging.getLogger(__name__), every_s=10.0)


async def load_rows(
    state: State, store: Store, metrics: Metrics, owned: Owned, of: tuple[Batch, list[int]]
) -> None:
    """Bring in the stored rows of events of one partition; `of` is a batch and places in it.

    A row that cannot be ours is discarded, and its workload starts anew. Mutates: state.
    Errors: StoreUnavailable, OwnershipLost.
    """
    batch, absent = of
    ids = batch.events["workload"][absent].tolist()
    async with owned.saving:
        stored = await store.load(owned.partition, ids, owned.fence)
    for event, row_id, row in zip(absent, ids, stored, strict=True):
        if row is None:
            continue
        home = int(batch.events["home"][event])
        try:
            state.restore(batch.workload(event), (row_id, home, owned.partition), row)
            metrics.count_rows(loaded=1)
        except RowCorrupt as error:
            metrics.count_rows(corrupt=1)
            rarely.warning("partition %d: discarded: %s", owned.partition, error.message)
