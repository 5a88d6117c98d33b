"""A log read through in pieces costs what it holds, not how wide it is."""

import asyncio
from typing import Any

from stream.bus import Record, read_through

HELD = (3, 4, 5, 2_000_000_000)
END = 4_000_000_000


class Reader:
    """A log of which compaction has left little."""

    def __init__(self) -> None:
        self.calls = 0

    async def read_some(
        self, topic: str, partition: int, start: int, end: int, records_max: int
    ) -> tuple[list[Record], int]:
        """The first records of a range, and where to go on."""
        self.calls += 1
        found = [Record(partition, each, 0, b"k", b"v") for each in HELD if start <= each < end]
        some = found[:records_max]
        return some, end if len(found) <= records_max else some[-1].offset + 1


def test_gaps_cost_nothing() -> None:
    """All records, in order, at most so many at a time, and a call for each piece alone."""
    for records_max, calls in ((2, 2), (3, 2), (10_000, 1)):
        reader: Any = Reader()

        async def pieces(reader: Any, records_max: int) -> list[list[int]]:
            span = 3, END
            read = read_through(reader, "enforcement", 0, span, records_max)
            return [[each.offset for each in some] async for some in read]

        found = asyncio.run(pieces(reader, records_max))
        assert [each for some in found for each in some] == list(HELD)
        assert max(map(len, found)) <= records_max
        assert reader.calls == calls


def test_an_empty_range_asks_nobody() -> None:
    """Nothing is read between an offset and itself."""
    reader: Any = Reader()

    async def read() -> list[Any]:
        return [each async for each in read_through(reader, "enforcement", 0, (5, 5))]

    assert asyncio.run(read()) == []
    assert reader.calls == 0
