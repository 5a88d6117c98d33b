"""One plain JSON payload to one event, in a kernel.

It accepts a part of what msgspec accepts, and gives the same fields then: a differential test holds
that. All other payloads are left to msgspec, right or wrong: escapes, other characters than ASCII,
msgpack, forwarded events, identities that are not in canonical form, repeated members, faults.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.events import (
    ACTORS_MAX,
    BYTES_MAX,
    COST_MICRO_MAX,
    COUNT_MAX,
    LABEL_LENGTH_MAX,
    OPERATION_LENGTH_MAX,
    PAYLOAD_BYTES_MAX,
    RESOURCE_LENGTH_MAX,
    RESOURCE_LENGTH_MIN,
    RESOURCES_MAX,
    SCOPES_MAX,
    SHORT_LENGTH_MAX,
    STATUS_MAX,
    TIME_MS_MAX,
    WORKLOAD_LENGTH_MAX,
)
from stream.kernel import kernel, murmur, routine, sip

from .json_scan import (
    literal_end,
    name_end,
    number,
    number_end,
    skip_space,
    string_end,
    strings_end,
    value_at,
    value_end,
    word_at,
    word_of,
)

SCRATCH_BYTES: Final = 1_024

_QUOTE: Final = 0x22
_COMMA: Final = 0x2C
_POINT: Final = 0x2E
_SLASH: Final = 0x2F
_COLON: Final = 0x3A
_ZERO: Final = 0x30
_OPEN: Final = 0x7B
_CLOSE: Final = 0x7D
_LETTER_N: Final = 0x6E
_LETTER_T: Final = 0x74

_SCHEME: Final = word_of("spiffe:/")
_SCHEME_BYTES: Final = 9
_TRUST_DOMAIN_MAX: Final = 255
_RESOURCES: Final = (RESOURCE_LENGTH_MIN, RESOURCE_LENGTH_MAX, RESOURCES_MAX)
_SCOPES: Final = (0, SHORT_LENGTH_MAX, SCOPES_MAX)
_ACTORS: Final = (1, WORKLOAD_LENGTH_MAX, ACTORS_MAX)

# What a byte may be in a canonical SPIFFE ID: 1 in a trust domain, 2 in a path.
_LETTERS: Final = np.zeros(256, np.uint8)
_LETTERS[list(b"abcdefghijklmnopqrstuvwxyz0123456789._-")] = 3
_LETTERS[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")] = 2

_AT_MS: Final = word_of("at_ms")
_WORKLOAD: Final = word_of("workload")
_OPERATION: Final = word_of("operation")
_KIND: Final = word_of("kind")
_EFFECT: Final = word_of("effect")
_OUTCOME: Final = word_of("outcome")
_STATUS: Final = word_of("status")
_BYTES: Final = word_of("bytes")
_COST: Final = word_of("cost")
_COUNT: Final = word_of("count")
_PURPOSE: Final = word_of("purpose")
_TASK: Final = word_of("task")
_TOKEN: Final = word_of("token")
_RESOURCE: Final = word_of("resources")
_SCOPE: Final = word_of("scopes")
_ACTOR: Final = word_of("actors")
_AUTHENTICATED: Final = word_of("authenticated")
_GATEWAY: Final = word_of("gateway")
_ID: Final = word_of("id")
_ISSUER: Final = word_of("issuer")
_ISSUED: Final = word_of("issued_at_ms")
_EXPIRES: Final = word_of("expires_at_ms")
_REST_OF_AUTHENTICATED: Final = word_of("cated")
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

# The members, as bits of what was seen.
_REQUIRED: Final = 0b111


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
def _label_end(data: Any, at: int, end: int, longest: int) -> int:
    """Return the place of the quote that ends a string of at most so many characters."""
    if data[at] != _QUOTE:
        return -1
    start = at + 1
    at = string_end(data, start, end)
    return at if at - start <= longest else -1


@kernel
def _amount_end(data: Any, at: int, end: int, most: int) -> int:
    """Return the place behind a number of 0 to `most`."""
    after = number_end(data, at, end)
    return after if after >= 0 and number(data, at, after) <= most else -1


@kernel
def _kind_of(data: Any, start: int, size: int, end: int) -> int:
    word = word_at(data, start, size, end)
    if size == 7 and word == _REQUEST:
        return 0
    if size == 5 and word == _GRANT:
        return 1
    if size == 10 and word == _COMPLETION:
        return 2 if word_at(data, start + 8, 2, end) == _REST_OF_COMPLETION else -1
    return -1


@kernel
def _effect_of(data: Any, start: int, size: int, end: int) -> int:
    word = word_at(data, start, size, end)
    if size == 0:
        return 0
    if size == 4 and word == _READ:
        return 1
    return 2 if size == 6 and word == _CHANGE else -1


@kernel
def _outcome_of(data: Any, start: int, size: int, end: int) -> int:
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
def _token_end(data: Any, at: int, end: int, event: Any, hashing: Any) -> int:
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
            bit, at = 1, _label_end(data, at, end, LABEL_LENGTH_MAX)
            name, name_end_at = first, at
            at = at + 1 if at > first else -1
        elif size == 6 and word == _ISSUER:
            bit, at = 2, _label_end(data, at, end, LABEL_LENGTH_MAX)
            issuer, issuer_end = first, at
            at = at + 1 if at >= 0 else -1
        elif size == 12 and word == _ISSUED:
            if word_at(data, start + 8, 4, end) != _REST_OF_ISSUED:
                return -1
            bit, at = 4, _amount_end(data, at, end, TIME_MS_MAX)
        elif size == 13 and word == _EXPIRES:
            if word_at(data, start + 8, 5, end) != _REST_OF_EXPIRES:
                return -1
            bit, at = 8, _amount_end(data, at, end, TIME_MS_MAX)
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
    key, scratch = hashing
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


@routine
def _member_end(data: Any, name: Any, span: Any, event: Any, hashing: Any) -> tuple[int, int]:
    """Read one member: fill what it says; return the place behind its value, and its bit.

    Units: name: where it starts, and its size; span: where the value starts, and the end of all.
    """
    start, size = name
    at, end = span
    word, key = word_at(data, start, size, end), hashing[0]
    if size == 5 and word == _AT_MS:
        after = _amount_end(data, at, end, TIME_MS_MAX)
        if after >= 0:
            event["at_ms"] = number(data, at, after)
        return after, 1 << 0
    if size == 8 and word == _WORKLOAD:
        after = _label_end(data, at, end, WORKLOAD_LENGTH_MAX)
        if after < 0 or not is_canonical(data, at + 1, after):
            return -1, 0
        event["workload"] = sip(data, at + 1, after, key)
        event["home"] = murmur(data, at + 1, after)
        return after + 1, 1 << 1
    if size == 9 and word == _OPERATION and data[start + 8] == _LETTER_N:
        after = _label_end(data, at, end, OPERATION_LENGTH_MAX)
        if after <= at + 1:
            return -1, 0
        event["operation"] = sip(data, at + 1, after, key)
        return after + 1, 1 << 2
    if size == 7 and word == _OUTCOME:
        after = _label_end(data, at, end, 8)
        if after < 0:
            return -1, 0
        which = _outcome_of(data, at + 1, after - at - 1, end)
        if which < 0:
            return -1, 0
        event["outcome"] = which
        return after + 1, 1 << 3
    if size == 6 and word == _STATUS:
        return _amount_end(data, at, end, STATUS_MAX), 1 << 4
    if size == 5 and word == _BYTES:
        after = _amount_end(data, at, end, BYTES_MAX)
        if after >= 0:
            event["bytes"] = number(data, at, after)
        return after, 1 << 5
    if size == 4 and word == _TASK:
        after = _label_end(data, at, end, LABEL_LENGTH_MAX)
        if after < 0:
            return -1, 0
        if after > at + 1:
            event["task"] = sip(data, at + 1, after, key)
        return after + 1, 1 << 6
    if size == 5 and word == _TOKEN:
        return _token_end(data, at, end, event, hashing), 1 << 7
    return _other_end(data, (word, start, size), at, end, event)


@routine
def _other_end(data: Any, name: Any, at: int, end: int, event: Any) -> tuple[int, int]:
    """Read a member that events seldom have, or an unknown one."""
    word, start, size = name
    if size == 4 and word == _KIND:
        after = _label_end(data, at, end, 10)
        if after < 0:
            return -1, 0
        which = _kind_of(data, at + 1, after - at - 1, end)
        if which < 0:
            return -1, 0
        event["kind"] = which
        return after + 1, 1 << 8
    if size == 6 and word == _EFFECT:
        after = _label_end(data, at, end, 8)
        if after < 0:
            return -1, 0
        which = _effect_of(data, at + 1, after - at - 1, end)
        if which < 0:
            return -1, 0
        event["effect"] = which
        return after + 1, 1 << 9
    if size == 4 and word == _COST:
        after = _amount_end(data, at, end, COST_MICRO_MAX)
        if after >= 0:
            event["cost"] = number(data, at, after)
        return after, 1 << 10
    if size == 5 and word == _COUNT:
        after = _amount_end(data, at, end, COUNT_MAX)
        if after < 0 or number(data, at, after) < 1:
            return -1, 0
        event["count"] = number(data, at, after)
        return after, 1 << 11
    if size == 13 and word == _AUTHENTICATED:
        after = literal_end(data, at, end)
        if after < 0 or data[at] == _LETTER_N:
            return -1, 0
        if word_at(data, start + 8, 5, end) != _REST_OF_AUTHENTICATED:
            return -1, 0
        event["authenticated"] = np.uint8(data[at] == _LETTER_T)
        return after, 1 << 12
    return _unkept_end(data, name, at, end)


@kernel
def _unkept_end(data: Any, name: Any, at: int, end: int) -> tuple[int, int]:
    """Read a member that leaves nothing in the event, but must be what it should be."""
    word, start, size = name
    longest, bit = -1, 0
    if size == 7 and word == _PURPOSE:
        longest, bit = LABEL_LENGTH_MAX, 1 << 13
    elif size == 7 and word == _GATEWAY:
        longest, bit = SHORT_LENGTH_MAX, 1 << 14
    elif size == 2 and word == _ID:
        longest, bit = SHORT_LENGTH_MAX, 1 << 15
    if bit:
        after = _label_end(data, at, end, longest)
        return (after + 1 if after >= 0 else -1), bit
    if size == 9 and word == _RESOURCE:
        is_it = word_at(data, start + 8, 1, end) == _LETTER_S
        return (strings_end(data, at, end, _RESOURCES) if is_it else -1), 1 << 16
    if size == 6 and word == _SCOPE:
        return strings_end(data, at, end, _SCOPES), 1 << 17
    if size == 6 and word == _ACTOR:
        return strings_end(data, at, end, _ACTORS), 1 << 18
    if size >= 8 and (word == _AUTHENTICATED or word == _OPERATION or word == _RESOURCE):
        return -1, 0
    return value_end(data, at, end), 0


_LETTER_S: Final = np.uint64(0x73)


@routine
def read_event(data: Any, start: int, end: int, event: Any, hashing: Any) -> bool:
    """Read one payload; tell whether it was plain. What it did not say keeps its default.

    Shapes:   data: [byte] of uint8, contiguous; event: a record of EVENT, all zero; hashing: the
              key's two words, and scratch of SCRATCH_BYTES.
    Requires: 0 <= start <= end <= len(data).
    Mutates:  event, also where it tells no; the scratch.
    """
    if end - start > PAYLOAD_BYTES_MAX:
        return False
    event["count"] = 1
    event["authenticated"] = 1
    at = skip_space(data, start, end)
    if at >= end or data[at] != _OPEN:
        return False
    at = skip_space(data, at + 1, end)
    seen = 0
    while True:
        name = at + 1
        quote = name_end(data, at, end)
        at = value_at(data, quote, end)
        if at < 0:
            return False
        at, bit = _member_end(data, (name, quote - name), (at, end), event, hashing)
        if at < 0 or seen & bit:
            return False
        seen |= bit
        at = skip_space(data, at, end)
        if at >= end:
            return False
        if data[at] == _CLOSE:
            break
        if data[at] != _COMMA:
            return False
        at = skip_space(data, at + 1, end)
    return seen & _REQUIRED == _REQUIRED and skip_space(data, at + 1, end) == end


@kernel
def read_events(payloads: Any, events: Any, is_plain: Any, hashing: Any) -> int:
    """Read payloads; return how many were plain. The others' events are left all zero.

    Shapes:  payloads: the data, [event] starts, [event] sizes (negative for none);
             events: [event] of EVENT, all zero; is_plain: [event] of bool; hashing: see read_event.
    Mutates: events, is_plain, the scratch.
    """
    data, starts, sizes = payloads
    plain = 0
    for place in range(len(starts)):
        size = sizes[place]
        event = events[place]
        is_plain[place] = size > 0 and read_event(
            data, starts[place], starts[place] + size, event, hashing
        )
        plain += is_plain[place]
    return plain
