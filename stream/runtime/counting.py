"""How many partitions there have been: asked once as a session begins.

Partition 0 is there under every number, and in a group of its own. Its journal and its checkpoint
say which numbers there were; the store may have forgotten the latest, the journal has not.
"""

from __future__ import annotations

import contextlib

from stream.bus import LogReader
from stream.errors import BusUnavailable, RowCorrupt
from stream.events import Conditions
from stream.store import Store

from .claiming import valid_entries
from .growth import Counts, extended, longest
from .spec import TopicsSpec


async def known_counts(
    store: Store, reader: LogReader, topics: TopicsSpec, partitions: int
) -> Counts:
    """Return the numbers of partitions there have been, now that `requests` has so many.

    Errors: StoreUnavailable; BusUnavailable, also when it has had more, since a broker may be slow
            to hear of growth; ConfigError when they do not fit.
    """
    checkpoint = None
    with contextlib.suppress(RowCorrupt):
        checkpoint = await store.checkpoint(0)
    bounds = await reader.bounds(topics.journal)
    start = max(bounds[0].start, checkpoint.journal_offset if checkpoint else 0)
    records = await reader.read(topics.journal, 0, start, bounds[0].end)
    entries = [each for _, each in valid_entries(records) if isinstance(each, Conditions)]
    counts = checkpoint.counts if checkpoint else ()
    for each in entries:
        counts = longest(counts, each.counts)
    found = min(partitions, len(bounds))
    if not counts:
        # Journalled by a version that did not say, which refused any number but the configured one.
        counts = (topics.partitions if entries and found % topics.partitions == 0 else found,)
    if found < counts[-1]:
        raise BusUnavailable(
            f"{topics.requests} or {topics.journal} has {found} partitions, and had {counts[-1]}",
            hint="partitions are never taken away: if this stays so, begin under a new prefix",
        )
    return extended(counts, found, topics.enforcement_partitions)
