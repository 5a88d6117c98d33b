"""Silence on real servers: whoever stops calling is missed, by whoever owns its partition then."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from stream.bus import KafkaReader
from stream.events import Request, decode_request, encode_request
from stream.local import Addresses
from stream.runtime import SystemClock, Worker
from tests.live import Installation, opened, wait_until
from tests.unit.runtime.test_baselines import made
from tests.unit.runtime.test_ticks import OTHER, POLICY, STEADY, steady

HOUR_MS = 3_600_000
BASELINE = made(24)


async def asked(installation: Installation) -> list[str]:
    """Whom ticks in the log ask about."""
    found, topic = [], installation.config.topics.requests
    async with opened(KafkaReader(installation.config.kafka)) as reader:
        for partition, bounds in (await reader.bounds(topic)).items():
            records = await reader.read(topic, partition, bounds.start, bounds.end)
            events = [decode_request(each.value or b"") for each in records]
            found += [each.workload for each in events if each.kind == "tick"]
    return found


def compares(worker: Worker) -> None:
    """Let a worker compare with a baseline from its first event on."""
    worker.baselines.offer(BASELINE, worker.baselines.made(BASELINE, "file"))


def test_who_falls_silent_is_missed(servers: Addresses, fresh_name: str) -> None:
    """By name, hours later, by an owner that was not there; and who calls is not asked about."""
    installation = Installation(servers, fresh_name, POLICY, sweep_every_ms=86_400_000)
    now_ms = SystemClock().wall_ms()
    events = steady(STEADY, now_ms - 6 * HOUR_MS) + steady(OTHER, now_ms)
    events.sort(key=lambda each: each.at_ms)

    async def missed() -> list[Any]:
        return [each for each in await installation.commands() if each.body.rule == "silence"]

    async def story() -> None:
        await installation.topics()
        first = installation.worker("first")
        compares(first)
        task = asyncio.create_task(first.run())
        # Events of long ago, so that a week is over at once: nobody may be asked about meanwhile.
        sent = await installation.feed(encode_request(each) for each in events)
        await installation.wait_applied(sent)
        first.stop()
        await task
        soon = msgspec.structs.replace(installation.config.worker, sweep_every_ms=2_560)
        installation.config = msgspec.structs.replace(installation.config, worker=soon)
        async with installation.workers(1):
            await installation.feed([encode_request(Request(now_ms, OTHER, "GET /"))])
            found = await wait_until(missed, bool)
            names = await asked(installation)
        assert {each.body.subject.workload for each in found} == {STEADY}
        assert set(names) == {STEADY}
        assert found[0].body.mode == "shadow"
        assert found[0].body.reason.text.startswith("no event for 6h")

    asyncio.run(story())
