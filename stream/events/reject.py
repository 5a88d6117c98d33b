"""Why one event was not counted, and the dead letter that keeps it.

A reject is data: an enum value with the origin of the event and the bytes as they came, bounded.
"""

from __future__ import annotations

import base64
import enum
from typing import Final

import msgspec

RAW_BYTES_MAX: Final = 16_384
PAYLOAD_BYTES_MAX: Final = 65_536
MESSAGE_LENGTH_MAX: Final = 512


class RejectCode(enum.StrEnum):
    """The closed list of faults one event can have; a metric label, so it stays short."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    BAD_TEXT = "bad_text"
    TOO_DEEP = "too_deep"
    WRONG_TYPE = "wrong_type"
    BAD_IDENTITY = "bad_identity"
    BAD_RESOURCE = "bad_resource"
    MISROUTED = "misrouted"
    TOO_MANY = "too_many"
    FORGED = "forged"


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was not counted: code, a sentence, and where it came from."""

    code: RejectCode
    message: str
    topic: str
    partition: int
    offset: int
    raw: bytes


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The value on the dead-letter topic; `raw` is base64 of at most RAW_BYTES_MAX bytes."""

    format: int = 1
    code: str
    message: str
    topic: str
    partition: int
    offset: int
    raw: str
    raw_bytes: int
    truncated: bool = False


def dead_letter(reject: Reject) -> DeadLetter:
    """Return what is written to the dead-letter topic for a reject."""
    kept = reject.raw[:RAW_BYTES_MAX]
    return DeadLetter(
        code=reject.code.value,
        message=reject.message[:MESSAGE_LENGTH_MAX],
        topic=reject.topic,
        partition=reject.partition,
        offset=reject.offset,
        raw=base64.b64encode(kept).decode("ascii"),
        raw_bytes=len(reject.raw),
        truncated=len(kept) < len(reject.raw),
    )
