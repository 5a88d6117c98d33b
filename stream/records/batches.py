"""Record batches of format 2, in kernels: where each lies, and where each record's value lies.

`find_batches` reads the headers of what a broker sent and checks what they guard; `read_batches`
reads records, without their keys and headers, from batches that are not compressed, or whose
records were inflated. Neither reads beyond its buffer, whatever the bytes say.

Source: Kafka protocol guide, "Record Batch" and "Record" of message format v2.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel, routine

from .crc import crc32c

HEADER_BYTES: Final = 61
SIZED_BYTES: Final = 12  # base offset and length, which the length does not count
RECORD_BYTES_MIN: Final = 7
CODEC_MASK: Final = 0x07
APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
CRC_DIFFERS, DAMAGED, OLD_FORMAT = 1, 2, 3

BATCH: Final = np.dtype(
    [
        ("base", np.int64),
        ("next", np.int64),
        ("first_ms", np.int64),
        ("last_ms", np.int64),
        ("producer", np.int64),
        ("start", np.int64),  # of the batch, header included
        ("end", np.int64),
        ("count", np.int32),
        ("attributes", np.int32),
        ("fault", np.int32),
        ("spare", np.int32),
    ],
    align=True,
)


@routine
def _big_endian(data: Any, at: int, size: int) -> int:
    """Return a signed number of up to eight bytes."""
    value = np.int64(data[at]) - (np.int64(data[at] & 0x80) << 1)
    for place in range(1, size):
        value = (value << 8) | np.int64(data[at + place])
    return value  # type: ignore[return-value]


@routine
def _find_all(data: Any, batches: Any) -> int:
    at, found, end = 0, 0, len(data)
    while found < len(batches) and at + HEADER_BYTES <= end:
        batch = batches[found]
        size = _big_endian(data, at + 8, 4)
        behind = at + SIZED_BYTES + size
        magic = data[at + 16]
        batch["start"], batch["end"] = at, behind
        batch["base"] = _big_endian(data, at, 8)
        if magic < 2:
            batch["fault"] = OLD_FORMAT
            return found + 1
        if size < HEADER_BYTES - SIZED_BYTES or magic > 2:
            batch["fault"] = DAMAGED
            return found + 1
        if behind > end:
            return found
        batch["attributes"] = _big_endian(data, at + 21, 2)
        batch["next"] = batch["base"] + _big_endian(data, at + 23, 4) + 1
        batch["first_ms"] = _big_endian(data, at + 27, 8)
        batch["last_ms"] = _big_endian(data, at + 35, 8)
        batch["producer"] = _big_endian(data, at + 43, 8)
        batch["count"] = _big_endian(data, at + 57, 4)
        batch["fault"] = 0
        if crc32c(data, at + 21, behind) != _big_endian(data, at + 17, 4) & 0xFFFFFFFF:
            batch["fault"] = CRC_DIFFERS
            return found + 1
        at, found = behind, found + 1
    return found


@kernel
def _varint(data: Any, at: int, end: int) -> Any:
    """Return a zigzag varint, and the place behind it: -1 where it does not end."""
    value, shift = np.int64(0), 0
    while at < end and shift <= 63:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return ((value >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(value & 1), at
        shift += 7
    return np.int64(0), -1


@routine
def _read_batch(data: Any, span: Any, batch: Any, columns: Any, filled: int) -> int:
    """Fill in the records of one batch; return how many columns are filled, -1 when damaged."""
    offsets, append_ms, starts, sizes = columns
    at, end = span
    has_append_time = batch["attributes"] & APPEND_TIME
    last = -1
    for _ in range(batch["count"]):
        size, at = _varint(data, at, end)
        if at < 0 or not RECORD_BYTES_MIN - 1 <= size <= end - at:
            return -1
        behind = at + size
        delta_ms, at = _varint(data, at + 1, behind)
        if at < 0:
            return -1
        delta, at = _varint(data, at, behind)
        if at < 0:
            return -1
        key, at = _varint(data, at, behind)
        if at < 0 or key > behind - at:
            return -1
        value, at = _varint(data, at + max(key, 0), behind)
        if at < 0 or value > behind - at:
            return -1
        offset = batch["base"] + delta
        if delta <= last or offset >= batch["next"] or filled == len(offsets):
            return -1
        last = delta
        offsets[filled] = offset
        append_ms[filled] = batch["last_ms"] if has_append_time else batch["first_ms"] + delta_ms
        starts[filled], sizes[filled] = at, value
        filled, at = filled + 1, behind
    return filled if at == end else -1


@routine
def _read_all(data: Any, spans: Any, batches: Any, columns: Any) -> tuple[int, int]:
    filled = 0
    for place in range(len(batches)):
        if spans[place, 1] >= 0:
            span = spans[place, 0], spans[place, 1]
            after = _read_batch(data, span, batches[place], columns, filled)
            if after < 0:
                return place, filled
            filled = after
    return len(batches), filled


def find_batches(data: Any) -> Any:
    """Return the whole batches of a response, up to and with the first that has a fault.

    Shapes:  data: [byte] of uint8; returns [batch] of BATCH.
    Cost:    linear in the bytes: each batch's checksum is taken.
    """
    batches = np.zeros(len(data) // HEADER_BYTES, BATCH)
    return batches[: _find_all(data, batches)]


def read_batches(data: Any, spans: Any, batches: Any) -> tuple[int, tuple[Any, Any, Any, Any]]:
    """Return how many batches could be read, and offset, time, place and size of their records.

    Shapes:  data: [byte] of uint8; spans: [batch, 2] of int64, where the records of each lie in
             `data`, negative for a batch to leave out; batches: [batch] of BATCH.
    Units:   times: Unix milliseconds, the broker's where the batch says so; sizes: -1 for no value.
    """
    spanned = np.maximum(spans[:, 1] - spans[:, 0], 0)
    most = np.minimum(np.maximum(batches["count"], 0), spanned // RECORD_BYTES_MIN).sum()
    columns = tuple(np.empty(int(most), np.int64) for _ in range(4))
    read, filled = _read_all(data, spans, batches, columns)
    offsets, append_ms, starts, sizes = (column[:filled] for column in columns)
    return read, (offsets, append_ms, starts, np.maximum(sizes, -1))
