"""A batch of events as one structured array: the seam between bytes and kernels.

Whatever stands before this array (msgspec here, a kernel that reads record batches later) gives
the same columns; nothing behind it needs a Python object per event. Strings are in it as keyed
hashes; the few texts that a reason or a new row needs are decoded again from the payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.events import Request, decode_request
from stream.identity import canonical_workload

EVENT: Final = np.dtype(
    [
        ("workload", np.uint64),
        ("operation", np.uint64),
        ("task", np.uint64),
        ("token", np.uint64),
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
        ("spare", np.int32),
    ],
    align=True,
)
REQUEST, GRANT, COMPLETION = 0, 1, 2
SERVED, FAILED, DENIED, REFUSED = 0, 1, 2, 3

Events = npt.NDArray[np.void]


class Batch(NamedTuple):
    """Events in arrival order, and the payload each came from.

    Shapes: events [event] of EVENT; payloads [event].
    """

    events: Events
    payloads: Sequence[bytes]

    def request(self, event: int) -> Request:
        """Return the request of one event as it was written; decodes the payload again."""
        return decode_request(self.payloads[event])

    def workload(self, event: int) -> str:
        """Return the canonical workload of one event."""
        return canonical_workload(self.request(event).workload)

    def part(self, start: int, end: int) -> Batch:
        """Return the events of [start, end)."""
        return Batch(self.events[start:end], self.payloads[start:end])


def empty_batch() -> Batch:
    """Return a batch without events."""
    return Batch(np.empty(0, EVENT), [])
