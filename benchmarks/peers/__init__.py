"""Others doing the same work: Bytewax, Quix and Flink, each job as its users would write it.

All do what benchmarks/policy.yaml says to S and M events: five sliding windows of 17 bins a
workload, their limits, one forbidden sequence, and a command as JSON to a topic of its own when a
rule is broken and not in force, or half of its time is over. They keep no transitions, no task
contexts, no explanation of a command and no gateway's table, so ours does more. They are the extra
`peers` (`pip install -e '.[peers]'`); Flink's jars come from Maven Central by jgo.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers.jars import flink_lacking
from stream.bus import KafkaReader, KafkaSpec, KafkaTopics, Record, TopicSpec
from stream.config import Config
from stream.events import SubjectRecord, decode_value, encode
from tests.live import opened

PEERS = ("bytewax", "quix", "flink")
MODULES = {"bytewax": ("bytewax", "confluent_kafka"), "quix": ("quixstreams",)}
PEER_S = 1_800

# Workload, rule, action, the row's clock at the cause.
Seen = list[tuple[str, str, str, int]]


def lacking(name: str) -> str:
    """What a peer needs and this installation has not; empty where it can run."""
    if name == "flink":
        return flink_lacking()
    missing = [each for each in MODULES[name] if importlib.util.find_spec(each) is None]
    return f"no {', '.join(missing)}: pip install -e '.[peers]'" if missing else ""


def run_peer(name: str, settings: dict[str, Any], folder: Path) -> tuple[dict[str, Any], Seen]:
    """Run a peer's job in a process of its own; return what it took, and what it enforced."""
    topic = f"{settings['topic']}.{name}-{uuid.uuid4().hex[:8]}"
    config = msgspec.convert(settings["config"], Config)
    asyncio.run(_create(config, topic))
    file = folder / f"{name}.json"
    own = {"commands": topic, "folder": str(folder / f"{name}-{uuid.uuid4().hex[:8]}")}
    file.write_text(json.dumps(settings | own))
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.peers.{name}_job", str(file)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PEER_S,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    seen = [_peers_command(each) for each in asyncio.run(_read(config.kafka, topic))]
    return result, sorted(seen)


async def _create(config: Config, topic: str) -> None:
    async with opened(KafkaTopics(config.kafka)) as admin:
        await admin.ensure([TopicSpec(name=topic, partitions=config.topics.partitions)])


async def _read(kafka: KafkaSpec, topic: str) -> list[Record]:
    async with opened(KafkaReader(kafka)) as reader:
        found = []
        for partition, bounds in (await reader.bounds(topic)).items():
            found += await reader.read(topic, partition, bounds.start, bounds.end)
    return found


def _peers_command(record: Record) -> tuple[str, str, str, int]:
    value = json.loads(record.value or b"{}")
    return value["workload"], value["rule"], value["action"], value["clock_ms"]


def commands_of(config: Config) -> Seen:
    """What our own worker has enforced, as the peers say it."""
    found = set()
    for record in asyncio.run(_read(config.kafka, config.topics.enforcement)):
        for each in _commands(record):
            found.add((each.partition, each.version, seen_in(encode(each.body))))
    return sorted(seen for _, _, seen in found)


def seen_in(body: bytes) -> tuple[str, str, str, int]:
    """What the peers would say of the body of a command."""
    known = json.loads(body)
    return known["subject"]["workload"], known["rule"], known["action"], known["clock_ms"]


def _commands(record: Record) -> Iterator[Any]:
    value = decode_value(record.value) if record.value else None
    if isinstance(value, SubjectRecord):
        yield from value.commands
