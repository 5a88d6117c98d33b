"""What a journal says is in force: the same for its owner and for whoever only reads it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from stream.baselines import version_of
from stream.bus import MemoryPublisher, MemoryReader, Record
from stream.cli import baseline_lesson, baseline_live, explain
from stream.config import Config
from stream.events import LEARNED_FORMAT, Conditions, InForce, JournalEntry, Owner, encode_entry
from stream.policy import load_policy
from stream.runtime import Place, Start, Worker, conditions_in
from stream.runtime.baselines import Baselines
from stream.runtime.beginning import LOG_CHANGED
from stream.runtime.entries import Entries, of_latest_log, of_log
from stream.runtime.takeover import take
from stream.store import MemoryServer, MemoryStore
from tests.estate import TOPICS, Estate, busy, stored
from tests.live import KEY, POLICY, wait_until
from tests.unit.runtime.test_baselines import ONE, TWO, in_force, offered

SECOND = load_policy(POLICY.replace("name: ", "name: second-", 1), "second")
CONFIG = msgspec.structs.replace(Config(), topics=TOPICS)
Said = dict[int, tuple[str, str]]


def said_by(conditions: Conditions) -> tuple[str, str]:
    """The policy and the baseline that conditions name."""
    return conditions.policy_hash, conditions.baseline_version


async def readers(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> list[Said]:
    """What each verb takes for in force, by partition: explain, learn --live, list --live."""
    monkeypatch.setattr(explain, "KafkaReader", lambda spec: MemoryReader(estate.log))
    reader, store = MemoryReader(estate.log), MemoryStore(estate.server)
    explained, learned = {}, {}
    bounds = await reader.bounds(TOPICS.journal)
    for partition in range(TOPICS.partitions):
        checkpoint = await store.checkpoint(partition)
        start = checkpoint.journal_offset if checkpoint else 0
        explained[partition] = said_by(await explain._conditions(CONFIG, partition, start))
        place = TOPICS.journal, partition, bounds[partition]
        learned[partition] = said_by((await baseline_lesson._conditions(reader, *place))[-1])
    held = await baseline_live._held(CONFIG, reader)
    live = {
        partition: (explained[partition][0], each.version if each else "")
        for partition, each in held.items()
    }
    return [explained, learned, live]


async def reloaded(worker: Worker) -> None:
    """Let a worker judge by the second policy, everywhere."""

    async def ask() -> set[str]:
        session = worker._session
        assert session is not None
        return {each.conditions.policy_hash for each in session.owned.values()}

    worker.reload(SECOND)
    await wait_until(ask, lambda found: found == {SECOND.hash})


def owner(worker: Worker) -> Said:
    """What the owner judges by."""
    session = worker._session
    assert session is not None
    assert all(each.is_settled for each in session.owned.values())
    return {number: said_by(each.conditions) for number, each in session.owned.items()}


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
@pytest.mark.timeout(120)
def test_verbs_read_what_the_owner_holds_after_a_store_is_lost(
    is_cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An heir journals anew what held at first; what holds from later on is in force all the same.

    Whether it reads the log from its beginning, or a new era begins where the log was cut.
    """
    estate, payloads = Estate(), busy(120, agents=31)
    wanted = dict.fromkeys(range(TOPICS.partitions), (SECOND.hash, version_of(TWO)))

    async def story() -> list[tuple[Said, list[Said]]]:
        found = []
        await estate.topics()
        await estate.feed(payloads[:60])
        async with estate.worker(look_every_ms=20) as worker:
            await stored(worker, 60)
            offered(worker, ONE, reloaded_ms=1)
            await in_force(worker, version_of(ONE))()
            offered(worker, TWO, reloaded_ms=2)
            await reloaded(worker)
            await in_force(worker, version_of(TWO))()
            await estate.feed(payloads[60:])
            await stored(worker, 120)
            found.append((owner(worker), await readers(estate, monkeypatch)))
        for number, part in enumerate(estate.log.partitions(TOPICS.requests)):
            estate.log.cut(TOPICS.requests, number, is_cut * min(2, len(part.records)))
        estate.server = MemoryServer()
        async with estate.worker(look_every_ms=20) as worker:
            await stored(worker, 120)
            found.append((owner(worker), await readers(estate, monkeypatch)))
        return found

    for held, read in asyncio.run(story()):
        assert held == wanted
        assert read == [wanted] * 3


def test_what_held_at_the_end_of_a_log_holds_in_the_one_after_it() -> None:
    """Not what an heir journalled last, which held before that."""
    estate, payloads = Estate(), busy(120, agents=31)

    async def story() -> set[tuple[str, tuple[str, ...]]]:
        await estate.topics()
        await estate.feed(payloads[:60])
        async with estate.worker() as worker:
            await stored(worker, 60)
            await reloaded(worker)
            await estate.feed(payloads[60:])
            await stored(worker, 120)
        estate.server = MemoryServer()
        async with estate.worker() as worker:
            await stored(worker, 120)
        reader, taken = MemoryReader(estate.log), set()
        for partition, bounds in (await reader.bounds(TOPICS.requests)).items():
            place = Place(
                partition, bounds, "made anew", TOPICS.requests, TOPICS.journal,
                (TOPICS.enforcement, partition), "w", "third", (TOPICS.partitions,),
            )  # fmt: skip
            first = conditions(0, ""), Baselines(KEY).has
            doors = MemoryStore(estate.server), reader, MemoryPublisher(estate.log)
            owned = await take(place, *doors, first)
            taken.add((owned.conditions.policy_hash, owned.began_in))
        return taken

    assert asyncio.run(story()) == {(SECOND.hash, (LOG_CHANGED,))}


def conditions(from_offset: int, version: str, nonce: str = "a", **more: int) -> Conditions:
    """What holds from an offset on."""
    values = {"epoch": 1, "era": 0} | more
    return Conditions(
        format=LEARNED_FORMAT,
        nonce=nonce,
        from_offset=from_offset,
        policy_hash="h",
        policy_text="{}",
        baseline=InForce(version),
        **values,
    )


A, B = (Owner(nonce=nonce, epoch=epoch, checkpoint=-1) for epoch, nonce in ((1, "a"), (2, "b")))
HEIR = conditions(3, "1", "b", epoch=2, era=1, fresh_era=1)


@pytest.mark.parametrize(
    ("entries", "version"),
    [
        ([], None),
        ([A, conditions(0, "1"), conditions(10, "2")], "2"),
        # An heir of a new era begins before what holds at the end.
        ([A, conditions(0, "1"), conditions(10, "2"), B, HEIR], "2"),
        # Of two for one offset the later one holds, whatever was journalled between.
        ([A, conditions(10, "1"), conditions(4, "3"), conditions(10, "2")], "2"),
        # Offsets of a log before this one mean nothing.
        (
            [A, conditions(90, "1"), B, conditions(0, "2", "b", epoch=2, era=1, log_era=1)],
            "2",
        ),
        # What an owner writes that another has followed is none's, also where one begins to read.
        ([A, conditions(0, "1"), B, HEIR, conditions(50, "3"), A, conditions(60, "3")], "1"),
        ([HEIR, A, conditions(50, "3")], "1"),
        ([conditions(10, "2"), B, HEIR, conditions(50, "3")], "2"),
    ],
)
def test_the_last_of_the_log_that_is_there_now(
    entries: list[JournalEntry], version: str | None
) -> None:
    """By the offsets from which entries hold, of those of this log, of owners while they were."""
    records = [Record(0, offset, 0, b"", encode_entry(each)) for offset, each in enumerate(entries)]
    read = conditions_in(records)
    assert (read[-1].baseline_version if read else None) == version


def test_who_owns_nothing_sees_the_order_that_the_owner_has() -> None:
    """It is that of a start in the journal's last era."""
    entries: Entries = [(0, conditions(0, "1")), (1, conditions(10, "2")), (3, HEIR)]
    assert of_latest_log(entries) == of_log(entries, Start(3, 1, 0, 1, ()))
    assert of_latest_log([]) == []
