"""What each role meets where one of its rights is missing; `MEETS` by role."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from stream.baselines import encode_baseline, promote
from stream.bus import KafkaPublisher, KafkaReader, KafkaTopics
from stream.cli.baseline_lesson import Judge, Range, Wanted, lessons
from stream.cli.baseline_live import _say, tell_live
from stream.cli.dlq_retry import Plan, Tally, retry_letters
from stream.cli.explain import _conditions
from stream.cli.letters import Choice
from stream.cli.operating import Change, perform
from stream.cli.rights import Right
from stream.cli.screen import Screen
from stream.cli.topics import make_topics
from stream.config import Config
from stream.detectors import JUDGES
from stream.enforcement import NOTHING_EXPECTED
from stream.errors import ConfigError
from stream.gateway import Gateway
from stream.replay import History
from stream.runtime import Counts, SystemClock, Worker, known_counts
from stream.store import RedisStore
from tests.live import KEY, opened
from tests.models.logs import policy_of
from tests.models.tasks import history, learned
from tests.secure_estate import BAD, Estate, acl_of


@contextlib.asynccontextmanager
async def working(worker: Any) -> AsyncIterator[None]:
    """A worker at work, stopped as SIGTERM stops it."""
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await task


def gateway_of(config: Config) -> Gateway:
    """A gateway with these settings, not entered."""
    spec = msgspec.structs.replace(config.gateway, name="edge", close_s=1.0)
    return Gateway(KafkaReader(config.kafka), KafkaPublisher(config.kafka), SystemClock(), spec)


async def worker_meets(estate: Estate, right: Right) -> str:
    """What a worker says that applies events, or, of what it may not look at, logs."""
    config = estate.of("worker")
    if right.operation == "DescribeConfigs":
        await make_topics(config)
        return ""
    worker = estate.worker(config)
    if (right.resource, right.operation) == (config.topics.baselines, "Write"):
        return await told_of_its_file(worker)
    await estate.feed()
    with pytest.raises(ConfigError) as caught:
        async with asyncio.timeout(45):
            await worker.run()
    return str(caught.value)


async def told_of_its_file(worker: Worker) -> str:
    """What a worker logs that may not let others have the baseline of its file, and goes on."""
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "does not take effect" in record.msg and not said.done():
                said.set_result(record.getMessage())

    data = encode_baseline(promote(learned(history()), KEY.id, JUDGES, {}))
    worker.baselines.offer(data, worker.baselines.made(data, "test"))
    heard, log = Heard(), logging.getLogger("stream.runtime.baselines")
    log.addHandler(heard)
    try:
        async with working(worker), asyncio.timeout(45):
            return await said
    finally:
        log.removeHandler(heard)


async def gateway_meets(estate: Estate, right: Right) -> str:
    """What the state of a gateway says of its connections."""
    async with asyncio.timeout(45), gateway_of(estate.of("gateway")) as gateway:
        while not gateway.state().fault:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        return gateway.state().fault


async def lessons_of(config: Config) -> History:
    """What one partition of the topic of requests teaches, judged by a policy without rules."""
    topic, partitions = config.topics.requests, config.topics.partitions
    counts = {each: [(0, partitions)] for each in range(partitions)}
    judge = Judge(policy_of(), NOTHING_EXPECTED, counts)
    async with opened(KafkaReader(config.kafka)) as reader:
        held = await reader.bounds(topic)
        ranges = [Range(each, *bounds) for each, bounds in sorted(held.items())]
        return await lessons(reader, config, (KEY, Wanted(), judge), ranges, lambda done: None)


async def operator_meets(estate: Estate, right: Right) -> str:
    """What the verb says that needs the right."""
    config = estate.of("operator")
    retried = (config.topics.dead_letters, config.topics.requests)
    verb: Awaitable[Any]
    if right.resource == config.topics.journal:
        verb = _conditions(config, 0, 0)
    elif right.resource == config.topics.baselines:
        said = "", b"", "test"
        screen = Screen(is_json=True)
        verb = (
            tell_live(config, screen)
            if right.operation == "Read"
            else _say(config, said, 1, screen)
        )
    elif (right.resource, right.operation) == (config.topics.requests, "Read"):
        await estate.feed()
        verb = lessons_of(config)
    elif right.resource.startswith(retried):
        await estate.letter()
        verb = retry_letters(config, Plan(Choice(), 10), Tally(Screen(is_json=True)))
    else:
        verb = perform(config, Change(BAD, "lift", 60_000, "test"), SystemClock())
    with pytest.raises(ConfigError) as caught:
        await verb
    return str(caught.value)


async def admin_meets(estate: Estate, right: Right) -> str:
    """What `topics` and `partitions grow` say, in an installation of its own where they change it.

    Topics are created where there are none yet, and grow where they are.
    """
    if right.operation in ("Create", "Alter"):
        other = Estate(estate.kafka, estate.valkey, f"other-{time.time_ns():x}")
        mine = [each for each in other.rights if each.role == "admin"]
        key = right.operation, kind_of(right.resource)
        given = [each for each in mine if (each.operation, kind_of(each.resource)) != key]
        assert len(given) == len(mine) - 1
        await estate.kafka.allow([acl_of(each) for each in given])
        estate = other
    config = estate.of("admin")
    if right.operation == "DescribeConfigs":
        await make_topics(config)
        return ""
    if right.operation == "Alter":
        await make_topics(estate.super.config)
    verbs: dict[str, Callable[[], Awaitable[Any]]] = {
        "Alter": lambda: grown(config, kind_of(right.resource)),
        "Read": lambda: counts_of(config),
    }
    verb = verbs.get(right.operation, lambda: make_topics(config))
    with pytest.raises(ConfigError) as caught:
        await verb()
    return str(caught.value)


async def grown(config: Config, kind: str) -> None:
    """Let the topic of a kind have more partitions."""
    (name,) = [each.name for each in config.topics.specs() if kind_of(each.name) == kind]
    async with opened(KafkaTopics(config.kafka)) as admin:
        await admin.grow(name, 4)


async def counts_of(config: Config) -> Counts:
    """How many partitions there have been, as `partitions grow` begins."""
    async with (
        opened(KafkaReader(config.kafka)) as reader,
        opened(RedisStore(config.redis)) as store,
    ):
        return await known_counts(store, reader, config.topics, 2)


def kind_of(topic: str) -> str:
    return topic.rpartition(".")[2]


MEETS: dict[str, Callable[[Estate, Right], Awaitable[str]]] = {
    "worker": worker_meets,
    "gateway": gateway_meets,
    "operator": operator_meets,
    "admin": admin_meets,
}
