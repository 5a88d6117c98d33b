"""Record batches and payloads: what kernels read of them, and what hostile bytes come to."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from stream.records import (
    CRC_DIFFERS,
    DAMAGED,
    HEADER_BYTES,
    OLD_FORMAT,
    Values,
    crc32c,
    find_batches,
    read_batches,
)
from stream.records.crc import crc32c_by_tables

payloads = st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=8)


def as_array(data: bytes) -> np.ndarray:
    """Bytes as kernels take them."""
    return np.frombuffer(data, np.uint8)


def batch(values: list[bytes | None], base: int = 7) -> bytes:
    """A batch as a broker keeps it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, 5, 0, 0, 1 << 20)
    for place, value in enumerate(values):
        builder.append(place, 1_000 + place, b"key", value, [("h", b"v")])
    raw = builder.build()
    struct.pack_into(">q", raw, 0, base)
    return bytes(raw)


def sealed(raw: bytearray) -> bytes:
    """A batch whose checksum fits what it says."""
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


@given(st.binary(max_size=70), st.integers(0, 70))
def test_checksum_is_that_of_the_client(data: bytes, start: int) -> None:
    """By instruction or by tables, from any place on: the client's own checksum."""
    start = min(start, len(data))
    wanted = calc_crc32c(data[start:])
    assert crc32c(as_array(data), start, len(data)) == wanted
    assert crc32c_by_tables(as_array(data), start, len(data)) == wanted


@given(payloads, st.integers(0, 9), st.integers(0, 9))
def test_values_are_the_payloads(given_ones: list[bytes | None], start: int, end: int) -> None:
    """A sequence over one buffer gives what was put into it, whole or in slices."""
    values = Values.of(given_ones)
    assert list(values) == given_ones == [values[place] for place in range(len(values))]
    assert list(values[start:end]) == given_ones[start:end]
    assert Values.of(values) is values
    if given_ones:
        assert values[-1] == given_ones[-1]


@given(payloads.filter(bool), st.data())
def test_some_values_are_those_at_their_places(
    given_ones: list[bytes | None], data: st.DataObject
) -> None:
    """Few of many or most of them, in any order, as often as they are named."""
    places = data.draw(st.lists(st.integers(0, len(given_ones) - 1), max_size=9))
    some = Values.of(given_ones).at(np.array(places, np.int64))
    assert list(some) == [given_ones[place] for place in places]


@given(st.lists(payloads.filter(bool), max_size=4))
def test_batches_are_found_and_read(drawn: list[list[bytes | None]]) -> None:
    """Offsets, times and values are those that were written, batch after batch."""
    raw = b"".join(batch(values, 100 * place) for place, values in enumerate(drawn))
    data = as_array(raw + raw[: HEADER_BYTES - 1])
    batches = find_batches(data)
    spans = np.stack((batches["start"] + HEADER_BYTES, batches["end"]), axis=1)
    read, (offsets, append_ms, starts, sizes) = read_batches(data, spans, batches)
    assert read == len(drawn) == len(batches)
    assert not batches["fault"].any()
    places = [(place, each) for place, values in enumerate(drawn) for each in range(len(values))]
    assert offsets.tolist() == [100 * place + each for place, each in places]
    assert append_ms.tolist() == [1_000 + each for _, each in places]
    assert list(Values(data, starts, sizes)) == [value for values in drawn for value in values]


def test_faults_end_what_is_found() -> None:
    """A wrong checksum, an older format and nonsense are named, and nothing behind them is read."""
    good, odd = batch([b"value"]), bytearray(batch([b"value"]))
    odd[-1] ^= 1
    found = find_batches(as_array(good + odd + good))
    assert found["fault"].tolist() == [0, CRC_DIFFERS]
    for magic, fault in ((1, OLD_FORMAT), (3, DAMAGED)):
        odd[16] = magic
        assert find_batches(as_array(good + odd + good))["fault"].tolist() == [0, fault]
    odd[16] = 2
    struct.pack_into(">i", odd, 8, -5)
    assert find_batches(as_array(good + odd + good))["fault"].tolist() == [0, DAMAGED]
    struct.pack_into(">i", odd, 8, 1 << 30)
    assert find_batches(as_array(good + odd + good))["fault"].tolist() == [0]


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 2**31 - 1])
def test_a_count_that_lies_is_damage(count: int) -> None:
    """More or fewer records than a batch says it has, and none of it is read."""
    raw = bytearray(batch([b"one", b"two"]))
    struct.pack_into(">i", raw, 57, count)
    data = as_array(sealed(raw))
    batches = find_batches(data)
    assert batches["fault"].tolist() == [0]
    spans = np.stack((batches["start"] + HEADER_BYTES, batches["end"]), axis=1)
    assert read_batches(data, spans, batches)[0] == 0


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.data())
def test_no_bytes_lead_outside(values: list[bytes], data: st.DataObject) -> None:
    """Whatever a record says of its own sizes, what is read lies in the batch."""
    raw = bytearray(batch(list(values)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(HEADER_BYTES, len(raw) - 1))] = data.draw(st.integers(0, 255))
    array = as_array(sealed(raw))
    batches = find_batches(array)
    spans = np.stack((batches["start"] + HEADER_BYTES, batches["end"]), axis=1)
    _, (offsets, _, starts, sizes) = read_batches(array, spans, batches)
    assert (starts >= HEADER_BYTES).all()
    assert (starts + np.maximum(sizes, 0) <= len(array)).all()
    assert (np.diff(offsets) > 0).all()
    assert ((offsets >= 7) & (offsets < 7 + len(values))).all()
