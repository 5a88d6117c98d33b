"""Reads logs of Kafka outside any group: a range, or what comes.

One consumer serves `bounds` and `read`, one after another; each `follow` has its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from itertools import repeat

import aiokafka.errors as vendor
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.errors import BusUnavailable

from .contract import Bounds, Record
from .kafka import (
    KafkaSpec,
    connected,
    count_partitions,
    log_bounds,
    reader_options,
    stop_client,
    translated,
)
from .kafka_fetch import Columns, Drain, open_drain
from .kafka_rescue import Unreadable, rescue
from .reading import RECORDS_AT_ONCE


class KafkaReader:
    """Reads what is committed.

    Errors: BusUnavailable, ConfigError.
    """

    def __init__(self, spec: KafkaSpec) -> None:
        self._spec = spec
        self._request_s = spec.request_ms / 1_000
        self._consumer: AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()
        self._stopping: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Connect."""
        assert self._consumer is None, "started twice"
        self._stopping = asyncio.get_running_loop().create_future()
        self._consumer = await self._open()

    async def _open(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(**reader_options(self._spec), group_id=None)
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(stop_client, "a reader", consumer)
            await connected("a reader", self._spec, consumer)
            undo.pop_all()
        return consumer

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return what the log holds of each partition of a topic."""
        consumer = self._started()
        count = await count_partitions(consumer._client, topic, self._request_s)
        at = [TopicPartition(topic, partition) for partition in range(count)]
        return await log_bounds(consumer, at, self._request_s)

    async def read(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
        """Return the records in [start, end) that the log holds now, in order; waits for none."""
        records, _ = await self.read_some(topic, partition, start, end, max(1, end - start))
        return records

    async def read_some(
        self, topic: str, partition: int, start: int, end: int, records_max: int
    ) -> tuple[list[Record], int]:
        """Return the first records of what `read` returns, and the offset to go on from."""
        consumer = self._started()
        at = TopicPartition(topic, partition)
        async with self._reading:
            held = (await log_bounds(consumer, [at], self._request_s))[partition]
            start, stop = max(start, held.start), min(end, held.end)
            if start >= stop:
                return [], end
            consumer.assign([at])
            consumer.seek(at, start)
            try:
                records = await self._read_to(consumer, at, stop, records_max)
            except (vendor.KafkaError, vendor.ConsumerStoppedError) as error:
                raise translated(error, f"read {topic} {partition}") from error
            finally:
                # Else the client fetches on in the background.
                consumer.pause(at)
        return records, end if len(records) < records_max else records[-1].offset + 1

    async def _read_to(
        self, consumer: AIOKafkaConsumer, at: TopicPartition, end: int, records_max: int
    ) -> list[Record]:
        """Read on until that many are there, the position is at the end, or a gap reaches to it.

        Compaction and retention may leave no record between the position and the end; the position
        then stays. An answer of the broker that came at this position, knew of the end and had no
        record says so.
        """
        loop, drain = asyncio.get_running_loop(), open_drain(consumer, with_keys=True)
        records: list[Record] = []
        position = await consumer.position(at)
        moved_at, answered_ms = loop.time(), consumer.last_poll_timestamp(at)
        while position < end and len(records) < records_max:
            last_ms, readable = consumer.last_poll_timestamp(at), consumer.last_stable_offset(at)
            records += await self._take(consumer, drain, records_max - len(records))
            before, position = position, await consumer.position(at)
            if position != before:
                moved_at, answered_ms = loop.time(), consumer.last_poll_timestamp(at)
            elif last_ms != answered_ms and readable is not None and readable >= end:
                break
            elif loop.time() - moved_at > self._request_s:
                raise BusUnavailable(f"read {at.topic} {at.partition}: no answer at {position}")
            else:
                await drain.wait(self._spec.fetch_wait_ms / 1_000, self._started_until())
        while records and records[-1].offset >= end:
            records.pop()
        return records[:records_max]

    async def _take(
        self, consumer: AIOKafkaConsumer, drain: Drain, records_max: int = RECORDS_AT_ONCE
    ) -> list[Record]:
        """Return what has come at the consumer's positions; what was rescued may be more."""
        try:
            taken = await drain.take(min(records_max, RECORDS_AT_ONCE))
        except Unreadable as error:
            position = await consumer.position(error.at)
            rescued = await rescue(consumer, error.at, position, self._request_s)
            consumer.seek(error.at, rescued.next_offset)
            return rescued.records
        return [record for columns in taken for record in _records(columns)]

    async def follow(
        self, topic: str, starts: Mapping[int, int], wait_s: float = 0.5
    ) -> AsyncGenerator[list[Record], None]:
        """Yield what comes from `starts` (partition -> offset) on, until the reader stops."""
        stopping = self._started_until()
        consumer = await self._open()
        try:
            positions = await self._begin(consumer, topic, starts)
            consumer.assign(list(positions))
            for at, offset in positions.items():
                consumer.seek(at, offset)
            drain = open_drain(consumer, with_keys=True)
            while not stopping.done():
                try:
                    records = await self._take(consumer, drain)
                    if not records:
                        await drain.wait(wait_s, stopping)
                        records = await self._take(consumer, drain)
                except (vendor.KafkaError, vendor.ConsumerStoppedError) as error:
                    raise translated(error, f"follow {topic}") from error
                yield records
        finally:
            await stop_client("a follower", consumer)

    async def _begin(
        self, consumer: AIOKafkaConsumer, topic: str, starts: Mapping[int, int]
    ) -> dict[TopicPartition, int]:
        await count_partitions(consumer._client, topic, self._request_s)
        at = [TopicPartition(topic, partition) for partition in sorted(starts)]
        held = await log_bounds(consumer, at, self._request_s)
        for partition, start in starts.items():
            if start > held[partition].end:
                raise BusUnavailable(
                    f"follow {topic} {partition}: it ends at {held[partition].end},"
                    f" before {start}: the log is not the one it was",
                    hint="read its bounds again",
                )
        return {each: max(starts[each.partition], held[each.partition].start) for each in at}

    async def stop(self) -> None:
        """Disconnect; followers end by themselves."""
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_client("a reader", consumer)

    def _started(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "not started, or stopped"
        return self._consumer

    def _started_until(self) -> asyncio.Future[None]:
        assert self._stopping is not None, "not started"
        return self._stopping


def _records(columns: Columns) -> Iterator[Record]:
    at, offsets, append_ms, values, keys = columns
    return map(Record, repeat(at.partition), offsets, append_ms, keys, values)
