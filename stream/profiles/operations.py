"""Operations by hash: their effect, and which of a policy's operation sets they belong to.

Patterns are matched once per distinct operation, when it is first seen; a kernel then looks up a
bit mask. The table is a bounded cache: when it is full it is emptied, which costs time only.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

from .batch import TICK, Batch
from .table import Ints, insert_key, locate

OPERATIONS_MAX: Final = 65_536
READ, CHANGE = 0, 1
READ_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
EFFECT_NAMES: Final = ("read", "change")


class Matcher(Protocol):
    """What knows a policy's operation sets."""

    def sets_of(self, operation: str, effect: str) -> int:
        """Return the bit mask of the sets a call of the operation with this effect is in."""
        ...


class Operations(NamedTuple):
    """What kernels take.

    Shapes: index [event]: place of the event's operation; sets [place, effect] bit masks;
    effects [place]: effect where the event does not say.
    """

    index: Any
    sets: Any
    effects: Any


def effect_of(operation: str) -> int:
    """Return the effect an operation has where nobody says: read by HTTP method, else change.

    Source: RFC 9110 section 9.2.1, safe methods.
    """
    return READ if operation.partition(" ")[0] in READ_METHODS else CHANGE


@kernel
def _unknown(index: Any, events: Any) -> int:
    """Return how many operations are unknown that are to be learned.

    A failed authentication may name what it likes and teaches nothing: it gets any place instead.
    Shapes: index, events [event]. Mutates: index.
    """
    count = 0
    for event in range(len(index)):
        if index[event] < 0:
            if events[event]["authenticated"] == 0:
                index[event] = 0
            else:
                count += 1
    return count


@kernel
def _first_seen(index: Any, events: Any, seen: Any, out: Any) -> int:
    """Write into `out` the events whose operation is new to their partition; return how many.

    Shapes: index, events, out [event]; seen [operation, partition]. Mutates: seen, out.
    """
    count = 0
    for event in range(len(index)):
        one, partition = events[event], events[event]["partition"]
        if one["authenticated"] != 0 and seen[index[event], partition] == 0 and one["kind"] != TICK:
            seen[index[event], partition] = 1
            out[count] = event
            count += 1
    return count


class OperationTable:
    """The operations seen lately, under one policy.

    Shapes: seen [place, partition]: 1 where the operation's name was handed on.
    """

    def __init__(
        self, policy: Matcher, partitions: int, operations_max: int = OPERATIONS_MAX
    ) -> None:
        self._policy = policy
        self.operations_max = operations_max
        size = 1 << (2 * operations_max - 1).bit_length()
        self._keys: npt.NDArray[np.uint64] = np.zeros(size, np.uint64)
        self._places: npt.NDArray[np.int32] = np.full(size, -1, np.int32)
        self._sets: npt.NDArray[np.uint64] = np.zeros((operations_max, 2), np.uint64)
        self._effects: npt.NDArray[np.uint8] = np.zeros(operations_max, np.uint8)
        self.seen: npt.NDArray[np.uint8] = np.zeros((operations_max, partitions), np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def index(self, batch: Batch) -> tuple[Ints, list[tuple[int, int, str]]]:
        """Return the place of each event's operation, and the names new to their partition.

        A failed authentication teaches neither: who fails it may be anybody. A tick teaches no
        name, since nothing was done.
        Shapes: the places [event]; a name is (partition, hash, text).
        Requires: at most `operations_max` events. Mutates: the table learns what it does not know.
        """
        events = batch.events
        index = np.empty(len(events), np.int32)
        if self._locate(events, index):
            absent = np.flatnonzero(index < 0)
            hashes, first = np.unique(events["operation"][absent], return_index=True)
            if self._count + len(hashes) > self.operations_max:
                self._empty()
                absent = np.flatnonzero(events["authenticated"] != 0)
                hashes, first = np.unique(events["operation"][absent], return_index=True)
            for value, place in zip(hashes.tolist(), absent[first].tolist(), strict=True):
                self._add(value, batch.request(place).operation)
            self._locate(events, index)
        fresh = np.empty(len(events), np.int32)
        count = _first_seen(index, events, self.seen, fresh)
        names = []
        for event in fresh[:count].tolist():
            one, text = events[event], batch.request(event).operation
            names.append((int(one["partition"]), int(one["operation"]), text))
        return index, names

    def _locate(self, events: Any, out: Ints) -> int:
        """Write the place of each operation into `out`; return how many are to be learned."""
        missing = locate(events["operation"], self._keys, self._places, out)
        return int(_unknown(out, events)) if missing else 0

    def widen(self, more: int) -> None:
        """Let there be more partitions."""
        self.seen = np.hstack((self.seen, np.zeros((self.operations_max, more), np.uint8)))

    def _empty(self) -> None:
        """Forget all operations."""
        self._keys[:] = 0
        self._places[:] = -1
        self.seen[:] = 0
        self._count = 0

    def _add(self, operation: int, text: str) -> None:
        """Match an operation that is not there against the policy and keep the result."""
        place, self._count = self._count, self._count + 1
        insert_key(self._keys, self._places, np.uint64(operation), place)
        self._effects[place] = effect_of(text)
        for effect, name in enumerate(EFFECT_NAMES):
            self._sets[place, effect] = self._policy.sets_of(text, name)

    def view(self, index: npt.NDArray[np.int32]) -> Operations:
        """Return the arrays for a batch whose operations stand at `index`."""
        return Operations(index, self._sets, self._effects)
