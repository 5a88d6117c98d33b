"""Words for sentences: text that others chose, fit to be read."""

from __future__ import annotations

from typing import Final

WORDS_LENGTH_MAX: Final = 160


def printable(text: str) -> str:
    """Return text that an attacker chose, fit for a sentence: no control characters, not long."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= WORDS_LENGTH_MAX else f"{shown[: WORDS_LENGTH_MAX - 3]}..."
