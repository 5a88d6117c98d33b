"""Where the events of an arrival lie: one a record, or several where a record is an array.

Arrays of plain JSON are split by a kernel, all others by msgspec, which defines what an array is.
What was forwarded is taken out of its envelope here, so that it is read like anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream.events import (
    FORWARDED,
    Forwarded,
    RejectCode,
    Seal,
    fault_of,
    has_many,
    split_requests,
    unwrap,
)
from stream.kernel import is_compiled
from stream.records import Values

from .batch import EVENT
from .gathering import Gathered, Places
from .json_array import first_other

_ARRAY_16: Final = 0xDC
_ARRAY_32: Final = 0xDD


class Elements(NamedTuple):
    """The events of an arrival in order, before anything is known of them but their place.

    Shapes: values: [event]; records, ordinals: [event]: of which record, and which of its events;
            is_part: [event], whether it is one of an array; faults: record, code and message of
            each record that is no event and no array; forwarded: by record, what came so.
    """

    values: Values
    records: Any
    ordinals: Any
    is_part: Any
    faults: Sequence[tuple[int, RejectCode, str]]
    forwarded: dict[int, Forwarded]

    def of(self, record: int) -> slice:
        """Return the places of a record's events."""
        start, end = np.searchsorted(self.records, (record, record + 1)).tolist()
        return slice(start, end)


def elements_of(
    values: Values, seal: Seal, gathered: Gathered, room: Any
) -> tuple[Elements, Any, Any]:
    """Return where the events of some records lie, and what was read of them on the way.

    Shapes: room: [record] of EVENT, zeros: where events may go. The second: [event] of EVENT, all
            zero where nothing was read: `room` itself where each record is an event; the third:
            [event] of bool, whether it was.
    Mutates: gathered. Errors: none; what is no array is a fault.
    """
    found, left = _split(values, gathered, room)
    if not left:
        return _arranged(values, found, (), {}), found.events, found.is_plain
    faults: list[tuple[int, RejectCode, str]] = []
    forwarded: dict[int, Forwarded] = {}
    others: list[tuple[int, int, int, int, bool]] = []
    for record in left:
        value, start = values[record] or b"", int(values.starts[record])
        places, is_part = [(0, len(value))], False
        try:
            if value.startswith(FORWARDED):
                forwarded[record] = unwrap(value, seal)
                payload = forwarded[record].payload
                start, value = start + len(value) - len(payload), payload
                places = [(0, len(value))]
            is_part = has_many(value)
            places = _places_of(value)
        except (ValueError, RecursionError) as error:
            is_part = False
            if value.startswith(FORWARDED):
                faults.append((record, RejectCode.FORGED, str(error)))
            else:
                faults.append((record, *fault_of(value, error)))
        others += [
            (start + at, size, record, ordinal, is_part)
            for ordinal, (at, size) in enumerate(places)
        ]
    columns: list[Any] = [np.array(each) for each in zip(*others, strict=True)]
    starts, sizes, records, ordinals, is_part = columns
    unread = _unread(starts, sizes, records, np.zeros(len(others), EVENT))
    unread.ordinals[:], unread.is_part[:] = ordinals, is_part
    columns = [np.concatenate(each) for each in zip(found, unread, strict=True)]
    order = np.argsort(columns[4], kind="stable")
    found = Places(*(each[order] for each in columns))
    return _arranged(values, found, faults, forwarded), found.events, found.is_plain


def _arranged(values: Values, found: Places, faults: Any, forwarded: Any) -> Elements:
    payloads = Values(values.data, found.starts, found.sizes)
    return Elements(payloads, found.records, found.ordinals, found.is_part, faults, forwarded)


def _unread(starts: Any, sizes: Any, records: Any, events: Any) -> Places:
    """Return the places of events that are not read, each alone in its record."""
    count = len(starts)
    ordinals, no = np.zeros(count, np.int32), np.zeros(count, bool)
    return Places(starts, sizes, events, no, records, ordinals, no.copy())


def _places_of(value: bytes) -> list[tuple[int, int]]:
    """Return where each event of a record's value begins, and how long it is.

    Errors: ValueError, RecursionError, as `split_requests`.
    """
    if not has_many(value):
        return [(0, len(value))]
    # Between two elements there is nothing that one could begin with, so each is the next found.
    at = {_ARRAY_16: 3, _ARRAY_32: 5}.get(value[0], 1)
    places = []
    for each in split_requests(value):
        at = value.index(each, at)
        places.append((at, len(each)))
        at += len(each)
    return places


def _split(values: Values, gathered: Gathered, room: Any) -> tuple[Places, list[int]]:
    """Return the events of single records and plain arrays, and the records that are left.

    Mutates: gathered.
    """
    count = len(values)
    if is_compiled():
        if first_other((values.data, values.starts, values.sizes)) < count:
            return gathered.split(values)
        return _unread(values.starts, values.sizes, np.arange(count), room), []
    left = [place for place, each in enumerate(values) if each and _is_other(each)]
    single = np.setdiff1d(np.arange(count), left)
    events = room if not left else np.zeros(len(single), EVENT)
    return _unread(values.starts[single], values.sizes[single], single, events), left


def _is_other(value: bytes) -> bool:
    return value.startswith(FORWARDED) or has_many(value)
