"""Contenders differ from the product in what their name says, and in nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.contenders import KEY, read_by_msgspec
from benchmarks.events import Load, events
from benchmarks.inside import arrival_of
from stream.kernel import is_compiled
from stream.profiles import Decoder, decoder
from stream.profiles.gathering import Gathered


@pytest.mark.skipif(not is_compiled(), reason="as plain Python no kernel reads anyway")
def test_without_the_kernel_all_is_read_by_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same events come of it; with the kernel none of these is left to msgspec."""
    left: list[int] = []
    decode_odd = Decoder._decode_odd

    def counted(self: Decoder, read: decoder.Read, odd: Sequence[int], faults: object) -> None:
        left.append(len(odd))
        decode_odd(self, read, odd, faults)  # type: ignore[arg-type]

    monkeypatch.setattr(Decoder, "_decode_odd", counted)
    payloads = [payload for _, payload in events(Load(50, 5, "S"))]

    def decoded() -> np.ndarray:
        batch, rejects = Decoder(KEY, 1).decode([arrival_of(payloads, 2_000_000_000_000)])
        assert not rejects
        return batch.events

    by_kernel = decoded()
    assert sum(left) == 0
    monkeypatch.setattr(Gathered, "read", Gathered.read)
    read_by_msgspec()
    by_msgspec = decoded()
    assert sum(left) == len(payloads)
    assert by_msgspec.tobytes() == by_kernel.tobytes()
