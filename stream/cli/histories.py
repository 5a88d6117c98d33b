"""Recorded events as the tasks that they are, for verbs that learn or compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stream.baselines import Baseline, Tasks, promote
from stream.detectors import JUDGES
from stream.events import PAYLOAD_BYTES_MAX
from stream.kernel import HashKey
from stream.replay import History, batches

from .failure import NotSo
from .faults import FaultNotes
from .reading import Line, read_lines, total_bytes
from .screen import Screen


def history_of(files: Sequence[str], key: HashKey, screen: Screen, doing: str) -> History:
    """Return what files teach, one JSON event a line, in the order of time.

    Errors: NotSo when a file cannot be read.
    """
    history, faults = History(key), FaultNotes(screen)
    with screen.progress(doing, total_bytes(files)) as advance:
        for lines in line_batches(files, advance):
            faults.add_rejects(lines, history.add([each.data for each in lines]))
    return history


def promoted(tasks: Tasks, key_id: int, names: Mapping[str, str], **options: Any) -> Baseline:
    """Return the baseline of tasks, as `baselines.promote` makes it.

    Errors: NotSo when it would be too large.
    """
    try:
        return promote(tasks, key_id, JUDGES, names, **options)
    except ValueError as error:
        hint = "learn from fewer classes at a time, or from a shorter span"
        raise NotSo(f"this is too much for one baseline: {error}", hint=hint) from error


def line_batches(files: Sequence[str], advance: Callable[[int], None]) -> Iterator[list[Line]]:
    """Yield the lines of files that are not blank, in batches. Errors: NotSo."""
    lines = read_lines(files, PAYLOAD_BYTES_MAX, advance)
    yield from batches(each for each in lines if each.data.strip())
