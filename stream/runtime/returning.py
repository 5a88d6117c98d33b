"""Partitions that the group takes and gives back at once: what is known of them still holds.

The group's protocol is eager: at each change every member gives up everything, and most of it comes
back. What comes back is not taken anew where nobody else can have had it meanwhile: the store still
has our claim and our last write, and the journal has no owner after us (a store that fails over may
forget an owner; the journal does not). Rows then stay in memory, and reading goes on where it was.
"""

from __future__ import annotations

import copy

from stream.bus import LogReader
from stream.errors import NewerFormat, OwnershipLost
from stream.events import Owner
from stream.store import Store

from .beginning import Place
from .owned import Owned
from .saving import verify
from .takeover import is_same_log, valid_entries


async def returned(
    owned: Owned, place: Place, journal_end: int, store: Store, reader: LogReader
) -> Owned | None:
    """Return a partition as it was let go, as a new object; None where it must be taken anew.

    What was under way with the old object (records fetched, for one) then touches nothing.
    Requires: everything of it was saved. Errors: StoreUnavailable, BusUnavailable.
    """
    bounds = place.bounds
    if owned.topic_id != place.topic_id or not bounds.start <= owned.position <= bounds.end:
        return None
    try:
        await verify(store, [owned])
        if await _has_heir(owned, place, journal_end, reader):
            return None
    except (OwnershipLost, NewerFormat):
        # Whoever takes it anew is told, and says, what has become of it.
        return None
    if not await is_same_log(reader, place, owned):
        return None
    again = copy.copy(owned)
    # What others wrote under our keys meanwhile was noted by nobody.
    again.is_read_back = False
    again.began_in = ()
    return again


async def _has_heir(owned: Owned, place: Place, journal_end: int, reader: LogReader) -> bool:
    """Tell whether the journal has an owner after us. Errors: NewerFormat, BusUnavailable."""
    if journal_end <= owned.journal_end:
        return False
    records = await reader.read(
        place.journal_topic, place.partition, owned.journal_end, journal_end
    )
    return any(isinstance(each, Owner) for _, each in valid_entries(records))
