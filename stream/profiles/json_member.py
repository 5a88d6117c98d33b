"""The values of an event's members, in kernels: each returns the place behind, -1 for no.

As in `json_scan`, no leaves a payload to msgspec.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.events import LABEL_LENGTH_MAX, TIME_MS_MAX, WORKLOAD_LENGTH_MAX
from stream.kernel import kernel, routine, sip

from .json_scan import (
    literal_end,
    name_end,
    number,
    number_end,
    skip_space,
    string_end,
    value_at,
    value_end,
    word_at,
    word_of,
)

_QUOTE: Final = 0x22
_COMMA: Final = 0x2C
_POINT: Final = 0x2E
_SLASH: Final = 0x2F
_COLON: Final = 0x3A
_ZERO: Final = 0x30
_OPEN: Final = 0x7B
_CLOSE: Final = 0x7D
_LETTER_N: Final = 0x6E
_SCHEME: Final = word_of("spiffe:/")
_SCHEME_BYTES: Final = 9
_TRUST_DOMAIN_MAX: Final = 255
_ID: Final = word_of("id")
_ISSUER: Final = word_of("issuer")
_ISSUED: Final = word_of("issued_at_ms")
_EXPIRES: Final = word_of("expires_at_ms")
_REST_OF_ISSUED: Final = word_of("t_ms")
_REST_OF_EXPIRES: Final = word_of("at_ms")
_REQUEST: Final = word_of("request")
_GRANT: Final = word_of("grant")
_COMPLETION: Final = word_of("completion")
_REST_OF_COMPLETION: Final = word_of("on")
_READ: Final = word_of("read")
_CHANGE: Final = word_of("change")
_SERVED: Final = word_of("served")
_FAILED: Final = word_of("failed")
_DENIED: Final = word_of("denied")
_REFUSED: Final = word_of("refused")

# What a byte may be in a canonical SPIFFE ID: 1 in a trust domain, 2 in a path.
_LETTERS: Final = np.zeros(256, np.uint8)
_LETTERS[list(b"abcdefghijklmnopqrstuvwxyz0123456789._-")] = 3
_LETTERS[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")] = 2


@routine
def is_canonical(data: Any, start: int, end: int) -> bool:
    """Tell whether [start, end) is the canonical SPIFFE ID of a workload.

    Source: SPIFFE-ID 2.1 to 2.4; see stream.identity.
    """
    at = start + _SCHEME_BYTES
    if not at < end <= start + WORKLOAD_LENGTH_MAX or data[at - 1] != _SLASH:
        return False
    if word_at(data, start, 8, end) != _SCHEME:
        return False
    domain = at
    while at < end and _LETTERS[data[at]] & 1:
        at += 1
    if at == end or data[at] != _SLASH or not 0 < at - domain <= _TRUST_DOMAIN_MAX:
        return False
    segment = at + 1
    at = segment
    while True:
        while at < end and _LETTERS[data[at]] & 2:
            at += 1
        size = at - segment
        if size <= 2 and (
            size == 0 or (data[segment] == _POINT and (size == 1 or data[segment + 1] == _POINT))
        ):
            return False
        if at == end:
            return True
        if data[at] != _SLASH:
            return False
        segment = at + 1
        at = segment


@kernel
def label_end(data: Any, at: int, end: int, longest: int) -> int:
    """Return the place of the quote that ends a string of at most so many characters."""
    if data[at] != _QUOTE:
        return -1
    start = at + 1
    at = string_end(data, start, end)
    return at if at - start <= longest else -1


@kernel
def amount_end(data: Any, at: int, end: int, most: int) -> int:
    """Return the place behind a number of 0 to `most`."""
    after = number_end(data, at, end)
    return after if after >= 0 and number(data, at, after) <= most else -1


@kernel
def kind_of(data: Any, start: int, size: int, end: int) -> int:
    """Return the index of the kind that [start, start + size) names."""
    word = word_at(data, start, size, end)
    if size == 7 and word == _REQUEST:
        return 0
    if size == 5 and word == _GRANT:
        return 1
    if size == 10 and word == _COMPLETION:
        return 2 if word_at(data, start + 8, 2, end) == _REST_OF_COMPLETION else -1
    return -1


@kernel
def effect_of(data: Any, start: int, size: int, end: int) -> int:
    """Return the index of the effect that [start, start + size) names."""
    word = word_at(data, start, size, end)
    if size == 0:
        return 0
    if size == 4 and word == _READ:
        return 1
    return 2 if size == 6 and word == _CHANGE else -1


@kernel
def outcome_of(data: Any, start: int, size: int, end: int) -> int:
    """Return the index of the outcome that [start, start + size) names."""
    word = word_at(data, start, size, end)
    if size == 6:
        if word == _SERVED:
            return 0
        if word == _FAILED:
            return 1
        if word == _DENIED:
            return 2
    return 3 if size == 7 and word == _REFUSED else -1


@routine
def token_end(data: Any, at: int, end: int, event: Any, hashing: Any) -> int:
    """Read a token: fill its hash, return the place behind it. Mutates: event."""
    if data[at] != _OPEN:
        return literal_end(data, at, end) if data[at] == _LETTER_N else -1
    seen, issuer, issuer_end, name, name_end_at = 0, at, at, at, at
    at = skip_space(data, at + 1, end)
    while True:
        start = at + 1
        quote = name_end(data, at, end)
        size = quote - start
        at = value_at(data, quote, end)
        if at < 0:
            return -1
        word, bit, first = word_at(data, start, size, end), 0, at + 1
        if size == 2 and word == _ID:
            bit, at = 1, label_end(data, at, end, LABEL_LENGTH_MAX)
            name, name_end_at = first, at
            at = at + 1 if at > first else -1
        elif size == 6 and word == _ISSUER:
            bit, at = 2, label_end(data, at, end, LABEL_LENGTH_MAX)
            issuer, issuer_end = first, at
            at = at + 1 if at >= 0 else -1
        elif size == 12 and word == _ISSUED:
            if word_at(data, start + 8, 4, end) != _REST_OF_ISSUED:
                return -1
            bit, at = 4, amount_end(data, at, end, TIME_MS_MAX)
        elif size == 13 and word == _EXPIRES:
            if word_at(data, start + 8, 5, end) != _REST_OF_EXPIRES:
                return -1
            bit, at = 8, amount_end(data, at, end, TIME_MS_MAX)
        else:
            at = value_end(data, at, end)
        if at < 0 or seen & bit:
            return -1
        seen |= bit
        at = skip_space(data, at, end)
        if at >= end:
            return -1
        if data[at] == _CLOSE:
            break
        if data[at] != _COMMA:
            return -1
        at = skip_space(data, at + 1, end)
    if not seen & 1:
        return -1
    event["token"] = _token_hash(
        data, (issuer, issuer_end if seen & 2 else issuer), (name, name_end_at), hashing
    )
    return at + 1


@kernel
def _token_hash(data: Any, issuer: Any, name: Any, hashing: Any) -> np.uint64:
    """Return the hash of `token_text` of an issuer and an id. Mutates: the scratch of hashing."""
    key, scratch = hashing[0], hashing[1]
    size = issuer[1] - issuer[0]
    at = 0
    if size >= 100:
        scratch[at] = _ZERO + size // 100
        at += 1
    if size >= 10:
        scratch[at] = _ZERO + size // 10 % 10
        at += 1
    scratch[at] = _ZERO + size % 10
    scratch[at + 1] = _COLON
    at += 2
    for place in range(issuer[0], issuer[1]):
        scratch[at] = data[place]
        at += 1
    scratch[at] = _COLON
    at += 1
    for place in range(name[0], name[1]):
        scratch[at] = data[place]
        at += 1
    return sip(scratch, 0, at, key)
