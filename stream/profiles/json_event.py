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

from .json_member import (
    amount_end,
    effect_of,
    is_canonical,
    kind_of,
    label_end,
    outcome_of,
    token_end,
)
from .json_scan import (
    literal_end,
    name_end,
    number,
    skip_space,
    string_end,
    strings_end,
    value_at,
    value_end,
    word_at,
    word_of,
)
from .resource_scan import close_event, read_resource
from .resources import EVENT_TOKENS_MAX, EVENT_VALUES_MAX

SCRATCH_BYTES: Final = 1_024
_QUOTE: Final = 0x22
_COMMA: Final = 0x2C
_OPEN: Final = 0x7B
_CLOSE: Final = 0x7D
_LETTER_S: Final = np.uint64(0x73)
_LETTER_N: Final = 0x6E
_LETTER_T: Final = 0x74
_RESOURCES: Final = (RESOURCE_LENGTH_MIN, RESOURCE_LENGTH_MAX, RESOURCES_MAX)
_SCOPES: Final = (0, SHORT_LENGTH_MAX, SCOPES_MAX)
_ACTORS: Final = (1, WORKLOAD_LENGTH_MAX, ACTORS_MAX)
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
_REST_OF_AUTHENTICATED: Final = word_of("cated")
_REQUIRED: Final = 0b111


@kernel
def _member_end(data: Any, name: Any, span: Any, event: Any, hashing: Any) -> tuple[int, int]:
    """Read one member: fill what it says; return the place behind its value, and its bit.

    Units: name: where it starts, and its size; span: where the value starts, and the end of all.
    """
    start, size = name
    at, end = span
    word, key = word_at(data, start, size, end), hashing[0]
    if size == 5 and word == _AT_MS:
        after = amount_end(data, at, end, TIME_MS_MAX)
        if after >= 0:
            event["at_ms"] = number(data, at, after)
        return after, 1 << 0
    if size == 8 and word == _WORKLOAD:
        after = label_end(data, at, end, WORKLOAD_LENGTH_MAX)
        if after < 0 or not is_canonical(data, at + 1, after):
            return -1, 0
        event["workload"] = sip(data, at + 1, after, key)
        event["home"] = murmur(data, at + 1, after)
        return after + 1, 1 << 1
    if size == 9 and word == _OPERATION and data[start + 8] == _LETTER_N:
        after = label_end(data, at, end, OPERATION_LENGTH_MAX)
        if after <= at + 1:
            return -1, 0
        event["operation"] = sip(data, at + 1, after, key)
        return after + 1, 1 << 2
    if size == 7 and word == _OUTCOME:
        after = label_end(data, at, end, 8)
        if after < 0:
            return -1, 0
        which = outcome_of(data, at + 1, after - at - 1, end)
        if which < 0:
            return -1, 0
        event["outcome"] = which
        return after + 1, 1 << 3
    if size == 6 and word == _STATUS:
        return amount_end(data, at, end, STATUS_MAX), 1 << 4
    if size == 5 and word == _BYTES:
        after = amount_end(data, at, end, BYTES_MAX)
        if after >= 0:
            event["bytes"] = number(data, at, after)
        return after, 1 << 5
    if size == 4 and word == _TASK:
        after = label_end(data, at, end, LABEL_LENGTH_MAX)
        if after < 0:
            return -1, 0
        if after > at + 1:
            event["task"] = sip(data, at + 1, after, key)
        return after + 1, 1 << 6
    if size == 5 and word == _TOKEN:
        return token_end(data, at, end, event, hashing), 1 << 7
    return _other_end(data, (word, start, size), span, event, hashing)


@routine
def _other_end(data: Any, name: Any, span: Any, event: Any, hashing: Any) -> tuple[int, int]:
    """Read a member that events seldom have, or an unknown one."""
    word, start, size = name
    at, end = span
    if size == 7 and word == _PURPOSE:
        after = label_end(data, at, end, LABEL_LENGTH_MAX)
        if after < 0:
            return -1, 0
        if after > at + 1:
            event["purpose"] = sip(data, at + 1, after, hashing[0])
        return after + 1, 1 << 13
    if size == 4 and word == _KIND:
        after = label_end(data, at, end, 10)
        if after < 0:
            return -1, 0
        which = kind_of(data, at + 1, after - at - 1, end)
        if which < 0:
            return -1, 0
        event["kind"] = which
        return after + 1, 1 << 8
    if size == 6 and word == _EFFECT:
        after = label_end(data, at, end, 8)
        if after < 0:
            return -1, 0
        which = effect_of(data, at + 1, after - at - 1, end)
        if which < 0:
            return -1, 0
        event["effect"] = which
        return after + 1, 1 << 9
    if size == 4 and word == _COST:
        after = amount_end(data, at, end, COST_MICRO_MAX)
        if after >= 0:
            event["cost"] = number(data, at, after)
        return after, 1 << 10
    if size == 5 and word == _COUNT:
        after = amount_end(data, at, end, COUNT_MAX)
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
    return _unkept_end(data, name, at, end, hashing[2])


@kernel
def _unkept_end(data: Any, name: Any, at: int, end: int, where: Any) -> tuple[int, int]:
    """Read a member that leaves nothing in the event yet, but must be what it should be.

    Mutates: where: between which places the resources stand.
    """
    word, start, size = name
    longest, bit = -1, 0
    if size == 7 and word == _GATEWAY:
        longest, bit = SHORT_LENGTH_MAX, 1 << 14
    elif size == 2 and word == _ID:
        longest, bit = SHORT_LENGTH_MAX, 1 << 15
    if bit:
        after = label_end(data, at, end, longest)
        return (after + 1 if after >= 0 else -1), bit
    if size == 9 and word == _RESOURCE:
        if word_at(data, start + 8, 1, end) != _LETTER_S:
            return -1, 0
        after = strings_end(data, at, end, _RESOURCES)
        where[0], where[1] = at, after
        return after, 1 << 16
    if size == 6 and word == _SCOPE:
        return strings_end(data, at, end, _SCOPES), 1 << 17
    if size == 6 and word == _ACTOR:
        return strings_end(data, at, end, _ACTORS), 1 << 18
    if size >= 8 and (word == _AUTHENTICATED or word == _OPERATION or word == _RESOURCE):
        return -1, 0
    return value_end(data, at, end), 0


@routine
def event_end(data: Any, at: int, end: int, event: Any, hashing: Any) -> int:
    """Read an event that begins at a place; return the place behind it, -1 where it is not plain.

    What it did not say keeps its default.
    Shapes:   data: [byte] of uint8, contiguous; event: a record of EVENT, all zero; hashing: the
              key's two words, scratch of SCRATCH_BYTES, and where: [2] of int64, between which
              places the resources stand, if it is plain.
    Requires: 0 <= at <= end <= len(data).
    Mutates:  event, also where it is not plain; the scratch, where.
    """
    event["count"] = 1
    event["authenticated"] = 1
    where = hashing[2]
    where[0], where[1] = 0, 0
    if at >= end or data[at] != _OPEN:
        return -1
    at = skip_space(data, at + 1, end)
    seen = 0
    while True:
        name = at + 1
        quote = name_end(data, at, end)
        at = value_at(data, quote, end)
        if at < 0:
            return -1
        at, bit = _member_end(data, (name, quote - name), (at, end), event, hashing)
        if at < 0 or seen & bit:
            return -1
        seen |= bit
        at = skip_space(data, at, end)
        if at >= end:
            return -1
        if data[at] == _CLOSE:
            return at + 1 if seen & _REQUIRED == _REQUIRED else -1
        if data[at] != _COMMA:
            return -1
        at = skip_space(data, at + 1, end)


@kernel
def _is_event(data: Any, start: int, end: int, event: Any, hashing: Any) -> bool:
    """Read one payload; tell whether it was a plain event and nothing else. See `event_end`."""
    if end - start > PAYLOAD_BYTES_MAX:
        return False
    after = event_end(data, skip_space(data, start, end), end, event, hashing)
    return after >= 0 and skip_space(data, after, end) == end


@kernel
def add_resources(data: Any, event: Any, hashing: Any, out: Any) -> None:
    """Read the resources of an event that was read. Mutates: event, the scratch, out."""
    where = hashing[2]
    at, end = where[0], where[1]
    while at < end:
        if data[at] == _QUOTE:
            start = at + 1
            at = string_end(data, start, end)
            read_resource(data, start, at, hashing, out)
        at += 1
    close_event(event, out)


@kernel
def has_room(out: Any) -> bool:
    """Tell whether one more event fits, whatever it says, or none is to say anything."""
    values, tokens, used = out
    is_full = used[0] + EVENT_VALUES_MAX > len(values) or used[1] + EVENT_TOKENS_MAX > len(tokens)
    return len(values) == 0 or not is_full


@kernel
def read_events(
    payloads: Any, first: int, events: Any, is_plain: Any, hashing: Any, out: Any
) -> int:
    """Read payloads from one on; return the first that was not read, for want of room in `out`.

    Those that are known as plain were read before. What is not plain is to be written anew. Values
    and tokens are only written where `out` has any room at all.
    Shapes:  payloads: the data, [event] starts, [event] sizes (negative for none);
             events: [event] of EVENT, all zero; is_plain: [event] of bool; hashing: see event_end;
             out: see read_resource.
    Mutates: events, is_plain, the scratch, where, out.
    """
    data, starts, sizes = payloads
    with_values = len(out[0]) > 0
    for place in range(first, len(starts)):
        if not has_room(out):
            return place
        if is_plain[place]:
            continue
        size = sizes[place]
        event = events[place]
        is_plain[place] = size > 0 and _is_event(
            data, starts[place], starts[place] + size, event, hashing
        )
        if with_values and is_plain[place]:
            add_resources(data, event, hashing, out)
    return len(starts)


@kernel
def read_texts(texts: Any, progress: Any, counts: Any, events: Any, hashing: Any, out: Any) -> bool:
    """Read the resources of events that msgspec decoded; tell whether there was room for all.

    Shapes:  texts: data: [byte] of ASCII, and [text] where each ends; progress: [2] of int64, the
             next event and the next text; counts: [event], how many texts each has.
    Mutates: progress, events, the scratch, out.
    """
    data, ends = texts
    for place in range(progress[0], len(counts)):
        if not has_room(out):
            return False
        for _ in range(counts[place]):
            text = progress[1]
            start = ends[text - 1] if text > 0 else 0
            read_resource(data, start, ends[text], hashing, out)
            progress[1] += 1
        close_event(events[place], out)
        progress[0] += 1
    return True
