"""How fast partitions come on: so how far ahead conditions are journalled, that no event waits.

An offset ahead is reached by events alone. Where fewer come than came until now, what was to hold
from there on holds from where the partition is, after a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .owned import Owned

AHEAD_S: Final = 0.3  # longer than Kafka takes to acknowledge, as a rule
AHEAD_EVENTS_MAX: Final = 1 << 20
LATE_S: Final = 1.0


class Paces:
    """How many events came in each partition, from one look to the next."""

    def __init__(self) -> None:
        self._looked_s = 0.0
        self._seen: dict[int, tuple[Owned, int]] = {}
        self._per_s: dict[int, float] = {}

    def look(self, owned: Sequence[Owned], now_s: float) -> None:
        """Look how far each has come. Mutates: self."""
        passed_s, before = now_s - self._looked_s, self._seen
        self._looked_s = now_s
        self._seen = {each.partition: (each, each.position) for each in owned}
        self._per_s = {}
        for each in owned:
            known, position = before.get(each.partition, (None, 0))
            if known is each and passed_s > 0:
                self._per_s[each.partition] = (each.position - position) / passed_s

    def ahead(self, owned: Owned) -> int:
        """Return how many events are to come in AHEAD_S, 0 where none came."""
        per_s = self._per_s.get(owned.partition, 0.0)
        return min(int(per_s * AHEAD_S) + 1, AHEAD_EVENTS_MAX) if per_s > 0 else 0
