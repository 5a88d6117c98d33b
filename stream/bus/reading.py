"""Reading a range of a log through, in pieces that fit in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from .contract import LogReader, Record

RECORDS_AT_ONCE: Final = 10_000


async def read_through(
    reader: LogReader,
    topic: str,
    partition: int,
    span: tuple[int, int],
    records_max: int = RECORDS_AT_ONCE,
) -> AsyncGenerator[list[Record], None]:
    """Yield the records that the log holds now between two offsets, at most so many at a time.

    Not by offsets: a compacted log of a year is little but gaps. Errors: BusUnavailable.
    """
    offset, end = span
    while offset < end:
        records, offset = await reader.read_some(topic, partition, offset, end, records_max)
        yield records
