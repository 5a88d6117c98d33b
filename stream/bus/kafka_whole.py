"""How record batches leave aiokafka's consumer whole, to be read by kernels.

What a broker sent for a partition is checked, inflated and laid out in columns as soon as it has
come, in a thread beside the event loop where it is much; the loop only takes slices. Fetching,
positions and errors stay aiokafka's, and so do batches of older formats. It touches one consumer:
its fetcher sees the client through `Arriving`, which asks for as much as comes in good time,
replaces the bytes of each partition in an answer by `Whole`, and runs its own code with `Whole`
standing where it has `MemoryRecords`.

This file needs numpy and kernels, which a gateway must not pay for: only `KafkaSource` loads it.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Sequence
from types import FunctionType, MethodType
from typing import Any, Final

import aiokafka.errors as vendor
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.consumer import fetcher as inner
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from stream.records import (
    CONTROL,
    CRC_DIFFERS,
    HEADER_BYTES,
    OLD_FORMAT,
    TRANSACTIONAL,
    Values,
    find_batches,
    read_batches,
)

from .kafka_codecs import INFLATED_BYTES_MAX, NONE, inflate
from .kafka_fetch import Columns, Drain, Handover, Public, can_hand_over, hand_over
from .kafka_frames import can_take_over, take_over
from .kafka_pace import Pace
from .rarely import Rarely

log = logging.getLogger(__name__)
rarely = Rarely(log, every_s=10.0)

# Below so many bytes the way to a thread and back costs more than the work.
INLINE_BYTES: Final = 1 << 16
Bytes = bytes | memoryview
CODEC_MASK: Final = 0x07
ODD_MAX: Final = 64
_MARKER: Final = struct.Struct(">hh")  # a control record's key: version, kind
_ABORT: Final = 0
_KEY_AT: Final = 4  # behind four numbers of a byte each: size, attributes, two deltas


class Whole:
    """What a broker sent for one partition; to aiokafka's fetcher it looks like its own class.

    `offsets`, `append_ms` and `values` are the records that are to be read: what was aborted and
    the marks of transactions are left out. `next_offset` follows the last batch that is whole and
    sound; `fault` says what is wrong with the one behind it. `is_old` leaves all to aiokafka.
    A batch whose checksum is right, and which nobody can read even so, was written like that: its
    bytes come out as one record at its last offset, which is no event.
    """

    def __init__(self, raw: Bytes, aborted: Sequence[tuple[int, int]]) -> None:
        self.raw = raw
        self.fault = ""
        self.is_old = False
        self.next_offset = -1
        self.taken = 0
        data = np.frombuffer(raw, np.uint8)
        batches = find_batches(data)
        self._has_any = len(batches) > 0
        if len(batches) and batches["fault"][-1]:
            if (batches["fault"] == OLD_FORMAT).any():
                self.is_old = True
                batches = batches[:0]
            else:
                is_crc = batches["fault"][-1] == CRC_DIFFERS
                self.fault = "Invalid CRC" if is_crc else "a damaged batch"
                batches = batches[:-1]
        self._read(data, batches, aborted)

    def _read(self, data: Any, batches: Any, aborted: Sequence[tuple[int, int]]) -> None:
        spans = np.stack((batches["start"] + HEADER_BYTES, batches["end"]), axis=1)
        if (batches["attributes"] & (TRANSACTIONAL | CONTROL)).any():
            spans[_left_out(data, batches, aborted)] = -1
        stand_ins: list[int] = []
        if (batches["attributes"] & CODEC_MASK).any():
            data, batches, spans, stand_ins = self._inflate(batches, spans)
        read, columns = _all_read(data, spans, batches, stand_ins)
        if read < len(batches):
            # The rest is asked for again: this is too odd to be worth it.
            self.fault, batches = "", batches[:read]
        if read:
            self.next_offset = int(batches["next"][-1])
        if stand_ins:
            columns = _with_stand_ins(columns, batches, [p for p in stand_ins if p < read])
        self.offsets, self.append_ms, starts, sizes = columns
        self.values = Values(data, starts, sizes)

    def _inflate(self, batches: Any, spans: Any) -> tuple[Any, Any, Any, list[int]]:
        """Return all records in one buffer, its batches, where each lies, and who inflates to none.

        All of a partition together stay within the bound of one batch, too: what is beyond it is
        left out, and so asked for again from there on.
        """
        parts: list[Bytes] = [self.raw]
        size, stand_ins = len(self.raw), []
        for place, batch in enumerate(batches):
            codec = int(batch["attributes"]) & CODEC_MASK
            start, end = spans[place].tolist()
            if codec == NONE or end < 0:
                continue
            try:
                body = inflate(codec, bytes(self.raw[start:end]))
            except ValueError as error:
                rarely.warning("before offset %s: %s; kept as one", batch["next"], error)
                stand_ins.append(place)
                spans[place] = -1
                continue
            if place and size + len(body) > len(self.raw) + INFLATED_BYTES_MAX:
                self.fault, batches, spans = "", batches[:place], spans[:place]
                break
            spans[place] = size, size + len(body)
            parts.append(body)
            size += len(body)
        return np.frombuffer(b"".join(parts), np.uint8), batches, spans, stand_ins

    def has_next(self) -> bool:
        """Tell aiokafka whether a batch has come."""
        return self._has_any

    def size_in_bytes(self) -> int:
        """Tell aiokafka how much has come."""
        return len(self.raw)

    def take(self, position: int, records_max: int) -> tuple[int, int]:
        """Return the slice of the next records at or beyond a position, and be behind it."""
        start = max(self.taken, int(np.searchsorted(self.offsets, position)))
        self.taken = min(len(self.offsets), start + records_max)
        return start, self.taken

    @property
    def is_used_up(self) -> bool:
        """Tell whether all its records were taken."""
        return self.taken == len(self.offsets)


def _left_out(data: Any, batches: Any, aborted: Sequence[tuple[int, int]]) -> Any:
    """Return which batches are not to be read: aborted ones and control batches.

    Source: aiokafka's PartitionRecords, itself after Kafka's Fetcher: an aborted transaction
            begins at its first offset and ends at its producer's abort mark.
    """
    left_out = np.zeros(len(batches), bool)
    coming = sorted(aborted or [], key=lambda each: each[1], reverse=True)
    producers: set[int] = set()
    for place, batch in enumerate(batches):
        producer, attributes = int(batch["producer"]), int(batch["attributes"])
        while coming and coming[-1][1] <= batch["base"]:
            producers.add(coming.pop()[0])
        if attributes & CONTROL:
            key_at = int(batch["start"]) + HEADER_BYTES + _KEY_AT + 1
            key = data[key_at : key_at + _MARKER.size].tobytes()
            if len(key) == _MARKER.size and _MARKER.unpack(key)[1] == _ABORT:
                producers.discard(producer)
            left_out[place] = True
        elif attributes & TRANSACTIONAL and producer in producers:
            left_out[place] = True
    return left_out


def _all_read(
    data: Any, spans: Any, batches: Any, stand_ins: list[int]
) -> tuple[int, tuple[Any, ...]]:
    """Return how many batches were dealt with, and the columns of those that can be read.

    Others are added to `stand_ins`, at most ODD_MAX of them. Mutates: stand_ins.
    """
    parts, first = [], 0
    while True:
        read, columns = read_batches(data, spans[first:], batches[first:])
        parts.append(columns)
        first += read
        if first == len(batches) or len(parts) > ODD_MAX:
            # One part nearly always, which need not be copied.
            several = len(parts) > 1
            return first, tuple(
                map(np.concatenate, zip(*parts, strict=True))
            ) if several else columns
        rarely.warning("before offset %s: no records; kept as one", batches["next"][first])
        stand_ins.append(first)
        first += 1


def _with_stand_ins(columns: Any, batches: Any, places: list[int]) -> Any:
    """Put one record for each batch that cannot be read: its bytes, at its last offset."""
    chosen = batches[places]
    offsets = chosen["next"] - 1
    at = np.searchsorted(columns[0], offsets)
    starts = chosen["start"] + HEADER_BYTES
    fresh = (offsets, chosen["last_ms"], starts, chosen["end"] - starts)
    return tuple(np.insert(old, at, new) for old, new in zip(columns, fresh, strict=True))


def hand_over_whole(
    at: TopicPartition, result: Any, records_max: int
) -> tuple[Columns | None, bool]:
    """Take up to so many records from a fetched response; tell whether it is used up.

    As `hand_over`, which also does it for formats that are aiokafka's to read.
    """
    if not result.check_assignment(at) or not result.has_more():
        return None, True
    records = result._partition_records
    whole: Any = records._records
    if type(whole) is not Whole:
        return hand_over(at, result, records_max, with_keys=False)
    if whole.is_old:
        records._records = MemoryRecords(bytes(whole.raw))
        return hand_over(at, result, records_max, with_keys=False)
    start, end = whole.take(records.next_fetch_offset, records_max)
    if start == end and whole.fault:
        # What stands before it was left out on purpose, and is not to come back with it.
        records.next_fetch_offset = max(records.next_fetch_offset, whole.next_offset)
        result._update_position()
        raise vendor.CorruptRecordException(f"{whole.fault} - {at}")
    if not whole.is_used_up:
        records.next_fetch_offset = int(whole.offsets[end - 1]) + 1
    else:
        records.next_fetch_offset = max(records.next_fetch_offset, whole.next_offset)
    result._update_position()
    if start == end:
        return None, True
    part = slice(start, end)
    columns = Columns(at, whole.offsets[part], whole.append_ms[part], whole.values[part], [])
    return columns, whole.is_used_up


class Arriving:
    """A consumer's client, as its fetcher sees it: answers to fetches come as `Whole`."""

    def __init__(self, fetcher: Any) -> None:
        self._fetcher = fetcher
        self._client = fetcher._client
        self._pace = Pace(fetcher._fetch_max_bytes, self._client._request_timeout_ms / 1_000)
        fetcher._fetch_max_bytes = self._pace.bytes
        self._is_told = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        """Send as the client does."""
        if not isinstance(request, FetchRequest):
            return await self._client.send(node, request, **options)
        self._take_over(self._client._conns.get((node, ConnectionGroup.DEFAULT)))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            answer = await self._client.send(node, request, **options)
        except vendor.RequestTimedOutError:
            self._pace.gave_up()
            self._fetcher._fetch_max_bytes = self._pace.bytes
            raise
        size = sum(len(part[-1] or b"") for _, parts in answer.topics for part in parts)
        self._pace.came(size, loop.time() - began_s)
        self._fetcher._fetch_max_bytes = self._pace.bytes
        if size > INLINE_BYTES:
            answer.topics = await loop.run_in_executor(None, _wholes, answer.topics)
        else:
            answer.topics = _wholes(answer.topics)
        return answer

    def _take_over(self, connection: Any) -> None:
        if connection is None or not connection.connected():
            return
        if can_take_over(connection):
            take_over(connection)
        elif not self._is_told:
            self._is_told = True
            log.warning(
                "aiokafka's connections differ from those known here: what comes is copied four"
                " times, at a fifth less speed"
            )


def _wholes(topics: Any) -> Any:
    # A part is partition, error, end, last stable offset, (more), aborted ones, (replica), bytes.
    return [
        (topic, [(*part[:-1], Whole(part[-1] or b"", _aborted(part))) for part in parts])
        for topic, parts in topics
    ]


def _aborted(part: Sequence[Any]) -> Sequence[tuple[int, int]]:
    lists = [each for each in part[3:-1] if isinstance(each, list | tuple)]
    return lists[0] if lists else ()


def open_whole(consumer: AIOKafkaConsumer) -> Drain:
    """Return the fastest safe way out of a started consumer."""
    if can_hand_over(consumer) and can_hand_over_whole(consumer):
        _install(consumer._fetcher)
        return Handover(consumer, hand_over_whole)
    log.warning(
        "aiokafka's internals differ from those known here: records are read the public way,"
        " at a fraction of the speed"
    )
    return Public(consumer, with_keys=False)


def _install(fetcher: Any) -> None:
    fetcher._client = Arriving(fetcher)
    theirs = inner.Fetcher._proc_fetch_request
    ours = FunctionType(
        theirs.__code__,
        {**theirs.__globals__, "MemoryRecords": _as_it_is},
        theirs.__name__,
        theirs.__defaults__,
        theirs.__closure__,
    )
    fetcher._proc_fetch_request = MethodType(ours, fetcher)


def _as_it_is(whole: Whole) -> Whole:
    return whole


def can_hand_over_whole(consumer: AIOKafkaConsumer) -> bool:
    """Tell whether the fetcher's code is the one known here, and a batch comes out of it right."""
    try:
        code = inner.Fetcher._proc_fetch_request.__code__
        known = "MemoryRecords" in code.co_names and "_client" in code.co_names
        spots = (
            (consumer._fetcher, "_client"),
            (consumer._fetcher, "_fetch_max_bytes"),
            (consumer._client, "_conns"),
            (consumer._client, "_request_timeout_ms"),
        )
        return known and all(hasattr(*each) for each in spots) and _reads()
    except (AttributeError, TypeError, ValueError, vendor.KafkaError):
        return False


def _reads() -> bool:
    """Read a batch of three from its second record on, in two steps, and compare."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=4_096,
    )  # fmt: skip
    for offset in range(3):
        builder.append(offset, 1_000 + offset, b"key", b"value %d" % offset, [])
    at = TopicPartition("test", 0)
    assignment = Assignment({at})
    assignment.state_value(at).seek(1)
    whole: Any = Whole(bytes(builder.build()), ())
    records = inner.PartitionRecords(at, whole, [], 1, None, None, True, inner.READ_COMMITTED)
    result = inner.FetchResult(at, partition_records=records, assignment=assignment, backoff=0)
    steps = []
    for _ in range(2):
        columns, is_empty = hand_over_whole(at, result, 1)
        if columns is None:
            return False
        steps.append(
            (list(columns.offsets), list(columns.append_ms), list(columns.values), is_empty)
        )
    wanted = [([1], [1_001], [b"value 1"], False), ([2], [1_002], [b"value 2"], True)]
    return steps == wanted and assignment.state_value(at).position == 3
