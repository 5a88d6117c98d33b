"""How many rows there are of each trust domain, over every store there is: exact, in every case."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from stream.errors import OwnershipLost
from stream.store import BUCKETS, DOMAINS_MAX, OTHERS, Bequest, Birth, Fence, Grown, Store
from tests.stores import CHECKPOINT, ID_LAST, Lab, play, save, take_over

BIRTH = msgspec.structs.replace(
    CHECKPOINT, format=2, next_offset=0, growth=Grown((2, 4), Birth(1, 0, 7, 3))
)
IDS = [0, 1, 255, 2**32, 2**56, 2**63, ID_LAST]


def test_rows_count_once_until_they_are_forgotten(lab: Lab) -> None:
    """Written again they are no more; forgotten, also in the save that writes them, they are."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        assert await store.domains(0) == {}
        rows = [(each, b"row") for each in IDS]
        whole = save(0, rows=rows, domains=[(each, 7) for each in IDS])
        assert await store.save(0, whole) == 1
        assert await store.domains(0) == {7: len(IDS)}
        assert await store.save(0, whole) == 1
        await store.save(0, whole._replace(number=1))
        assert await store.domains(0) == {7: len(IDS)}
        await store.save(0, save(2, forget=[0, 17, 1]))
        assert await store.domains(0) == {7: len(IDS) - 2}
        again = save(3, forget=[255, 2**32], rows=[(255, b"new")], domains=[(255, 8)])
        await store.save(0, again)
        assert await store.domains(0) == {7: len(IDS) - 4, 8: 1}
        await store.save(0, save(4, forget=IDS))
        assert await store.domains(0) == {}

    play(lab, scene)


def test_rows_that_nobody_counts_are_not_counted(lab: Lab) -> None:
    """As an earlier version wrote them: they count once they are written with their domain."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, rows=[(1, b"old"), (2, b"old")]))
        await store.save(0, save(1, rows=[(1, b"new")], domains=[(1, 7)]))
        assert await store.domains(0) == {7: 1}
        await store.save(0, save(2, forget=[1, 2]))
        assert await store.domains(0) == {}

    play(lab, scene)


def test_a_save_that_is_refused_counts_nothing(lab: Lab) -> None:
    """The count is part of the write that the fence refuses."""

    async def scene(store: Store, heir: Store) -> None:
        await take_over(store, 0, "a")
        await take_over(heir, 0, "b")
        with pytest.raises(OwnershipLost):
            await store.save(0, save(0, rows=[(1, b"1")], domains=[(1, 7)]))
        assert await heir.domains(0) == {}

    play(lab, scene)


def test_partitions_of_a_group_count_together(lab: Lab) -> None:
    """A partition that growth has added counts on where its parent was; another group does not."""

    async def scene(parent: Store, child: Store) -> None:
        parent.first_partitions = child.first_partitions = 2
        await take_over(parent, 1, "a")
        born = Bequest(Fence("a", 1, 0), 3, {}, begins=True, checkpoint=BIRTH)
        assert await parent.bequeath(1, born) == "written"
        await take_over(child, 3, "b")
        await parent.save(1, save(1, rows=[(1, b"1"), (2, b"2")], domains=[(1, 7), (2, 7)]))
        await child.save(3, save(0, "b", rows=[(1, b"3"), (3, b"3")], domains=[(1, 7), (3, 7)]))
        assert await parent.domains(1) == await child.domains(3) == {7: 3}
        assert await parent.domains(0) == {}

    play(lab, scene)


def test_there_is_a_bound_to_the_trust_domains_that_are_told_apart(lab: Lab) -> None:
    """Beyond it they count together, each under what it was first counted; nothing is lost."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        pairs = [(each + 1, 1_000_000 + each) for each in range(DOMAINS_MAX + 500)]
        for number, start in enumerate(range(0, len(pairs), 500)):
            part = pairs[start : start + 500]
            rows = [(each, b"1") for each, _ in part]
            await store.save(0, save(number, rows=rows, domains=part))
        found = await store.domains(0)
        assert len(found) == DOMAINS_MAX + 1
        assert sum(found.values()) == len(pairs)
        assert found[OTHERS] == 500
        number = -(-len(pairs) // 500)
        await store.save(0, save(number, forget=[each for each, _ in pairs]))
        assert await store.domains(0) == {}

    play(lab, scene)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_the_rows_whatever_happens(lab: Lab, seed: int) -> None:
    """Saves of all kinds in any order, and images that come back: counts equal a recount."""
    chance = random.Random(seed)
    domains = {each << 52 | each: each % 5 + 1 for each in range(1, 60)}

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        number = 0
        for _ in range(12):
            written = chance.sample(list(domains), chance.randrange(20))
            forget = chance.sample(list(domains), chance.randrange(12))
            rows = [(each, b"row") for each in written]
            pairs = [(each, domains[each]) for each in written]
            number = await store.save(0, save(number, rows=rows, forget=forget, domains=pairs))
            there = [row for bucket in range(BUCKETS) for row, _ in await store.scan(0, bucket)]
            assert await store.domains(0) == Counter(domains[each] for each in there)

    play(lab, scene)
