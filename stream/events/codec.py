"""Bytes of one payload to a `Request` and back: JSON, or msgpack told apart by the first byte.

Each payload is decoded by itself: joined payloads would save nothing and let one record smuggle
in others (DESIGN section 7).
"""

from __future__ import annotations

from typing import Final

import msgspec

from .reject import PAYLOAD_BYTES_MAX, RejectCode
from .request import Request

_json = msgspec.json.Decoder(Request)
_msgpack = msgspec.msgpack.Decoder(Request)
_encoder = msgspec.json.Encoder()
_msgpack_encoder = msgspec.msgpack.Encoder()
decode_json = _json.decode

MSGPACK_FIRST: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])


def encode_request(request: Request) -> bytes:
    """Return the JSON encoding of a request, defaults included."""
    return _encoder.encode(request)


def encode_request_msgpack(request: Request) -> bytes:
    """Return the msgpack encoding of a request."""
    return _msgpack_encoder.encode(request)


def decode_request(payload: bytes) -> Request:
    """Return the request in one payload.

    Errors: ValueError (msgspec's and UnicodeDecodeError are ones) or RecursionError;
    `fault_of` names them.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload of {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX}")
    if payload and payload[0] in MSGPACK_FIRST:
        return _msgpack.decode(payload)
    return _json.decode(payload)


def fault_of(payload: bytes | None, error: ValueError | RecursionError) -> tuple[RejectCode, str]:
    """Return the reject code and sentence for what `decode_request` raised."""
    if not payload:
        return RejectCode.EMPTY, "the record has no value"
    if len(payload) > PAYLOAD_BYTES_MAX:
        return RejectCode.TOO_LARGE, str(error)
    if isinstance(error, RecursionError):
        return RejectCode.TOO_DEEP, "the payload is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return RejectCode.BAD_TEXT, f"not UTF-8: {error.reason} at byte {error.start}"
    if isinstance(error, msgspec.ValidationError):
        return RejectCode.WRONG_TYPE, str(error)
    return RejectCode.MALFORMED, str(error)
