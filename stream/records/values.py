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

    def at(self, places: Any) -> Values:
        """Return those at some places, over the same buffer. Shapes: places [n] of int64."""
        return Values(self.data, self.starts[places], self.sizes[places])

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
        starts, sizes = self.starts.tolist(), self.sizes.tolist()
        if 2 * sum(sizes) < len(self.data):
            # Few of many: all that lies between them is not copied.
            view = memoryview(self.data)  # type: ignore[arg-type]  # an array of bytes is a buffer
            for start, size in zip(starts, sizes, strict=True):
                yield bytes(view[start : start + size]) if size >= 0 else None
            return
        data = self.data.tobytes()
        for start, size in zip(starts, sizes, strict=True):
            yield data[start : start + size] if size >= 0 else None
