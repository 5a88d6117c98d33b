"""Which journalled conditions hold from where on in the log that a partition begins with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec

from stream.bus import Record
from stream.events import Conditions, with_full

from .baselines import BASELINE_MISSING, with_baseline
from .beginning import Start
from .claiming import valid_entries

Entries = list[tuple[int, Conditions]]
"""Conditions with their journal offsets."""


def of_log(entries: Entries, start: Start) -> Entries:
    """Return the entries of this log in the order of the offsets from which they hold.

    Of two for one offset the later one holds.
    """
    mine = [
        (offset, in_era(each, start))
        for offset, each in entries
        if start.log_era <= each.era <= start.era
    ]
    return sorted(mine, key=lambda each: (each[1].from_offset, each[0]))


def of_latest_log(entries: Entries) -> Entries:
    """Return the entries of the log that is there now, as `of_log`; the last holds at its end."""
    if not entries:
        return []
    newest = max(entries, key=lambda each: (each[1].era, each[0]))[1]
    eras = newest.era, newest.log_era, newest.fresh_era
    return of_log(entries, Start(newest.from_offset, *eras, newest.modes))


def conditions_in(records: Sequence[Record]) -> list[Conditions]:
    """Return what a journal says of its partition's log, for whoever reads it and owns nothing.

    In the order of the offsets from which it holds: the last is what the owner has, or comes to.
    Errors: NewerFormat.
    """
    found = [
        (offset, each) for offset, each in valid_entries(records) if isinstance(each, Conditions)
    ]
    return [each for _, each in of_latest_log(found)]


def in_force(entries: Entries, start: Start) -> Entries:
    """Return the entries that hold at the start or held before, the one in force last."""
    return [each for each in of_log(entries, start) if each[1].from_offset <= start.offset]


def in_era(conditions: Conditions, start: Start) -> Conditions:
    """Return conditions as they hold in the eras of a start.

    Who was full among rows that are gone is not.
    """
    if conditions.full and conditions.era < start.fresh_era:
        conditions = with_full(conditions, None)
    return msgspec.structs.replace(
        conditions, era=start.era, log_era=start.log_era, fresh_era=start.fresh_era
    )


async def lacking_of(
    entries: Entries, start: Start, has: Callable[[str], Awaitable[bool]]
) -> set[str]:
    """Return the versions of the baseline that hold from a start on, and that nobody has."""
    here = of_log(entries, start)
    later = here[max(0, len(in_force(entries, start)) - 1) :] + of_latest_log(entries)[-1:]
    versions = {each.baseline_version for _, each in later if not each.shed}
    return {each for each in sorted(versions) if not await has(each)}


def shed_of(conditions: Conditions, lacking: Collection[str]) -> Conditions:
    """Return conditions that compare with no version that is lacking."""
    held = conditions.baseline or None
    if held is None or held.version not in lacking or held.shed:
        return conditions
    return with_baseline(conditions, msgspec.structs.replace(held, shed=BASELINE_MISSING))
