"""Nothing that somebody else chose reaches a terminal as it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cli.plain import escaped, json_text

HOSTILE = ["\x1b[2J", "\x9b31m", "a\rb", "a\nb", "\u202egnp.exe", "\x00", "\x7f", "\u2028"]


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_shown_as_escapes(text: str) -> None:
    """What is shown has no character that a terminal would act on."""
    assert escaped(text).isprintable()
    assert escaped(text) != text


@given(st.text())
def test_any_text_comes_out_printable(text: str) -> None:
    """Whatever the text, nothing unprintable is left, and what was printable is as it was."""
    shown = escaped(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_keeps_its_meaning(text: str) -> None:
    """JSON for a screen is printable, one line, and reads back as what it was."""
    shown = json_text({"name": text, text: 1})
    assert shown.isprintable()
    assert json.loads(shown) == {"name": text, text: 1}


def test_long_text_is_cut() -> None:
    """A bound holds, and a cut is seen."""
    assert escaped("a" * 50, 10) == "a" * 9 + "…"
    assert escaped("a" * 10, 10) == "a" * 10
