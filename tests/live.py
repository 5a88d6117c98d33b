"""A whole installation for one test: topics, keys and group of its own on the shared servers."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from stream.bus import KafkaPublisher, KafkaReader, KafkaTopics
from stream.cli.doors import keys_of, worker_doors
from stream.config import Config, MetricsSpec, with_prefix
from stream.events import SubjectRecord, decode_request, decode_value, encode
from stream.identity import canonical_workload
from stream.kernel import HashKey
from stream.local import Addresses
from stream.metrics import Metrics
from stream.policy import Policy, load_policy
from stream.profiles import LEDGER_ENTRY, Layout
from stream.profiles.rowwords import KIND_HEAD, KIND_LEDGER
from stream.replay import Replay
from stream.runtime import SystemClock, Worker, WorkerSpec
from stream.store import BUCKETS, RedisStore

KEY = HashKey(b"a test key, 16 b")
PATIENCE_S = 90.0
_HEAD = Layout((), (), ()).dtype["head"]

POLICY = """
name: live-test
rules:
- name: crowd
  limit: {measure: requests, at_most: 30, per: 1m}
  action: throttle
  rate: 5/s
  for: 30s
  mode: enforce
- name: burst
  limit: {measure: requests, at_most: 8, per: 1s}
  action: throttle
  on: operation
  rate: 1/s
  for: 10s
  mode: shadow
- name: denied
  limit: {measure: denials, at_most: 1, per: 1h}
  action: revoke
  on: token
  for: 2h
  mode: enforce
- name: failing
  limit: {measure: errors, at_most: 1, per: 24h}
  action: observe
- name: volume
  limit: {measure: bytes, at_most: 3MB, per: 1h, effect: read}
  action: throttle
  rate: 10/m
  for: 10m
  mode: enforce
- name: read-then-send
  forbid:
    first: ["tool:get_*", "tool:read_*", "tool:search_*"]
    then: ["tool:send_*", "tool:post_*"]
    within: 10m
  action: revoke
  on: task
  for: 15m
  mode: enforce
- name: list-then-change
  forbid:
    first: ["tool:*.List*", "tool:*.Describe*", "GET /**"]
    then: ["tool:*.Delete*", "POST /**"]
    within: 1h
  action: revoke
  for: 1h
  mode: shadow
"""


class Installation:
    """Settings, and what a test does with them."""

    def __init__(self, servers: Addresses, name: str, policy: str = POLICY, **worker: Any) -> None:
        config = with_prefix(Config(), name[-20:].strip("-"))
        spec = {"slots_max": 20_000, "save_every_ms": 200, "heartbeat_ms": 200} | worker
        self.config: Config = msgspec.structs.replace(
            config,
            kafka=msgspec.structs.replace(config.kafka, bootstrap=servers.kafka),
            redis=msgspec.structs.replace(config.redis, url=servers.redis),
            worker=msgspec.convert(spec, WorkerSpec),
        )
        self.policy: Policy = load_policy(policy, "test")
        self.policy_text = policy

    def worker(self, name: str = "worker", *, policy: Policy | None = None) -> Worker:
        """A worker as `enforcer run` makes it."""
        return worker_of(self.config, policy or self.policy, name)

    def process(
        self, folder: Path, member: str = "", redis: str = "", **kafka: Any
    ) -> subprocess.Popen[bytes]:
        """A worker in a process of its own; its log goes to a file in the folder.

        `redis` is another way to the same server, as `bootstrap` may be to the same Kafka.
        """
        kafka = {"member_id": member} | kafka
        config = msgspec.structs.replace(
            self.config,
            kafka=msgspec.structs.replace(self.config.kafka, **kafka),
            redis=msgspec.structs.replace(self.config.redis, url=redis or self.config.redis.url),
            metrics=MetricsSpec(port=0),
        )
        settings = {"config": msgspec.to_builtins(config), "policy": self.policy_text}
        file = folder / f"worker-{member or 'any'}.json"
        file.write_bytes(msgspec.json.encode(settings))
        with (folder / f"worker-{member or 'any'}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.worker_process", str(file)], stderr=log
            )

    @contextlib.asynccontextmanager
    async def workers(self, count: int) -> AsyncIterator[list[Worker]]:
        """Workers of one group, stopped at the end as SIGTERM stops them."""
        workers = [self.worker(f"worker-{place}") for place in range(count)]
        tasks = [asyncio.create_task(each.run()) for each in workers]
        try:
            yield workers
        finally:
            for each in workers:
                each.stop()
            await asyncio.gather(*tasks)

    def replicate(self, copies: int) -> None:
        """Let the topics have so many copies, from their creation on."""
        topics = msgspec.structs.replace(self.config.topics, replicas=copies)
        self.config = msgspec.structs.replace(self.config, topics=topics)

    async def in_sync(self, copies: int) -> None:
        """Wait until every partition of every topic has so many copies in sync."""
        names = [each.name for each in self.config.topics.specs()]

        async def ask() -> int:
            async with opened(KafkaTopics(self.config.kafka)) as admin:
                try:
                    topics = await admin._ask(names)
                except KafkaError:
                    return 0
            return min(len(part["isr"]) for each in topics for part in each["partitions"])

        await wait_until(ask, lambda least: least >= copies)

    async def topics(self) -> None:
        """Create the topics."""
        async with opened(KafkaTopics(self.config.kafka)) as admin:
            await admin.ensure(self.config.topics.specs())

    async def feed(self, payloads: Iterable[bytes]) -> int:
        """Send payloads to Kafka as gateways do; return how many."""
        count = 0
        async with opened(KafkaPublisher(self.config.kafka)) as publisher:
            for payload in payloads:
                await publisher.send(self.config.topics.requests, key_of(payload), payload)
                count += 1
            await publisher.flush()
        return count

    async def commands(self) -> list[Any]:
        """All commands the enforcement topic ever carried, once each, by version and partition."""
        found = {}
        async with opened(KafkaReader(self.config.kafka)) as reader:
            for partition, bounds in (await reader.bounds(self.config.topics.enforcement)).items():
                topic = self.config.topics.enforcement
                for record in await reader.read(topic, partition, bounds.start, bounds.end):
                    value = decode_value(record.value) if record.value else None
                    if isinstance(value, SubjectRecord):
                        for command in value.commands:
                            found[command.id] = command
        return sorted(found.values(), key=lambda each: (each.partition, each.version))

    async def applied(self) -> int:
        """How many events the checkpoints say need no replay."""
        return sum((await self.positions()).values())

    async def positions(self) -> dict[int, int]:
        """From where each partition would be replayed, by its checkpoint."""
        async with opened(RedisStore(self.config.redis)) as store:
            found = [await store.checkpoint(each) for each in range(self.config.topics.partitions)]
        return {number: each.next_offset if each else 0 for number, each in enumerate(found)}

    async def wait_applied(self, count: int) -> None:
        """Wait until everything sent is applied and stored."""
        await wait_until(self.applied, lambda applied: applied >= count)

    async def rows(self) -> dict[int, bytes]:
        """All stored rows without their tails, by id."""
        found: dict[int, bytes] = {}
        async with opened(RedisStore(self.config.redis)) as store:
            for partition in range(self.config.topics.partitions):
                for bucket in range(BUCKETS):
                    found |= {
                        row_id: fixed_part(row)
                        for row_id, row in await store.scan(partition, bucket)
                    }
        return found

    async def forget(self) -> None:
        """Delete everything this installation has in Redis, as an emptied server has none."""
        redis = Redis.from_url(self.config.redis.url)
        async for key in redis.scan_iter(f"{self.config.redis.prefix}:*", count=1_000):
            await redis.delete(key)
        await redis.aclose()

    def replayed(self, payloads: Iterable[bytes]) -> tuple[list[bytes], dict[int, bytes]]:
        """The command bodies and the rows of an undisturbed replay."""
        return replayed(self.policy, self.config.topics.partitions, payloads)


def worker_of(config: Config, policy: Policy, name: str, metrics: Metrics | None = None) -> Worker:
    """A worker on real servers."""
    metrics = metrics or Metrics()
    doors, specs = worker_doors(config, metrics), (config.worker, config.topics)
    shown = SystemClock(), metrics, name
    return Worker(specs, doors, (policy, load_policy), KEY, shown, keys_of(config, "worker"))


def replayed(
    policy: Policy, partitions: int, payloads: Iterable[bytes]
) -> tuple[list[bytes], dict[int, bytes]]:
    """The command bodies and the rows of an undisturbed replay."""
    replay = Replay(policy, KEY, partitions, 20_000)
    bodies = [
        encode(each.command.body) for result, _ in replay.run(payloads) for each in result.outgoing
    ]
    return bodies, rows_of(replay)


def rows_of(replay: Replay) -> dict[int, bytes]:
    """The rows that a replay has, by id, as a store would have them."""
    table = replay.state.table
    slots = table.used_slots().tolist()
    ids = table.sections.head["workload"][slots].tolist()
    return dict(zip(ids, map(fixed_part, replay.state.stored(slots)), strict=True))


def fixed_part(row: bytes) -> bytes:
    """A stored row without its tail, which holds append times, and the checksum over both."""
    return row[:8] + row[16 : int.from_bytes(row[4:8], "little") * 8]


def placeless(row: bytes) -> bytes:
    """The fixed part of a row without offsets: what is left when its events came another way."""
    left, at = bytearray(row), 8
    while at < len(row):
        words, start = int.from_bytes(row[at + 2 : at + 4], "little"), at + 16
        kind = {KIND_HEAD: _HEAD, KIND_LEDGER: LEDGER_ENTRY}.get(row[at])
        for name in ("offset", "ordinal") if kind else ():
            field, place = kind.fields[name][:2]
            left[start + place : start + place + field.itemsize] = bytes(field.itemsize)
        at = start + 8 * words
    return bytes(left)


def events_in(row: bytes) -> int:
    """How many requests a row counted: a word of the head, behind word 0 and the section's two."""
    at = 24 + _HEAD.fields["events"][1]
    return int.from_bytes(row[at : at + 8], "little")


def key_of(payload: bytes) -> bytes:
    """The record key of a payload: the canonical workload, or something where there is none."""
    try:
        return canonical_workload(decode_request(payload).workload).encode()
    except (ValueError, RecursionError):
        return b"?"


def differences(ours: Iterable[bytes], theirs: Iterable[bytes]) -> str:
    """What one bag of bodies has and the other has not, in short; empty when they are equal."""
    mine, other = Counter(ours), Counter(theirs)
    extra, lacking = list((mine - other).elements()), list((other - mine).elements())
    if not extra and not lacking:
        return ""
    return f"{len(extra)} extra, {len(lacking)} missing; {extra[:1]} {lacking[:1]}"


def other_rows(ours: dict[int, bytes], theirs: dict[int, bytes]) -> list[int]:
    """The ids of rows that differ, or that only one side has."""
    return [each for each in ours.keys() | theirs.keys() if ours.get(each) != theirs.get(each)]


async def wait_until(ask: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """Ask again until the answer is as wanted; fail with the last answer."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = await ask()
        if is_so(answer):
            return answer
        assert time.monotonic() < deadline, f"after {PATIENCE_S} s still {answer!r}"
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def opened(door: Any) -> AsyncIterator[Any]:
    """A door that is started and stopped."""
    await door.start()
    try:
        yield door
    finally:
        await door.stop()
