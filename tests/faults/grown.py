"""Partitions multiplied under load, beside producers that learn of it late.

The oracle knows nothing of how workloads are handed over. It takes from the journals at which
offset each partition began to count by more partitions, puts together for each workload what the
logs say it did, once each and in order, and replays that. Rows are then compared but for the
fields that name places in logs, which are another log's here.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from stream.bus import KafkaPublisher, KafkaReader, Record
from stream.events import FORWARDED, Conditions, encode, unwrap
from stream.identity import positive_murmur2
from stream.profiles import Layout
from stream.replay import Replay
from stream.runtime import valid_entries
from stream.store import BUCKETS, RedisStore
from tests.live import KEY, fixed_part, key_of, opened, other_rows

from .kafka import Scene, told
from .story import Result, Story, waited

HEAD_AT, LEDGER_KIND = 24, 6
PLACES = ("offset", "ordinal", "era", "partition", "lift_offset")


class GrowingStory(Story):
    """An installation whose partitions become more; a third of its gateways notice late."""

    first = late = 6

    async def _send(self, publisher: KafkaPublisher, payloads: list[bytes]) -> None:
        topic, sent = self.installation.config.topics.requests, []
        for payload in payloads:
            key = key_of(payload)
            home = positive_murmur2(key) % self.late if key[-1] % 3 == 0 else None
            sent.append(await publisher.send(topic, key, payload, home))
        for each in sent:
            await each
            self.acknowledged += 1

    async def grow(self, to: int) -> dict[str, Any]:
        """Have more partitions, as an operator does; return what the verb says."""
        config = self.installation.config
        prefix = config.topics.requests.removesuffix(".requests")
        options = {"kafka": config.kafka.bootstrap, "redis": config.redis.url, "prefix": prefix}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        verb = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stream.cli", "partitions", "grow", "--to", str(to), "--json",
            *words, "--wait", "90s", stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if "ENFORCER" not in name},
        )  # fmt: skip
        out, err = await verb.communicate()
        assert verb.returncode == 0, err.decode()
        topics = msgspec.structs.replace(config.topics, partitions=to)
        self.installation.config = msgspec.structs.replace(config, topics=topics)
        found: dict[str, Any] = json.loads(out)
        return found

    async def positions(self) -> dict[int, int]:
        """From where each partition would be replayed."""
        count = self.installation.config.topics.partitions
        async with opened(RedisStore(self.installation.config.redis)) as store:
            store.first_partitions = self.first
            found = [await store.checkpoint(each) for each in range(count)]
        return {number: each.next_offset if each else 0 for number, each in enumerate(found)}

    async def rows(self) -> dict[int, bytes]:
        """All stored rows, by id."""
        async with opened(RedisStore(self.installation.config.redis)) as store:
            return {
                row_id: masked(fixed_part(row))
                for group in range(self.first)
                for bucket in range(BUCKETS)
                for row_id, row in await store.scan(group, bucket)
            }


class Part(NamedTuple):
    """What a partition's log holds, and its journal says of its growth."""

    records: list[Record]
    grown: list[tuple[int, int]]
    parent: tuple[int, int] | None

    def count_at(self, offset: int) -> int:
        """By how many partitions it counts at an offset."""
        return max(count for at, count in self.grown if at <= offset)


async def parts_of(story: GrowingStory) -> list[Part]:
    """Return all partitions' logs and what their journals say."""
    topics = story.installation.config.topics
    found = []
    async with opened(KafkaReader(story.installation.config.kafka)) as reader:
        bounds, journal = await reader.bounds(topics.requests), await reader.bounds(topics.journal)
        for partition in sorted(bounds):
            records = await reader.read(topics.requests, partition, *bounds[partition])
            entries = valid_entries(
                await reader.read(topics.journal, partition, *journal[partition])
            )
            held = [each for _, each in entries if isinstance(each, Conditions)]
            before = next((each.ancestors[0] for each in held if each.ancestors), None)
            found.append(
                Part(
                    records,
                    [(each.from_offset, each.counts[-1]) for each in held],
                    (before.partition, before.shift) if before else None,
                )
            )
    return found


def lines_of(parts: list[Part], partition: int) -> Iterator[tuple[int, bytes]]:
    """Yield what a partition applies of its log: at home there, and heard for the first time."""
    part = parts[partition]
    heard: dict[Any, int] = {}
    for record in part.records:
        value = record.value or b""
        if value.startswith(FORWARDED):
            source, value, _ = unwrap(value, KEY.seal)
            if source.offset <= heard.get(source.name, -1):
                continue
            heard[source.name] = source.offset
            if part.parent == (source.partition, source.offset + 1):
                raise AssertionError("an event that was applied before the cut was forwarded")
        if positive_murmur2(key_of(value)) % part.count_at(record.offset) == partition:
            yield record.offset, value


def in_order(parts: list[Part]) -> Iterator[bytes]:
    """Yield every event once, each workload's in the order of its homes."""
    for partition, part in enumerate(parts):
        path, at = [(partition, 1 << 62)], part
        while at.parent is not None:
            path.insert(0, at.parent)
            at = parts[at.parent[0]]
        for home, cut in path:
            for offset, value in lines_of(parts, home):
                is_here = positive_murmur2(key_of(value)) % len(parts) == partition
                if offset < cut and is_here:
                    yield value


def masked(row: bytes) -> bytes:
    """A row without the fields that name places in a log."""
    out = bytearray(row)
    dtype: Any = Layout((), (), ()).dtype
    head, ledger = dtype["head"].fields, dtype["ledger"].base.fields
    for field in PLACES:
        kind, at = head[field][:2]
        out[HEAD_AT + at : HEAD_AT + at + kind.itemsize] = bytes(kind.itemsize)
    at = 8
    while at < len(out):
        tag = int.from_bytes(out[at : at + 8], "little")
        if tag & 0xFF == LEDGER_KIND:
            for field in ("offset", "ordinal"):
                kind, start = ledger[field][:2]
                first = at + 16 + start
                out[first : first + kind.itemsize] = bytes(kind.itemsize)
        at += 16 + 8 * (tag >> 16 & 0xFFFF)
    return bytes(out)


def oracle(story: GrowingStory, parts: list[Part]) -> tuple[Counter[bytes], dict[int, bytes]]:
    """The bag of command bodies and the rows of one undisturbed replay of everything."""
    replay = Replay(story.installation.policy, KEY, 1, 20_000)
    bodies: Counter[bytes] = Counter()
    for result, _ in replay.run(in_order(parts)):
        bodies.update(encode(one.command.body) for one in result.outgoing)
    table = replay.state.table
    slots = table.used_slots().tolist()
    ids = table.sections.head["workload"][slots].tolist()
    images = map(fixed_part, replay.state.stored(slots))
    return bodies, dict(zip(ids, map(masked, images), strict=True))


async def verdict(
    story: GrowingStory, recovery_s: dict[str, float], notes: dict[str, Any]
) -> Result:
    """Compare commands and rows with one replay of what the logs hold."""

    async def is_at_rest() -> bool:
        topic = story.installation.config.topics.requests
        async with opened(KafkaReader(story.installation.config.kafka)) as reader:
            ends = {each: held.end for each, held in (await reader.bounds(topic)).items()}
        return await story.positions() == ends

    await waited(is_at_rest, "everything applied and stored")
    parts = await parts_of(story)
    expected, rows = oracle(story, parts)
    commands = await story.installation.commands()
    ours = Counter(encode(each.body) for each in commands)
    by_version = Counter((each.partition, each.version) for each in commands)
    forwarded = sum(
        (each.value or b"").startswith(FORWARDED) for part in parts for each in part.records
    )
    stored = await story.rows()
    other = other_rows(stored, rows)
    return Result(
        name="grow",
        recovery_s=recovery_s,
        lost=(expected - ours).total(),
        wrong=(ours - expected).total() + sum(count - 1 for count in by_version.values()),
        rows_equal=not other,
        commands=expected.total(),
        events=story.acknowledged,
        notes={**notes, "forwarded": forwarded, "rows": len(rows), "other": len(other)},
    )


def grow(scene: Scene, counts: tuple[int, ...], kills: int, seed: int) -> Result:
    """Have more partitions under load, worker processes being killed meanwhile."""
    choose = random.Random(seed)
    story = GrowingStory(*scene, slots_max=64, save_every_ms=100, batch_events_max=500)

    async def killed() -> None:
        for _ in range(kills):
            await asyncio.sleep(choose.random() * 3.0)
            name = choose.choice(("one", "two"))
            story.processes[name].kill()
            story.processes[name].wait()
            story.start(name)

    async def playing() -> Result:
        await story.installation.topics()
        for name in ("one", "two"):
            story.start(name)
        took_s = {}
        async with story.feeding(seed, per_s=400):
            await story.wait_ready("one", "two")
            for count in counts:
                await story.more(250)
                disturbance = asyncio.create_task(killed())
                took_s[f"to {count}"] = (await story.grow(count))["took_s"]
                await disturbance
                await story.more(250)
                story.late = count
        notes = {"kills": kills * len(counts), "seed": seed}
        return await verdict(story, took_s, notes)

    return told(story, playing())
