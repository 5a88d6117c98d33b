"""A worker whose brake holds: journalled before anything leaves, the same for every owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import msgspec
import pytest

from stream.bus import MemoryLog, MemoryPublisher
from stream.enforcement import NEVER_CLOSED
from stream.engine import Enforced, State, step
from stream.errors import BusUnavailable
from stream.events import (
    Body,
    Conditions,
    Full,
    InForce,
    Request,
    SubjectRecord,
    decode_entry,
    decode_value,
    encode,
    encode_request,
    with_brake,
    with_full,
)
from stream.policy import Policy, load_policy
from stream.profiles import Arrival, Decoder
from stream.runtime import Start, Worker
from stream.runtime.baselines import Baselines, with_baseline
from stream.runtime.brake import allow, braked_of, closings, note_enforced
from stream.runtime.entries import in_era
from stream.runtime.growth import with_counts
from stream.runtime.owned import Owned
from stream.runtime.published import Published
from stream.runtime.recent import Recent, bin_ms
from stream.runtime.takeover import valid_entries
from tests.estate import TOPICS, Estate, stored
from tests.live import KEY, wait_until
from tests.models.tasks import CLASS, T0_MS, THIEF, call
from tests.unit.runtime.test_baselines import made, offered

POLICY = """
name: braked
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
brake: {share: 0.1%, at_least: 2, window: %s, settled_after: 5s}
"""
STEAL = call("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")
LONG, SHORT = "10m", "1s"
ONE = made(60)
AGENTS = 40
FROM_MS = T0_MS + 10**9
PLAIN = Conditions(nonce="n", era=3, from_offset=5, policy_hash="h", policy_text="{}")


def estate_of(window: str = LONG) -> Estate:
    """An installation whose policy has a brake."""
    return Estate(POLICY.replace("%s", window))


def calls(agents: Iterable[int], after_s: int, task: str) -> list[bytes]:
    """One odd call of each of some agents."""
    at_ms = FROM_MS + after_s * 1_000
    return [
        encode_request(
            Request(
                at_ms=at_ms + each, workload=f"{CLASS}/a{each}", purpose="pay-bill",
                task=f"{task}{each}", **STEAL,
            )
        )
        for each in agents
    ]  # fmt: skip


def steps_in(agents: Iterable[int]) -> list[bytes]:
    """The first events of some agents, ends of tasks: they come to nothing."""
    return [
        encode_request(
            Request(
                at_ms=FROM_MS, workload=f"{CLASS}/a{each}", kind="completion",
                operation="task:done", task="none",
            )
        )
        for each in agents
    ]  # fmt: skip


def bodies(estate: Estate, rule: str = "odd") -> list[Body]:
    """The bodies of a rule's commands."""
    found = [msgspec.json.decode(each, type=Body) for each in estate.bodies()]
    return [each for each in found if each.rule == rule]


def entries_of(estate: Estate, partition: int) -> list[tuple[int, Conditions]]:
    """The conditions of a partition that count, with their journal offsets."""
    records = estate.log.partitions(TOPICS.journal)[partition].records
    entries = valid_entries(records)
    return [(offset, each) for offset, each in entries if isinstance(each, Conditions)]


def expected(estate: Estate) -> list[bytes]:
    """The bodies that follow from the log and the journal alone, an event at a time."""
    found: list[bytes] = []
    compared = Baselines(KEY).made(ONE, "file")
    for partition, part in enumerate(estate.log.partitions(TOPICS.requests)):
        state, decoder = State(KEY, 256, TOPICS.partitions), Decoder(KEY, 6, with_values=True)
        entries = entries_of(estate, partition)
        for record in part.records:
            here = [each for each in entries if each[1].from_offset <= record.offset]
            _, held = max(here, key=lambda each: (each[1].from_offset, each[0]))
            state.adopt(partition, held, estate.policy, compared)
            arrival = Arrival(
                "t", partition, [record.offset], [record.append_ms], [record.value or b""]
            )
            batch, rejects = decoder.decode([arrival])
            assert not rejects
            found += [encode(each.command.body) for each in step(state, batch).outgoing]
    return found


def held_in(estate: Estate) -> dict[int, tuple[str, ...]]:
    """Where the brake holds by the journal."""
    return {
        partition: entries[-1][1].braked
        for partition in range(TOPICS.partitions)
        if (entries := entries_of(estate, partition))
    }


def most_enforced(estate: Estate) -> int:
    """The most workloads that the rule enforces something on, of any partition."""
    counts: dict[int, set[str]] = {}
    for data in estate.values(TOPICS.enforcement):
        value = decode_value(data)
        for each in value.commands if isinstance(value, SubjectRecord) else ():
            if each.body.rule == "odd" and each.body.mode == "enforce":
                counts.setdefault(each.partition, set()).add(each.body.subject.workload)
    return max(map(len, counts.values()))


async def run(worker: Worker, until: Awaitable[Any]) -> None:
    """Let a worker run until something is so, and stop it."""
    running = asyncio.create_task(worker.run())
    try:
        await until
    finally:
        worker.stop()
        await running


def test_a_wrong_baseline_holds_no_more_than_allowed() -> None:
    """Two of each partition, the rest is shadow and says so; limits go on; the journal has it."""
    estate = estate_of()

    async def told() -> None:
        await estate.topics()
        worker = offered(estate.made(look_every_ms=50), ONE)

        async def story() -> None:
            await estate.feed(steps_in(range(AGENTS)))
            await stored(worker, AGENTS)
            await estate.feed(calls(range(AGENTS), 10, "k"))
            await estate.feed(calls(range(AGENTS), 11, "m"))
            await stored(worker, 3 * AGENTS)

            async def ask() -> list[str]:
                return worker.notes()

            said = await wait_until(ask, lambda modes: any("braked" in each for each in modes))
            assert "enforce nobody new of class other" in str(said)
            assert not any("braked" in each for each in worker.ready()), "it is ready"
            text = estate.metrics.text().decode()
            assert 'enforcer_braked_classes{partition="0"} 1.0' in text
            assert 'enforcer_mode{mode="braked"} 1.0' in text

        await run(worker, story())
        text = estate.metrics.text().decode()
        braked = [each for each in bodies(estate) if each.reason.braked]
        assert f'enforcer_commands_braked_total{{rule="odd"}} {len(braked)}.0' in text

    asyncio.run(told())
    assert len(bodies(estate)) == 2 * AGENTS
    assert most_enforced(estate) == 2
    shadows = [each for each in bodies(estate) if each.mode == "shadow"]
    assert len(shadows) > AGENTS
    assert all(each.reason.braked for each in shadows)
    assert not any(each.reason.braked for each in bodies(estate) if each.mode == "enforce")
    assert {each.mode for each in bodies(estate, "many")} == {"enforce"}
    assert len(bodies(estate, "many")) == AGENTS
    assert set(held_in(estate).values()) == {("other",)}
    closing = [each for p in range(6) for _, each in entries_of(estate, p) if each.braked]
    assert {each.format for each in closing} == {4}
    assert sorted(estate.bodies()) == sorted(expected(estate))


def test_who_comes_after_decides_the_same_and_lets_nobody_more_in() -> None:
    """An heir finds the brake journalled; it holds for a whole window, whatever the heir counts."""
    estate = estate_of()

    async def told() -> None:
        await estate.topics()
        worker = offered(estate.made(), ONE)

        async def first() -> None:
            await estate.feed(steps_in(range(AGENTS)))
            await stored(worker, AGENTS)
            await estate.feed(calls(range(AGENTS // 2), 10, "k"))
            await stored(worker, AGENTS * 3 // 2)

        await run(worker, first())
        other = estate.made()

        async def then() -> None:
            await estate.feed(calls(range(AGENTS), 12, "m"))
            await stored(other, AGENTS * 5 // 2)

        await run(other, then())

    asyncio.run(told())
    braked = {partition for partition, tiers in held_in(estate).items() if tiers}
    assert braked
    assert most_enforced(estate) == 2
    assert sorted(estate.bodies()) == sorted(expected(estate))


def test_it_lets_go_once_the_window_is_over() -> None:
    """Those that were shadows are enforced at their next odd call, no more than allowed again."""
    estate = estate_of(SHORT)

    async def told() -> None:
        await estate.topics()
        worker = offered(estate.made(look_every_ms=50), ONE)

        async def story() -> None:
            await estate.feed(steps_in(range(AGENTS)))
            await stored(worker, AGENTS)
            await estate.feed(calls(range(AGENTS), 10, "k"))
            await stored(worker, 2 * AGENTS)
            assert any(held_in(estate).values())
            sent = 2 * AGENTS

            async def ask() -> dict[int, tuple[str, ...]]:
                # The log's clock must pass the window, and only events move it.
                nonlocal sent
                await estate.feed(steps_in(range(AGENTS)))
                sent += AGENTS
                await stored(worker, sent)
                return held_in(estate)

            await wait_until(ask, lambda held: not any(held.values()))

            async def modes() -> list[str]:
                return worker.notes()

            await wait_until(modes, lambda said: not any("braked" in each for each in said))
            before = len([each for each in bodies(estate) if each.mode == "enforce"])
            await estate.feed(calls(range(AGENTS), 20, "m"))
            await stored(worker, sent + AGENTS)
            assert len([each for each in bodies(estate) if each.mode == "enforce"]) > before

        await run(worker, story())

    asyncio.run(told())
    assert sorted(estate.bodies()) == sorted(expected(estate))
    formats = [each.format for p in range(6) for _, each in entries_of(estate, p)]
    assert {formats[0], 4} == set(formats), "no entry that does not say so has the new format"


class _Breaking(MemoryPublisher):
    """A publisher that breaks once, before or behind the entry of a brake."""

    kinds: tuple[str, ...] = ()
    log_of: list[tuple[str, bytes]]
    is_due: dict[str, bool]

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        """Send, unless it is time to break."""
        is_brake = topic == TOPICS.journal and b'"brake":' in (value or b"")
        if is_brake and self.is_due["before"]:
            self.is_due["before"] = False
            raise BusUnavailable("the broker is away")
        if topic == TOPICS.enforcement and self.is_due["behind"] == "now":
            self.is_due["behind"] = False
            raise BusUnavailable("the broker is away")
        sent = await super().send(topic, key, value, partition)
        if is_brake and self.is_due["behind"]:
            self.is_due["behind"] = "now"
        return sent


@pytest.mark.parametrize("kind", ["before", "behind"])
def test_a_crash_beside_the_journal_leaves_no_other_commands(kind: str) -> None:
    """Before the entry is known nothing of the step has left; behind it the heir says the same."""
    estate, due = estate_of(), {"before": kind == "before", "behind": kind == "behind"}

    class Breaking(_Breaking):
        is_due = due

    estate.publisher = Breaking

    async def told() -> None:
        await estate.topics()
        worker = offered(estate.made(restart_wait_ms=1), ONE)

        async def story() -> None:
            await estate.feed(steps_in(range(AGENTS)))
            await stored(worker, AGENTS)
            await estate.feed(calls(range(AGENTS), 10, "k"))
            await stored(worker, 2 * AGENTS)
            await estate.feed(calls(range(AGENTS), 11, "m"))
            await stored(worker, 3 * AGENTS)

        await run(worker, story())

    asyncio.run(told())
    assert not any(due.values()), "it broke"
    assert len(bodies(estate)) == 2 * AGENTS
    assert any(each.reason.braked for each in bodies(estate))
    assert sorted(estate.bodies()) == sorted(expected(estate))


def owned(braked: tuple[str, ...] = (), clock_ms: int = 10**9, **fields: Any) -> Owned:
    """A partition in which the brake holds somewhere."""
    return Owned(
        partition=0, nonce="n", epoch=1, number=0, position=9, replay_until=7, topic_id="",
        conditions=with_brake(PLAIN, braked), journal_offset=0, published=Published({}),
        coming=fields.pop("coming", []), version=None, clock_ms=clock_ms, **fields,
    )  # fmt: skip


class _Counted:
    """So many workloads of each class have been there for long."""

    def __init__(self, count: int) -> None:
        self.count = count

    def of(self, partition: int, tier: int) -> int:
        """Return the count."""
        return self.count


def policy_of(brake: str = "{share: 10%, at_least: 2, window: 16s, settled_after: 5s}") -> Policy:
    """A policy of two classes with a brake."""
    text = POLICY.partition("brake:")[0].replace(
        "rules:", 'classes: [{name: upper, workloads: ["spiffe://*/u/*"]}]\nrules:'
    )
    return load_policy(f"{text}brake: {brake}", "test")


@pytest.mark.parametrize(
    ("braked", "counted", "settled", "age_ms", "expect"),
    [
        ((), {}, 0, 0, set()),
        ((), {"upper": 1}, 0, 0, set()),
        ((), {"upper": 2, "other": 1}, 0, 0, {"upper"}),
        ((), {"upper": 2}, 29, 0, {"upper"}),
        ((), {"upper": 2}, 30, 0, set()),
        ((), {"upper": 2}, 0, 17_000, set()),
        (("upper",), {"upper": 9}, 100, 0, {"upper"}),
        (("upper",), {"upper": 8}, 100, 0, set()),
        (("upper",), {"upper": 9}, 100, 17_000, set()),
        (("gone",), {"upper": 0}, 100, 0, set()),
    ],
)
def test_where_the_brake_is_to_hold(
    braked: tuple[str, ...], counted: dict[str, int], settled: int, age_ms: int, expect: set[str]
) -> None:
    """From what is allowed on, until under nine tenths of it, in a window of the log's clock."""
    here = owned(braked, 10**9 + age_ms)
    here.enforced = Recent(began_ms=1)
    for tier, count in counted.items():
        for _ in range(count):
            here.enforced.add(tier, 10**9, 16_000)
    assert braked_of(here, policy_of(), _Counted(settled)) == expect


def test_what_an_heir_finds_closed_stays_so_for_a_window() -> None:
    """It has not seen what its predecessor counted; what it closed itself, it has."""
    here, policy = owned(("upper",), 10**9), policy_of()
    assert braked_of(here, policy, _Counted(0)) == {"upper"}, "nothing applied yet"
    here.enforced = Recent(began_ms=10**9 - 15_999)
    assert braked_of(here, policy, _Counted(0)) == {"upper"}
    here.enforced.closed.add("upper")
    assert braked_of(here, policy, _Counted(0)) == set()
    here.enforced = Recent(began_ms=10**9 - 16_000)
    assert braked_of(here, policy, _Counted(0)) == set()
    assert braked_of(here, policy_of("off"), _Counted(0)) == set()


def test_a_window_never_counts_too_few() -> None:
    """At least all of it, and at most a sixteenth more."""
    recent, window_ms = Recent(), 1_000
    for at_ms in range(0, 5_000, 7):
        recent.add("one", 10**6 + at_ms, window_ms)
        first = at_ms - window_ms
        true = len([each for each in range(0, at_ms + 1, 7) if each > first])
        more = len([each for each in range(0, at_ms + 1, 7) if each > first - bin_ms(window_ms)])
        assert true <= recent.count("one", 10**6 + at_ms, window_ms) <= more
    assert len(recent.starts["one"]) <= 18
    assert recent.count("other", 10**6, window_ms) == 0


def test_an_allowance_is_what_is_left_of_the_window() -> None:
    """Of the classes where something is enforced; what closes holds behind earlier owners only."""
    state, policy = State(KEY, 8, 1), policy_of()
    here = owned()
    note_enforced(here, policy, [Enforced(0, "upper", 10**9)] * 3)
    allow(state, here, policy, _Counted(100), (10**9, 5.0))
    assert state.brakes.left[0, :3].tolist() == [7, 10, NEVER_CLOSED]
    assert state.brakes.counts_from.tolist() == [7]
    note_enforced(here, policy, [Enforced(0, "upper", 10**9)])
    allow(state, here, policy, _Counted(100), (10**9, 5.9))
    assert state.brakes.left[0, 0] == 7, "the kernel counts until the next look"
    allow(state, here, policy, _Counted(100), (10**9, 6.0))
    assert state.brakes.left[0, 0] == 6
    allow(state, here, policy, _Counted(100), (10**9 + 17_000, 6.0))
    assert state.brakes.left[0, 0] == 10
    here.coming = [(3, PLAIN)]
    allow(state, here, policy, _Counted(100), (10**9, 6.0))
    assert state.brakes.counts_from.tolist() == [NEVER_CLOSED]


def test_what_a_step_closed_is_journalled_from_there() -> None:
    """In the order of offsets; what would hold only behind an earlier owner's events does not."""
    state, policy, here = State(KEY, 8, 1), policy_of(), owned()
    state.brakes.closed_from[0, :2] = 20, 12
    assert closings(state, here, policy, 20) == [(12, ["other"]), (20, ["upper"])]
    assert closings(state, here, policy, 19) == [(12, ["other"])]
    assert state.brakes.closed_from[0, 0] == NEVER_CLOSED
    assert closings(state, owned(("other",)), policy, 19) == []


def test_only_entries_that_name_a_brake_have_the_new_format() -> None:
    """Whatever else they say, in whatever order it came to them; and eras do not end it."""
    braked = with_brake(PLAIN, {"upper", "other"})
    assert (braked.format, braked.braked) == (4, ("other", "upper"))
    assert with_brake(braked, ()) == PLAIN
    assert decode_entry(msgspec.json.encode(braked)) == braked
    full = with_full(braked, Full(("00ff00ff00ff00ff",)))
    assert (full.format, with_brake(full, ()).format) == (4, 3)
    assert with_full(full, None) == braked
    learned = with_baseline(with_counts(braked, (2, 4)), InForce("v"))
    assert (learned.format, with_brake(learned, ()).format) == (4, 3)
    assert with_brake(with_counts(braked, (2, 4)), ()).format == 2
    assert in_era(full, Start(0, 4, 0, 4, ())).braked == braked.braked
    assert not in_era(full, Start(0, 4, 0, 4, ())).full
