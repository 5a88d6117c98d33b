"""Compressed records: what the client's own codecs made comes back, and never too much of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiokafka import codec
from hypothesis import given
from hypothesis import strategies as st

from stream.bus import kafka_codecs
from stream.bus.kafka_codecs import GZIP, LZ4, NONE, SNAPPY, ZSTD, TooLarge, inflate

ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    NONE: bytes,
    GZIP: codec.gzip_encode,
    SNAPPY: codec.snappy_encode,
    LZ4: codec.lz4_encode,
    ZSTD: codec.zstd_encode,
}
compressing = pytest.mark.parametrize("number", [GZIP, SNAPPY, LZ4, ZSTD])


@pytest.mark.parametrize("number", ENCODERS)
@given(data=st.one_of(st.binary(max_size=50), st.integers(0, 300_000).map(bytes)))
def test_what_was_compressed_comes_back(number: int, data: bytes) -> None:
    """Each codec of Kafka, as producers use it, whatever the size."""
    assert inflate(number, ENCODERS[number](data)) == data


def test_snappy_without_frames_comes_back() -> None:
    """Producers that do not frame snappy as Java's do are read too."""
    plain = bytes(codec.snappy_encode(b"x" * 100, xerial_compatible=False))
    assert inflate(SNAPPY, plain) == b"x" * 100


def test_gzip_of_several_members_comes_back() -> None:
    """Members that follow one another are one stream."""
    assert inflate(GZIP, codec.gzip_encode(b"ab") + codec.gzip_encode(b"cd")) == b"abcd"


@compressing
def test_too_much_is_refused(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte that would become a gigabyte is refused before it has become one."""
    monkeypatch.setattr(kafka_codecs, "INFLATED_BYTES_MAX", 100_000)
    assert len(inflate(number, ENCODERS[number](bytes(100_000)))) == 100_000
    with pytest.raises(TooLarge):
        inflate(number, ENCODERS[number](bytes(100_001)))


@compressing
def test_damage_is_named(number: int) -> None:
    """What was cut short or is no such stream is a ValueError, and not that it is too large."""
    whole = ENCODERS[number](b"some records, more or less" * 40)
    for damaged in (whole[:-9], b"\xff" * 40):
        with pytest.raises(ValueError, match=r"damaged|cut short") as caught:
            inflate(number, damaged)
        assert not isinstance(caught.value, TooLarge)


def test_an_unknown_codec_is_refused() -> None:
    """A codec that Kafka does not have yet is no reason to guess."""
    with pytest.raises(ValueError, match="codec 7 is not known"):
        inflate(7, b"data")
