"""A worker whose trust domains come to be full: what is stored, who is refused, who goes on."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from stream.events import (
    Conditions,
    DeadLetter,
    Full,
    Growth,
    InForce,
    Request,
    decode_entry,
    decode_request,
    encode_request,
    with_full,
)
from stream.runtime import Start, WorkerSpec
from stream.runtime.baselines import with_baseline
from stream.runtime.entries import in_era
from stream.runtime.growth import with_counts
from stream.runtime.owned import Owned
from stream.runtime.published import Published
from stream.runtime.room import full_of, is_closing
from stream.runtime.saving import Snapshot, _parts
from stream.store import OTHERS, Checkpoint
from tests.estate import TOPICS, Estate, stored
from tests.flood import NAMES, START_MS, flood, profile, quiet_profiles
from tests.live import KEY, wait_until
from tests.stores import CHECKPOINT

ROWS_MAX, BATCH = 20, 25
PLAIN = Conditions(nonce="n", era=3, from_offset=5, policy_hash="h", policy_text="{}")


def events(numbers: range, domain: str, at_ms: int = START_MS) -> list[bytes]:
    """One event of each of some workloads of a trust domain."""
    return [
        encode_request(
            Request(at_ms=at_ms, workload=f"spiffe://{domain}/agents/n{each}", operation="tool:x")
        )
        for each in numbers
    ]


def letters(estate: Estate) -> list[DeadLetter]:
    """What lies at the dead letters."""
    return [
        msgspec.json.decode(each, type=DeadLetter) for each in estate.values(TOPICS.dead_letters)
    ]


def rows(estate: Estate) -> dict[int, bytes]:
    """All stored rows."""
    parts = estate.server.partitions.values()
    return {row_id: row for part in parts for row_id, row in part.rows.items()}


def stored_of(estate: Estate, domain: str) -> int:
    """How many rows of a trust domain are stored, as they are counted."""
    return sum(each.domains.get(KEY.hash(domain), 0) for each in estate.server.partitions.values())


def test_a_flood_of_one_trust_domain_is_bounded_in_the_store() -> None:
    """Its rows end at the limit, the rest are letters; others come, profiles are as without it."""
    estate = Estate()
    count = 3_000

    async def full() -> bool:
        return "enforcer_partitions_full 6.0" in estate.metrics.text().decode()

    async def story() -> None:
        await estate.topics()
        limits = {"stored_rows_max": ROWS_MAX, "batch_events_max": BATCH}
        async with estate.worker(slots_max=512, **limits) as worker:
            await estate.feed(events(range(12), "first.example"))
            await stored(worker, 12)
            await estate.feed(flood(0, count))
            await stored(worker, 12 + count * 21 // 20)
            await estate.feed(events(range(30), "later.example"))
            await stored(worker, 12 + count * 21 // 20 + 30)

    asyncio.run(story())
    found = letters(estate)
    assert {each.code for each in found} == {"domain_full"}
    assert "hostile.example has no room" in found[0].message
    assert stored_of(estate, "hostile.example") <= TOPICS.partitions * (ROWS_MAX + BATCH)
    assert stored_of(estate, "hostile.example") + len(found) == count
    assert stored_of(estate, "later.example") == 30
    assert len(rows(estate)) == 12 + count - len(found) + len(NAMES) + 30
    mine = {
        each: profile(KEY, estate.policy, each, rows(estate)[KEY.hash(each)], 6) for each in NAMES
    }
    assert mine == quiet_profiles(KEY, estate.policy, count // 20)
    text = estate.metrics.text().decode()
    assert f'enforcer_rejects_total{{code="domain_full"}} {len(found)}.0' in text


def test_events_are_counted_or_refused_whoever_comes_and_goes() -> None:
    """Workers that take over from each other in the flood: an event is in a row or a letter."""
    estate = Estate()

    async def story() -> None:
        await estate.topics()
        sent = 0
        for place in range(4):
            limits = {"stored_rows_max": ROWS_MAX, "batch_events_max": BATCH}
            async with estate.worker(**limits) as worker:
                if place == 0:
                    await estate.feed(events(range(12), "first.example"))
                await stored(worker, sent + 12)
                part = events(range(sent // 2, sent // 2 + 300), "flood.example")
                await estate.feed(part)
                await estate.feed(part)
                sent += 600
                # What waits is left to the next one, but for the last.
                await stored(worker, sent + 12 - (200 if place < 3 else 0))

    asyncio.run(story())
    refused = Counter(decode_request(each.payload()).workload for each in letters(estate))
    there = rows(estate)
    for each in range(1_200):
        name = f"spiffe://flood.example/agents/n{each}"
        assert refused[name] == (0 if KEY.hash(name) in there else 2), name
    assert len(there) < 12 + 6 * (ROWS_MAX + BATCH)


def test_there_is_room_again_once_rows_are_forgotten() -> None:
    """Idle rows are deleted at journalled ticks; then new workloads are admitted, as journalled."""
    estate = Estate()
    old_ms = START_MS - 30 * 86_400_000

    async def story() -> None:
        await estate.topics()
        limits = {"stored_rows_max": ROWS_MAX, "batch_events_max": BATCH}
        async with estate.worker(**limits) as worker:
            await estate.feed(events(range(30), "tick.example"))
            await stored(worker, 30)
            await estate.feed(events(range(600), "old.example", old_ms))
            await stored(worker, 630)
        assert len(letters(estate)) > 200
        assert all(each.full for each in in_force(estate))
        async with estate.worker(sweep_every_ms=256, **limits) as worker:
            await estate.feed(events(range(30), "tick.example"))

            async def ask() -> tuple[int, int]:
                full = sum(bool(each.full) for each in in_force(estate))
                return stored_of(estate, "old.example"), full

            await wait_until(ask, lambda found: found == (0, 0))
            before = len(letters(estate))
            await estate.feed(events(range(30), "old.example"))
            await stored(worker, 690)
            assert len(letters(estate)) == before
        assert stored_of(estate, "old.example") == 30

    asyncio.run(story())


def test_a_flood_that_is_refused_drives_nobody_out_of_memory() -> None:
    """With far more names than slots, those who have rows are loaded once and stay."""
    estate = Estate()

    async def story() -> None:
        await estate.topics()
        limits = {"slots_max": 128, "stored_rows_max": 10, "batch_events_max": 100}
        async with estate.worker(**limits) as worker:
            await estate.feed(events(range(90), "hostile.example"))
            await stored(worker, 90)
            before = len(letters(estate))
            await estate.feed(events(range(90, 3_000), "hostile.example"))
            await stored(worker, 3_000)
            assert len(letters(estate)) - before == 2_910
        text = estate.metrics.text().decode()
        assert "enforcer_rows_evicted_total 0.0" in text

    asyncio.run(story())


def in_force(estate: Estate) -> list[Conditions]:
    """The latest conditions of each partition."""
    found = []
    for part in estate.log.partitions(TOPICS.journal):
        entries = [decode_entry(each.value or b"") for each in part.records]
        found += [each for each in entries if isinstance(each, Conditions)][-1:]
    return found


def owned(domains: dict[int, int], full: Full | None = None, fresh: dict[int, int] | None = None):
    """A partition in which so many rows are stored, and so many are not yet."""
    return Owned(
        partition=0, nonce="n", epoch=1, number=0, position=9, replay_until=0, topic_id="",
        conditions=with_full(PLAIN, full) if full else PLAIN, journal_offset=0,
        published=Published({}), coming=[], version=None,
        domains=domains, fresh=Counter(fresh or {}),
    )  # fmt: skip


def hashes(*domains: int) -> tuple[str, ...]:
    """Trust domains as the journal names them."""
    return tuple(f"{each:016x}" for each in domains)


SPEC = WorkerSpec(stored_rows_max=10, stored_domains_max=4)


@pytest.mark.parametrize(
    ("domains", "full", "fresh", "expected"),
    [
        ({7: 9}, None, {}, None),
        ({7: 10}, None, {}, Full(hashes(7))),
        ({7: 4}, None, {7: 6, 8: 1}, Full(hashes(7))),
        ({7: 9}, Full(hashes(7)), {}, Full(hashes(7))),
        ({7: 8}, Full(hashes(7)), {}, None),
        ({7: 8, 8: 10}, Full(hashes(7)), {}, Full(hashes(8))),
        ({7: 1, 8: 2, 9: 3}, None, {}, None),
        ({7: 1, 8: 2, 9: 3}, None, {5: 1}, Full((), hashes(5, 7, 8, 9))),
        ({7: 1, 8: 2, 9: 3, OTHERS: 9}, None, {}, Full((), hashes(7, 8, 9))),
        ({1: 1, 2: 2, 3: 3, 4: 4, 5: 10, 6: 99}, None, {}, Full(hashes(5, 6), hashes(3, 4, 5, 6))),
        ({7: 1, 8: 2, 9: 3, 5: 1}, Full((), hashes(5, 7)), {}, Full((), hashes(5, 7))),
        ({7: 1, 8: 2, 9: 3}, Full((), hashes(5, 7)), {}, None),
        ({}, Full(hashes(7), hashes(7)), {}, None),
    ],
)
def test_who_is_full(
    domains: dict[int, int], full: Full | None, fresh: dict[int, int], expected: Full | None
) -> None:
    """At the limit, what is not stored yet included; again room under nine tenths."""
    assert full_of(owned(domains, full, fresh), SPEC) == expected


def test_only_what_closes_is_urgent() -> None:
    """What opens can wait for the next look."""
    assert is_closing(owned({7: 10}), SPEC)
    assert is_closing(owned({7: 10, 8: 10}, Full(hashes(7))), SPEC)
    assert is_closing(owned(dict.fromkeys(range(1, 5), 1)), SPEC)
    assert not is_closing(owned({7: 10}, Full(hashes(7))), SPEC)
    assert not is_closing(owned({7: 1}, Full(hashes(7))), SPEC)
    assert not is_closing(owned({}), SPEC)


def test_only_entries_that_say_who_is_full_have_the_new_format() -> None:
    """A version without caps reads all others, and must not misread these."""
    full = with_full(PLAIN, Full(hashes(7)))
    assert (PLAIN.format, full.format) == (1, 3)
    assert with_full(full, None) == PLAIN
    grown = with_counts(full, (2, 4))
    assert (grown.format, grown.full, grown.growth) == (3, full.full, Growth((2, 4)))
    assert with_full(grown, None).format == 2
    assert with_counts(full, (2,)).format == 3
    learned = with_baseline(PLAIN, InForce("v"))
    both = with_full(with_counts(learned, (2, 4)), Full(hashes(7)))
    assert (both.format, with_full(both, None)) == (3, with_counts(learned, (2, 4)))
    assert with_full(both, None).format == 3, "who knows no baselines must not read it"


def test_who_was_full_among_rows_that_are_gone_is_not() -> None:
    """Where the store forgot, an era begins in which rows are counted from nothing."""
    full = with_full(PLAIN, Full(hashes(7)))
    assert not in_era(full, Start(0, 4, 0, 4, ())).full
    assert in_era(full, Start(0, 4, 0, 3, ())).full == full.full
    assert in_era(full, Start(9, 3, 3, 3, ())).full == full.full


def test_a_row_that_came_back_outlives_that_it_was_to_be_forgotten() -> None:
    """Also where a save is cut into calls: what is forgotten goes before all rows."""
    snapshot = Snapshot(
        owned=owned({}), slots=None, rows=[(each, b"row") for each in range(9_000)], records={},
        names={}, domains={5: 7}, fresh=Counter(), gone=[], forget=[5], outputs=[],
        checkpoint=CHECKPOINT, position=0,
    )  # fmt: skip
    parts = _parts(snapshot)
    assert len(parts) > 2
    forgets = [place for place, each in enumerate(parts) if each.forget]
    writes = [place for place, each in enumerate(parts) if 5 in dict(each.rows)]
    assert max(forgets) < min(writes)
    assert [each.domains for each in parts if each.domains] == [[(5, 7)]]
    assert isinstance(parts[-1].checkpoint, Checkpoint)
