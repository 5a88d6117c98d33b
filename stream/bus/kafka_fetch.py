"""How fetched records leave aiokafka's consumer as columns.

The consumer's own way builds a `ConsumerRecord` per record, which is most of what reading costs
(1.2 of 1.75 us). `Handover` takes the same parsed batches one step earlier: the parser's records
go straight into columns. Everything else stays aiokafka's: fetching, positions, CRC, codecs,
aborted transactions, control records, gaps. It touches private spots of this one consumer only,
so `can_hand_over` looks at them at start and decodes a batch through them; where they differ,
`Public` does the same with public calls. Columns also cost the garbage collector less: it walks
what is alive now and then, and a hundred thousand records are alive at once otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol

import aiokafka.errors as vendor
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher as inner
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from .kafka_rescue import UNREADABLE, Unreadable

log = logging.getLogger(__name__)

# The public path cannot be woken by us, so it looks this often.
LOOK_S = 0.01
PATIENT_S = 3_600.0
SMALL_BYTES = 65_536


class Columns(NamedTuple):
    """Consecutive records of one partition; `keys` is empty where nobody asked for them."""

    at: TopicPartition
    offsets: Sequence[int]
    append_ms: Sequence[int]
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]


# Takes up to so many records from a response, and tells whether that is used up.
Hand = Callable[[TopicPartition, Any, int], tuple[Columns | None, bool]]


class Drain(Protocol):
    """Takes what a consumer has fetched. Raises aiokafka's errors; the source translates them.

    A batch that aiokafka's parser cannot read is `Unreadable`, and waits for the source's rescue.
    """

    async def take(self, records_max: int) -> list[Columns]:
        """Return what is there, at most so many records, fairly over partitions; wait for none."""
        ...

    async def wait(self, within_s: float, other: asyncio.Future[None]) -> None:
        """Return when something may have come, when `other` is done, or when the time is over."""
        ...


def open_drain(consumer: AIOKafkaConsumer, *, with_keys: bool) -> Drain:
    """Return the fast way out of a started consumer, or the public one where it is not safe."""
    if can_hand_over(consumer):
        return Handover(consumer, partial(hand_over, with_keys=with_keys))
    log.warning(
        "aiokafka's internals differ from those known here: records are read the public way,"
        " at about half the speed"
    )
    return Public(consumer, with_keys=with_keys)


class Handover:
    """The fast way: `hand` takes columns from a fetched response, one step before the consumer."""

    def __init__(self, consumer: AIOKafkaConsumer, hand: Hand) -> None:
        self._hand = hand
        self._fetcher = consumer._fetcher
        # One request a broker is under way at a time, and one that asks only for partitions without
        # news keeps the others waiting. So while a partition has records left, nothing is asked,
        # unless `take` has emptied one of which the broker has more: see `_pace`.
        self._fetcher._prefetch_backoff = PATIENT_S

    async def take(self, records_max: int) -> list[Columns]:
        """Return what is there.

        What came first goes first, whole responses at a time, so that the broker is asked for more
        of an emptied partition while the others are being worked on. Small responses go before
        that: a busy partition gets what the others leave, and never what they need.
        """
        fetched: OrderedDict[TopicPartition, Any] = self._fetcher._records
        taken: list[Columns] = []
        left = records_max
        has_more = False
        for at, result in sorted(fetched.items(), key=_weight):
            if left == 0:
                break
            if type(result) is not inner.FetchResult:
                if not taken:
                    self._drop(at)
                    result.check_raise()
                continue
            try:
                columns, is_empty = self._hand(at, result, left)
            except UNREADABLE as error:
                self._drop(at)
                if not taken:
                    raise Unreadable(at, error) from error
                continue
            if is_empty:
                self._drop(at)
                has_more = has_more or _is_behind(at, result)
            if columns is not None:
                taken.append(columns)
                left -= len(columns.offsets)
        self._pace(has_more=has_more)
        return taken

    def _pace(self, *, has_more: bool) -> None:
        """Let the next request go out at once, or only when nothing is left of the last one."""
        for result in self._fetcher._records.values():
            result._backoff = 0.0 if has_more else PATIENT_S

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
    """Return the bytes of a response; all large ones weigh the same, and so keep their order."""
    result = item[1]
    if type(result) is not inner.FetchResult or not result.has_more():
        return 0
    return min(SMALL_BYTES, int(result._partition_records._records.size_in_bytes()))


def _is_behind(at: TopicPartition, result: Any) -> bool:
    """Tell whether the broker has more of a partition than what was just taken."""
    state = result._assignment.state_value(at)
    return state is not None and (state.highwater or 0) > state._position


def hand_over(
    at: TopicPartition, result: Any, records_max: int, *, with_keys: bool
) -> tuple[Columns | None, bool]:
    """Take up to so many records from a fetched response; tell whether it is used up.

    An error in a batch is raised only when nothing stands before it: what does is delivered, the
    response is dropped, and the client meets the error again at the position behind.
    """
    if not result.check_assignment(at) or not result.has_more():
        return None, True
    offsets: list[int] = []
    append_ms: list[int] = []
    values: list[bytes | None] = []
    keys: list[bytes | None] = []
    records = result._partition_records
    records._consumer_record = _into(
        offsets.append, append_ms.append, values.append, keys.append if with_keys else None
    )
    is_broken = False
    try:
        deque(islice(records._records_iterator, records_max), maxlen=0)
    except (vendor.KafkaError, UnicodeDecodeError):
        if not offsets:
            raise
        is_broken = True
    result._update_position()
    is_empty = is_broken or len(offsets) < records_max
    return (Columns(at, offsets, append_ms, values, keys) if offsets else None), is_empty


def _into(
    add_offset: Callable[[int], None],
    add_append_ms: Callable[[int], None],
    add_value: Callable[[bytes | None], None],
    add_key: Callable[[bytes | None], None] | None,
) -> Callable[[TopicPartition, Any], None]:
    """Return what the client calls with each record, and takes for its result."""

    def hand(_: TopicPartition, record: Any) -> None:
        add_offset(record.offset)
        add_append_ms(record.timestamp)
        add_value(record.value)

    if add_key is None:
        return hand

    def hand_with_key(_: TopicPartition, record: Any) -> None:
        add_offset(record.offset)
        add_append_ms(record.timestamp)
        add_value(record.value)
        add_key(record.key)

    return hand_with_key


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
        at, MemoryRecords(bytes(builder.build())), [], 1, None, None, True, inner.READ_COMMITTED
    )
    result = inner.FetchResult(at, partition_records=records, assignment=assignment, backoff=0)
    steps = [hand_over(at, result, 1, with_keys=is_with) for is_with in (True, False, True)]
    return steps == [
        (Columns(at, [1], [1_001], [b"value 1"], [b"key"]), False),
        (Columns(at, [2], [1_002], [b"value 2"], []), False),
        (None, True),
    ] and (assignment.state_value(at).position, _weight((at, result)) > 0) == (3, True)


class Public:
    """The public way: the consumer's own records, taken apart."""

    def __init__(self, consumer: AIOKafkaConsumer, *, with_keys: bool) -> None:
        self._with_keys = with_keys
        self._consumer = consumer
        self._first = 0

    async def take(self, records_max: int) -> list[Columns]:
        """Return what is there, each partition an equal share of what is left, in turn."""
        taken: list[Columns] = []
        left = records_max
        assigned = sorted(self._consumer.assignment())
        self._first += 1
        for place in range(len(assigned)):
            at = assigned[(self._first + place) % len(assigned)]
            share = -(-left // (len(assigned) - place))
            if share == 0:
                break
            try:
                got = await self._consumer.getmany(at, timeout_ms=0, max_records=share)
            except UNREADABLE as error:
                if not taken:
                    raise Unreadable(at, error) from error
                continue
            for records in got.values():
                taken.append(
                    Columns(
                        at,
                        [record.offset for record in records],
                        [record.timestamp for record in records],
                        [record.value for record in records],
                        [record.key for record in records] if self._with_keys else [],
                    )
                )
                left -= len(records)
        return taken

    async def wait(self, within_s: float, other: asyncio.Future[None]) -> None:
        """Return after a short while, or when `other` is done."""
        await asyncio.wait({other}, timeout=min(within_s, LOOK_S))
