"""Time as plain values: the shell passes a clock in, the core only ever sees milliseconds.

No `time` module here: `runtime` and `cli` bring the real clock, `simulate` a virtual one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """What tells the time: wall time for envelopes, a monotonic one for deadlines."""

    def wall_ms(self) -> int:
        """Return Unix milliseconds; may step."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in monotonic time after which waiting is over.

    Units: `at_s` is seconds of the same clock's `monotonic_s`.
    """

    at_s: float

    @classmethod
    def after(cls, clock: Clock, span_s: float) -> Deadline:
        """Return the deadline `span_s` from now."""
        return cls(clock.monotonic_s() + span_s)

    def left_s(self, clock: Clock) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.at_s - clock.monotonic_s())

    def is_over(self, clock: Clock) -> bool:
        """Tell whether nothing is left."""
        return clock.monotonic_s() >= self.at_s
