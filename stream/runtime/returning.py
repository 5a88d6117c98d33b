"""Partitions that the group takes and gives back at once: what is known of them still holds.

The group's protocol is eager: at each change every member gives up everything, and most of it comes
back. What comes back is not taken anew where nobody else can have had it meanwhile: the store still
has our claim and our last write, and the journal has no owner after us (a store that fails over may
forget an owner; the journal does not). Rows then stay in memory, and reading goes on where it was:
at the last record that was applied, which must still be the one that it was. To ask for it would
hold up every partition by a request of its own.
"""

from __future__ import annotations

import copy

from stream.bus import LogReader
from stream.errors import NewerFormat, OwnershipLost
from stream.events import Owner
from stream.profiles import Arrival
from stream.store import Store

from .beginning import Place
from .claiming import valid_entries
from .owned import Owned, cut, record_check
from .saving import verify


async def returned(
    owned: Owned, place: Place, journal_end: int, store: Store, reader: LogReader
) -> Owned | None:
    """Return a partition as it was let go, as a new object; None where it must be taken anew.

    What was under way with the old object (records fetched, for one) then touches nothing.
    Requires: everything of it was saved. Errors: StoreUnavailable, BusUnavailable.
    """
    bounds = place.bounds
    if owned.asked is not None:
        return None
    if owned.topic_id != place.topic_id or not bounds.start <= owned.position <= bounds.end:
        return None
    if owned.check and owned.check_offset >= owned.position:
        # It has not yet come again to where its checkpoint was made, so it cannot begin there.
        return None
    try:
        await verify(store, [owned])
        if await _has_heir(owned, place, journal_end, reader):
            return None
    except (OwnershipLost, NewerFormat):
        # Whoever takes it anew is told, and says, what has become of it.
        return None
    again = copy.copy(owned)
    # What others wrote under our keys meanwhile was noted by nobody.
    again.is_read_back = False
    again.began_in = ()
    again.is_unproven = owned.check != 0 and owned.check_offset >= bounds.start
    return again


def start_of(owned: Owned) -> int:
    """Return from which offset a partition is to be read that has come, or come back."""
    return owned.check_offset if owned.is_unproven else owned.position


def behind_proof(owned: Owned, arrival: Arrival) -> Arrival | None:
    """Return what comes behind the last record that was applied, None for nothing.

    Requires: the first arrival since it came back. Mutates: owned.
    Errors: OwnershipLost when another record stands there: a log restored from an older copy, or
    cut and grown again, has the same id; whoever takes it anew begins an era.
    """
    owned.is_unproven = False
    last, rest = cut(arrival, owned.position)
    if last is None or last.offsets[-1] < owned.check_offset:
        return rest  # retention took it meanwhile
    if record_check(last.values[-1], int(last.append_ms[-1])) != owned.check:
        raise OwnershipLost(
            f"partition {owned.partition}: another record stands where the last one was applied"
        )
    return rest


async def _has_heir(owned: Owned, place: Place, journal_end: int, reader: LogReader) -> bool:
    """Tell whether the journal has an owner after us. Errors: NewerFormat, BusUnavailable."""
    if journal_end <= owned.journal_end:
        return False
    records = await reader.read(
        place.journal_topic, place.partition, owned.journal_end, journal_end
    )
    return any(isinstance(each, Owner) for _, each in valid_entries(records))
