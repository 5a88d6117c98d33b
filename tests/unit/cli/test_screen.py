"""Tables and lines: plain where nobody looks, and a name is only ever a name."""

import io
import re

import pytest
from rich.console import Console

from stream.cli.screen import Screen, plain_lines, styled, table_of

HOSTILE = "[bold red]x[/] :smile: \x1b[2J"


def drawn(**options: object) -> str:
    """A table as a terminal of 60 columns would get it."""
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=60, markup=False, emoji=False, highlight=False,
        **options,
    )  # fmt: skip
    console.print(table_of(("name", "count"), [(HOSTILE, 1234), (styled("revoke"), 5)]))
    return out.getvalue()


def test_a_name_is_only_a_name() -> None:
    """Markup, emoji codes and escape sequences of a name are shown, not obeyed."""
    for shown in (drawn(no_color=True), "\n".join(plain_lines(("n",), [(HOSTILE,)]))):
        assert "[bold red]x[/] :smile: \\x1b[2J" in re.sub(r"\x1b\[[0-9;]*m", "", shown)
        assert "\x1b[2J" not in shown


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A revocation is red on a terminal, and not where NO_COLOR is set."""
    assert "31m" in drawn(color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in drawn(color_system="standard")


def test_plain_tables_are_aligned_text() -> None:
    """Without a terminal a table is words, two spaces apart; numbers stand right, uncut."""
    rows = [("a" * 300, 5), ("b", 12_345)]
    first, *lines = plain_lines(("name", "count"), rows)
    assert first == f"{'name':300}   count"
    assert lines == [f"{'a' * 300}       5", f"{'b':300}  12,345"]


def test_for_a_program_only_json_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, tables and lines are silent and the result is one line."""
    screen = Screen(is_json=True)
    screen.line("for people")
    screen.table("title", ("a",), [("b",)])
    screen.facts("title", [("a", "b")])
    screen.emit({"a": "\x1b"})
    with screen.progress("working", 10) as advance:
        advance(5)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ('{"a":"\\u001b"}\n', "")


def test_without_a_terminal_there_are_no_escape_sequences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Piped output has no colour, no box and no bar."""
    screen = Screen(is_json=False)
    screen.line("red", "bold red")
    screen.note("red", "bold red")
    screen.table("title", ("a",), [(styled("revoke"),)])
    with screen.progress("working", 10) as advance:
        advance(5)
    shown = capsys.readouterr()
    assert shown.out == "red\ntitle\na\nrevoke\n"
    assert shown.err == "red\n"
