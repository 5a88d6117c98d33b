"""Scenarios of a log that is not the one it was: `requests` made anew, or cut at its beginning.

Both are done by administrators (and by restores), under workers that run. What the workers then
begin in has a name, which is journalled and counted; what the log still holds is applied once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from stream.bus import KafkaReader, KafkaTopics
from stream.events import Conditions, decode_entry
from stream.store import RedisStore
from tests.live import opened

from .kafka import Scene, told
from .story import Result, Story, waited

COUNTED = re.compile(r'enforcer_modes_total\{mode="(\w+)"\} (\d+)')


def recreated(scene: Scene) -> Result:
    """Delete the topic under a worker that has applied all of it, and make it anew, longer."""
    story = Story(*scene)

    async def playing() -> Result:
        await story.installation.topics()
        story.start("only")
        await story.feed(23, 2_000)
        before = await story.log()
        await story.settled(before)
        topic = story.installation.config.topics.requests
        async with vendor_admin(story) as admin, opened(_topics(story)) as topics:
            (old,) = await topics.describe([topic])
            await admin.delete_topics([topic])

            async def is_new() -> bool:
                # The worker's next session makes it if we do not: whoever comes first.
                states = await topics.ensure(story.installation.config.topics.specs())
                return states[0].id not in ("", old.id)

            await waited(is_new, "the topic is another one")
        # Longer than before, so that no checkpoint lies beyond its end: only its id tells.
        await story.feed(29, 4_000)
        after = await story.log()
        await story.settled(after)
        await story.wait_ready("only")
        eras = await eras_of(story)
        assert min(eras.values()) >= 1, eras
        counted = await modes_seen(story)
        assert counted.get("log_changed", 0) >= len(eras), counted
        # A worker that comes later finds nothing new: the era is what it was.
        story.end()
        story.start("only")
        await story.wait_ready("only")
        assert await eras_of(story) == eras
        segments = before + [
            each._replace(era=eras[each.partition], log_era=eras[each.partition]) for each in after
        ]
        return await story.verdict("recreated", {}, counted, segments)

    return told(story, playing())


def truncated(scene: Scene) -> Result:
    """Delete records that a sleeping worker has not applied yet; it goes on with what is left."""
    story = Story(*scene)

    async def playing() -> Result:
        await story.installation.topics()
        process = story.start("only", session_ms=30_000)
        await story.feed(31, 2_000)
        before = await story.log()
        await story.settled(before)
        # Nothing more is read, and the group does not miss it. The request that is under way would
        # still bring what comes now: it is over after fetch_wait_ms.
        os.kill(process.pid, signal.SIGSTOP)
        await asyncio.sleep(10 * story.installation.config.kafka.fetch_wait_ms / 1_000)
        await story.feed(37, 3_000)
        whole = await story.log()
        cut = {each.partition: each.start + len(each.values) for each in before}
        cut = {p: at + (len(whole[p].values) - at) // 2 for p, at in cut.items()}
        topic = story.installation.config.topics.requests
        async with vendor_admin(story) as admin:
            await admin.delete_records(
                {TopicPartition(topic, p): RecordsToDelete(at) for p, at in cut.items()}
            )
        os.kill(process.pid, signal.SIGCONT)
        after = await story.log()
        assert {each.partition: each.start for each in after} == cut
        await story.settled(after)
        counted = await modes_seen(story)
        assert counted.get("log_cut", 0) >= 1, counted
        eras = await eras_of(story)
        later = [each._replace(era=eras[each.partition]) for each in after]
        return await story.verdict("truncated", {}, counted, before + later)

    return told(story, playing())


async def eras_of(story: Story) -> dict[int, int]:
    """The era of each partition, by its checkpoint."""
    config, eras = story.installation.config, {}
    async with opened(RedisStore(config.redis)) as store:
        for partition in range(config.topics.partitions):
            checkpoint = await store.checkpoint(partition)
            eras[partition] = checkpoint.era if checkpoint else 0
    return eras


async def modes_seen(story: Story) -> dict[str, int]:
    """The modes that partitions began in, as counted by the worker; each is in the journal too."""
    shown = await story.page("only", "/metrics")
    counted = {mode: int(count) for mode, count in COUNTED.findall(shown)}
    topic, journalled = story.installation.config.topics.journal, set()
    async with opened(KafkaReader(story.installation.config.kafka)) as reader:
        for partition, bounds in (await reader.bounds(topic)).items():
            for record in await reader.read(topic, partition, *bounds):
                entry = decode_entry(record.value or b"")
                if isinstance(entry, Conditions):
                    journalled |= set(entry.modes)
    assert counted.keys() <= journalled, (counted, journalled)
    return counted


def _topics(story: Story) -> KafkaTopics:
    return KafkaTopics(story.installation.config.kafka)


@contextlib.asynccontextmanager
async def vendor_admin(story: Story) -> AsyncIterator[AIOKafkaAdminClient]:
    """The client's own admin, for what the product never does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=story.installation.config.kafka.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
