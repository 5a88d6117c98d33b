"""What a new partition begins with, over every store there is: born once, by its parent's owner."""

import msgspec
import pytest

from stream.errors import OwnershipLost
from stream.store import Bequest, Birth, Fence, Grown, Store, StoreForgot
from tests.stores import CHECKPOINT, Lab, play, save, take_over

BIRTH = msgspec.structs.replace(
    CHECKPOINT, format=2, next_offset=0, growth=Grown((2, 4), Birth(1, 0, 7, 3))
)
RECORDS = {b"key-%d" % each: b"value" * each for each in range(2_600)}


def birth(number: int, nonce: str = "a", **what: object) -> Bequest:
    """All of a bequest from partition 1 to 3."""
    whole = Bequest(Fence(nonce, 1, number), 3, {}, begins=True, checkpoint=BIRTH)
    return whole._replace(**what)


def grown(*stores: Store) -> None:
    """Let stores know that there were two partitions at first."""
    for each in stores:
        each.first_partitions = 2


def test_a_child_is_born_with_records_and_rows(lab: Lab) -> None:
    """It finds what its parent gave it, in parts, and the rows that lay there before."""

    async def scene(parent: Store, child: Store) -> None:
        grown(parent, child)
        await take_over(parent, 1, "a")
        await parent.save(1, save(0, rows=[(5, b"row")], names={9: "n"}))
        keys = list(RECORDS)
        first = {key: RECORDS[key] for key in keys[:2_000]}
        rest = {key: RECORDS[key] for key in keys[2_000:]}
        assert await parent.bequeath(1, birth(1, records=first, checkpoint=None)) == "written"
        assert await child.checkpoint(3) is None
        last = birth(2, records=rest, begins=False, records_all=len(RECORDS))
        assert await parent.bequeath(1, last) == "written"
        claim = await take_over(child, 3, "b")
        assert (claim.number, claim.checkpoint, claim.records) == (0, BIRTH, RECORDS)
        assert await child.load(3, [5], Fence("b", claim.epoch, 0)) == [b"row"]
        assert await child.names(3, [9]) == {9: "n"}
        assert await child.scan(3, 0) == [(5, b"row")]
        await child.save(3, save(0, "b", rows=[(5, b"later")], checkpoint=CHECKPOINT))
        assert await parent.save(1, save(3)) == 4
        assert await parent.load(1, [5]) == [b"later"]
        assert await parent.checkpoint(1) is None
        assert (await take_over(parent, 1, "c")).records == {}

    play(lab, scene)


def test_a_birth_is_given_once(lab: Lab) -> None:
    """Again it changes nothing, and is no write; a lost reply is recognised."""

    async def scene(store: Store) -> None:
        grown(store)
        await take_over(store, 1, "a")
        assert await store.bequeath(1, birth(0, records={b"k": b"v"}, records_all=1)) == "written"
        assert await store.bequeath(1, birth(0, records={b"k": b"v"}, records_all=1)) == "written"
        assert await store.bequeath(1, birth(1)) == "born"
        assert await store.save(1, save(1)) == 2
        assert (await take_over(store, 3, "b")).records == {b"k": b"v"}

    play(lab, scene)


def test_no_child_is_born_with_less_than_all(lab: Lab) -> None:
    """Records missing, or left from before: nothing is written, and all may be written again."""

    async def scene(store: Store) -> None:
        grown(store)
        await take_over(store, 1, "a")
        left = birth(0, records={b"old": b"v"}, checkpoint=None)
        assert await store.bequeath(1, left) == "written"
        more = birth(1, records={b"new": b"v"}, begins=False, records_all=1)
        assert await store.bequeath(1, more) == "incomplete"
        assert await store.checkpoint(3) is None
        again = birth(1, records={b"new": b"v"}, records_all=1)
        assert await store.bequeath(1, again) == "written"
        assert (await take_over(store, 3, "b")).records == {b"new": b"v"}

    play(lab, scene)


def test_only_the_parent_s_owner_gives(lab: Lab) -> None:
    """One that was replaced, or knows a later write, is refused and gives nothing."""

    async def scene(old: Store, new: Store) -> None:
        grown(old, new)
        await take_over(old, 1, "a")
        await take_over(new, 1, "b")
        with pytest.raises(OwnershipLost) as caught:
            await old.bequeath(1, birth(0))
        assert type(caught.value) is OwnershipLost
        with pytest.raises(StoreForgot):
            await new.bequeath(1, birth(4, "b"))
        assert await new.checkpoint(3) is None

    play(lab, scene)


def test_a_store_from_before_the_birth_is_noticed(lab: Lab) -> None:
    """Its parent's owner knows a later write, and its own owner a claim that is not there."""

    async def scene(parent: Store, child: Store) -> None:
        grown(parent, child)
        await take_over(parent, 1, "a")
        await parent.save(1, save(0))
        image = lab.image()
        assert await parent.bequeath(1, birth(1)) == "written"
        await take_over(child, 3, "b")
        lab.restore(image)
        with pytest.raises(StoreForgot):
            await parent.load(1, [], Fence("a", 1, 2))
        with pytest.raises(StoreForgot):
            await child.load(3, [], Fence("b", 1, 0))
        assert await child.checkpoint(3) is None

    play(lab, scene)


def test_nobody_owns_what_was_not_born(lab: Lab) -> None:
    """A claim that comes late, at a store that forgot, makes no room for a save that does."""

    async def scene(parent: Store, child: Store) -> None:
        grown(parent, child)
        empty = lab.image()
        await take_over(parent, 1, "a")
        await parent.bequeath(1, birth(0))
        await child.claim(3, "b", "")
        await child.save(3, save(0, "b", rows=[(5, b"row")], checkpoint=CHECKPOINT))
        lab.restore(empty)
        with pytest.raises(StoreForgot, match="lost its birth"):
            await child.claim(3, "b", "")
        with pytest.raises(StoreForgot):
            await child.save(3, save(0, "b", rows=[(5, b"row")], checkpoint=CHECKPOINT))
        assert await child.checkpoint(3) is None
        assert await child.owner(3) == ""

    play(lab, scene)
