"""What could not be converted: a value with its place, so that one bad line stops nothing."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

_EXCERPT_BYTES_MAX: Final = 60


class FaultCode(enum.StrEnum):
    """The closed list of reasons why a line or record gave no request."""

    TOO_LONG = "too_long"
    MALFORMED = "malformed"
    BAD_TEXT = "bad_text"
    TOO_DEEP = "too_deep"
    WRONG_TYPE = "wrong_type"
    NO_REQUEST = "no_request"
    BAD_REQUEST = "bad_request"
    BAD_TIME = "bad_time"
    NO_IDENTITY = "no_identity"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One line or record that gave no request; the message quotes hostile text escaped and cut.

    `line` counts from 1. `record` is the place inside a document, from 1; 0 is the line itself.
    """

    line: int
    code: FaultCode
    message: str
    record: int = 0


def excerpt(raw: bytes) -> str:
    """Return the start of hostile bytes in printable ASCII."""
    cut = raw[:_EXCERPT_BYTES_MAX]
    return f"{cut!r}{'...' if len(cut) < len(raw) else ''}"
