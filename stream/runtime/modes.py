"""What is degraded in a worker now, by name: told in one place, seen in three.

A mode that holds is 1 in the gauge `enforcer_mode`, a line in /readyz, and a line in the log when
it begins and when it ends. One of NOTED keeps no worker from being ready. `store_down` and
`broker_down` outlast a session, so they live here and not in one. Whoever finds out that something
does not answer, or does again, says so; nothing is decided by a mode, it only names what is so.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from typing import Final, NamedTuple

from stream.clock import Clock
from stream.metrics import MODES, Metrics

STORE_DOWN: Final = "store_down"
STORE_FULL: Final = "store_full"
BROKER_DOWN: Final = "broker_down"
BEHIND: Final = "behind"
ZONE_DOWN: Final = "zone_down"
BRAKED: Final = "braked"
OVERSPENT: Final = "overspent"
NOTED: Final = (BRAKED, OVERSPENT)  # all is done, as it should be, and somebody had better look

log = logging.getLogger(__name__)
# A link that comes and goes each second must not fill the log: what is left out is counted, and
# what is so in the end is said as soon as it may be.
SAID_EVERY_S: Final = 5.0


class Mode(NamedTuple):
    """A mode that holds: why, and since when."""

    why: str
    since_s: float


class Modes:
    """The modes that hold, each begun and ended once however often it is said.

    `texts` and `notes` may be called from another thread.
    """

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._holding: dict[str, Mode] = {}
        self._said: set[str] = set()
        self._silent_until_s: dict[tuple[str, bool], float] = {}
        self._changes: Counter[str] = Counter()
        self._last: dict[str, str] = {}

    def begin(self, mode: str, why: str) -> None:
        """Say that a mode holds; the first reason stays. Mutates: self."""
        assert mode in MODES, mode
        if mode not in self._holding:
            self._holding[mode] = Mode(why, self._clock.monotonic_s())
            self._metrics.set_mode(mode, holds=True)
            self._changes[mode] += 1
            self._last[mode] = f"begins: {why}"
        self._say(mode)

    def end(self, mode: str) -> None:
        """Say that a mode does not hold, or not any more. Mutates: self."""
        held = self._holding.pop(mode, None)
        if held is not None:
            self._metrics.set_mode(mode, holds=False)
            self._changes[mode] += 1
            self._last[mode] = f"ends after {self._clock.monotonic_s() - held.since_s:.1f} s"
        self._say(mode)

    def holds(self, mode: str) -> bool:
        """Tell whether a mode holds."""
        return mode in self._holding

    def only(self, modes: Collection[str], among: Collection[str], why: str) -> None:
        """Say which of some modes hold, and that the others of them do not. Mutates: self."""
        for mode in among:
            if mode in modes:
                self.begin(mode, why)
            else:
                self.end(mode)

    def _say(self, mode: str) -> None:
        """Log what is so, unless the log says it, or said so a short while ago. Mutates: self."""
        holds, now_s = mode in self._holding, self._clock.monotonic_s()
        if holds == (mode in self._said) or now_s < self._silent_until_s.get((mode, holds), now_s):
            return
        left_out = self._changes.pop(mode) - 1
        more = f" ({left_out} changes left out)" if left_out else ""
        log.warning("mode %s %s%s", mode, self._last[mode], more)
        self._silent_until_s[mode, holds] = now_s + SAID_EVERY_S
        self._said ^= {mode}

    def texts(self) -> list[str]:
        """Return a line for each mode that holds and keeps a worker from being ready."""
        return self._lines(is_noted=False)

    def notes(self) -> list[str]:
        """Return a line for each mode that holds in a worker that may well be ready."""
        return self._lines(is_noted=True)

    def _lines(self, *, is_noted: bool) -> list[str]:
        now_s = self._clock.monotonic_s()
        return [
            f"{mode} for {now_s - held.since_s:.0f} s: {held.why}"
            for mode, held in sorted(self._holding.copy().items())
            if (mode in NOTED) == is_noted
        ]
