"""How fetched records leave aiokafka's consumer as columns.

The consumer's own way builds a `ConsumerRecord` per record, which is most of what reading costs
(1.6 of 1.85 us). `Handover` takes the same parsed batches one step earlier: the parser's records
go straight into columns. Everything else stays aiokafka's: fetching, positions, CRC, codecs,
aborted transactions, control records, gaps. It touches private spots of this one consumer only,
so `can_hand_over` looks at them at start and decodes a batch through them; where they differ,
`Public` does the same with public calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

import aiokafka.errors as vendor
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher as inner
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from .contract import Chunk

log = logging.getLogger(__name__)

# The public path cannot be woken by us, so it looks this often.
LOOK_S = 0.01
READ_COMMITTED = 1


class Drain(Protocol):
    """Takes what a consumer has fetched. Raises aiokafka's errors; the source translates them."""

    async def take(self, records_max: int) -> list[Chunk]:
        """Return what is there, at most so many records, fairly over partitions; wait for none."""
        ...

    async def wait(self, within_s: float, other: asyncio.Future[None]) -> None:
        """Return when something may have come, when `other` is done, or when the time is over."""
        ...


def open_drain(consumer: AIOKafkaConsumer) -> Drain:
    """Return the fast way out of a started consumer, or the public one where it is not safe."""
    if can_hand_over(consumer):
        return Handover(consumer)
    log.warning(
        "aiokafka's internals differ from those known here: records are read the public way,"
        " at about a third of the speed"
    )
    return Public(consumer)


class Handover:
    """The fast way: columns straight from the parser of record batches."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._fetcher = consumer._fetcher
        self._coordinator = consumer._coordinator
        # The client would fetch nothing from a broker while any of its partitions has records
        # left; fetching on hides the broker's work behind ours. What waits stays bounded: one
        # response a partition.
        self._fetcher._prefetch_backoff = 0

    async def take(self, records_max: int) -> list[Chunk]:
        """Return what is there.

        The smallest come first, each takes at most an equal share of what is left: so a busy
        partition gets what the others leave, and never what they need.
        """
        self._coordinator.check_errors()
        fetched: OrderedDict[TopicPartition, Any] = self._fetcher._records
        chunks: list[Chunk] = []
        left = records_max
        waiting = sorted(fetched.items(), key=_weight)
        for place, (at, result) in enumerate(waiting):
            share = -(-left // (len(waiting) - place))
            if share == 0:
                break
            if type(result) is not inner.FetchResult:
                if not chunks:
                    self._drop(at)
                    result.check_raise()
                continue
            chunk, is_empty = hand_over(at, result, share)
            if is_empty:
                self._drop(at)
            if chunk is not None:
                chunks.append(chunk)
                left -= len(chunk.offsets)
        return chunks

    def _drop(self, at: TopicPartition) -> None:
        del self._fetcher._records[at]
        self._fetcher._notify(self._fetcher._wait_consume_future)

    async def wait(self, within_s: float, other: asyncio.Future[None]) -> None:
        """Return when something may have come, when `other` is done, or when the time is over."""
        came = self._fetcher._create_fetch_waiter()
        try:
            await asyncio.wait({came, other}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if came.done():
                came.result()
        finally:
            came.cancel()


def _weight(item: tuple[TopicPartition, Any]) -> int:
    result = item[1]
    if type(result) is not inner.FetchResult or not result.has_more():
        return 0
    return int(result._partition_records._records.size_in_bytes())


def hand_over(at: TopicPartition, result: Any, records_max: int) -> tuple[Chunk | None, bool]:
    """Take up to so many records from a fetched response; tell whether it is used up.

    An error in a batch is raised only when nothing stands before it: what does is delivered, the
    response is dropped, and the client meets the error again at the position behind.
    """
    if not result.check_assignment(at) or not result.has_more():
        return None, True
    offsets: list[int] = []
    append_ms: list[int] = []
    values: list[bytes | None] = []
    records = result._partition_records
    records._consumer_record = _into(offsets.append, append_ms.append, values.append)
    is_broken = False
    try:
        deque(islice(records._records_iterator, records_max), maxlen=0)
    except vendor.KafkaError:
        if not offsets:
            raise
        is_broken = True
    result._update_position()
    is_empty = is_broken or len(offsets) < records_max
    if not offsets:
        return None, is_empty
    return Chunk(at.topic, at.partition, offsets, append_ms, values), is_empty


def _into(
    add_offset: Callable[[int], None],
    add_append_ms: Callable[[int], None],
    add_value: Callable[[bytes | None], None],
) -> Callable[[TopicPartition, Any], None]:
    def hand(_: TopicPartition, record: Any) -> None:
        add_offset(record.offset)
        add_append_ms(record.timestamp)
        add_value(record.value)

    return hand


def can_hand_over(consumer: AIOKafkaConsumer) -> bool:
    """Tell whether a started consumer's private spots are the ones known here, and work."""
    try:
        fetcher = consumer._fetcher
        known = (
            isinstance(fetcher._records, OrderedDict)
            and callable(fetcher._create_fetch_waiter)
            and callable(fetcher._notify)
            and hasattr(fetcher, "_wait_consume_future")
            and hasattr(fetcher, "_prefetch_backoff")
            and callable(consumer._coordinator.check_errors)
        )
        return known and _decodes()
    except (AttributeError, TypeError, ValueError, vendor.KafkaError):
        return False


def _decodes() -> bool:
    """Decode a batch of three from its second record on, in two steps, and compare."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=4_096,
    )  # fmt: skip
    for offset in range(3):
        builder.append(offset, 1_000 + offset, b"key", b"value %d" % offset, [])
    at = TopicPartition("test", 0)
    assignment = Assignment({at})
    assignment.state_value(at).seek(1)
    records = inner.PartitionRecords(
        at, MemoryRecords(bytes(builder.build())), [], 1, None, None, True, READ_COMMITTED
    )
    result = inner.FetchResult(at, partition_records=records, assignment=assignment, backoff=0)
    steps = [hand_over(at, result, 1) for _ in range(3)]
    return steps == [
        (Chunk("test", 0, [1], [1_001], [b"value 1"]), False),
        (Chunk("test", 0, [2], [1_002], [b"value 2"]), False),
        (None, True),
    ] and (assignment.state_value(at).position, _weight((at, result)) > 0) == (3, True)


class Public:
    """The public way: the consumer's own records, taken apart."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._first = 0

    async def take(self, records_max: int) -> list[Chunk]:
        """Return what is there, each partition an equal share of what is left, in turn."""
        chunks: list[Chunk] = []
        left = records_max
        assigned = sorted(self._consumer.assignment())
        self._first += 1
        for place in range(len(assigned)):
            at = assigned[(self._first + place) % len(assigned)]
            share = -(-left // (len(assigned) - place))
            if share == 0:
                break
            got = await self._consumer.getmany(at, timeout_ms=0, max_records=share)
            for records in got.values():
                chunks.append(
                    Chunk(
                        at.topic,
                        at.partition,
                        [record.offset for record in records],
                        [record.timestamp for record in records],
                        [record.value for record in records],
                    )
                )
                left -= len(records)
        return chunks

    async def wait(self, within_s: float, other: asyncio.Future[None]) -> None:
        """Return after a short while, or when `other` is done."""
        await asyncio.wait({other}, timeout=min(within_s, LOOK_S))
