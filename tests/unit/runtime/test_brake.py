"""A worker whose brake holds: journalled before anything leaves, the same for every owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import msgspec
import pytest

from stream.bus import MemoryLog, MemoryPublisher
from stream.engine import State, step
from stream.errors import BusUnavailable
from stream.events import (
    Body,
    Conditions,
    Request,
    SubjectRecord,
    decode_value,
    encode,
    encode_request,
)
from stream.profiles import Arrival, Decoder
from stream.runtime import Worker, valid_entries
from stream.runtime.baselines import Baselines
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
            said = await wait_until(ask, lambda modes: any("overspent" in each for each in modes))
            assert f"{2 * AGENTS} of {2 * AGENTS} contexts alarmed in a day" in str(said)
            text = estate.metrics.text().decode()
            assert f'enforcer_day_contexts{{what="alarmed"}} {2 * AGENTS}.0' in text
            assert 'enforcer_day_contexts{what="allowed"} 0.4' in text

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
