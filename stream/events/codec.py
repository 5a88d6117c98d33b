"""Bytes of one payload to a `Request` and back: JSON, or msgpack told apart by the first byte.

Each payload is decoded by itself: joined payloads would save nothing and let one record smuggle
in others (DESIGN section 7). A record may hold several, as an array: that is split into them first,
so what is wrong with one event costs no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec

from .reject import PAYLOAD_BYTES_MAX, RejectCode
from .request import REQUESTS_MAX, Brief, Request

Requests = Annotated[
    list[Request],
    msgspec.Meta(
        min_length=1,
        max_length=REQUESTS_MAX,
        description="Several events in one record, in their order; each is judged by itself.",
    ),
]


class _Named(msgspec.Struct, gc=False):
    workload: str


_Parts = Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=REQUESTS_MAX)]
_json = msgspec.json.Decoder(Request)
_msgpack = msgspec.msgpack.Decoder(Request)
_json_named = msgspec.json.Decoder(_Named)
_msgpack_named = msgspec.msgpack.Decoder(_Named)
_encoder = msgspec.json.Encoder()
_msgpack_encoder = msgspec.msgpack.Encoder()
_json_parts = msgspec.json.Decoder(_Parts)
_msgpack_parts = msgspec.msgpack.Decoder(_Parts)
decode_json = _json.decode
decode_brief = msgspec.json.Decoder(Brief).decode

MSGPACK_FIRST: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
MSGPACK_ARRAY_FIRST: Final = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])
REQUEST_BYTES_MIN: Final = len(
    _msgpack_encoder.encode({"at_ms": 0, "workload": "", "operation": ""})
)
"""No event is shorter. An array of what is would take much room, and a dead letter for each."""
_WHITE: Final = b" \t\r\n"


def encode_request(request: Request) -> bytes:
    """Return the JSON encoding of a request, defaults included."""
    return _encoder.encode(request)


def encode_request_msgpack(request: Request) -> bytes:
    """Return the msgpack encoding of a request."""
    return _msgpack_encoder.encode(request)


def encode_requests(requests: Iterable[Request]) -> bytes:
    """Return the JSON encoding of several requests, as one record has them.

    Errors: ValueError, as `join_requests`.
    """
    return join_requests([encode_request(each) for each in requests])


def join_requests(payloads: Sequence[bytes]) -> bytes:
    """Return the value of a record that holds these events, one being its own value.

    Requires: each is the payload of one event, all JSON or all msgpack.
    Errors:   ValueError where one record cannot hold them: none, too many, or too long together.
    """
    if not 1 <= len(payloads) <= REQUESTS_MAX:
        raise ValueError(f"a record holds 1 to {REQUESTS_MAX} events, not {len(payloads)}")
    if len(payloads) == 1:
        value = payloads[0]
    elif payloads[0][:1] and payloads[0][0] in MSGPACK_FIRST:
        value = b"\xdc" + len(payloads).to_bytes(2, "big") + b"".join(payloads)
    else:
        value = b"[" + b",".join(payloads) + b"]"
    if len(value) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"events of {len(value)} bytes, at most {PAYLOAD_BYTES_MAX} in a record")
    return value


def has_many(value: bytes) -> bool:
    """Tell whether a record's value looks like an array of events."""
    if value[:1] and value[0] in MSGPACK_ARRAY_FIRST:
        return True
    return value[:1] in (b"[", b" ", b"\t", b"\r", b"\n") and value.lstrip(_WHITE)[:1] == b"["


def split_requests(value: bytes) -> list[bytes]:
    """Return the payload of each event in a record's value; a value that is no array is one.

    Errors: ValueError or RecursionError where an array cannot be split, holds none or too many, or
    something that is too short for an event: then all of it is none.
    """
    if not has_many(value):
        return [value]
    if len(value) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload of {len(value)} bytes, at most {PAYLOAD_BYTES_MAX}")
    decoder = _msgpack_parts if value[0] in MSGPACK_ARRAY_FIRST else _json_parts
    parts = [bytes(each) for each in decoder.decode(value)]
    least = min(parts, key=len)
    if len(least) < REQUEST_BYTES_MIN:
        place = parts.index(least)
        raise ValueError(f"element {place} is of {len(least)} bytes, which is no event")
    return parts


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


def workload_texts(payloads: Iterable[bytes]) -> list[str]:
    """Return the workload of each payload as it was written; all else is skipped.

    Requires: payloads that `decode_request` accepts.
    """
    return [
        (_msgpack_named if each[0] in MSGPACK_FIRST else _json_named).decode(each).workload
        for each in payloads
    ]


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
