"""Records that hold one event or an array of them to the places of all events, in a kernel.

It splits arrays of plain JSON, as msgspec would, and reads their events on the way; all other
arrays are left to it.
"""

from __future__ import annotations

from typing import Any, Final

from stream.events import (
    FORWARDED,
    MSGPACK_ARRAY_FIRST,
    PAYLOAD_BYTES_MAX,
    REQUEST_BYTES_MIN,
    REQUESTS_MAX,
)
from stream.kernel import kernel, routine

from .json_event import add_resources, event_end, has_room
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
def _split(data: Any, span: Any, rows: Any, at_event: int, hashing: Any, out: Any) -> int:
    """Read the events of an array, and say where each lies; return how many.

    Returns -1 where it is no array of plain values, and -2 where `out` has no room for its values.
    Mutates: rows, the scratch, where, out.
    """
    starts, sizes, events, is_plain = rows
    start, end = span
    at = skip_space(data, start, end)
    if end - start > PAYLOAD_BYTES_MAX or at == end or data[at] != _OPEN_LIST:
        return -1
    for count in range(REQUESTS_MAX):
        place = at_event + count
        at = skip_space(data, at + 1, end)
        if at == end:
            return -1
        if not has_room(out):
            return -2
        after = event_end(data, at, end, events[place], hashing)
        is_plain[place] = after >= 0
        if after < 0:
            after = value_end(data, at, end)
            if after < 0 or after - at < REQUEST_BYTES_MIN:
                return -1
        elif len(out[0]) > 0:
            add_resources(data, events[place], hashing, out)
        starts[place] = at
        sizes[place] = after - at
        at = skip_space(data, after, end)
        if at == end:
            return -1
        if data[at] == _CLOSE_LIST:
            return count + 1 if skip_space(data, at + 1, end) == end else -1
        if data[at] != _COMMA:
            return -1
    return -1


@kernel
def split_records(
    payloads: Any, first: int, rows: Any, origins: Any, hashing: Any, out: Any
) -> int:
    """Say where each event lies, from one record on; return the first record without room.

    Those of arrays are read as they are found, single ones are not. A record that is neither single
    nor a plain array is only marked.
    Shapes:  payloads: the data, [record] starts, [record] sizes; rows: [event] starts, sizes,
             events all zero, is_plain; origins: [event] record, [event] ordinal, [event] is_part:
             whether it is one of an array, [record] is_left, [1]: how many events there are, and
             [1] of EVENT, all zero; hashing: see event_end; out: see read_resource.
    Mutates: rows, origins, the scratch, where, out.
    """
    data, starts, sizes = payloads
    records, ordinals, is_part, is_left, events_used, blank = origins
    used = out[2]
    for record in range(first, len(starts)):
        start, size, place = starts[record], sizes[record], events_used[0]
        if place + REQUESTS_MAX > len(records):
            return record
        values, tokens = used[0], used[1]
        count = 1
        if is_single(data, start, size):
            rows[0][place] = start
            rows[1][place] = size
        else:
            count = _split(data, (start, start + size), rows, place, hashing, out)
        if count < 0:
            used[0], used[1], used[3] = values, tokens, values
            for number in range(REQUESTS_MAX):
                if rows[2][place + number]["count"] == 0:
                    break
                rows[2][place + number] = blank[0]
                rows[3][place + number] = False
            if count == -2:
                return record
            is_left[record] = True
        for number in range(count):
            records[place + number] = record
            ordinals[place + number] = number
            is_part[place + number] = size != rows[1][place + number]
        events_used[0] += max(count, 0)
    return len(starts)
