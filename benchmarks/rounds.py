"""Where benchmarks run: servers, installations of their own, contenders in processes, rounds.

Rounds alternate, so that an hour in which the machine is slower meets all contenders; each starts
from the beginning of its log with a group, keys and topics of its own; medians are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.belt import belt, pieces
from benchmarks.events import Draw, Load, events
from benchmarks.figures import say
from stream.bus import KafkaTopics
from stream.config import Config, with_prefix
from stream.local import LocalServers, LocalSpec
from tests.live import opened

POLICY = Path(__file__).with_name("policy.yaml")
# The same with tasks, and with rules on all that is learned.
LEARNED_POLICY = f"""tasks: vouched
{POLICY.read_text()}
  - name: task-novelty
    anomaly: {{of: task-novelty, false_alarms: 0.5% of tasks}}
    action: revoke
    on: task
    for: 1h
  - name: behaviour
    anomaly: {{of: behaviour, false_alarms: 0.5% of tasks}}
    action: throttle
    rate: 1/s
    for: 5m
"""
CONTENDER_S = 1_800
SERVERS = ("ENFORCER_KAFKA", "ENFORCER_REDIS")
FOR_LOAD = LocalSpec(is_for_load=True)
SENT_AT_ONCE = 64
Result = dict[str, Any]


class Scene(NamedTuple):
    """Settings that reach the servers, and a folder of this run."""

    config: Config
    folder: Path


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """A Kafka and a Valkey of this run's own, or those that the environment names."""
    kafka, redis = (os.environ.get(name, "") for name in SERVERS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kafka and redis:
            yield Scene(installed(kafka, redis), folder)
            return
        with LocalServers(folder / "servers", FOR_LOAD) as servers:
            yield Scene(installed(servers.addresses.kafka, servers.addresses.redis), folder)


def installed(kafka: str, redis: str) -> Config:
    """Settings of an installation of its own at these servers."""
    config = with_prefix(Config(), f"bench-{uuid.uuid4().hex[:6]}")
    return msgspec.structs.replace(
        config,
        kafka=msgspec.structs.replace(config.kafka, bootstrap=kafka),
        redis=msgspec.structs.replace(config.redis, url=redis),
    )


def with_topic(config: Config, name: str, partitions: int = 0) -> Config:
    """The same servers, and topics of another name; 0 partitions: as many as before."""
    topics = config.topics
    names = {
        each: f"{getattr(topics, each)}.{name}"
        for each in ("requests", "enforcement", "journal", "dead_letters")
    }
    number = partitions or topics.partitions
    topics = msgspec.structs.replace(topics, **names, partitions=number)
    return msgspec.structs.replace(config, topics=topics)


def fresh(config: Config, name: str, worker: dict[str, Any] | None = None) -> Config:
    """A group, keys, a journal and an enforcement topic of its own, and the same requests."""
    mark = uuid.uuid4().hex[:8]
    topics = msgspec.structs.replace(
        config.topics,
        journal=f"{config.topics.journal}-{mark}",
        enforcement=f"{config.topics.enforcement}-{mark}",
    )
    return msgspec.structs.replace(
        config,
        kafka=msgspec.structs.replace(config.kafka, group=f"{name}-{mark}"),
        redis=msgspec.structs.replace(config.redis, prefix=f"bench-{mark}"),
        topics=topics,
        worker=msgspec.structs.replace(config.worker, **(worker or {})),
    )


async def create_topics(config: Config) -> None:
    """Create the topics of an installation."""
    async with opened(KafkaTopics(config.kafka)) as admin:
        await admin.ensure(config.topics.specs())


async def fill(config: Config, some: Iterable[tuple[bytes, bytes]]) -> int:
    """Create the topics and write events; return how many."""
    await create_topics(config)
    ready = pieces(some, config.topics.partitions)
    async with belt(config.kafka, config.topics.requests) as one:
        while now := list(itertools.islice(ready, SENT_AT_ONCE)):
            await one.send(now)
        return one.sent


def filled(config: Config, load: Load, drawn: Iterator[Draw] | None = None) -> Config:
    """Write a load, or what was drawn for it, to the topics of an installation."""
    say(f"writing {load.count:,} events of {load.workloads:,} workloads")
    asyncio.run(fill(config, events(load, drawn)))
    return config


def settings_of(
    name: str, config: Config, events: int, worker: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a contender needs: a group of its own, so that it starts at the beginning."""
    own = fresh(config, name, worker)
    return {
        "topic": own.topics.requests,
        "kafka": own.kafka.bootstrap,
        "redis": own.redis.url,
        "group": own.kafka.group,
        "events": events,
        "config": msgspec.to_builtins(own),
        "policy": POLICY.read_text(),
    }


def contend(name: str, settings: dict[str, Any], folder: Path) -> Result:
    """Run one contender in a process of its own."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders", name, str(file)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=CONTENDER_S,
    )
    return json.loads(done.stdout.splitlines()[-1])


def alternate(
    names: Iterable[str], rounds: int, play: Callable[[str], Result]
) -> dict[str, list[Result]]:
    """Play each of the names in each round, another one first each time.

    A result says at least `events` and `wall_s`.
    """
    order = list(names)
    results: dict[str, list[Result]] = {name: [] for name in order}
    for number in range(rounds):
        first = number % len(order)
        for name in order[first:] + order[:first]:
            result = play(name)
            results[name].append(result)
            rate = result["events"] / result["wall_s"]
            say(f"round {number + 1} of {rounds}: {name:14} {rate:12,.0f} events/s")
    return results


def median(results: list[Result], value: Callable[[Result], float]) -> float:
    """The median of what is read from each result."""
    return statistics.median(map(value, results))


def rate_per_s(results: list[Result], wall: str = "wall_s") -> float:
    """The median of events a second."""
    return median(results, lambda each: each["events"] / each[wall])


def cpu_us(results: list[Result]) -> float:
    """The median of CPU microseconds an event."""
    return median(results, lambda each: each["cpu_s"] / each["events"] * 1e6)
