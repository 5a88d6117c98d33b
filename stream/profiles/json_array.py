"""Records that hold one event or an array of them to the places of all events, in a kernel.

It splits arrays of plain JSON, as msgspec would; all others are left to it.
"""

from __future__ import annotations

from typing import Any, Final

from stream.events import FORWARDED, MSGPACK_ARRAY_FIRST, PAYLOAD_BYTES_MAX, REQUESTS_MAX
from stream.kernel import kernel, routine

from .json_scan import skip_space, value_end

_COMMA: Final = 0x2C
_OPEN_LIST: Final = 0x5B
_CLOSE_LIST: Final = 0x5D
_OPEN: Final = 0x7B
_FORWARDED: Final = FORWARDED[0]
_SHORT_FIRST, _SHORT_LAST = 0x90, 0x9F
_LONG: Final = 0xDC
_LONGER: Final = 0xDD
assert {*range(_SHORT_FIRST, _SHORT_LAST + 1), _LONG, _LONGER} == MSGPACK_ARRAY_FIRST


@routine
def is_single(data: Any, start: int, size: int) -> bool:
    """Tell whether a record is neither an array nor forwarded, by its first byte."""
    if size <= 0:
        return True
    byte = data[start]
    if byte == _OPEN:
        return True
    if byte == _FORWARDED or _SHORT_FIRST <= byte <= _SHORT_LAST or byte in (_LONG, _LONGER):
        return False
    at = skip_space(data, start, start + size)
    return at == start + size or data[at] != _OPEN_LIST


@kernel
def first_other(payloads: Any) -> int:
    """Return the first record that is an array or forwarded, their number if there is none."""
    data, starts, sizes = payloads
    for record in range(len(starts)):
        if not is_single(data, starts[record], sizes[record]):
            return record
    return len(starts)


@routine
def _split(data: Any, start: int, end: int, spans: Any, at_span: int) -> int:
    """Write where each value of a plain array begins and how long it is; return how many, or -1.

    Mutates: spans.
    """
    starts, sizes = spans
    if end - start > PAYLOAD_BYTES_MAX:
        return -1
    at = skip_space(data, start, end)
    if at == end or data[at] != _OPEN_LIST:
        return -1
    for count in range(REQUESTS_MAX):
        at = skip_space(data, at + 1, end)
        if at == end:
            return -1
        begun = at
        at = value_end(data, at, end)
        if at < 0:
            return -1
        starts[at_span + count] = begun
        sizes[at_span + count] = at - begun
        at = skip_space(data, at, end)
        if at == end:
            return -1
        if data[at] == _CLOSE_LIST:
            return count + 1 if skip_space(data, at + 1, end) == end else -1
        if data[at] != _COMMA:
            return -1
    return -1


@kernel
def split_records(payloads: Any, first: int, spans: Any, origins: Any, used: Any) -> int:
    """Write the place of each event from one record on; return the first record without room.

    A record that is neither single nor a plain array is only marked.
    Shapes:  payloads: the data, [record] starts, [record] sizes; spans: [event] starts, [event]
             sizes; origins: [event] record, [event] ordinal, [event] is_part: whether it is one of
             an array, [record] is_left; used: [1], how many events there are.
    Mutates: spans, origins, used.
    """
    data, starts, sizes = payloads
    records, ordinals, is_part, is_left = origins
    for record in range(first, len(starts)):
        start, size, place = starts[record], sizes[record], used[0]
        if place + REQUESTS_MAX > len(records):
            return record
        if is_single(data, start, size):
            spans[0][place] = start
            spans[1][place] = size
            count = 1
        else:
            count = _split(data, start, start + size, spans, place)
            is_left[record] = count < 0
        for number in range(count):
            records[place + number] = record
            ordinals[place + number] = number
            is_part[place + number] = size != spans[1][place + number]
        used[0] += max(count, 0)
    return len(starts)
