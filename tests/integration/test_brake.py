"""The brake on real servers: a baseline that is wrong is promoted over two hundred workloads."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable

from stream.bus import KafkaReader
from stream.events import Command, Conditions, decode_entry
from stream.gateway import Gateway
from stream.local import Addresses
from stream.runtime import SystemClock, valid_entries
from tests.integration.test_enforcement import gateway_of
from tests.live import Installation, opened, wait_until
from tests.models.tasks import CLASS
from tests.unit.runtime.test_brake import ONE, POLICY, calls, steps_in

AGENTS = 200
AT_LEAST = 2
TEXT = POLICY.replace("%s", "3s")


async def held(installation: Installation) -> set[str]:
    """The tiers in which the brake holds, of all partitions, by the journal."""
    found: set[str] = set()
    topic = installation.config.topics.journal
    async with opened(KafkaReader(installation.config.kafka)) as reader:
        for partition, bounds in (await reader.bounds(topic)).items():
            records = await reader.read(topic, partition, bounds.start, bounds.end)
            entries = [each for _, each in valid_entries(records) if isinstance(each, Conditions)]
            assert all(decode_entry(each.value or b"") for each in records)
            found |= set(entries[-1].braked) if entries else set()
    return found


def enforced(commands: Iterable[Command]) -> dict[int, set[str]]:
    """The workloads that the rule enforces something on, by partition."""
    found: dict[int, set[str]] = defaultdict(set)
    for each in commands:
        if each.body.rule == "odd" and each.body.mode == "enforce":
            found[each.partition].add(each.body.subject.workload)
    return found


def refused(gateway: Gateway, name: str) -> int:
    """How many workloads may not go on with a task."""
    return sum(
        not gateway.check(f"{CLASS}/a{each}", "tool:read_file", task=f"{name}{each}").is_allowed
        for each in range(AGENTS)
    )


def test_a_wrong_baseline_stops_few_and_says_so(servers: Addresses, fresh_name: str) -> None:
    """At most the allowed are held, the rest is shadow; it is said, and let go after the window."""
    installation = Installation(servers, fresh_name, TEXT, look_every_ms=100)

    async def story() -> None:
        await installation.topics()
        async with installation.workers(1) as workers, gateway_of(installation) as gateway:
            worker, sent = workers[0], 0
            sent += await installation.feed(steps_in(range(AGENTS)))
            await installation.wait_applied(sent)
            made = worker.baselines.made(ONE, "wrong")
            worker.baselines.offer(ONE, made, reloaded_ms=SystemClock().wall_ms())

            async def under() -> set[str]:
                session = worker._session
                mine = session.owned.values() if session else ()
                return {each.conditions.baseline_version for each in mine}

            await wait_until(under, lambda versions: versions == {made.version})
            sent += await installation.feed(calls(range(AGENTS), 10, "k"))
            await installation.wait_applied(sent)
            commands = [each for each in await installation.commands() if each.body.rule == "odd"]
            assert len(commands) == AGENTS
            counts = {each: len(names) for each, names in enforced(commands).items()}
            assert set(counts.values()) == {AT_LEAST}
            braked = [each for each in commands if each.body.mode == "shadow"]
            assert len(braked) == AGENTS - sum(counts.values())
            assert all("Shadow by the brake" in each.body.reason.text for each in braked)
            assert await held(installation) == {"other"}

            async def notes() -> str:
                return " ".join(worker.notes())

            await wait_until(notes, lambda said: "braked" in said)

            async def stopped() -> int:
                return refused(gateway, "k")

            await wait_until(stopped, lambda count: count == sum(counts.values()))

            async def braked_still() -> set[str]:
                # Only events move the log's clock past the window.
                nonlocal sent
                sent += await installation.feed(steps_in(range(AGENTS)))
                await installation.wait_applied(sent)
                return await held(installation)

            await wait_until(braked_still, lambda tiers: not tiers)
            await wait_until(notes, lambda said: "braked" not in said)
            sent += await installation.feed(calls(range(AGENTS), 20, "m"))
            await installation.wait_applied(sent)
            later = enforced(await installation.commands())
            grown = Counter({each: len(names) - counts[each] for each, names in later.items()})
            assert grown.total() > 0
            assert max(grown.values()) <= AT_LEAST

    asyncio.run(story())
