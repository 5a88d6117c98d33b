"""Lines that were not what they should be: the first ones told, all of them counted by code."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from stream.events import Reject, split_requests

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
        places: dict[bytes, deque[Line]] = {}
        for each in rejects:
            place = ""
            if not self._screen.is_json and self.counts.total() < SHOWN_MAX:
                places = places or _places(lines)
                place = _taken(places.get(each.raw), lines, each.raw)
            self.add(place, each.code.value, each.message)

    def spelled(self) -> str:
        """Return how many faults of each code there were, in words."""
        total = self.counts.total()
        codes = ", ".join(f"{count:,} {code}" for code, count in sorted(self.counts.items()))
        return f"{total:,} faults: {codes}" if total else "no faults"


def _taken(found: deque[Line] | None, lines: Sequence[Line], raw: bytes) -> str:
    """Return where an event stands, once each; what is a part of one where that is."""
    if found:
        line = found.popleft()
    else:
        line = next((each for each in lines if raw in each.data), lines[0])
    return f"{line.file}:{line.number}"


def _places(lines: Sequence[Line]) -> dict[bytes, deque[Line]]:
    """Return the lines of each event by its bytes, as the engine splits them.

    What is rejected comes in the order of the lines where it is the same.
    """
    places: dict[bytes, deque[Line]] = {}
    for line in lines:
        payloads: Sequence[bytes] = (line.data,)
        with contextlib.suppress(ValueError, RecursionError):
            payloads = split_requests(line.data)
        for each in payloads:
            places.setdefault(each, deque()).append(line)
    return places
