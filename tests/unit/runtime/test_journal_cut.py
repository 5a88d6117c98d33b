"""Retention took the journal's entry in force: a new era, said by name, and no row forgets."""

from __future__ import annotations

import asyncio

from stream.events import Conditions, decode_entry
from tests.estate import TOPICS, Estate, busy, stored
from tests.live import differences, events_in


def test_a_journal_that_was_cut_begins_an_era() -> None:
    """What held is not known any more, so decisions may differ; what was counted stays counted."""
    payloads = busy(900, agents=41)
    estate = Estate()

    async def story() -> tuple[list[bytes], dict[int, bytes]]:
        await estate.topics()
        async with estate.worker() as worker:
            await estate.feed(payloads[:500])
            await stored(worker, 500)
        for partition, part in enumerate(estate.log.partitions(TOPICS.journal)):
            assert part.end > 0
            estate.log.cut(TOPICS.journal, partition, part.end)
        async with estate.worker() as worker:
            await estate.feed(payloads[500:])
            await stored(worker, len(payloads))
            shown = estate.metrics.text().decode()
        assert f'enforcer_modes_total{{mode="journal_cut"}} {TOPICS.partitions}.0' in shown
        return estate.bodies(), await estate.rows()

    bodies, rows = asyncio.run(story())
    expected, images = estate.replayed(payloads)
    assert differences(bodies, expected) == ""
    # Beside the era, which is another.
    assert {each: events_in(row) for each, row in rows.items()} == {
        each: events_in(row) for each, row in images.items()
    }
    for part in estate.log.partitions(TOPICS.journal):
        entries = [decode_entry(each.value or b"") for each in part.records]
        found = [each for each in entries if isinstance(each, Conditions)]
        assert [(each.era, each.modes) for each in found] == [(1, ("journal_cut",))]
