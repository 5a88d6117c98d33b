"""What topics hold that a session has made sure of when it began."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream.bus import Bounds, LogReader
from stream.errors import BusUnavailable, ConfigError


async def bounds_of(
    reader: LogReader, topic: str, partitions: Collection[int]
) -> Mapping[int, Bounds]:
    """Return what a topic holds, of these partitions at least.

    Errors: BusUnavailable, also where it is deleted under us: the next session makes it again.
    """
    try:
        found = await reader.bounds(topic)
    except ConfigError as error:
        raise BusUnavailable(f"{topic}: {error.message}") from error
    lost = sorted(set(partitions) - set(found))
    if lost:
        raise BusUnavailable(f"{topic}: it has no partition {lost[0]}")
    return found
