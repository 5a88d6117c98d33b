"""Record batches as a broker may send them, and answers made of them."""

from __future__ import annotations

import struct
from typing import Any

from aiokafka import TopicPartition
from aiokafka.codec import (
    gzip_decode,
    gzip_encode,
    has_lz4,
    has_snappy,
    has_zstd,
    lz4_decode,
    lz4_encode,
    snappy_decode,
    snappy_encode,
    zstd_decode,
    zstd_encode,
)
from aiokafka.consumer import fetcher as inner
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from stream.bus.kafka_whole import Whole

# The numbers of codecs in a batch's attributes.
CODECS = {"gzip": 1} | {
    name: number
    for name, number, is_there in [
        ("snappy", 2, has_snappy()),
        ("lz4", 3, has_lz4()),
        ("zstd", 4, has_zstd()),
    ]
    if is_there
}
ENCODERS = {0: bytes, 1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}
DECODERS = {0: bytes, 1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}
# One header, `h`, with a value that no other part of a batch has.
HEADER = b"\x02\x02h\x10mark-0f7"
AT = TopicPartition("t", 0)


def batch(drawn: dict[str, Any], base: int) -> bytes:
    """A record batch at a base offset; its header is patched to what a broker may send."""
    codec = 0 if drawn["kind"] == "control" else drawn["codec"]
    builder = DefaultRecordBatchBuilder(2, codec, 0, drawn["producer"], 0, 0, 1 << 20)
    deltas = [0] if drawn["kind"] == "control" else drawn["deltas"]
    for delta in deltas:
        key = struct.pack(">hh", 0, drawn["mark"]) if drawn["kind"] == "control" else b"key"
        builder.append(delta, 1_000 + base + delta, key, drawn["value"], [("h", b"mark-0f7")])
    raw = bytearray(builder.build())
    if "header" in drawn:
        raw = with_header(raw, drawn["codec"], drawn["header"])
    attributes = struct.unpack_from(">h", raw, 21)[0]
    attributes |= 0x08 if drawn["append_time"] else 0
    attributes |= {"plain": 0, "transactional": 0x10, "control": 0x30}[drawn["kind"]]
    struct.pack_into(">q", raw, 0, base)
    struct.pack_into(">hi", raw, 21, attributes, deltas[-1] + drawn["gap"])
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    if drawn["is_corrupt"]:
        raw[-1] ^= 0xFF
    return bytes(raw)


def with_header(raw: bytearray, codec: int, name: bytes) -> bytearray:
    """Rename the header `h` of each record to another name of one byte."""
    body = DECODERS[codec](bytes(raw[61:])).replace(HEADER, HEADER.replace(b"h", name))
    renamed = raw[:61] + ENCODERS[codec](body)
    struct.pack_into(">i", renamed, 8, len(renamed) - 12)
    return renamed


def next_offset(one: bytes) -> int:
    """The offset behind a batch."""
    base, delta = struct.unpack_from(">q", one, 0)[0], struct.unpack_from(">i", one, 23)[0]
    return base + delta + 1


class Fetched:
    """One response for one partition: from the batch that holds the offset on, as brokers do."""

    def __init__(
        self,
        log: list[bytes],
        aborted: list[tuple[int, int]],
        offset: int,
        *,
        is_whole: bool = False,
    ) -> None:
        raw = b"".join(one for one in log if next_offset(one) > offset)
        records: Any = Whole(raw, aborted) if is_whole else MemoryRecords(raw)
        assignment = Assignment({AT})
        self.state = assignment.state_value(AT)
        self.state.seek(offset)
        self.records = inner.PartitionRecords(
            AT, records, aborted, offset, None, None, True, inner.READ_COMMITTED
        )
        self.result = inner.FetchResult(
            AT, partition_records=self.records, assignment=assignment, backoff=0
        )
