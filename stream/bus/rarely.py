"""Log lines of loops: each message at most once in a while, with how many were left out."""

from __future__ import annotations

import asyncio
import logging
import time


class Rarely:
    """Logs a message at most once every `every_s`, per message text.

    Time is that of the running event loop, outside of one the machine's. Bounded: texts are
    constants of the code.
    """

    def __init__(self, log: logging.Logger, every_s: float) -> None:
        self._log = log
        self._every_s = every_s
        self._next_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, text: str, *values: object) -> None:
        """Log `text % values`, unless the same text was logged a short while ago."""
        now = _now_s()
        left_out = self._left_out.get(text, 0)
        if now < self._next_at.get(text, 0.0):
            self._left_out[text] = left_out + 1
            return
        self._next_at[text] = now + self._every_s
        self._left_out[text] = 0
        more = f" ({left_out} more like this)" if left_out else ""
        self._log.warning(text + more, *values)


def _now_s() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()
