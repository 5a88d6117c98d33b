"""Logs on stderr: text for a person or one JSON object a line, everything in them escaped."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Final

from .plain import escaped, json_text

QUIET: Final = ("aiokafka",)
"""Whose own chatter is not ours: what matters of it reaches us as an error of a door."""


def start_logging(level: int, *, is_json: bool, process: int | None = None) -> None:
    """Send all logs from a level on to stderr, in one of the two forms.

    Where several processes write there, each line says of which of them it is.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if is_json else TextLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)


class TextLines(logging.Formatter):
    """`2026-01-31 12:00:00.000 info runtime: message`, in UTC; `info [2] runtime` of process 2."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = "" if process is None else f"[{process}] "

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line, and the lines of its traceback if it has one."""
        name = record.name.removeprefix("stream.")
        level = f"{record.levelname.lower():7} {self._process}"
        head = f"{utc_text(record.created)} {level}{name}: "
        lines = [head + escaped(record.getMessage())]
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            lines += [f"    {escaped(line)}" for line in trace.splitlines()]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """One object a line: at, level, logger, message, and what there is of the rest.

    That is `process`, `settings` and `error`.
    """

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        entry: dict[str, Any] = {
            "at": utc_text(record.created).replace(" ", "T") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process is not None:
            entry["process"] = self._process
        settings = getattr(record, "settings", None)
        if settings is not None:
            entry["settings"] = settings
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json_text(entry)


def utc_text(at_s: float) -> str:
    """Return Unix seconds as `2026-01-31 12:00:00.000`, in UTC."""
    whole = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s))
    return f"{whole}.{int(at_s * 1_000) % 1_000:03d}"
