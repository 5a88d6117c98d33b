"""Why one event was not counted; `letter` has the dead letter that keeps it.

A reject is data: an enum value with the origin of the event and the bytes as they came, bounded.
"""

from __future__ import annotations

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
    DOMAIN_FULL = "domain_full"
    FORGED = "forged"
    OUTSIDE_ZONE = "outside_zone"


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was not counted: code, a sentence, where and when it came.

    `ordinal` counts the events of one record from nought.
    """

    code: RejectCode
    message: str
    topic: str
    partition: int
    offset: int
    raw: bytes
    append_ms: int = 0
    ordinal: int = 0
