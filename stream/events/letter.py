"""Dead letters: what was no event, with its origin, and the marker of one that was tried again.

Both are records of the dead-letter topic. A letter has no key. A marker has the origin of its
letter for a key and stands in the same partition, behind it: so no retention forgets the marker of
a letter that is still there. Whoever tries a letter again writes event and marker in one
transaction, so there is a marker if and only if the event was sent.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, NamedTuple

import msgspec

from .format import decode_known
from .reject import MESSAGE_LENGTH_MAX, RAW_BYTES_MAX, Reject

LETTER_FORMAT: Final = 2
_FORMAT_OF_FIRST: Final = 1  # of a letter whose event was the first of its record, or the only one
LETTER_BYTES_MAX: Final = 262_144


class Origin(NamedTuple):
    """Where a record stood that was no event, and which of its events it was, from nought on."""

    topic: str
    partition: int
    offset: int
    ordinal: int = 0

    def __str__(self) -> str:
        place = f"{self.topic}/{self.partition}/{self.offset}"
        return f"{place}/{self.ordinal}" if self.ordinal else place


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The value on the dead-letter topic; `raw` is base64 of at most RAW_BYTES_MAX bytes.

    `at_ms` is the broker's append time of the record, 0 where it is not known. `ordinal` counts the
    events of one record from nought; a letter of any but the first has format 2.
    """

    format: int = _FORMAT_OF_FIRST
    code: str
    message: str
    topic: str
    partition: int
    offset: int
    raw: str
    raw_bytes: int
    truncated: bool = False
    at_ms: int = 0
    ordinal: int = 0

    @property
    def origin(self) -> Origin:
        """Return where the record stood, and which of its events this was."""
        return Origin(self.topic, self.partition, self.offset, self.ordinal)

    def payload(self) -> bytes:
        """Return the bytes of the record, as far as they were kept.

        Errors: ValueError when they are not base64.
        """
        try:
            return base64.b64decode(self.raw, validate=True)
        except binascii.Error as error:
            raise ValueError(f"raw is not base64: {error}") from error


class RetryMarker(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a marker: who tried a letter again, when, and to which partition it went.

    `as_is`: it was sent although it was still no event.
    """

    format: int = _FORMAT_OF_FIRST
    by: Annotated[str, msgspec.Meta(max_length=128)]
    at_ms: int
    to_partition: int
    as_is: bool = False


_encoder = msgspec.json.Encoder()
_letters = msgspec.json.Decoder(DeadLetter)
_keys = msgspec.json.Decoder(list[str | int])
_RETRIED: Final = "retried"


def dead_letter(reject: Reject) -> DeadLetter:
    """Return what is written to the dead-letter topic for a reject."""
    kept = reject.raw[:RAW_BYTES_MAX]
    return DeadLetter(
        format=LETTER_FORMAT if reject.ordinal else _FORMAT_OF_FIRST,
        code=reject.code.value,
        message=reject.message[:MESSAGE_LENGTH_MAX],
        topic=reject.topic,
        partition=reject.partition,
        offset=reject.offset,
        raw=base64.b64encode(kept).decode("ascii"),
        raw_bytes=len(reject.raw),
        truncated=len(kept) < len(reject.raw),
        at_ms=reject.append_ms,
        ordinal=reject.ordinal,
    )


def decode_letter(data: bytes) -> DeadLetter:
    """Return a dead letter.

    Errors: NewerFormat, and other ValueErrors or RecursionError when the bytes are not one.
    """
    if len(data) > LETTER_BYTES_MAX:
        raise ValueError(f"dead letter of {len(data)} bytes, at most {LETTER_BYTES_MAX}")
    return decode_known(_letters, data, LETTER_FORMAT, "a dead letter")


def marker_key(origin: Origin) -> bytes:
    """Return the record key of the marker of a letter."""
    place = origin if origin.ordinal else origin[:3]
    return _encoder.encode((_RETRIED, *place))


def encode_marker(marker: RetryMarker) -> bytes:
    """Return the one JSON encoding of a marker."""
    return _encoder.encode(marker)


def origin_of_marker(key: bytes) -> Origin | None:
    """Return the origin that a record's key marks as tried again, None where it is no marker."""
    try:
        found = _keys.decode(key)
    except (ValueError, RecursionError):
        return None
    match found:
        case [word, str(topic), int(partition), int(offset)] if word == _RETRIED:
            return Origin(topic, partition, offset)
        case [word, str(topic), int(partition), int(offset), int(ordinal)] if word == _RETRIED:
            return Origin(topic, partition, offset, ordinal)
    return None
