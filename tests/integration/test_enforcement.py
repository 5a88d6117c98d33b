"""What a worker says and what a gateway makes of it, on real servers, through a command's life."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from stream.bus import KafkaPublisher, KafkaReader
from stream.events import (
    OperatorAct,
    OperatorRecord,
    Request,
    encode,
    encode_request,
    operator_key,
)
from stream.gateway import Gateway
from stream.local import Addresses
from stream.policy import load_policy
from stream.runtime import SystemClock
from tests.live import Installation, events_in, opened, wait_until

POLICY = """
name: strict
rules:
- name: burst
  limit: {measure: requests, at_most: 20, per: 1s}
  action: throttle
  rate: 1/h
  for: 4s
  mode: enforce
"""
BAD = "spiffe://test.example/agents/bad"
GOOD = "spiffe://test.example/agents/good"


@contextlib.asynccontextmanager
async def gateway_of(installation: Installation) -> AsyncIterator[Gateway]:
    """A gateway of the installation, ready."""
    config = installation.config
    spec = msgspec.structs.replace(config.gateway, name="edge")
    reader, publisher = KafkaReader(config.kafka), KafkaPublisher(config.kafka)
    async with Gateway(reader, publisher, SystemClock(), spec) as gateway:
        assert await gateway.wait_ready(60), gateway.state()
        yield gateway


async def burst(gateway: Gateway, workload: str, count: int, **fields: Any) -> list[bool]:
    """Requests of now through the gateway; tells which passed."""
    passed = []
    for _ in range(count):
        request = Request(
            at_ms=gateway.now_ms(), workload=workload, operation="tool:read_file", **fields
        )
        passed.append(gateway.observe(request).is_allowed)
        await asyncio.sleep(0.002)
    return passed


async def operate(installation: Installation, workload: str, *acts: OperatorAct) -> None:
    """Write what an operator says, as the command line does."""
    config = installation.config
    async with opened(KafkaPublisher(config.kafka)) as publisher:
        value = encode(OperatorRecord(workload=workload, acts=acts)) if acts else None
        sent = await publisher.send(
            config.topics.enforcement, operator_key(workload), value, partition=0
        )
        await sent


async def ready(gateway: Gateway) -> None:
    """Wait until the gateway's table matches the heartbeats; a slow machine may miss some."""

    async def ask() -> str:
        return gateway.state().state

    await wait_until(ask, lambda state: state == "ready")


async def values_of(installation: Installation, topic: str) -> list[dict[str, Any]]:
    """All values of a topic of JSON records."""
    found = []
    async with opened(KafkaReader(installation.config.kafka)) as reader:
        for partition, bounds in (await reader.bounds(topic)).items():
            records = await reader.read(topic, partition, bounds.start, bounds.end)
            found += [json.loads(record.value or b"{}") for record in records]
    return found


async def refused(gateway: Gateway, workload: str) -> None:
    """Wait until the gateway refuses a workload."""

    async def ask() -> bool:
        return gateway.check(workload, "tool:read_file").is_allowed

    await wait_until(ask, lambda is_allowed: not is_allowed)


async def allowed(gateway: Gateway, workload: str) -> None:
    """Wait until the gateway lets a workload pass."""

    async def ask() -> bool:
        return gateway.check(workload, "tool:read_file").is_allowed

    await wait_until(ask, lambda is_allowed: is_allowed)


def test_life_of_a_command(servers: Addresses, fresh_name: str) -> None:
    """A burst is throttled at the gateway with a reason, lapses, is tombstoned; digests match."""
    installation = Installation(servers, fresh_name, POLICY, tombstone_after_ms=500)

    async def story() -> None:
        await installation.topics()
        async with installation.workers(1), gateway_of(installation) as gateway:
            assert all(await burst(gateway, GOOD, 5))
            passed = await burst(gateway, BAD, 60)
            await refused(gateway, BAD)
            verdict = gateway.check(BAD, "tool:read_file")
            assert sum(passed) >= 21
            assert verdict.rule == "burst"
            assert "at most 20" in verdict.cause.reason
            assert gateway.check(GOOD, "tool:read_file").is_allowed
            await ready(gateway)
            # The command lapses although nobody says so, and its record is erased.
            await allowed(gateway, BAD)

            async def held() -> int:
                return gateway.state().records

            await wait_until(held, lambda count: count == 0)
            await asyncio.sleep(0.5)
            await ready(gateway)

    asyncio.run(story())


def test_gateway_and_a_new_worker(servers: Addresses, fresh_name: str) -> None:
    """A worker that starts anew publishes what an older one left, and digests still match."""
    policy = POLICY.replace("for: 4s", "for: 10m")
    installation = Installation(servers, fresh_name, policy)

    async def story() -> None:
        await installation.topics()
        async with installation.workers(1), gateway_of(installation) as gateway:
            await burst(gateway, BAD, 40)
            await refused(gateway, BAD)
        async with installation.workers(1), gateway_of(installation) as gateway:
            # A new gateway's bucket holds the one permit of the rate; then it is empty.
            await refused(gateway, BAD)
            assert gateway.check(GOOD, "tool:read_file").is_allowed

    asyncio.run(story())


def test_operators(servers: Addresses, fresh_name: str) -> None:
    """Stop, exempt and lift hold at the gateway at once, and in the journal for the worker."""
    policy = POLICY.replace("for: 4s", "for: 10m")
    installation = Installation(servers, fresh_name, policy)
    now_ms = SystemClock().wall_ms()
    span = {"at_ms": now_ms, "until_ms": now_ms + 600_000, "by": "test"}

    async def journalled(field: str) -> list[Any]:
        entries = await values_of(installation, installation.config.topics.journal)
        return [entry[field] for entry in entries if entry.get(field)]

    async def story() -> None:
        await installation.topics()
        async with installation.workers(1), gateway_of(installation) as gateway:
            await burst(gateway, BAD, 40)
            await refused(gateway, BAD)
            # Stop: everything passes, and what the worker finds meanwhile is in shadow.
            await operate(installation, "", OperatorAct(act="stop", reason="drill", **span))
            await allowed(gateway, BAD)
            await wait_until(lambda: journalled("stopped_until_ms"), lambda found: len(found) == 6)
            await burst(gateway, f"{BAD}-2", 40)
            await wait_until(installation.commands, lambda found: len(found) >= 2)
            assert {each.body.mode for each in await installation.commands()} == {
                "enforce",
                "shadow",
            }
            # Start: what was in force and has not ended is in force again.
            await operate(installation, "")
            await refused(gateway, BAD)
            # Exempt outranks; lifted again, it is refused again.
            await operate(installation, BAD, OperatorAct(act="exempt", reason="known", **span))
            await allowed(gateway, BAD)
            await wait_until(lambda: journalled("exemptions"), bool)
            await operate(installation, BAD)
            await refused(gateway, BAD)
            # Lift: what was said before is void, at the gateway and, at its next event, here.
            lift = OperatorAct(act="lift", reason="fixed", by="test", at_ms=now_ms + 1)
            await operate(installation, BAD, lift)
            await allowed(gateway, BAD)
            await wait_until(lambda: journalled("lifts"), bool)
            await burst(gateway, BAD, 1)
            found = await wait_until(
                installation.commands,
                lambda found: any(each.body.action == "release" for each in found),
            )
            released = [each for each in found if each.body.action == "release"]
            assert released[0].body.reason.text == "lifted by an operator"
            await ready(gateway)

    asyncio.run(story())


def test_dead_letters(servers: Addresses, fresh_name: str) -> None:
    """What is no event is kept with its code and origin, and the batch around it goes on."""
    installation = Installation(servers, fresh_name, POLICY)
    good = encode_request(Request(at_ms=1_790_000_000_000, workload=GOOD, operation="GET /a"))
    bad = {
        "malformed": b'{"at_ms":1',
        "bad_text": b'{"at_ms":1,"workload":"\xff","operation":"x"}',
        "too_deep": b'{"x":' + b"[" * 60_000,
        "wrong_type": b'{"at_ms":99999999999999999999999,"workload":"x","operation":"x"}',
        "too_large": b'{"at_ms":1,"operation":"' + b"x" * 900_000 + b'"}',
        "bad_identity": b'{"at_ms":1,"workload":"spiffe://a/../b","operation":"x"}',
        "empty": b"",
    }

    async def story() -> dict[str, dict[str, Any]]:
        await installation.topics()
        config = installation.config
        async with installation.workers(1):
            async with opened(KafkaPublisher(config.kafka)) as publisher:
                for payload in bad.values():
                    await publisher.send(config.topics.requests, GOOD.encode(), payload)
                    await publisher.send(config.topics.requests, GOOD.encode(), good)
                await publisher.send(config.topics.requests, GOOD.encode(), good + good)
                await publisher.send(config.topics.requests, b"another key", good)
                await publisher.flush()
            await installation.wait_applied(2 * len(bad) + 3)
        letters = await values_of(installation, config.topics.dead_letters)
        return {letter["code"]: letter for letter in letters}

    found = asyncio.run(story())
    assert found.keys() >= bad.keys()
    assert "trailing" in found["malformed"]["message"]
    rows = asyncio.run(installation.rows())
    replayed = installation.replayed([good] * (len(bad) + 1))[1]
    assert len(rows) == len(replayed) == 1
    # One more than the good ones: what was put elsewhere than its home was sent there.
    assert [events_in(row) for row in rows.values()] == [len(bad) + 1]
    assert "misrouted" not in found


def test_reload_keeps_rows(servers: Addresses, fresh_name: str) -> None:
    """A reloaded policy is journalled and decides from then on, with the windows as they were."""
    loose = POLICY.replace("at_most: 20, per: 1s", "at_most: 1000, per: 1h")
    strict = load_policy(POLICY.replace("at_most: 20, per: 1s", "at_most: 30, per: 1h"), "strict")
    installation = Installation(servers, fresh_name, loose)
    start_ms = 1_790_000_000_000

    def events(start: int, count: int) -> list[bytes]:
        return [
            encode_request(Request(at_ms=start_ms + each, workload=BAD, operation="tool:x"))
            for each in range(start, start + count)
        ]

    async def story() -> None:
        await installation.topics()
        async with installation.workers(1) as (worker,):
            await installation.feed(events(0, 30))
            await installation.wait_applied(30)
            assert await installation.commands() == []
            worker.reload(strict)
            await asyncio.sleep(1)
            await installation.feed(events(30, 1))
            found = await wait_until(installation.commands, bool)
        assert found[0].body.policy == strict.hash
        assert found[0].body.reason.observed == 31

    asyncio.run(story())


def test_redis_emptied(servers: Addresses, fresh_name: str) -> None:
    """A store that has forgotten everything is rebuilt from the log, to the same rows."""
    installation = Installation(servers, fresh_name)
    start_ms = 1_790_000_000_000
    payloads = [
        encode_request(
            Request(at_ms=start_ms + each * 50, workload=f"{GOOD}-{each % 7}", operation="tool:x")
        )
        for each in range(900)
    ]

    async def story() -> None:
        await installation.topics()
        async with installation.workers(1):
            await installation.feed(payloads)
            await installation.wait_applied(len(payloads))
        before = await installation.rows()
        await installation.forget()
        assert await installation.rows() == {}
        async with installation.workers(1):
            await installation.wait_applied(len(payloads))
        assert await installation.rows() == before

    asyncio.run(story())


def test_idle_rows_go(servers: Addresses, fresh_name: str) -> None:
    """A row without events for longer than the policy's idle span is deleted, journalled first."""
    installation = Installation(servers, fresh_name, POLICY, sweep_every_ms=2_560)
    now_ms = SystemClock().wall_ms()
    old = encode_request(Request(at_ms=now_ms - 20 * 86_400_000, workload=BAD, operation="tool:x"))
    new = encode_request(Request(at_ms=now_ms, workload=GOOD, operation="tool:x"))

    async def story() -> None:
        await installation.topics()
        async with installation.workers(1):
            await installation.feed([old, new])
            await installation.wait_applied(2)
            assert len(await installation.rows()) == 2
        # Only what is in no worker's memory is deleted, so look again with a new worker; its
        # partitions know the time only once an event has come.
        async with installation.workers(1):
            await installation.feed(
                [
                    encode_request(
                        Request(at_ms=now_ms + 1, workload=f"{GOOD}-{each}", operation="tool:x")
                    )
                    for each in range(40)
                ]
            )
            await wait_until(installation.rows, lambda rows: len(rows) == 41)

    asyncio.run(story())
