"""How often rows are saved: at the declared pace, more rarely where that costs too much.

A row that is busy is dirty again as soon as it is saved, so a round of saves costs the same however
rarely it comes, and what is saved half as often costs half as much, here and in the store. What it
costs in return is the part of the log that is read again after a crash. Once no events come any
more, nobody is held up: what is unsaved is saved at once, in a round that begins at the declared
pace.

Who comes after another owner first applies what that one may have applied, and each row is read for
it: decisions wait for that, and saves for decisions. Little is saved meanwhile, but never nothing,
so that who is killed again and again gets on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from .spec import WorkerSpec

PAUSE_MS_MIN: Final = 1.0  # events that come meanwhile have their turn


class SavePace:
    """How long a round of saves lasts, and how many rows it may write.

    `is_idle`: no events come. `is_replaying`: what an earlier owner may have applied still comes.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._busy_s = 0.0
        self._round_ms: float = spec.save_every_ms
        self.is_idle = True
        self.is_replaying = False

    @property
    def round_ms(self) -> float:
        """Return how long the round lasts."""
        if self.is_idle:
            return self._spec.save_every_ms
        return self._longest_ms if self.is_replaying else self._round_ms

    def pause_ms(self, pieces: int, lasted_ms: float | None) -> float:
        """Return how long to wait before one of so many pieces of a round.

        Before the first of them `lasted_ms` is how long ago the round before began, else None.
        """
        if not self.is_idle:
            return max(PAUSE_MS_MIN, self.round_ms / pieces)
        if lasted_ms is None:
            return PAUSE_MS_MIN
        return max(PAUSE_MS_MIN, self._spec.save_every_ms - lasted_ms)

    async def wait(
        self,
        pause: Callable[[float], Awaitable[bool]],
        pieces: int,
        lasted_ms: float | None = None,
    ) -> bool:
        """Wait as `pause_ms` says, never for no time; tell whether to go on, as `pause` does.

        In steps, since what is left of a round is saved as soon as no events come any more.
        """
        waited_ms = 0.0
        while (left_ms := self.pause_ms(pieces, lasted_ms) - waited_ms) > 0:
            step_ms = min(left_ms, self._spec.fetch_wait_ms)
            if not await pause(step_ms):
                return False
            waited_ms += step_ms
        return True

    @property
    def _longest_ms(self) -> float:
        return max(self._spec.save_every_ms, self._spec.save_every_max_ms)

    @property
    def rows_max(self) -> int:
        """Return how many rows the round may write: of longer ones as many a second."""
        if self.is_replaying:
            return self._spec.save_rows_max
        return int(self._spec.save_rows_max * self.round_ms / self._spec.save_every_ms)

    def spend(self, busy_s: float) -> None:
        """Note how long a piece of the round took to save, without waiting for its turn."""
        self._busy_s += busy_s

    def end_round(self) -> None:
        """Set how long the next round lasts by what this one took."""
        spec = self._spec
        wanted_ms = self._busy_s * 1_000 / spec.save_share
        self._round_ms = min(self._longest_ms, max(spec.save_every_ms, wanted_ms))
        self._busy_s = 0.0
