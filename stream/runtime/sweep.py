"""Looking through stored rows, one bucket of the store at a time: who is to be forgotten or missed.

Rows that have been idle too long are deleted.

First the journal says from which offset on rows with an older clock are gone; only then are they
deleted. What the journal says decides; the deletion is housekeeping, and may come late or twice.
There is no expiry in Redis: that would be wall time, and no replay could follow it (DESIGN 3.12).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stream.engine import State
from stream.profiles import stored_clock_ms, stored_home
from stream.store import Store

from .owned import Owned

STEP_MS: Final = 3_600_000
Rows = Sequence[tuple[int, bytes]]  # what `Store.scan` returns


def forgettable_before_ms(owned: Owned, idle_ms: int) -> int:
    """Return the clock before which rows may be forgotten: whole hours, so entries are few."""
    return max(0, (owned.clock_ms - idle_ms) // STEP_MS * STEP_MS)


def idle_rows(state: State, owned: Owned, stored: Rows, before_ms: int) -> list[int]:
    """Return the ids of stored rows whose clock is older, and that are not in memory."""
    old = [
        row_id
        for row_id, row in stored
        if owned.is_home_of(stored_home(row)) and stored_clock_ms(row) < before_ms
    ]
    return [row_id for row_id in old if state.table.find(row_id) < 0]


async def still_idle(store: Store, owned: Owned, ids: list[int], before_ms: int) -> list[int]:
    """Return those of the rows that are still as old, read again under the fence."""
    rows = await store.load(owned.partition, ids, owned.fence)
    pairs = zip(ids, rows, strict=True)
    return [row_id for row_id, row in pairs if row and stored_clock_ms(row) < before_ms]
