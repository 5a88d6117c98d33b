"""Labels of events or tasks: JSON lines or CSV, one a line.

    {"task": "run-17", "label": "attack", "first": "run-17/4"}
    {"id": "run-17/4", "label": "attack"}

or the same as CSV with a header of these names. `task` labels all events of a task; task ids are
taken to be those of one workload each. `first` is the event from which on it was an attack. `id`
labels one event: a task with an attacking event is an attack, from that event on. What has no label
is left out of all figures.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from stream.errors import ConfigError

LABELS_MAX: Final = 5_000_000
_Text = Annotated[str, msgspec.Meta(max_length=1_024)]
_COLUMNS: Final = ("id", "task", "label", "first")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One label."""

    label: Literal["benign", "attack"]
    id: _Text = ""
    task: _Text = ""
    first: _Text = ""


class Labels(NamedTuple):
    """What is known: of events, and of tasks; whether it was an attack, and of a task from where.

    `firsts` are the events with which an attack begins.
    """

    events: dict[str, bool]
    tasks: dict[str, bool]
    firsts: frozenset[str]


_decoder = msgspec.json.Decoder(Row)


def read_labels(lines: Iterable[bytes], file: str) -> Labels:
    """Return the labels of the lines of a file, blank ones passed over.

    Errors: ConfigError `file:line: reason`.
    """
    events: dict[str, bool] = {}
    tasks: dict[str, bool] = {}
    firsts: set[str] = set()
    columns: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        at = f"{file}:{number}"
        if columns is None and not line.lstrip().startswith(b"{"):
            columns = _header(line, at)
            continue
        row = _json(line, at) if not columns else _cells(line, columns, at)
        kind, name = (events, row.id) if row.id else (tasks, row.task)
        is_attack = row.label == "attack"
        if bool(row.id) == bool(row.task):
            raise ConfigError(f"{at}: a label is of an `id` or of a `task`, one of them")
        if row.first and not (row.task and is_attack):
            raise ConfigError(f"{at}: `first` belongs to a task that is an attack")
        if kind.setdefault(name, is_attack) != is_attack:
            raise ConfigError(f"{at}: {name[:60]!r} has both labels")
        firsts.update([row.first] if row.first else [])
        if len(events) + len(tasks) > LABELS_MAX:
            raise ConfigError(f"{file}: more than {LABELS_MAX:,} labels")
    firsts.update(name for name, is_attack in events.items() if is_attack)
    return Labels(events, tasks, frozenset(firsts))


def _json(line: bytes, at: str) -> Row:
    try:
        return _decoder.decode(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{at}: no label: {error}", hint=_hint()) from error


def _header(line: bytes, at: str) -> list[str]:
    """Return the names of columns. Errors: ConfigError."""
    names = _split(line, at)
    if "label" not in names or len(set(names)) != len(names) or set(names) - set(_COLUMNS):
        raise ConfigError(f"{at}: not the header of a table of labels", hint=_hint())
    return names


def _cells(line: bytes, columns: list[str], at: str) -> Row:
    cells = _split(line, at)
    if len(cells) != len(columns):
        raise ConfigError(f"{at}: {len(cells)} cells, and the header has {len(columns)}")
    try:
        return msgspec.convert(dict(zip(columns, cells, strict=True)), Row)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{at}: no label: {error}", hint=_hint()) from error


def _split(line: bytes, at: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line.decode()], strict=True))]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{at}: not a line of CSV in UTF-8: {error}", hint=_hint()) from error


def _hint() -> str:
    return (
        '{"task": "t1", "label": "attack", "first": "event-7"} a line, or CSV whose first line is'
        " task,label,first or id,label"
    )
