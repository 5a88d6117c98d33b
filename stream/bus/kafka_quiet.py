"""aiokafka's own log lines, at most one of a kind in a while.

While a broker is away each of its clients says so several times a second, and what matters of it
reaches us as an error of a door or as a mode. So every logger of aiokafka gets a filter that lets a
message through once in `EVERY_S`, told apart by its text before its values are put in, and says how
many were left out. It is a filter on their loggers and changes no handler and no level: a program
around a gateway keeps its logging as it is.
"""

from __future__ import annotations

import logging
import time
from typing import Final

EVERY_S: Final = 30.0
TEXTS_MAX: Final = 512
ROOT: Final = "aiokafka"


class Sparse(logging.Filter):
    """Lets each text of a logger through once in a while; bounded, oldest forgotten first."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._every_s = every_s
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to let a record through; it says then how many like it were left out."""
        key = record.name, str(record.msg)[:200]
        now_s = time.monotonic()
        next_at_s, left_out = self._said.get(key, (0.0, 0))
        if now_s < next_at_s:
            self._said[key] = next_at_s, left_out + 1
            return False
        if key not in self._said and len(self._said) >= TEXTS_MAX:
            self._said.pop(next(iter(self._said)), None)
        self._said[key] = now_s + self._every_s, 0
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more like this)"
            record.args = ()
        return True


SPARSE: Final = Sparse()


def quieten(sparse: logging.Filter = SPARSE) -> None:
    """Have a filter on each of aiokafka's loggers that there is; twice does no harm."""
    for name in list(logging.root.manager.loggerDict):
        if name == ROOT or name.startswith(ROOT + "."):
            logging.getLogger(name).addFilter(sparse)
