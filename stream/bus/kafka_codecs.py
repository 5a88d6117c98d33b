"""What is compressed in a record batch, inflated, and never to more than a declared size.

A broker takes a batch of a megabyte whatever it inflates to, and aiokafka inflates it whole: who
may write one could fill a reader's memory. Beyond the bound a batch is `TooLarge` here, and what
becomes of it is the reader's to say.

Source: Kafka protocol guide, "Record Batch"; the framing of xerial's snappy-java.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import cramjam

INFLATED_BYTES_MAX: Final = 64 << 20
FIRST_BYTES: Final = 1 << 16
MEMBER_BYTES: Final = 1 << 10
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD_BYTES: Final = 16
_BLOCK: Final = struct.Struct(">i")


class TooLarge(ValueError):
    """A batch inflates to more than INFLATED_BYTES_MAX."""

    def __init__(self) -> None:
        super().__init__(f"a batch inflates to more than {INFLATED_BYTES_MAX >> 20} MiB")


def inflate(codec: int, body: bytes) -> bytes:
    """Return the records of a batch.

    Errors: ValueError when they are damaged, or the codec is not known; TooLarge.
    """
    if codec == NONE:
        return body
    try:
        if codec == GZIP:
            return _gunzip(body, INFLATED_BYTES_MAX)
        if codec == SNAPPY:
            return _unsnap(body, INFLATED_BYTES_MAX)
        if codec == LZ4:
            return _grow(cramjam.lz4, body, INFLATED_BYTES_MAX)
        if codec == ZSTD:
            return _grow(cramjam.zstd, body, INFLATED_BYTES_MAX)
    except (zlib.error, cramjam.DecompressionError, struct.error) as error:
        raise ValueError(f"compressed records are damaged: {error}") from error
    raise ValueError(f"codec {codec} is not known")


def _gunzip(body: bytes, bytes_max: int) -> bytes:
    view, parts, size, at = memoryview(body), list[bytes](), 0, 0
    while at < len(view):
        # A member may be tiny, and what is behind its end is copied: so not all at once.
        stream, piece_bytes = zlib.decompressobj(zlib.MAX_WBITS | 16), MEMBER_BYTES
        while not stream.eof:
            piece = view[at : at + piece_bytes]
            if not piece:
                raise ValueError("compressed records are cut short")
            parts.append(stream.decompress(piece, bytes_max - size + 1))
            size += len(parts[-1])
            if size > bytes_max:
                raise TooLarge
            at += len(piece) - len(stream.unconsumed_tail) - len(stream.unused_data)
            piece_bytes *= 4
    return b"".join(parts)


def _unsnap(body: bytes, bytes_max: int) -> bytes:
    if not body.startswith(_XERIAL):
        return _unsnap_block(body, bytes_max)
    parts, size, at = [], 0, _XERIAL_HEAD_BYTES
    while at < len(body):
        (length,) = _BLOCK.unpack_from(body, at)
        at += _BLOCK.size
        if not 0 <= length <= len(body) - at:
            raise ValueError("compressed records are cut short")
        parts.append(_unsnap_block(body[at : at + length], bytes_max - size))
        size += len(parts[-1])
        at += length
    return b"".join(parts)


def _unsnap_block(block: bytes, bytes_max: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > bytes_max:
        raise TooLarge
    return bytes(cramjam.snappy.decompress_raw(block))


def _grow(codec: Any, body: bytes, bytes_max: int) -> bytes:
    """Inflate into room that grows until it is enough, since a frame need not say its size."""
    room = min(bytes_max, max(FIRST_BYTES, 8 * len(body)))
    while True:
        out = bytearray(room)
        try:
            size = codec.decompress_into(body, out)
        except cramjam.DecompressionError as error:
            # Whether it was for want of room, the library says in words only.
            if room < bytes_max:
                room = min(bytes_max, 4 * room)
                continue
            if "write whole buffer" in str(error):
                raise TooLarge from error
            raise
        return bytes(memoryview(out)[:size])
