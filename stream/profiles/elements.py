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
    REQUESTS_MAX,
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

from .json_array import first_other, split_records

_ARRAY_16: Final = 0xDC
_ARRAY_32: Final = 0xDD
_Places = list[tuple[int, int]]


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


def elements_of(values: Values, seal: Seal) -> Elements:
    """Return where the events of some records lie. Errors: none; what is no array is a fault."""
    spans, origins, left = _split(values)
    if not left:
        records, ordinals, is_part = origins
        return Elements(Values(values.data, *spans), records, ordinals, is_part, (), {})
    faults: list[tuple[int, RejectCode, str]] = []
    forwarded: dict[int, Forwarded] = {}
    parts = [(*spans, *origins)]
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
        found, size = np.array(places, np.int64), len(places)
        numbers = np.full(size, record), np.arange(size, dtype=np.int32)
        parts.append((found[:, 0] + start, found[:, 1], *numbers, np.full(size, is_part)))
    columns: list[Any] = [np.concatenate(each) for each in zip(*parts, strict=True)]
    order = np.argsort(columns[2], kind="stable")
    starts, sizes, records, ordinals, is_part = (each[order] for each in columns)
    ordered = Values(values.data, starts, sizes)
    return Elements(ordered, records, ordinals, is_part, faults, forwarded)


def _places_of(value: bytes) -> _Places:
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


def _split(values: Values) -> tuple[Any, Any, list[int]]:
    """Return the places and origins of events in single records and plain arrays; what is left.

    Shapes: places: [event] starts, [event] sizes; origins: [event] records, ordinals, is_part; the
            records that are left.
    """
    payloads, count = (values.data, values.starts, values.sizes), len(values)
    if not is_compiled():
        left = [place for place, each in enumerate(values) if each and _is_other(each)]
        single = np.setdiff1d(np.arange(count), left)
        spans = values.starts[single], values.sizes[single]
        return spans, (single, *_alone(len(single))), left
    if first_other(payloads) == count:
        return payloads[1:], (np.arange(count), *_alone(count)), []
    room = 2 * (count + REQUESTS_MAX)
    kinds = (np.int64, np.int64, np.int64, np.int32, np.bool_)
    found: list[Any] = [np.empty(room, kind) for kind in kinds]
    is_left, used = np.zeros(count, np.bool_), np.zeros(1, np.int64)
    record = 0
    while True:
        record = split_records(payloads, record, tuple(found[:2]), (*found[2:], is_left), used)
        if record == count:
            break
        found = [np.concatenate((each, np.empty_like(each))) for each in found]
    found = [each[: used[0]] for each in found]
    return tuple(found[:2]), tuple(found[2:]), np.flatnonzero(is_left).tolist()


def _alone(count: int) -> tuple[Any, Any]:
    """Return ordinals and is_part of events that each are a record of their own."""
    return np.zeros(count, np.int32), np.zeros(count, np.bool_)


def _is_other(value: bytes) -> bool:
    return value.startswith(FORWARDED) or has_many(value)
