"""A baseline in force: journalled before it holds, the same for every owner, or said to be gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from stream.baselines import decode_baseline, encode_baseline, promote, version_of
from stream.bus import MemoryPublisher, MemoryReader
from stream.detectors import JUDGES
from stream.enforcement.loop import run as run_kernel
from stream.events import Conditions, InForce, Request, decode_entry, encode, encode_request
from stream.kernel import is_compiled
from stream.policy import load_policy
from stream.replay import History, Replay
from stream.runtime import Library, Promoted, Worker, baselines, journalling
from stream.runtime.baselines import BASELINE_MISSING, Baselines, with_baseline
from stream.runtime.owned import Owned
from stream.store import Store
from stream.warm import warm
from tests.estate import TOPICS, Estate, stored
from tests.live import KEY, wait_until
from tests.models.tasks import T0_MS, THIEF, call, history, pay_bill, task

POLICY = """
name: learned
tasks: vouched
rules:
- name: odd
  anomaly: {of: task-novelty, false_alarms: 0.5% of tasks}
  action: revoke
  on: task
  for: 1h
  mode: enforce
- name: many
  limit: {measure: requests, at_most: 1, per: 10s}
  action: throttle
  rate: 1/s
  for: 10s
  mode: enforce
"""
STEAL = call("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")


def made(tasks: int) -> bytes:
    """The bytes of a baseline of so many tasks, under the key of the estate."""
    reader = History(KEY)
    reader.add([encode_request(each) for each in history(tasks, agents=12)])
    return encode_baseline(promote(reader.tasks(), KEY.id, JUDGES, {}))


ONE, TWO = made(60), made(48)


def story(first: int, count: int) -> list[bytes]:
    """Tasks of some agents, some of whom steal: the events of all, one after another."""
    events: list[Request] = []
    for number in range(first, first + count):
        more = [STEAL] * (number % 3 == 0)
        events += task(f"k{number}", f"a{number % 7}", "pay-bill", pay_bill(number, *more))
    return [
        encode_request(
            Request(
                **{name: getattr(each, name) for name in each.__struct_fields__} | {"at_ms": at}
            )
        )
        for each, at in zip(events, range(T0_MS + first * 10**6, T0_MS * 2, 1_000), strict=False)
    ]


def offered(worker: Worker, data: bytes, reloaded_ms: int = 0) -> Worker:
    """A worker whose settings name a baseline."""
    worker.baselines.offer(data, worker.baselines.made(data, "file"), reloaded_ms)
    return worker


def replayed(payloads: list[bytes], data: bytes) -> list[bytes]:
    """The bodies of an undisturbed replay under a baseline."""
    replay = Replay(load_policy(POLICY, "test"), KEY, TOPICS.partitions, 64)
    replay.expect(decode_baseline(data, "file"), version_of(data))
    result, rejects = replay.apply(payloads)
    assert not rejects
    return [encode(each.command.body) for each in result.outgoing]


def journalled(estate: Estate, partition: int | None = None) -> list[InForce | None]:
    """What entries of conditions say of the baseline, of all partitions or of one."""
    parts = estate.log.partitions(TOPICS.journal)
    chosen = parts if partition is None else [parts[partition]]
    entries = [decode_entry(each.value or b"") for part in chosen for each in part.records]
    return [each.baseline or None for each in entries if isinstance(each, Conditions)]


def latest(estate: Estate) -> list[InForce | None]:
    """What is in force in each partition."""
    return [journalled(estate, each)[-1] for each in range(TOPICS.partitions)]


async def run(worker: Worker, until: Callable[[], Awaitable[None]]) -> None:
    """Let a worker run until something is so, and stop it."""
    running = asyncio.create_task(worker.run())
    try:
        await until()
    finally:
        worker.stop()
        await running


def in_force(worker: Worker, version: str, shed: str = "") -> Callable[[], Awaitable[None]]:
    """Wait until every partition of a worker is under a version."""

    async def ask() -> set[tuple[str, str]]:
        session = worker._session
        owned = list(session.owned.values()) if session else []
        held = {(each.conditions.baseline_version, each.conditions.shed) for each in owned}
        return held if len(owned) == TOPICS.partitions else set()

    async def until() -> None:
        await wait_until(ask, lambda held: held == {(version, shed)})

    return until


def test_that_of_the_file_holds_from_the_first_event_and_outlives_the_file() -> None:
    """Bodies are an undisturbed replay's, also behind a worker that has no file, or another."""
    estate, first, second = Estate(POLICY), story(0, 12), story(12, 12)

    async def told() -> None:
        await estate.topics()
        await estate.feed(first)
        worker = offered(estate.made(), ONE)
        await run(worker, lambda: stored(worker, len(first)))
        assert {each and each.version for each in journalled(estate)} == {version_of(ONE)}
        await estate.feed(second)
        other = offered(estate.made(), TWO)
        await run(other, lambda: stored(other, len(first) + len(second)))
        third = estate.made()
        await run(third, in_force(third, version_of(ONE)))

    asyncio.run(told())
    bodies = replayed(first + second, ONE)
    assert sum(b'"rule":"odd"' in each for each in bodies) >= 8
    assert sorted(estate.bodies()) == sorted(bodies)
    assert {each and each.version for each in journalled(estate)} == {version_of(ONE)}


@pytest.mark.skipif(not is_compiled(), reason="plain Python compiles nothing")
def test_a_baseline_read_from_bytes_compiles_nothing() -> None:
    """Its arrays are of the types that kernels are compiled for ahead, so that no event waits."""
    warm()
    before = len(run_kernel.signatures)
    assert replayed(story(0, 6), ONE)
    assert len(run_kernel.signatures) == before


def test_promoted_rolled_back_and_reloaded() -> None:
    """Later words win, each owner journals them, and a rollback knows what was before."""
    estate = Estate(POLICY)

    async def say(version: str, at_ms: int, data: bytes | None = None) -> None:
        reader, publisher = MemoryReader(estate.log), MemoryPublisher(estate.log)
        library = Library(reader, TOPICS.baselines)
        await library.look()
        if data is not None:
            assert await library.put(publisher, data, at_ms, ()) == version
        await library.promote(publisher, Promoted(version=version, at_ms=at_ms))

    async def told() -> None:
        await estate.topics()
        worker = offered(estate.made(look_every_ms=20), ONE)
        running = asyncio.create_task(worker.run())
        await in_force(worker, version_of(ONE))()
        await say(version_of(TWO), 100, TWO)
        await in_force(worker, version_of(TWO))()
        assert {each and each.previous for each in latest(estate)} == {version_of(ONE)}
        await say(version_of(ONE), 50)  # older words
        await say(version_of(ONE), 200)
        await in_force(worker, version_of(ONE))()
        offered(worker, TWO, reloaded_ms=1)  # a clock that is behind: what is said now is later
        await in_force(worker, version_of(TWO))()
        await say("", 10**15)
        await in_force(worker, "")()
        assert set(latest(estate)) == {InForce("", version_of(TWO), 10**15)}
        worker.stop()
        await running

    asyncio.run(told())


def test_a_promotion_holds_all_partitions_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journalled side by side; and what was read up to our own entry is not read again."""
    estate = Estate(POLICY)
    verified: list[list[int]] = []
    read: list[object] = []
    verify = journalling.verify

    async def noted(store: Store, owned: Sequence[Owned]) -> None:
        verified.append(sorted(each.partition for each in owned))
        await verify(store, owned)

    async def none(*asked: object) -> None:
        read.append(asked)

    monkeypatch.setattr(journalling, "verify", noted)
    monkeypatch.setattr(journalling, "check_journal", none)

    async def told() -> None:
        await estate.topics()
        worker = estate.made(look_every_ms=20)
        running = asyncio.create_task(worker.run())
        await in_force(worker, "")()
        offered(worker, ONE)
        await in_force(worker, version_of(ONE))()
        worker.stop()
        await running

    asyncio.run(told())
    assert verified == [[*range(TOPICS.partitions)]]
    assert not read
    assert {each and each.version for each in latest(estate)} == {version_of(ONE)}


def test_one_that_is_nowhere_is_said_so_and_the_rest_goes_on() -> None:
    """A new era without learned evidence, by name, while limits decide; it ends with the bytes."""
    estate, first, second = Estate(POLICY), story(0, 12), story(12, 12)

    async def told() -> None:
        await estate.topics()
        await estate.feed(first)
        worker = offered(estate.made(), ONE)
        await run(worker, lambda: stored(worker, len(first)))
        pieces = estate.log.partitions(TOPICS.baselines)[1].records
        broken = pieces[0]
        pieces[0] = broken._replace(value=b"x" + (broken.value or b"")[1:])
        await estate.feed(second)
        other = estate.made(look_every_ms=20)
        await run(other, lambda: stored(other, len(first) + len(second)))
        assert {each and each.shed for each in latest(estate)} == {BASELINE_MISSING}
        assert (
            estate.metrics.registry.get_sample_value(
                "enforcer_modes_total", {"mode": BASELINE_MISSING}
            )
            == TOPICS.partitions
        )
        third = estate.made(look_every_ms=20)
        running = asyncio.create_task(third.run())
        await in_force(third, version_of(ONE), BASELINE_MISSING)()

        async def ready() -> str:
            return " ".join(third.ready())

        await wait_until(ready, lambda said: BASELINE_MISSING in said)
        library = Library(MemoryReader(estate.log), TOPICS.baselines)
        await library.look()
        await library.put(MemoryPublisher(estate.log), ONE, 7, ())
        await in_force(third, version_of(ONE))()
        third.stop()
        await running

    asyncio.run(told())
    odd = [each for each in estate.bodies() if b'"rule":"odd"' in each]
    assert sorted(odd) == sorted(each for each in replayed(first, ONE) if b'"rule":"odd"' in each)
    assert any(b"Learned detectors were off (baseline_missing)" in each for each in estate.bodies())


def test_behind_sheds_learned_detectors_and_comes_back() -> None:
    """Exact rules decide each event, reasons say so, and the journal, so a replay of it would."""
    estate, first, second = Estate(POLICY), story(0, 12), story(12, 12)

    async def told() -> None:
        await estate.topics()
        worker = offered(estate.made(look_every_ms=3_600_000, behind_events=50), ONE)
        running = asyncio.create_task(worker.run())
        await in_force(worker, version_of(ONE))()
        session = worker._session
        assert session is not None
        session.ends = dict.fromkeys(range(TOPICS.partitions), 10**6)  # as a look would find it
        await in_force(worker, version_of(ONE), "behind")()
        await estate.feed(first)
        await stored(worker, len(first))
        shown = estate.metrics.registry.get_sample_value(
            "enforcer_learned_shed", {"partition": "0"}
        )
        assert shown == 1
        session.ends = {each.partition: each.position + 30 for each in session.owned.values()}
        await asyncio.sleep(0.3)
        assert {each.conditions.shed for each in session.owned.values()} == {"behind"}
        session.ends = {}
        await in_force(worker, version_of(ONE))()
        await estate.feed(second)
        await stored(worker, len(first) + len(second))
        worker.stop()
        await running

    asyncio.run(told())
    said = [each for each in estate.bodies() if b"Learned detectors were off (behind)" in each]
    assert said
    assert not any(b'"rule":"odd"' in each for each in said)
    assert all(b'"baseline":"' + version_of(ONE).encode() in each for each in said)
    odd = [each for each in estate.bodies() if b'"rule":"odd"' in each]
    alone = [each for each in replayed(second, ONE) if b'"rule":"odd"' in each]
    assert sorted(odd) == sorted(alone)


def test_what_is_wanted_follows_the_latest_words() -> None:
    """The file where nobody spoke, a reload everywhere; shed while behind, by itself and back."""
    known, now = (
        Baselines(KEY),
        Conditions(nonce="", era=0, from_offset=0, policy_hash="h", policy_text="{}"),
    )
    assert known.wanted(now, is_behind=True) is now
    held = InForce("nobody has it", at_ms=5)
    missing = known.wanted(with_baseline(now, held), is_behind=True)
    assert (missing.shed, missing.format) == (BASELINE_MISSING, 3)
    known._know(known.made(ONE, "file"))
    here = with_baseline(now, InForce(version_of(ONE)))
    behind = known.wanted(here, is_behind=True)
    assert (behind.shed, behind.baseline_version) == ("behind", version_of(ONE))
    assert known.wanted(behind, is_behind=False) == here


def test_reload_of_what_is_in_force_is_the_latest_word() -> None:
    """It is journalled as such: an owner that knows only what came before keeps to it."""
    now = Conditions(nonce="", era=0, from_offset=0, policy_hash="h", policy_text="{}")
    here = with_baseline(now, InForce(version_of(ONE), "before"))
    first, heir = Baselines(KEY), Baselines(KEY)
    for each in (first, heir):
        each._know(each.made(ONE, "file"))
    first._want(Promoted(version=version_of(ONE), at_ms=7))
    said = first.wanted(here, is_behind=False)
    assert said.baseline == InForce(version_of(ONE), "before", 7)
    heir._want(Promoted(version="", at_ms=5))
    assert heir.wanted(said, is_behind=False) == said
    heir._want(Promoted(version="", at_ms=9))
    assert heir.wanted(said, is_behind=False).baseline == InForce("", version_of(ONE), 9)


def test_spare_ones_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of versions that nobody uses the latest stay, no more than so many and so many bytes."""
    known = Baselines(KEY)
    versions = [version_of(each) for each in (ONE, TWO)]
    for data in (ONE, TWO):
        known._know(known.made(data, "file"))
    known.forget(())
    assert list(known._known) == versions
    monkeypatch.setattr(baselines, "KNOWN_BYTES_MAX", known._known[versions[1]].nbytes)
    known.forget(versions[:1])
    assert list(known._known) == versions
    known.forget(())
    assert list(known._known) == versions[1:]
