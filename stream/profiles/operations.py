"""Operations by hash: their effect, and which of a policy's operation sets they belong to.

Patterns are matched once per distinct operation, when it is first seen; a kernel then looks up a
bit mask. The table is a bounded cache: when it is full it is emptied, which costs time only.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .table import insert_key, locate

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


class OperationTable:
    """The operations seen lately, under one policy.

    Shapes: seen [place, partition]: 1 where the operation's name was handed on.
    """

    def __init__(
        self, policy: Matcher, partitions: int, operations_max: int = OPERATIONS_MAX
    ) -> None:
        self._policy = policy
        self._max = operations_max
        size = 1 << (2 * operations_max - 1).bit_length()
        self._keys: npt.NDArray[np.uint64] = np.zeros(size, np.uint64)
        self._places: npt.NDArray[np.int32] = np.full(size, -1, np.int32)
        self._sets: npt.NDArray[np.uint64] = np.zeros((operations_max, 2), np.uint64)
        self._effects: npt.NDArray[np.uint8] = np.zeros(operations_max, np.uint8)
        self.seen: npt.NDArray[np.uint8] = np.zeros((operations_max, partitions), np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def locate(self, wanted: npt.NDArray[np.uint64], out: npt.NDArray[np.int32]) -> int:
        """Write the place of each operation into `out`, -1 for unknown; return how many those."""
        return int(locate(wanted, self._keys, self._places, out))

    def has_room(self, count: int) -> bool:
        """Tell whether so many more operations fit."""
        return self._count + count <= self._max

    def empty(self) -> None:
        """Forget all operations."""
        self._keys[:] = 0
        self._places[:] = -1
        self.seen[:] = 0
        self._count = 0

    def add(self, operation: int, text: str) -> None:
        """Match an operation that is not there against the policy and keep the result."""
        place, self._count = self._count, self._count + 1
        insert_key(self._keys, self._places, np.uint64(operation), place)
        self._effects[place] = effect_of(text)
        for effect, name in enumerate(EFFECT_NAMES):
            self._sets[place, effect] = self._policy.sets_of(text, name)

    def view(self, index: npt.NDArray[np.int32]) -> Operations:
        """Return the arrays for a batch whose operations stand at `index`."""
        return Operations(index, self._sets, self._effects)
