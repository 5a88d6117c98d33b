"""How long to wait before Kafka is asked again."""

from __future__ import annotations

from typing import Final

PAUSE_S: Final = 0.1
PAUSE_MAX_S: Final = 5.0


class Pauses:
    """Pauses that double each time, up to PAUSE_MAX_S, until something works."""

    def __init__(self) -> None:
        self._next_s = PAUSE_S

    def next_s(self) -> float:
        """Return the next pause, and double the one after."""
        pause_s = self._next_s
        self._next_s = min(PAUSE_MAX_S, pause_s * 2)
        return pause_s

    def reset(self) -> None:
        """Start again with the shortest."""
        self._next_s = PAUSE_S
