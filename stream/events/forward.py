"""An event on its way home: the payload as it came, and where it came from, under a seal.

A gateway may put an event on another partition than its workload's home, or on the topic of its
zone. Whoever reads it there forwards it, and the owner of the home drops what comes again: an entry
whose offset at its source is not beyond the last one heard of that source (DESIGN 3.11). So the
place must be true: the seal is keyed with the installation's secret, which gateways do not have. A
source is one log: what its owners forward again, whatever they have lost meanwhile, is known for
what it is.

    C1 02 | seal (16) | length of topic (1) | topic | partition (4) | log (4) | offset (8)
          | append time (8) | payload

Numbers are big-endian. C1 begins neither JSON nor msgpack. The append time is the broker's at the
source, in Unix milliseconds: an event that waited there must not claim to be younger than that.
Format 1 (C1 01) had none, and is still read.
"""

from __future__ import annotations

import hmac
import struct
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

FORWARDED: Final = b"\xc1"
_HEAD: Final = b"\xc1\x02"
_HEAD_1: Final = b"\xc1\x01"
_SEAL_BYTES: Final = 16
_PLACE: Final = struct.Struct(">IIQ")
_PLACE_AND_TIME: Final = struct.Struct(">IIQQ")
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


class Forwarded(NamedTuple):
    """An event that was forwarded; `append_ms` is the broker's time of it at its source, if known.

    Units: `append_ms` Unix milliseconds.
    """

    source: Source
    payload: bytes
    append_ms: int | None

    def appended_ms(self, here_ms: int) -> int:
        """Return when the event came, given when its envelope came here."""
        return here_ms if self.append_ms is None else min(here_ms, self.append_ms)


def wrap(source: Source, payload: bytes, append_ms: int, seal: Seal) -> bytes:
    """Return the record value that carries an event home; `seal` gives 16 bytes.

    Requires: append_ms >= 0; the topic has at most 255 bytes.
    """
    topic = source.topic.encode()
    place = _PLACE_AND_TIME.pack(source.partition, source.log, source.offset, append_ms)
    sealed = b"".join((bytes((len(topic),)), topic, place, payload))
    return b"".join((_HEAD, seal(_HEAD + sealed), sealed))


def unwrap(value: bytes, seal: Seal) -> Forwarded:
    """Return what a record value carries home.

    Errors: ValueError when it is no forwarded event, or its seal does not hold.
    """
    sealed = value[_SEALED_AT:]
    has_time = value.startswith(_HEAD)
    if not (has_time or value.startswith(_HEAD_1)) or not sealed:
        raise ValueError("not a forwarded event of a known format")
    # Format 1 did not seal its head: no bytes of the one may pass for the other.
    expected = seal(_HEAD + sealed if has_time else sealed)
    if not hmac.compare_digest(value[len(_HEAD) : _SEALED_AT], expected):
        raise ValueError("the seal of a forwarded event does not hold")
    shape = _PLACE_AND_TIME if has_time else _PLACE
    end = 1 + sealed[0]
    at = end + shape.size
    if len(sealed) < at:
        raise ValueError("a forwarded event is cut short")
    partition, number, offset, *times = shape.unpack(sealed[end:at])
    source = Source(sealed[1:end].decode(), partition, number, offset)
    return Forwarded(source, sealed[at:], times[0] if times else None)
