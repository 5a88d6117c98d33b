"""Many payloads in one buffer: a sequence of bytes that makes none of them before it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt


class Values(Sequence[bytes | None]):
    """Payloads in the order of their records; None where a record has no value.

    Shapes: data: [byte] of uint8, contiguous; starts, sizes: [record] of int64, a negative size
            for no value.
    """

    def __init__(
        self, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], sizes: Any
    ) -> None:
        self.data = data
        self.starts = starts
        self.sizes = sizes

    @classmethod
    def of(cls, payloads: Sequence[bytes | None]) -> Values:
        """Return these payloads in a buffer of their own."""
        if isinstance(payloads, Values):
            return payloads
        sizes = np.array([-1 if each is None else len(each) for each in payloads], np.int64)
        lengths = np.maximum(sizes, 0)
        data = np.frombuffer(b"".join([each for each in payloads if each]), np.uint8)
        return cls(data, np.cumsum(lengths) - lengths, sizes)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> bytes | None: ...
    @overload
    def __getitem__(self, place: slice) -> Values: ...
    def __getitem__(self, place: int | slice) -> bytes | Values | None:
        """Return one payload, or some of them over the same buffer."""
        if isinstance(place, slice):
            return Values(self.data, self.starts[place], self.sizes[place])
        size = self.sizes[place]
        if size < 0:
            return None
        start = self.starts[place]
        return self.data[start : start + size].tobytes()

    def __iter__(self) -> Iterator[bytes | None]:
        data = self.data.tobytes() if len(self) > 1 else b""
        if not data:
            yield from (self[place] for place in range(len(self)))
            return
        for start, size in zip(self.starts.tolist(), self.sizes.tolist(), strict=True):
            yield data[start : start + size] if size >= 0 else None
