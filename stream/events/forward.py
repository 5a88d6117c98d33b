"""An event on its way home: the payload as it came, and where it came from, under a seal.

A gateway may put an event on another partition than its workload's home. Whoever owns that
partition forwards it, and the owner of the home drops what comes again: an entry whose offset at
its source is not beyond the last one heard of that source (DESIGN 3.11). So the place must be
true: the seal is keyed with the installation's secret, which gateways do not have. A source is one
log: what its owners forward again, whatever they have lost meanwhile, is known for what it is.

    C1 01 | seal (16) | length of topic (1) | topic | partition (4) | log (4) | offset (8) | payload

Numbers are big-endian. C1 begins neither JSON nor msgpack.
"""

from __future__ import annotations

import hmac
import struct
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

FORWARDED: Final = b"\xc1"
_HEAD: Final = b"\xc1\x01"
_SEAL_BYTES: Final = 16
_PLACE: Final = struct.Struct(">IIQ")
_SEALED_AT: Final = len(_HEAD) + _SEAL_BYTES

Seal = Callable[[bytes], bytes]


class Source(NamedTuple):
    """Where a forwarded event came from: a partition of a log, and the offset there."""

    topic: str
    partition: int
    log: int
    offset: int

    @property
    def name(self) -> tuple[str, int, int]:
        """Return what the events of one source have in common."""
        return self.topic, self.partition, self.log


def log_number(topic_id: str, log_era: int) -> int:
    """Return a number for a log, another one where the topic was made anew.

    By the broker's id of it; one that is too old to have ids leaves the era in which it began.
    """
    return zlib.crc32(topic_id.encode()) if topic_id else log_era


def wrap(source: Source, payload: bytes, seal: Seal) -> bytes:
    """Return the record value that carries an event home; `seal` gives 16 bytes."""
    topic = source.topic.encode()
    place = _PLACE.pack(source.partition, source.log, source.offset)
    sealed = b"".join((bytes((len(topic),)), topic, place, payload))
    return b"".join((_HEAD, seal(sealed), sealed))


def unwrap(value: bytes, seal: Seal) -> tuple[Source, bytes]:
    """Return where a forwarded event came from, and its payload.

    Errors: ValueError when it is none, or its seal does not hold.
    """
    sealed = value[_SEALED_AT:]
    if not value.startswith(_HEAD) or not sealed:
        raise ValueError("not a forwarded event of a known format")
    if not hmac.compare_digest(value[len(_HEAD) : _SEALED_AT], seal(sealed)):
        raise ValueError("the seal of a forwarded event does not hold")
    end = 1 + sealed[0]
    at = end + _PLACE.size
    if len(sealed) < at:
        raise ValueError("a forwarded event is cut short")
    return Source(sealed[1:end].decode(), *_PLACE.unpack(sealed[end:at])), sealed[at:]
