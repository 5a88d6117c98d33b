"""Reading a batch that aiokafka cannot: a header whose name is not UTF-8 ends its parser.

Brokers accept such a record, and others that nobody can read: they look at few of a record's
fields, and at less of what is compressed than we do. So whoever may write one could stop a
partition's reader for ever. Only then, and only this batch, is fetched again and read here, without
its headers. What its checksum says is as it was written, and still cannot be read or lies about its
offsets, comes out as one record: its bytes, which are no event. Whether it is to be read at all
(not aborted, no control batch) was decided before.

Source: Kafka protocol guide, "Record Batch" and "Record" of message format v2.
"""

from __future__ import annotations

import logging
import struct
from typing import Any, Final, NamedTuple

import aiokafka.errors as vendor
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.util import calc_crc32c

from stream.errors import BusUnavailable

from .contract import Record
from .kafka import answered
from .kafka_codecs import inflate
from .rarely import Rarely

rarely = Rarely(logging.getLogger(__name__), every_s=10.0)

# Base offset, length, leader epoch, magic, CRC, attributes, last offset's delta, first and last
# timestamp, producer id and epoch, first sequence, count.
HEADER: Final = struct.Struct(">qiibIhiqqqhii")
SIZED: Final = struct.Struct(">qi")
CRC_FROM: Final = 21
MAGIC: Final = 2
CODEC_MASK: Final = 0x07
APPEND_TIME_MASK: Final = 0x08
READ_COMMITTED: Final = 1
# aiokafka's compiled parser lets the first out; the one in Python the second, which also says that
# a checksum is wrong.
UNREADABLE: Final = (UnicodeDecodeError, vendor.CorruptRecordException)


class Unreadable(Exception):
    """aiokafka failed to read the batch at a position."""

    def __init__(self, at: TopicPartition, error: Exception) -> None:
        super().__init__(f"{at}: {error}")
        self.at = at


class Rescued(NamedTuple):
    """The records of one batch from a position on, and the position behind it."""

    records: list[Record]
    next_offset: int


async def rescue(
    consumer: AIOKafkaConsumer, at: TopicPartition, position: int, within_s: float
) -> Rescued:
    """Fetch the batch that holds a position, and read it without its headers.

    Errors: BusUnavailable when it really is damaged, or not there.
    """
    rarely.warning("a batch is read without its headers: %s at %s", at, position)
    client = consumer._client
    request = FetchRequest(
        500, 1, 1_048_576, READ_COMMITTED, [(at.topic, [(at.partition, position, 1_048_576)])]
    )
    async with answered(f"read {at} at {position} again", within_s):
        node = client.cluster.leader_for_partition(at)
        if node is None or node < 0:
            raise vendor.LeaderNotAvailableError(at)
        answer = await client.send(node, request)
        _, code, *_, raw = answer.topics[0][1][0]
        if code:
            raise vendor.for_code(code)(at)
    try:
        return read_batch(bytes(raw), at.partition, position)
    except (ValueError, IndexError, struct.error) as error:
        raise BusUnavailable(
            f"read {at} at {position}: the batch is damaged ({error})",
            hint="skip it with `kafka-delete-records.sh` if no replica has it whole",
        ) from error


def read_batch(raw: bytes, partition: int, position: int) -> Rescued:
    """Read the first batch of a response that reaches a position.

    Errors: ValueError, IndexError, struct.error when it is damaged, and not only odd.
    """
    at = 0
    while True:
        base, length = SIZED.unpack_from(raw, at)
        whole = raw[at : at + SIZED.size + length]
        fields = HEADER.unpack_from(whole)
        magic, crc, attributes, last_delta, _, last_ms = fields[3:9]
        if magic != MAGIC:
            raise ValueError(f"format {magic} is not known")
        if base + last_delta >= position:
            break
        at += len(whole)
    if calc_crc32c(whole[CRC_FROM:]) != crc:
        raise ValueError("checksum differs")
    next_offset = base + last_delta + 1
    try:
        body = inflate(attributes & CODEC_MASK, whole[HEADER.size :])
        records = _records_in(body, fields, partition)
    except (ValueError, IndexError, struct.error) as error:
        return Rescued([_one_for_all(partition, next_offset, last_ms, whole, error)], next_offset)
    return Rescued([each for each in records if each.offset >= position], next_offset)


def _records_in(body: bytes, fields: tuple[int, ...], partition: int) -> list[Record]:
    """Return the records of a batch.

    Errors: ValueError, IndexError when they are none, or are not in order within their batch.
    """
    base, attributes, last_delta, first_ms, last_ms = fields[0], *fields[5:9]
    records, place, before = list[Record](), 0, -1
    for _ in range(fields[12]):
        size, place = _varint(body, place)
        delta_ms, cursor = _varint(body, place + 1)
        delta, cursor = _varint(body, cursor)
        key, cursor = _bytes(body, cursor)
        value, _ = _bytes(body, cursor)
        place += size
        if not before < delta <= last_delta:
            raise ValueError(f"a record at {delta} behind one at {before}, of {last_delta}")
        before = delta
        at_ms = last_ms if attributes & APPEND_TIME_MASK else first_ms + delta_ms
        records.append(Record(partition, base + delta, at_ms, key, value))
    return records


def _one_for_all(
    partition: int, next_offset: int, append_ms: int, whole: bytes, error: Exception
) -> Record:
    """Return what stands for a batch that cannot be read: its bytes, as if one record's value.

    That is no event, so it becomes one dead letter, and the log goes on behind it.
    """
    rarely.warning("partition %s before %s: %s; kept as one record", partition, next_offset, error)
    return Record(partition, next_offset - 1, append_ms, None, whole[HEADER.size :])


def _varint(body: bytes, place: int) -> tuple[int, int]:
    """Return a zigzag varint and the place behind it."""
    value = shift = 0
    while True:
        byte = body[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), place
        shift += 7
        if shift > 63:
            raise ValueError("a number does not end")


def _bytes(body: bytes, place: int) -> tuple[Any, int]:
    """Return a sized run of bytes, None for size -1, and the place behind it."""
    size, place = _varint(body, place)
    if size < 0:
        return None, place
    end = place + size
    if end > len(body):
        raise ValueError("a record is longer than its batch")
    return body[place:end], end
