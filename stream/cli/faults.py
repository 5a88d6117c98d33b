"""Lines that were not what they should be: the first ones told, all of them counted by code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from stream.events import Reject

from .reading import Line
from .screen import Screen

SHOWN_MAX: Final = 10


class FaultNotes:
    """Tells faults on stderr as they come, unless a program listens."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.counts: Counter[str] = Counter()

    def add(self, place: str, code: str, message: str) -> None:
        """Count a fault, and tell it if it is one of the first. Mutates: self."""
        self.counts[code] += 1
        if self._screen.is_json or self.counts.total() > SHOWN_MAX + 1:
            return
        if self.counts.total() > SHOWN_MAX:
            self._screen.note("... further faults are only counted", "yellow")
        else:
            self._screen.note(f"{place}: {code}: {message}", "yellow")

    def add_rejects(self, lines: Sequence[Line], rejects: Sequence[Reject]) -> None:
        """Count what was no event among lines, and tell the first ones by file and line."""
        for each in rejects:
            is_told = not self._screen.is_json and self.counts.total() < SHOWN_MAX
            self.add(_place_of(each, lines) if is_told else "", each.code.value, each.message)

    def spelled(self) -> str:
        """Return how many faults of each code there were, in words."""
        total = self.counts.total()
        codes = ", ".join(f"{count:,} {code}" for code, count in sorted(self.counts.items()))
        return f"{total:,} faults: {codes}" if total else "no faults"


def _place_of(reject: Reject, lines: Sequence[Line]) -> str:
    """Return where a line stands that holds what was rejected."""
    found = next((each for each in lines if reject.raw in each.data), lines[0])
    return f"{found.file}:{found.number}"
