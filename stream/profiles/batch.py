"""A batch of events as one structured array: the seam between bytes and kernels.

Whatever stands before this array (a kernel for plain payloads, msgspec for all others) gives the
same columns; nothing behind it needs a Python object per event. Strings are in it as keyed
hashes; the few texts that a reason or a new row needs are decoded again from the payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from stream.events import Request, decode_request, workload_texts
from stream.identity import canonical_workload
from stream.records import Values

from .resources import VALUE

EVENT: Final = np.dtype(
    [
        ("workload", np.uint64),
        ("operation", np.uint64),
        ("task", np.uint64),
        ("token", np.uint64),
        ("purpose", np.uint64),
        ("offset", np.int64),
        ("append_ms", np.int64),
        ("at_ms", np.int64),
        ("bytes", np.int64),
        ("cost", np.int64),
        ("count", np.int32),
        ("partition", np.int32),
        ("home", np.int32),
        ("ordinal", np.int32),
        ("kind", np.uint8),
        ("effect", np.uint8),
        ("outcome", np.uint8),
        ("authenticated", np.uint8),
        ("values_from", np.int32),
        ("values_count", np.int32),
        ("spare", np.int32),
    ],
    align=True,
)
REQUEST, GRANT, COMPLETION, TICK = 0, 1, 2, 3
SERVED, FAILED, DENIED, REFUSED = 0, 1, 2, 3

Events = npt.NDArray[np.void]


class Payloads(Sequence[bytes]):
    """The payloads of events, each where it came: nothing is copied before it is asked for.

    Shapes: parts: the buffers; part, place: [event] of int64, which buffer, and where in it.
    """

    def __init__(self, parts: Sequence[Values], part: Any, place: Any) -> None:
        self._parts = parts
        self._part = part
        self._place = place

    @classmethod
    def of(cls, parts: Sequence[Values]) -> Payloads:
        """Return all payloads of these, one after another."""
        sizes = [len(each) for each in parts]
        places = [np.arange(size) for size in sizes]
        part = np.repeat(np.arange(len(parts)), sizes)
        return cls(parts, part, np.concatenate(places) if places else part)

    def __len__(self) -> int:
        return len(self._part)

    @overload
    def __getitem__(self, event: int) -> bytes: ...
    @overload
    def __getitem__(self, event: slice) -> Payloads: ...
    def __getitem__(self, event: int | slice) -> bytes | Payloads:
        """Return the payload of one event, or those of some."""
        if isinstance(event, slice):
            return self.chosen(event)
        return self._parts[self._part[event]][int(self._place[event])] or b""

    def listed(self, events: Sequence[int]) -> list[bytes]:
        """Return the payloads of some events, in their order, without a look-up for each."""
        chosen = np.array(events, np.int64)
        part, place = self._part[chosen], self._place[chosen]
        starts, ends = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
        for number in np.unique(part).tolist():
            values, mine = self._parts[number], part == number
            starts[mine] = values.starts[place[mine]]
            ends[mine] = starts[mine] + np.maximum(values.sizes[place[mine]], 0)
        spans = zip(part.tolist(), starts.tolist(), ends.tolist(), strict=True)
        views = [each.data.data for each in self._parts]
        return [bytes(views[number][start:end]) for number, start, end in spans]

    def chosen(self, events: Any) -> Payloads:
        """Return the payloads of the events at these places."""
        return Payloads(self._parts, self._part[events], self._place[events])


class Batch(NamedTuple):
    """Events in arrival order, the payload each came from, and what their resources say.

    An event's values begin at its place `values_from`, a value's tokens at its `tokens_from`;
    parts of a batch point into the same two arrays. Both are empty where a decoder reads no values.
    Shapes: events [event] of EVENT; payloads [event]; values [value] of VALUE; tokens [token] of
            uint64, keyed hashes.
    """

    events: Events
    payloads: Payloads
    values: np.ndarray[Any, Any]
    tokens: np.ndarray[Any, Any]

    def request(self, event: int) -> Request:
        """Return the request of one event as it was written; decodes the payload again."""
        return decode_request(self.payloads[event])

    def workload(self, event: int) -> str:
        """Return the canonical workload of one event."""
        return canonical_workload(self.request(event).workload)

    def workloads(self, events: Sequence[int]) -> list[str]:
        """Return the canonical workload of some events."""
        return [*map(canonical_workload, workload_texts(self.payloads.listed(events)))]

    def part(self, start: int, end: int) -> Batch:
        """Return the events of [start, end)."""
        payloads = self.payloads[start:end]
        return Batch(self.events[start:end], payloads, self.values, self.tokens)

    def chosen(self, places: Any) -> Batch:
        """Return the events at these places, ascending."""
        if len(places) == len(self.events):
            return self
        payloads = self.payloads.chosen(places)
        return Batch(self.events[places], payloads, self.values, self.tokens)


def empty_batch() -> Batch:
    """Return a batch without events."""
    return Batch(np.empty(0, EVENT), Payloads.of([]), np.empty(0, VALUE), np.empty(0, np.uint64))
