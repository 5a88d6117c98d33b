"""What is planned is journalled ahead: no event waits for it, and none passes it unjournalled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest

from benchmarks.bugs import BUGS, planted
from stream.bus import Publisher
from stream.events import Conditions, InForce, decode_entry
from stream.policy import load_policy
from stream.runtime import SystemClock, Worker, journalling, paces
from stream.runtime.journalling import is_planned
from stream.runtime.owned import Owned
from stream.runtime.paces import AHEAD_EVENTS_MAX, Paces
from tests.estate import TOPICS, Estate, busy
from tests.live import wait_until
from tests.unit.runtime.test_operators import act, said
from tests.unit.runtime.test_owned import conditions, owned

TEXT = """
name: other
rules:
- name: many
  limit: {measure: requests, at_most: 3, per: 10s}
  action: throttle
  rate: 1/s
  for: 10s
  mode: enforce
"""
POLICY = load_policy(TEXT, "other")
PARTITION = 0  # has half of the events below
AT_ONCE, EVERY_S = 20, 0.002


def entries_of(estate: Estate, partition: int) -> list[Conditions]:
    """What the journal says of a partition, in its order."""
    records = estate.log.partitions(TOPICS.journal)[partition].records
    entries = [decode_entry(each.value or b"") for each in records]
    return [each for each in entries if isinstance(each, Conditions)]


def held(worker: Worker, partition: int = PARTITION) -> Owned:
    """A partition of a worker that has them all."""
    assert worker._session is not None
    return worker._session.owned[partition]


class Journal:
    """Holds back the journal's acknowledgements of what is planned until told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        append = journalling.append_entries

        async def held_back(
            publisher: Publisher, topic: str, owned: Owned, entries: Sequence[Conditions]
        ) -> list[int]:
            offsets = await append(publisher, topic, owned, entries)
            self.asked.set()
            await self.go.wait()
            return offsets

        monkeypatch.setattr(journalling, "append_entries", held_back)


async def fed(estate: Estate, until: asyncio.Event) -> None:
    """Feed events at a pace, until told or until there are many."""
    events = busy(4_000, 12)
    for place in range(0, len(events), AT_ONCE):
        if until.is_set():
            return
        await estate.feed(events[place : place + AT_ONCE])
        await asyncio.sleep(AT_ONCE * EVERY_S)


async def nothing_more() -> None:
    """What mostly follows."""


def told(
    estate: Estate,
    story: Callable[[Worker, asyncio.Event], Awaitable[None]],
    then: Callable[[], Awaitable[None]] = nothing_more,
) -> None:
    """Let a worker run under a steady load, and a story be told of it; what follows it."""

    async def tell() -> None:
        await estate.topics()
        enough = asyncio.Event()
        async with estate.worker(look_every_ms=20) as worker:
            feeding = asyncio.create_task(fed(estate, enough))
            await wait_until(lambda: _begun(worker), bool)
            await story(worker, enough)
            enough.set()
            await feeding
        await then()

    asyncio.run(tell())


async def _begun(worker: Worker) -> bool:
    # For long enough that how fast events come is known.
    return bool(worker._session and worker._session.owned) and held(worker).position > 100


async def at(worker: Worker) -> int:
    """Where the partition is."""
    return held(worker).position


async def hash_of(worker: Worker) -> str:
    """Which policy is in force in the partition."""
    return held(worker).conditions.policy_hash


def test_events_go_on_while_the_journal_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the offset that was asked for and no further; there the new policy holds."""
    estate = Estate()

    async def story(worker: Worker, enough: asyncio.Event) -> None:
        journal = Journal(monkeypatch)
        worker.reload(POLICY)
        await asyncio.wait_for(journal.asked.wait(), 10)
        one = held(worker)
        entry = entries_of(estate, PARTITION)[-1]
        assert entry.policy_hash == POLICY.hash != one.conditions.policy_hash
        assert one.position < entry.from_offset
        await wait_until(lambda: at(worker), lambda place: place == entry.from_offset)
        await asyncio.sleep(0.1)
        log = estate.log.partitions(TOPICS.requests)[PARTITION]
        assert one.position == entry.from_offset < log.end
        assert one.conditions.policy_hash != POLICY.hash
        journal.go.set()
        await wait_until(lambda: at(worker), lambda place: place > entry.from_offset)
        assert one.conditions == entry

    told(estate, story)


def test_where_no_event_comes_it_holds_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """From where the partition is; the offset that is never reached says the same."""
    monkeypatch.setattr(paces, "AHEAD_S", 30.0)
    estate = Estate()

    async def story(worker: Worker, enough: asyncio.Event) -> None:
        journal = Journal(monkeypatch)
        worker.reload(POLICY)
        await asyncio.wait_for(journal.asked.wait(), 10)
        enough.set()
        journal.go.set()
        await wait_until(lambda: hash_of(worker), lambda held: held == POLICY.hash)
        ahead, again, now = entries_of(estate, PARTITION)[-3:]
        assert now.from_offset == held(worker).position < again.from_offset == ahead.from_offset
        assert again == msgspec.structs.replace(now, from_offset=ahead.from_offset)

    told(estate, story)


def test_what_an_operator_says_does_not_wait_for_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds at once, and from where the plan would have held, too."""
    monkeypatch.setattr(paces, "AHEAD_S", 30.0)
    monkeypatch.setattr(journalling, "LATE_S", 600.0)
    estate = Estate()

    async def story(worker: Worker, enough: asyncio.Event) -> None:
        worker.reload(POLICY)
        one = held(worker)
        await wait_until(lambda: _coming(one), bool)
        over_ms = SystemClock().wall_ms() + 3_600_000
        assert worker._session is not None
        worker._session.operators.apply(said("", act("stop", until_ms=over_ms)))
        await wait_until(lambda: _stopped(one), bool)
        assert not one.coming
        assert one.conditions.policy_hash == POLICY.hash
        again, now = entries_of(estate, PARTITION)[-2:]
        assert now.stopped_until_ms == again.stopped_until_ms == over_ms
        assert [again.from_offset] == one.later
        assert now.from_offset < again.from_offset

    told(estate, story)


async def _coming(one: Owned) -> int:
    return len(one.coming)


async def _stopped(one: Owned) -> int:
    return one.conditions.stopped_until_ms


def test_an_heir_carries_out_what_was_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was never told of the other policy finds it in the journal, for an offset far ahead."""
    monkeypatch.setattr(paces, "AHEAD_S", 30.0)
    monkeypatch.setattr(journalling, "LATE_S", 600.0)
    estate = Estate()

    async def story(worker: Worker, enough: asyncio.Event) -> None:
        worker.reload(POLICY)
        await wait_until(lambda: _coming(held(worker)), bool)
        enough.set()
        assert held(worker).conditions.policy_hash != POLICY.hash

    async def go_on() -> None:
        planned = entries_of(estate, PARTITION)[-1]
        log = estate.log.partitions(TOPICS.requests)[PARTITION]
        assert planned.from_offset > log.end
        async with estate.worker() as heir:
            await wait_until(lambda: _hash_of_all(heir), lambda hashes: hashes == {POLICY.hash})
        ahead, now = entries_of(estate, PARTITION)[-2:]
        assert (ahead.from_offset, now.policy_hash) == (planned.from_offset, POLICY.hash)
        assert now.from_offset <= log.end

    told(estate, story, go_on)


async def _hash_of_all(worker: Worker) -> set[str]:
    owned = worker._session.owned.values() if worker._session else ()
    return {each.conditions.policy_hash for each in owned}


def test_an_heir_waits_for_no_event_that_never_came() -> None:
    """What was journalled for an offset behind the log's end is no matter of what was applied."""
    assert owned((40, 6)).is_settled
    assert not owned((10, 6)).is_settled
    assert owned((40, 6)).later == [40]
    assert owned((40, 6)).limit() == 40


def test_no_event_passes_what_is_not_journalled() -> None:
    """Until it is acknowledged no event is applied from there on; with the bug planted they are."""
    one = owned()
    assert one.limit() is None
    one.ask(conditions(20), by_s=0.0)
    assert one.limit() == 20
    assert one.later == [20]
    with planted(next(each for each in BUGS if each.name == "ahead-unwaited")):
        assert one.limit() is None
    one.give_up_coming()
    assert one.limit() is None


def test_only_what_somebody_planned_is_planned() -> None:
    """Another policy, another baseline; not that detectors are shed, nor anything beside."""
    held = conditions(10)
    one = InForce("ab", "", 7)
    assert is_planned(held, msgspec.structs.replace(held, policy_hash="x", policy_text="y"))
    assert is_planned(held, msgspec.structs.replace(held, baseline=one))
    shed = msgspec.structs.replace(one, shed="behind")
    assert not is_planned(held, msgspec.structs.replace(held, baseline=shed))
    both = msgspec.structs.replace(held, baseline=one, stopped_until_ms=1)
    assert not is_planned(held, both)
    assert not is_planned(held, held)


def test_a_pace_is_of_one_owner_and_bounded() -> None:
    """Nothing is known of a partition that was not there at the look before."""
    look, one, two = Paces(), owned(), owned()
    look.look([one], 1.0)
    assert look.ahead(one) == 0
    one.position += 100
    look.look([one], 2.0)
    assert look.ahead(one) == 31
    look.look([one], 3.0)
    assert look.ahead(one) == 0
    two.position += 100
    look.look([two], 4.0)
    assert look.ahead(two) == 0
    two.position += 1 << 40
    look.look([two], 5.0)
    assert look.ahead(two) == AHEAD_EVENTS_MAX
