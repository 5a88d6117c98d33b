"""`baseline learn --live` in parts: where reading begins, and by how many partitions it judges."""

from __future__ import annotations

import asyncio

import pytest

from stream.bus import Bounds, MemoryLog, MemoryReader, TopicSpec
from stream.cli.baseline_lesson import (
    LOOK_OFFSETS,
    READ_OFFSETS,
    Range,
    _counts,
    _first_since,
    _pieces,
)
from stream.events import Conditions, Growth
from tests.buses import WallClock


def conditions(from_offset: int, era: int, *counts: int) -> Conditions:
    """What holds from an offset on, under so many partitions."""
    grown = {"growth": Growth(counts)} if counts else {}
    return Conditions(
        nonce="n", era=era, from_offset=from_offset, policy_hash="h", policy_text="", **grown
    )


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ((), [(0, 6)]),
        ((conditions(0, 0), conditions(50, 0)), [(0, 6)]),
        ((conditions(0, 0), conditions(90, 0, 6, 12)), [(0, 6), (90, 12)]),
        # An heir went back to 80, and was of twelve there.
        (
            (conditions(0, 0), conditions(90, 0, 6, 12), conditions(80, 1, 6, 12)),
            [(0, 6), (80, 12)],
        ),
        ((conditions(0, 3, 6, 12),), [(0, 12)]),
    ],
)
def test_how_many_partitions_there_were(
    held: tuple[Conditions, ...], expected: list[tuple[int, int]]
) -> None:
    """As the journal has it; without a growth as many as at first."""
    assert _counts(held, 6) == expected


def test_a_range_is_read_in_pieces_each_under_one_number_of_partitions() -> None:
    """Nothing is left out, nothing comes twice, also where growth lies outside."""
    counts = [(0, 6), (90, 12), (95, 24)]
    assert _pieces(Range(0, 10, 100), counts) == [(10, 90, 6), (90, 95, 12), (95, 100, 24)]
    assert _pieces(Range(0, 92, 94), counts) == [(92, 94, 12)]
    assert _pieces(Range(0, 10, 20), counts) == [(10, 20, 6)]
    assert _pieces(Range(0, 7, 7), counts) == []
    long = _pieces(Range(0, 0, 2 * READ_OFFSETS + 5), [(0, 6)])
    assert [end - start for start, end, _ in long] == [READ_OFFSETS, READ_OFFSETS, 5]


@pytest.mark.parametrize("since_ms", [0, 1, 499, 500, 999, 5_000])
def test_reading_begins_where_records_are_young_enough(since_ms: int) -> None:
    """Not later, and hardly earlier; of a shortened log too."""
    clock = WallClock()
    log = MemoryLog(clock)
    log.create(TopicSpec(name="t", partitions=1), {})
    for at_ms in range(1_000):
        clock.at_ms = at_ms
        log.append("t", 0, b"k", b"v")
    log.cut("t", 0, 100)

    async def found() -> int:
        reader = MemoryReader(log)
        await reader.start()
        start = await _first_since(reader, ("t", 0), Bounds(100, 1_000), since_ms)
        await reader.stop()
        return start

    wanted = min(max(100, since_ms), 1_000)
    assert wanted - LOOK_OFFSETS <= asyncio.run(found()) <= wanted
