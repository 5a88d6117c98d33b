"""Recorded events as the tasks that they are, for verbs that learn or compare."""

from __future__ import annotations

from collections.abc import Sequence

from stream.events import PAYLOAD_BYTES_MAX
from stream.kernel import HashKey
from stream.replay import History, batches

from .reading import read_lines, total_bytes
from .screen import Screen


def history_of(files: Sequence[str], key: HashKey, screen: Screen, doing: str) -> History:
    """Return what files teach, one JSON event a line, in the order of time.

    Errors: NotSo when a file cannot be read.
    """
    history = History(key)
    with screen.progress(doing, total_bytes(files)) as advance:
        lines = read_lines(files, PAYLOAD_BYTES_MAX, advance)
        for part in batches(each.data for each in lines if each.data.strip()):
            history.add(part)
    return history
