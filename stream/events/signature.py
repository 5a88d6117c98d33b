"""A signature on an enforcement record: where it stands in the bytes, and what it covers.

A signed value is the unsigned one with one member more at its end, `"signature":{"key":...,
"value":...}`, so whoever has no keys reads both alike. The rest of it, the *payload*, is what is
signed, decoded and counted by heartbeats: the signature is envelope, so the same record signed
again under another key is the same record.

Covered are the id of the key, the installation, the topic, the record's key and the payload, each
behind its length, so that no record can stand for another, on another topic or in another place.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, NamedTuple

import msgspec

KEY_ID: Final = r"[A-Za-z0-9._-]{1,64}"
SIGNATURE_BYTES: Final = (32, 64)
"""HMAC-SHA256 and Ed25519."""

_DOMAIN: Final = b"stream-enforcer signed record 1\n"
_MARK: Final = b',"signature":{"key":"'
# Lower-case hex of exactly these lengths: there is one way to write a signature.
_tail = re.compile(
    rb',"signature":\{"key":"(%s)","value":"([0-9a-f]{64}|[0-9a-f]{128})"\}\}' % KEY_ID.encode()
).fullmatch
_TAIL_BYTES_MAX: Final = len(_MARK) + 64 + len('","value":"') + 128 + len('"}}')


class Signature(msgspec.Struct, frozen=True):
    """Who signed (`key`, an id) and the signature (`value`, lower-case hex)."""

    key: Annotated[str, msgspec.Meta(pattern=f"^{KEY_ID}$")]
    value: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64}|[0-9a-f]{128})$")]


class Signed(NamedTuple):
    """A value taken apart; unsigned, it is all payload, and the key id is empty."""

    payload: bytes
    key_id: str
    signature: bytes


def split_signature(value: bytes) -> Signed:
    """Return payload and signature of a value; what is not exactly a signature is none.

    Cost: looks at the end only.
    """
    tail = value[-_TAIL_BYTES_MAX:]
    at = tail.rfind(_MARK)
    found = _tail(tail, at) if at >= 0 else None
    if found is None:
        return Signed(value, "", b"")
    payload = value[: len(value) - len(tail) + at] + b"}"
    return Signed(payload, found[1].decode(), bytes.fromhex(found[2].decode()))


def with_signature(payload: bytes, key_id: str, signature: bytes) -> bytes:
    """Return the signed value.

    Requires: `payload` is a JSON object with a member, without white space around it.
    """
    assert payload.endswith(b"}"), "a record is a JSON object"
    assert len(signature) in SIGNATURE_BYTES, "of a known algorithm"
    parts = payload[:-1], _MARK, key_id.encode(), b'","value":"', signature.hex().encode(), b'"}}'
    return b"".join(parts)


def signed_message(key_id: str, place: tuple[str, str], key: bytes, payload: bytes) -> bytes:
    """Return the bytes that are signed; `place` is the installation and the topic."""
    parts = key_id.encode(), place[0].encode(), place[1].encode(), key, payload
    return _DOMAIN + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
