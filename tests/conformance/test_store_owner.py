"""Who may write: the laws of claims, numbers and repeats, over every store there is."""

import asyncio

import pytest

from stream.errors import OwnershipLost
from stream.store import Fence, Store, StoreForgot
from tests.stores import CHECKPOINT, ID_LAST, Lab, everything, play, save, take_over


def test_claim_fences_the_older_owner(lab: Lab) -> None:
    """After a claim the older owner can write nothing, and is told that it lost the partition."""

    async def scene(old: Store, new: Store) -> None:
        first = await take_over(old, 0, "a")
        await old.save(0, save(0, rows=[(1, b"old")], epoch=first.epoch))
        second = await take_over(new, 0, "b")
        assert second.epoch == first.epoch + 1
        assert second.number == 1
        before = await everything(new, 0)
        with pytest.raises(OwnershipLost) as caught:
            await old.save(0, save(1, rows=[(1, b"zombie")], epoch=first.epoch))
        assert type(caught.value) is OwnershipLost
        assert await everything(new, 0) == before
        assert await new.save(0, save(1, "b", rows=[(1, b"new")], epoch=second.epoch)) == 2
        assert await old.load(0, [1]) == [b"new"]

    play(lab, scene)


def test_claim_repeated_changes_nothing(lab: Lab) -> None:
    """A claim sent again after a lost reply gives the same answer, and epoch."""

    async def scene(store: Store) -> None:
        first = await take_over(store, 0, "a")
        assert await take_over(store, 0, "a") == first
        await store.save(0, save(0, rows=[(1, b"row")]))

    play(lab, scene)


def test_claim_is_above_what_the_journal_knows(lab: Lab) -> None:
    """A store that lost claims gives an epoch above those the claimer heard of elsewhere."""

    async def scene(store: Store) -> None:
        assert (await take_over(store, 0, "a")).epoch == 1
        assert (await take_over(store, 0, "a", 6)).epoch == 7
        assert (await take_over(store, 0, "a", 6)).epoch == 7
        assert (await take_over(store, 0, "a")).epoch == 7
        assert (await take_over(store, 0, "b", 3)).epoch == 8
        assert (await take_over(store, 1, "c", 2**50)).epoch == 2**50 + 1
        await store.save(0, save(0, "b", epoch=8))

    play(lab, scene)


def test_claim_that_comes_late_takes_nothing(lab: Lab) -> None:
    """A claim carried out once more, after somebody else claimed, is refused, whatever it asks."""

    async def scene(old: Store, new: Store) -> None:
        assert await old.owner(0) == ""
        first = await old.claim(0, "a", "")
        raised = await old.claim(0, "a", "a", 6)
        assert await new.owner(0) == "a"
        second = await new.claim(0, "b", "a")
        assert second.epoch == raised.epoch + 1 == first.epoch + 7
        await new.save(0, save(0, "b", rows=[(1, b"heir")], epoch=second.epoch))
        before = await everything(new, 0)
        for seen, above in (("", 0), ("a", 6), ("a", 2**40), ("c", 0)):
            with pytest.raises(OwnershipLost):
                await old.claim(0, "a", seen, above)
        assert await everything(new, 0) == before
        assert await new.owner(0) == "b"
        assert await new.claim(0, "b", "a") == second._replace(number=1)
        assert await new.save(0, save(1, "b", rows=[(1, b"again")], epoch=second.epoch)) == 2

    play(lab, scene)


def test_of_two_that_saw_the_same_owner_one_claims(lab: Lab) -> None:
    """Whoever claims second hears that another was faster, and changes nothing."""

    async def scene(one: Store, two: Store) -> None:
        await take_over(one, 0, "a")
        seen = await one.owner(0), await two.owner(0)
        claim = await two.claim(0, "c", seen[1])
        with pytest.raises(OwnershipLost):
            await one.claim(0, "b", seen[0])
        assert await one.owner(0) == "c"
        assert await two.load(0, [], Fence("c", claim.epoch, claim.number)) == []

    play(lab, scene)


def test_load_of_nothing_asks_for_the_fence(lab: Lab) -> None:
    """An owner that has nothing to load learns whether the store still knows its last write."""

    async def scene(old: Store, new: Store) -> None:
        await take_over(old, 0, "a")
        image = lab.image()
        await old.save(0, save(0, rows=[(1, b"1")]))
        assert await old.load(0, [], Fence("a", 1, 1)) == []
        assert await old.load(0, []) == []
        lab.restore(image)
        with pytest.raises(StoreForgot):
            await old.load(0, [], Fence("a", 1, 1))
        await take_over(new, 0, "b")
        with pytest.raises(OwnershipLost) as caught:
            await old.load(0, [], Fence("a", 1, 0))
        assert type(caught.value) is OwnershipLost

    play(lab, scene)


def test_older_number_finds_that_the_store_forgot(lab: Lab) -> None:
    """An owner whose acknowledged writes a failover lost is told so, by save and by load."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, rows=[(1, b"1")]))
        image = lab.image()
        await store.save(0, save(1, rows=[(1, b"2")]))
        assert await store.load(0, [1], Fence("a", 1, 2)) == [b"2"]
        lab.restore(image)
        with pytest.raises(StoreForgot):
            await store.save(0, save(2, rows=[(1, b"3")]))
        with pytest.raises(StoreForgot):
            await store.load(0, [1], Fence("a", 1, 2))
        assert await store.load(0, [1]) == [b"1"]
        assert await store.load(0, [1], Fence("a", 1, 1)) == [b"1"]

    play(lab, scene)


def test_lost_claim_is_told_from_a_newer_owner(lab: Lab) -> None:
    """Where a failover lost the claim itself, the owner hears StoreForgot: nobody took over."""

    async def scene(old: Store, new: Store) -> None:
        await take_over(old, 0, "a")
        await old.save(0, save(0, rows=[(1, b"1")]))
        image = lab.image()
        claim = await take_over(new, 0, "b")
        lab.restore(image)
        fence = Fence("b", claim.epoch, claim.number)
        with pytest.raises(StoreForgot):
            await new.save(0, save(1, "b", rows=[(1, b"2")], epoch=claim.epoch))
        with pytest.raises(StoreForgot):
            await new.load(0, [1], fence)
        lab.restore({} if isinstance(image, dict) else image)
        with pytest.raises(StoreForgot):
            await new.save(0, save(1, "b", rows=[(1, b"2")], epoch=claim.epoch))
        with pytest.raises(StoreForgot):
            await new.load(0, [1], fence)

    play(lab, scene)


def test_load_with_a_fence_refuses_the_older_owner(lab: Lab) -> None:
    """A zombie that loads with its fence learns that it is one; without, anybody may read."""

    async def scene(old: Store, new: Store) -> None:
        first = await take_over(old, 0, "a")
        await old.save(0, save(0, rows=[(1, b"1")], epoch=first.epoch))
        await take_over(new, 0, "b")
        with pytest.raises(OwnershipLost) as caught:
            await old.load(0, [1], Fence("a", first.epoch, 1))
        assert type(caught.value) is OwnershipLost
        assert await old.load(0, [1]) == [b"1"]

    play(lab, scene)


def test_repeat_is_recognised_and_applied_once(lab: Lab) -> None:
    """A save sent again after a lost reply returns its number, and nothing is written twice."""
    first = save(0, rows=[(1, b"1")], records={b"r": b"1"}, names={5: "five"})

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        assert await store.save(0, first) == 1
        assert await store.save(0, first) == 1
        assert await store.save(0, first) == 1
        assert await store.save(0, save(1, rows=[(1, b"2")])) == 2
        before = await everything(store, 0)
        with pytest.raises(OwnershipLost):
            await store.save(0, first)
        assert await everything(store, 0) == before

    play(lab, scene)


@pytest.mark.parametrize(
    "other",
    [
        {"rows": [(1, b"2")]},
        {"rows": [(2, b"1")]},
        {"rows": [(1, b"1")], "checkpoint": CHECKPOINT},
        {"rows": [(1, b"1")], "forget": [2]},
        {"rows": [(1, b"1")], "records_gone": [b"r"]},
    ],
)
def test_another_save_is_no_repeat(lab: Lab, other: dict) -> None:
    """A different save under a number that is taken is refused, and is not a store that forgot."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, rows=[(1, b"1")]))
        with pytest.raises(OwnershipLost) as caught:
            await store.save(0, save(0, **other))
        assert type(caught.value) is OwnershipLost
        assert await store.load(0, [1, 2]) == [b"1", None]

    play(lab, scene)


def test_save_without_claim_is_refused(lab: Lab) -> None:
    """Nobody writes to a partition without having claimed it."""

    async def scene(store: Store) -> None:
        with pytest.raises(StoreForgot):
            await store.save(0, save(0, rows=[(1, b"1")]))
        assert await everything(store, 0) == ([], {}, None)

    play(lab, scene)


def test_refused_save_changes_nothing(lab: Lab) -> None:
    """All of a save is written or nothing of it, whichever way it is refused."""
    all_of_it = {
        "rows": [(1, b"2"), (ID_LAST, b"2")],
        "names": {1: "one", 2: "two"},
        "records": {b"r": b"2"},
        "records_gone": [b"gone"],
        "forget": [3],
        "checkpoint": CHECKPOINT,
    }

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        rows = [(1, b"1"), (3, b"3")]
        await store.save(0, save(0, rows=rows, records={b"gone": b"1"}))
        before = await everything(store, 0)
        for refused in (save(3, **all_of_it), save(0, **all_of_it), save(1, "x", **all_of_it)):
            with pytest.raises(OwnershipLost):
                await store.save(0, refused)
            assert await everything(store, 0) == before
        assert await store.save(0, save(1, **all_of_it)) == 2
        after = [(1, b"2"), (ID_LAST, b"2")], {1: "one", 2: "two"}, CHECKPOINT
        assert await everything(store, 0) == after
        assert (await take_over(store, 0, "b")).records == {b"r": b"2"}

    play(lab, scene)


def test_owner_may_load_while_it_saves(lab: Lab) -> None:
    """Loads with the last acknowledged write as fence succeed beside a save that is under way."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        for number in range(20):
            what = save(number, rows=[(n, b"%d" % number) for n in range(300)])
            loads = [store.load(0, range(300), Fence("a", 1, number)) for _ in range(3)]
            done = await asyncio.gather(store.save(0, what), *loads)
            assert done[0] == number + 1

    play(lab, scene)
