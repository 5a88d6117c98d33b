"""Signals that may come before a verb is loaded, and the second that its modules take."""

from __future__ import annotations

import signal
from types import FrameType


class EarlyReload:
    """A handler of SIGHUP before the loop listens: it ends nothing, and is not forgotten.

    A mask would not do: threads of libraries are there by then, which do not have it.
    """

    def __init__(self) -> None:
        self.has_come = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Keep in mind that it came."""
        self.has_come = True


def keep_reload() -> None:
    """From now on SIGHUP is kept until the loop listens."""
    signal.signal(signal.SIGHUP, EarlyReload())
