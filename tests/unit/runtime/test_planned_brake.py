"""What is planned outlives what must hold sooner, and no older plan comes back."""

from __future__ import annotations

import asyncio

import pytest

from stream.bus import MemoryPublisher
from stream.events import with_brake
from stream.policy import load_policy
from stream.runtime import Worker, journalling
from stream.runtime.paces import Paces
from stream.runtime.takeover import journal
from tests.estate import TOPICS, Estate, stored
from tests.live import wait_until
from tests.unit.runtime.test_baselines import offered
from tests.unit.runtime.test_brake import (
    AGENTS,
    LONG,
    ONE,
    POLICY,
    calls,
    entries_of,
    estate_of,
    expected,
    run,
    steps_in,
)
from tests.unit.runtime.test_owned import conditions, owned
from tests.unit.runtime.test_planned import entries_of as all_entries_of

OTHER = load_policy(POLICY.replace("%s", LONG).replace("at_most: 1", "at_most: 2"), "other")


async def planning(worker: Worker) -> list[bool]:
    """For which partitions something else is to come."""
    owners = worker._session.owned.values() if worker._session else ()
    return [bool(each.coming) for each in owners]


async def hashes(worker: Worker) -> set[str]:
    """The policies in force."""
    owners = worker._session.owned.values() if worker._session else ()
    return {each.conditions.policy_hash for each in owners}


def test_a_plan_outlives_its_owner_though_a_brake_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is braked too; whoever is next, told of nothing, carries it out."""
    monkeypatch.setattr(Paces, "ahead", lambda self, owned: 10_000)
    monkeypatch.setattr(journalling, "LATE_S", 600.0)
    estate = estate_of()

    async def told() -> None:
        await estate.topics()
        worker = offered(estate.made(look_every_ms=50), ONE)

        async def story() -> None:
            await estate.feed(steps_in(range(AGENTS)))
            await stored(worker, AGENTS)
            worker.reload(OTHER)
            await wait_until(lambda: planning(worker), all)
            await estate.feed(calls(range(AGENTS), 10, "k"))
            await stored(worker, 2 * AGENTS)
            assert await hashes(worker) == {estate.policy.hash}

        await run(worker, story())
        braked = [partition for partition in range(6) if _is_braked(estate, partition)]
        assert braked
        for partition in braked:
            planned, now = (each for _, each in entries_of(estate, partition)[-2:])
            assert now.braked == planned.braked == ("other",)
            assert (now.policy_hash, planned.policy_hash) == (estate.policy.hash, OTHER.hash)
            assert now.from_offset < planned.from_offset
        assert sorted(estate.bodies()) == sorted(expected(estate))
        heir = estate.made()
        await run(heir, wait_until(lambda: hashes(heir), lambda held: held == {OTHER.hash}))
        assert all(_is_braked(estate, partition) for partition in braked)

    asyncio.run(told())


def _is_braked(estate: Estate, partition: int) -> bool:
    return bool(entries_of(estate, partition)[-1][1].braked)


def braked_from(estate: Estate) -> dict[int, tuple[str, ...]]:
    """Where the brake holds in the first partition, by offset; the later entry for one holds."""
    return {each.from_offset: each.braked for each in all_entries_of(estate, 0)}


def test_what_is_journalled_replaces_all_that_was_journalled_for_later() -> None:
    """An older plan beyond, given up long ago, must not come back for whoever reads the journal."""
    estate = Estate()

    async def told() -> None:
        await estate.topics()
        one = owned((40, 6), (60, 7))
        sooner = with_brake(conditions(0), {"a"})
        await journal(MemoryPublisher(estate.log), TOPICS.journal, one, sooner)
        assert not one.coming
        assert one.later == [40, 60]
        assert one.conditions.from_offset == 10

    asyncio.run(told())
    assert braked_from(estate) == {10: ("a",), 40: ("a",), 60: ("a",)}


@pytest.mark.parametrize("start", [12, 40])
def test_what_is_planned_still_comes(start: int) -> None:
    """From its own offset on, changed; at that very offset nothing else holds."""
    estate = Estate()

    async def told() -> None:
        await estate.topics()
        one = owned((40, 6))
        one.later = [40, 60]
        sooner, later = (with_brake(conditions(0), {each}) for each in "ab")
        publisher = MemoryPublisher(estate.log)
        await journal(publisher, TOPICS.journal, one, sooner, start, later)
        ((_, coming),) = one.coming
        assert (coming.from_offset, coming.braked) == (40, ("b",))
        assert one.conditions.from_offset == (12 if start == 12 else 10)

    asyncio.run(told())
    planned = {40: ("b",), 60: ("b",)}
    assert braked_from(estate) == (planned if start == 40 else {12: ("a",)} | planned)
