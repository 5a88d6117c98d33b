"""What a verb shows: results on stdout, everything else on stderr, all of it escaped.

A result is a table or lines for a person, or with `--json` one JSON value. Colours, boxes and
progress bars are for terminals only; elsewhere output is plain, unwrapped and free of decoration.
rich honours NO_COLOR itself. Markup, emoji codes and highlighting are off: a name is only a name.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import click
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .plain import escaped, json_text

PLAIN_WIDTH: Final = 100_000  # what is piped is never wrapped
_ACTIONS: Final = {
    "revoke": "bold red",
    "deny": "bold red",
    "hold": "bold magenta",
    "throttle": "yellow",
    "release": "green",
    "stop": "bold yellow",
    "exempt": "cyan",
    "shadow": "dim",
    "enforce": "bold",
}

Cell = str | int | tuple[str, str]
"""What stands in a table: a text, a number, or a text with its style."""


def console(*, is_error: bool) -> Console:
    """Return a console for stdout or stderr that takes no text for markup."""
    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def styled(word: str) -> tuple[str, str]:
    """Return an action, a mode or a decision in its colour."""
    return word, _ACTIONS.get(word, "")


class Screen:
    """Where one verb speaks; `is_json` says that a program listens on stdout."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.out = console(is_error=False)
        self.err = console(is_error=True)

    def emit(self, value: Any) -> None:
        """Write a result as one line of JSON, if a program listens."""
        if self.is_json:
            click.echo(json_text(value))

    def line(self, text: str = "", style: str = "") -> None:
        """Write a line for a person, if a person reads."""
        if not self.is_json:
            self.out.print(Text(escaped(text), style=style), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """Write a line on stderr: what happens, not what came out."""
        self.err.print(Text(escaped(text), style=style), soft_wrap=True)

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], empty: str = ""
    ) -> None:
        """Write a table for a person; numbers stand right. `empty` is said where it has no rows."""
        if self.is_json:
            return
        shown = list(rows)
        if title:
            self.line(title, "bold")
        if not shown:
            if empty:
                self.line(f"  {empty}", "dim")
        elif self.out.is_terminal:
            self.out.print(table_of(columns, shown))
        else:
            for line in plain_lines(columns, shown):
                self.line(line)

    def facts(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """Write names with their values, one a line, for a person."""
        if title:
            self.line(title, "bold")
        pairs = list(facts)
        width = max((len(name) for name, _ in pairs), default=0)
        for name, value in pairs:
            self.line(f"{name:{width}}  {value}")

    @contextlib.contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show how far a long work is, on a terminal; the block gets a setter of the position."""
        if self.is_json or not self.err.is_terminal:
            yield lambda position: None
            return
        columns = (
            TextColumn(escaped(what)),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %" if total else "{task.completed:,.0f}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.err, transient=True) as bars:
            task = bars.add_task("", total=total)
            yield lambda position: bars.update(task, completed=position)


def table_of(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """Return a table; cells are escaped, and columns of numbers stand right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold dim")
    for place, name in enumerate(columns):
        is_number = all(isinstance(row[place], int) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def plain_lines(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """Yield a table as lines of text, columns two spaces apart, for what is no terminal."""
    cells = [list(columns), *([_text(cell).plain for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    is_number = [all(isinstance(row[at], int) for row in rows) for at in range(len(columns))]
    for row in cells:
        parts = [
            " " * (width - cell_len(cell)) + cell if right else set_cell_size(cell, width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        yield "  ".join(parts).rstrip()


def _text(cell: Cell) -> Text:
    if isinstance(cell, int):
        return Text(f"{cell:,}")
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(escaped(text), style=style)
