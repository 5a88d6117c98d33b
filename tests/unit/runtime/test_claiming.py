"""Whose journal entries count, and that an owner who is not heard there does not go on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from stream.bus import Bounds, MemoryPublisher, MemoryReader, Record
from stream.errors import BusUnavailable, ConfigError, OwnershipLost
from stream.events import Conditions, JournalEntry, Owner, Version, encode_entry
from stream.runtime import Place, valid_entries
from stream.runtime.claiming import append, check_journal, claim_above, say_so
from stream.runtime.owned import Owned
from stream.runtime.published import Published
from stream.runtime.takeover import journal
from stream.store import MemoryStore
from tests.estate import TOPICS, Estate


def owner(nonce: str, epoch: int) -> Owner:
    """A worker took the partition."""
    return Owner(nonce=nonce, epoch=epoch, checkpoint=0)


def conditions(nonce: str, from_offset: int) -> Conditions:
    """What a worker journalled."""
    return Conditions(
        nonce=nonce, era=0, from_offset=from_offset, policy_hash="h", policy_text="{}"
    )


def test_a_zombie_s_entries_do_not_count() -> None:
    """After the next owner's first entry, those of the earlier one are void, late owners too."""
    entries = [
        owner("a", 1),
        conditions("a", 0),
        owner("b", 2),
        conditions("a", 5),
        conditions("b", 7),
        owner("a", 1),
        conditions("a", 9),
        conditions("b", 11),
    ]
    log = [Record(0, at, 0, None, encode_entry(each)) for at, each in enumerate(entries)]
    log.insert(3, Record(0, 99, 0, None, b"{"))
    assert [offset for offset, _ in valid_entries(log)] == [0, 1, 2, 4, 7]


def test_a_journal_may_begin_in_the_middle() -> None:
    """Where retention has cut the head, the first entry names whose entries count."""
    log = [Record(0, 4, 0, None, encode_entry(conditions("a", 3)))]
    log.append(Record(0, 5, 0, None, encode_entry(conditions("z", 4))))
    assert [offset for offset, _ in valid_entries(log)] == [4]


@pytest.mark.parametrize("first", [0, 1, 3])
def test_a_late_owner_ends_nobody_wherever_reading_begins(first: int) -> None:
    """Conditions say whose epoch they are of, for who reads from behind the owner's entry."""
    entries: list[JournalEntry] = [
        owner("b", 6),
        msgspec.structs.replace(conditions("b", 0), epoch=6),
        owner("a", 5),
        msgspec.structs.replace(conditions("b", 7), epoch=6),
        conditions("a", 8),
    ]
    log = [Record(0, at, 0, None, encode_entry(each)) for at, each in enumerate(entries)]
    found = [offset for offset, _ in valid_entries(log[first:])]
    assert found == [each for each in (0, 1, 3) if each >= first]


class Gone(MemoryReader):
    """A reader of topics that have been deleted."""

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """Say so, as a broker does."""
        raise ConfigError(f"topic {topic} does not exist")


def test_a_journal_that_is_deleted_is_an_outage() -> None:
    """The next session makes it again; a mistake in the settings would end the worker."""
    with pytest.raises(BusUnavailable, match="does not exist"):
        asyncio.run(check_journal(Gone(Estate().log), TOPICS.journal, {0: mine(5, 0)}))


PLACE = Place(
    0, Bounds(0, 0), "t", TOPICS.requests, TOPICS.journal, (TOPICS.enforcement, 0), "w", "n"
)
Say = Callable[[JournalEntry], Awaitable[int]]
Tell = Callable[[MemoryStore, MemoryReader, MemoryPublisher, Say], Awaitable[None]]


def told(tell: Tell) -> None:
    """Run a story on an estate of its own."""

    async def whole() -> None:
        estate = Estate()
        await estate.topics()
        store, publisher = MemoryStore(estate.server), MemoryPublisher(estate.log)
        reader = MemoryReader(estate.log)
        await reader.start()
        await tell(store, reader, publisher, lambda entry: append(publisher, PLACE, entry))
        await reader.stop()

    asyncio.run(whole())


@pytest.mark.parametrize("epochs", [(1,), (1, 2), (7,), (3, 5, 9)])
def test_claims_that_the_store_forgot_are_claimed_above(epochs: tuple[int, ...]) -> None:
    """Also where they came into the journal after it was read for our claim."""

    async def tell(
        store: MemoryStore, reader: MemoryReader, publisher: MemoryPublisher, say: Say
    ) -> None:
        place, claim, records = await claim_above(PLACE, store, reader)
        assert (place.nonce, claim.epoch, records) == ("n", 1, [])
        for each in epochs:
            await say(owner(f"forgotten-{each}", each))
        place, claim, mine = await say_so(place, claim, records, store, (reader, publisher))
        assert (place.nonce, claim.epoch) == ("n-1", max(epochs) + 1)
        journal = await reader.read(TOPICS.journal, 0, 0, 99)
        last, entry = valid_entries(journal)[-1]
        assert (last, isinstance(entry, Owner) and entry.nonce) == (mine, "n-1")
        assert [each.offset for each in records] == [*range(mine)]
        # What we write counts: it is under the name that the journal has.
        await say(conditions("n-1", 0))
        assert len(valid_entries(await reader.read(TOPICS.journal, 0, 0, 99))) == len(epochs) + 2
        assert (await store.owner(0)) == "n-1"

    told(tell)


def test_one_who_is_heard_claims_once() -> None:
    """Owners of lower epochs before us, however late, make nobody claim again."""

    async def tell(
        store: MemoryStore, reader: MemoryReader, publisher: MemoryPublisher, say: Say
    ) -> None:
        for nonce in ("a", "b"):
            await store.claim(0, nonce, await store.owner(0))
        place, claim, records = await claim_above(PLACE, store, reader)
        await say(owner("b", 2))
        place, claim, mine = await say_so(place, claim, records, store, (reader, publisher))
        assert (place.nonce, claim.epoch, mine) == ("n", 3, 1)

    told(tell)


def mine(epoch: int, read: int) -> Owned:
    """The owner of the partition, of some epoch, who has read the journal so far."""
    return Owned(
        partition=0,
        nonce="n",
        epoch=epoch,
        number=0,
        position=0,
        replay_until=0,
        topic_id="t",
        conditions=conditions("n", 0),
        journal_offset=0,
        published=Published({}),
        coming=deque(),
        version=Version(0, -1),
        journal_read=read,
    )


def test_an_owner_lets_go_of_what_another_has_journalled() -> None:
    """Whose epoch is higher; zombies of lower ones, and what we wrote, end nobody."""

    async def tell(
        store: MemoryStore, reader: MemoryReader, publisher: MemoryPublisher, say: Say
    ) -> None:
        owned = mine(5, 1 + await say(owner("n", 5)))
        await say(conditions("n", 0))
        await say(owner("zombie", 4))
        await check_journal(reader, TOPICS.journal, {0: owned})
        assert owned.journal_read == 3
        await say(owner("forgotten", 7))
        await say(conditions("n", 9))
        with pytest.raises(OwnershipLost, match=r"epoch 7, ours is epoch 5"):
            await check_journal(reader, TOPICS.journal, {0: owned})
        held, read = {0: owned}, reader.read

        async def let_go_meanwhile(*asked: Any) -> list[Record]:
            held.clear()
            return await read(*asked)

        reader.read = let_go_meanwhile
        await check_journal(reader, TOPICS.journal, held)

    told(tell)


def test_only_what_stands_before_our_own_entry_is_to_be_read() -> None:
    """Where nothing does, nobody had the partition as it came in, and it need not be read back."""

    async def tell(
        store: MemoryStore, reader: MemoryReader, publisher: MemoryPublisher, say: Say
    ) -> None:
        owned = mine(5, 1 + await say(owner("n", 5)))
        await journal(publisher, TOPICS.journal, owned, conditions("n", 0))
        assert owned.journal_read == 2 > owned.journal_offset
        await say(owner("forgotten", 7))
        await journal(publisher, TOPICS.journal, owned, conditions("n", 0))
        assert owned.journal_read < owned.journal_offset
        with pytest.raises(OwnershipLost, match=r"epoch 7, ours is epoch 5"):
            await check_journal(reader, TOPICS.journal, {0: owned})

    told(tell)


def test_an_entry_of_a_newer_version_is_another_owner_s() -> None:
    """A worker of before an upgrade lets go of that partition, and goes on with the others."""

    async def tell(
        store: MemoryStore, reader: MemoryReader, publisher: MemoryPublisher, say: Say
    ) -> None:
        owned = mine(5, 1 + await say(owner("n", 5)))
        entry = encode_entry(owner("newer", 6)).replace(b'"format":1', b'"format":99')
        await (await publisher.send(TOPICS.journal, b"newer", entry, 0))
        with pytest.raises(OwnershipLost, match="newer format"):
            await check_journal(reader, TOPICS.journal, {0: owned})

    told(tell)


def test_a_journal_that_is_gone_is_an_outage() -> None:
    """A topic that is being made anew has no partitions yet."""

    async def tell(
        store: MemoryStore, reader: MemoryReader, publisher: MemoryPublisher, say: Say
    ) -> None:
        owned = mine(5, 0)
        owned.partition = 99
        with pytest.raises(BusUnavailable, match="99"):
            await check_journal(reader, TOPICS.journal, {99: owned})

    told(tell)
