"""Where a new owner begins."""

import asyncio

import msgspec
import pytest

from stream.bus import Bounds, MemoryPublisher, MemoryReader
from stream.events import Conditions
from stream.runtime import Place, Start, where_to_start
from stream.runtime.baselines import Baselines
from stream.runtime.takeover import take
from stream.store import Checkpoint, MemoryStore
from tests.estate import KEY, TOPICS, Estate, busy, stored

LAST = Conditions(nonce="a", era=0, from_offset=7, policy_hash="h", policy_text="{}")


def checkpoint(next_offset: int, topic_id: str) -> Checkpoint:
    """A checkpoint of the third era, which is of the log that began with the second."""
    return Checkpoint(
        next_offset=next_offset,
        journal_offset=0,
        topic_id=topic_id,
        era=3,
        check=0,
        version_offset=-1,
        version_ordinal=0,
        at_ms=0,
        log_era=2,
        fresh_era=1,
        check_offset=next_offset - 1,
    )


def place(bounds: Bounds) -> Place:
    """A partition whose log has these bounds."""
    return Place(0, bounds, "t", "requests", "journal", ("enforcement", 0), "w", "n")


@pytest.mark.parametrize(
    ("next_offset", "topic_id", "bounds", "expected"),
    [
        (50, "t", Bounds(0, 100), Start(50, 3, 2, 1, ())),
        (100, "t", Bounds(0, 100), Start(100, 3, 2, 1, ())),
        (101, "t", Bounds(0, 100), Start(0, 4, 4, 4, ("log_changed",))),
        (101, "t", Bounds(7, 7), Start(7, 4, 4, 4, ("log_changed",))),
        (50, "other", Bounds(0, 100), Start(0, 4, 4, 1, ("log_changed",))),
        (50, "", Bounds(0, 100), Start(50, 3, 2, 1, ())),
        (50, "t", Bounds(60, 100), Start(60, 4, 2, 1, ("log_cut",))),
    ],
)
def test_where_to_start(next_offset: int, topic_id: str, bounds: Bounds, expected: Start) -> None:
    """At the checkpoint, unless the log is another or no longer holds it: then said by name."""
    assert where_to_start(place(bounds), checkpoint(next_offset, topic_id), []) == expected


def test_a_log_cut_short_behind_the_checkpoint_begins_afresh() -> None:
    """Where it was cut nobody knows: what is left counts once more."""
    held = msgspec.structs.replace(checkpoint(50, "t"), check_offset=90)
    changed = Start(0, 4, 4, 4, ("log_changed",))
    assert where_to_start(place(Bounds(0, 80)), held, []) == changed
    assert where_to_start(place(Bounds(0, 91)), held, []) == Start(50, 3, 2, 1, ())


def test_an_older_copy_of_the_store_begins_afresh() -> None:
    """A checkpoint of an era before the journal's last is of a store that lost what came after."""
    later = msgspec.structs.replace(LAST, era=6, log_era=2)
    afresh = Start(0, 7, 2, 7, ("store_forgot",))
    assert where_to_start(place(Bounds(0, 80)), checkpoint(50, "t"), [later]) == afresh


@pytest.mark.parametrize(
    ("start", "era", "topic_id", "expected"),
    [
        (0, 0, "t", Start(0, 0, 0, 0, ("store_forgot",))),
        (2, 0, "t", Start(2, 1, 0, 1, ("store_forgot",))),
        (0, 5, "t", Start(0, 6, 4, 6, ("store_forgot",))),
        (0, 5, "other", Start(0, 6, 6, 6, ("log_changed",))),
    ],
)
def test_a_store_that_forgot_is_said_so(
    start: int, era: int, topic_id: str, expected: Start
) -> None:
    """Where the whole log is there, the same is decided again; else in an era of its own."""
    last = msgspec.structs.replace(LAST, era=era, log_era=max(0, era - 1), topic_id=topic_id)
    assert where_to_start(place(Bounds(start, 9)), None, [last]) == expected


def test_a_partition_that_nobody_had_begins_at_its_beginning() -> None:
    """Nothing stored and nothing journalled is a first start."""
    assert where_to_start(place(Bounds(2, 9)), None, []) == Start(2, 0, 0, 0, ())


def test_events_applied_between_the_question_and_the_claim_are_no_other_log() -> None:
    """Who asks for the log's end, and claims after another has gone on, begins where that ended."""
    payloads = busy(120, agents=31)
    estate = Estate()

    async def story() -> tuple[list[tuple[str, ...]], list[int], list[int]]:
        await estate.topics()
        await estate.feed(payloads[:60])
        store, publisher = MemoryStore(estate.server), MemoryPublisher(estate.log)
        reader = MemoryReader(estate.log)
        await reader.start()
        before = await reader.bounds(TOPICS.requests)
        await estate.feed(payloads[60:])
        async with estate.worker() as worker:
            await stored(worker, len(payloads))
        topic_id = estate.log.states([TOPICS.requests])[0].id
        taken = []
        for partition in range(TOPICS.partitions):
            asked = Place(
                partition, before[partition], topic_id, TOPICS.requests, TOPICS.journal,
                (TOPICS.enforcement, partition), "w", "another", (TOPICS.partitions,),
            )  # fmt: skip
            first = Conditions(
                nonce="", era=0, from_offset=0, policy_hash=estate.policy.hash,
                policy_text=estate.policy.text,
            )  # fmt: skip
            has = Baselines(KEY).has
            taken.append(await take(asked, store, reader, publisher, (first, has)))
        ends = await reader.bounds(TOPICS.requests)
        await reader.stop()
        return (
            [each.began_in for each in taken],
            [each.position for each in taken],
            [ends[partition].end for partition in range(TOPICS.partitions)],
        )

    modes, positions, ends = asyncio.run(story())
    assert modes == [()] * TOPICS.partitions
    assert positions == ends
