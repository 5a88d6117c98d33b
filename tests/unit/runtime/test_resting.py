"""A thread that rests as long as it works."""

from __future__ import annotations

import time

from stream.runtime import resting
from stream.runtime.resting import Resting


def test_it_rests_as_long_as_it_worked_and_not_for_ever(monkeypatch) -> None:
    """From the last rest on; after long work only so long."""
    at, rested = [10.0], []

    def sleep(seconds: float) -> None:
        rested.append(round(seconds, 6))
        at[0] += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: at[0])
    monkeypatch.setattr(time, "sleep", sleep)
    rest = Resting()
    for seconds in (0.004, 0.02, 30.0, 0.001):
        at[0] += seconds
        rest()
    assert rested == [0.004, 0.02, resting.REST_S_MAX, 0.001]
