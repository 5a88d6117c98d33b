"""One member of a consumer group of Kafka, whose positions are the listener's, never the group's.

The client assigns partitions and starts to look for a committed offset at once. So before it can
ask, in the same step of the event loop, each partition is given some position and paused; the
listener's answer moves it and lets it go. The group's protocol here is eager: at each change every
member gives up everything, `revoked` and `assigned` follow each other, and what a member had in
its buffers is gone with the old assignment. The client stays in the group by heartbeats alone, as
long as the event loop runs: how long the listener or a step takes does not matter to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence

import aiokafka.errors as vendor
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from stream.errors import BusUnavailable, ConfigError

from .contract import Bounds, Chunk, Committed, Listener
from .kafka import (
    STOP_GRACE_S,
    KafkaSpec,
    answered,
    connected,
    count_partitions,
    log_bounds,
    reader_options,
    stop_client,
    translated,
)
from .kafka_fetch import Columns, Drain
from .kafka_rescue import Unreadable, rescue
from .kafka_static import StaticName, StaticNames
from .kafka_sticky import Sticky
from .membership import Membership
from .rarely import Rarely

log = logging.getLogger(__name__)
rarely = Rarely(log, every_s=10.0)

# The client leaves the group when nobody fetches for so long. A worker that waits for its store
# must not: that would move its partitions to others who wait for the same store.
NEVER_IDLE_MS = 10**12


class KafkaSource:
    """Reads the partitions of one topic that the group gives to this member.

    Errors: BusUnavailable, ConfigError, and what the listener raises.
    """

    def __init__(self, spec: KafkaSpec, topic: str, names: StaticNames | None = None) -> None:
        self._names = names or StaticNames()
        self._spec = spec
        self._topic = topic
        self._request_s = spec.request_ms / 1_000
        self._consumer: AIOKafkaConsumer | None = None
        self._members: Membership | None = None
        self._drain: Drain | None = None
        self._static: StaticName | None = None

    async def start(self, listener: Listener) -> None:
        """Connect and begin to join the group; the listener hears of partitions from here on.

        `names` of earlier sessions of this process: one that was refused is begun with care.
        Errors: ConfigError when the topic does not exist, or another process has our name.
        """
        assert self._consumer is None, "started twice"
        spec, sticky = self._spec, Sticky()
        consumer = AIOKafkaConsumer(
            **reader_options(spec),
            group_id=spec.group,
            group_instance_id=spec.member_id or None,
            session_timeout_ms=spec.session_ms,
            heartbeat_interval_ms=spec.heartbeat_ms,
            rebalance_timeout_ms=spec.rebalance_ms,
            max_poll_interval_ms=NEVER_IDLE_MS,
            partition_assignment_strategy=sticky.assignors(),
        )
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(stop_client, "a consumer", consumer)
            await connected("a consumer", spec, consumer)
            await count_partitions(consumer._client, self._topic, self._request_s)
            await self._names.settle(consumer._client, spec)
            undo.pop_all()
        self._consumer = consumer
        if spec.member_id:
            self._static = StaticName(consumer, spec, self._topic, self._names)
        self._members = Membership(listener, self._place)
        # Kernels and numpy, which a gateway that imports this room must not pay for.
        from .kafka_whole import open_whole  # noqa: PLC0415

        self._drain = open_whole(consumer)
        consumer.subscribe([self._topic], listener=_Turns(consumer, self._members, sticky))

    def _place(self, starts: Mapping[int, int]) -> None:
        consumer = self._started()[0]
        for at, offset in self._at(starts).items():
            consumer.seek(at, offset)
            consumer.resume(at)

    async def fetch(self, records_max: int, wait_s: float) -> list[Chunk]:
        """Return what has come, at most `records_max` records, waiting at most `wait_s`."""
        consumer, members, drain = self._started()
        loop = asyncio.get_running_loop()
        turn, over_at = members.turn, loop.time() + wait_s
        # With records at hand nothing below waits, and the client's own tasks need their turns.
        await asyncio.sleep(0)
        while True:
            members.check()
            if self._static is not None:
                self._static.check()
            was_open, changed = members.is_open, members.changed
            try:
                # What the client cannot get over by itself in joining the group, it says here.
                consumer._coordinator.check_errors()
                taken = await drain.take(records_max) if was_open else []
                left_s = over_at - loop.time()
                if taken or left_s <= 0:
                    return [_chunk(columns) for columns in taken]
                if was_open:
                    await drain.wait(left_s, changed)
                else:
                    await asyncio.wait({changed}, timeout=left_s)
            except Unreadable as error:
                rescued = await self._rescue(error.at, records_max, turn)
                if rescued:
                    return rescued
            except vendor.OffsetOutOfRangeError as error:
                self._give_again(error.args[0])
            except (vendor.KafkaError, vendor.ConsumerStoppedError) as error:
                raise translated(error, f"fetch from {self._topic}") from error
            if members.turn != turn:
                return []

    def _give_again(self, positions: Mapping[TopicPartition, int]) -> None:
        consumer, members, _ = self._started()
        for at, offset in positions.items():
            rarely.warning("%s no longer holds offset %s: its bounds decide anew", at, offset)
            consumer.pause(at)
            members.give_again(at.partition)

    async def _rescue(self, at: TopicPartition, records_max: int, turn: int) -> list[Chunk]:
        """Read a batch that the client cannot, and go on behind it."""
        consumer, members, _ = self._started()
        position = await consumer.position(at)
        records, next_offset = await rescue(consumer, at, position, self._request_s)
        # Whoever has the partition now begins elsewhere.
        if members.turn != turn or await consumer.position(at) != position:
            return []
        if len(records) > records_max:
            del records[records_max:]
            next_offset = records[-1].offset + 1
        consumer.seek(at, next_offset)
        if not records:
            return []
        offsets = [record.offset for record in records]
        append_ms = [record.append_ms for record in records]
        values = [record.value for record in records]
        return [Chunk(at.topic, at.partition, offsets, append_ms, values)]

    def offer(self, partition: int) -> None:
        """Take a partition from the listener and give it again, if it is still ours."""
        consumer, members, _ = self._started()
        if partition in members.held:
            consumer.pause(TopicPartition(self._topic, partition))
            members.give_again(partition)

    async def commit(self, next_offsets: Mapping[int, int], note: str = "") -> None:
        """Tell the group how far we are; failure is not an error, and is logged."""
        consumer, members, _ = self._started()
        ours = {p: offset for p, offset in next_offsets.items() if p in members.held}
        if not ours:
            return
        try:
            async with answered("commit", self._request_s):
                await consumer.commit({at: (o, note) for at, o in self._at(ours).items()})
        except (BusUnavailable, ConfigError) as error:
            rarely.warning("the group has an old position of %s: %s", self._topic, error)

    async def committed(self, partitions: Sequence[int]) -> dict[int, Committed]:
        """Return what the group was told last, of the partitions of which it was told anything."""
        consumer = self._started()[0]
        at = list(self._at(dict.fromkeys(partitions, 0)))
        async with answered(f"ask what the group knows of {self._topic}", self._request_s):
            # The public way to ask leaves the note out.
            found = await consumer._coordinator.fetch_committed_offsets(at)
        return {each.partition: Committed(*known) for each, known in found.items()}

    async def bounds(self, partitions: Sequence[int]) -> dict[int, Bounds]:
        """Return what the log holds of each partition."""
        consumer = self._started()[0]
        at = list(self._at(dict.fromkeys(partitions, 0)))
        return await log_bounds(consumer, at, self._request_s)

    async def partition_count(self) -> int:
        """Return the number of partitions of the topic."""
        consumer = self._started()[0]
        return await count_partitions(consumer._client, self._topic, self._request_s)

    async def stop(self) -> None:
        """Leave the group; the listener hears of the partitions lost by it before they are."""
        if self._consumer is None or self._members is None:
            return
        letting_go = self._members.leave()
        try:
            await asyncio.wait({letting_go})
        finally:
            consumer, self._consumer = self._consumer, None
            if self._static is not None:
                self._static.stop()
            # A join that waits for other members ends with its own request.
            await stop_client("a consumer", consumer, self._request_s + STOP_GRACE_S)
        letting_go.result()

    def _at(self, by_partition: Mapping[int, int]) -> dict[TopicPartition, int]:
        return {TopicPartition(self._topic, p): value for p, value in by_partition.items()}

    def _started(self) -> tuple[AIOKafkaConsumer, Membership, Drain]:
        assert self._consumer is not None, "not started, or stopped"
        assert self._members is not None
        assert self._drain is not None
        return self._consumer, self._members, self._drain


def _chunk(columns: Columns) -> Chunk:
    at, offsets, append_ms, values, _ = columns
    return Chunk(at.topic, at.partition, offsets, append_ms, values)


class _Turns(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """What the client calls at each change of the group."""

    def __init__(self, consumer: AIOKafkaConsumer, members: Membership, sticky: Sticky) -> None:
        self._consumer = consumer
        self._members = members
        self._sticky = sticky

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Return when the listener has let go: only then may the client join again."""
        await asyncio.wait({self._members.take()})

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Hold all partitions still at once, and return, so that heartbeats begin."""
        self._sticky.note(self._consumer, assigned)
        for at in assigned:
            self._consumer.seek(at, 0)
            self._consumer.pause(at)
        self._members.give([at.partition for at in assigned])
