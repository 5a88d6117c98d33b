"""Text that somebody else chose, made fit for a terminal and for JSON that is shown on one.

Names of workloads, operations and tasks come from outside. A control character in one could move
the cursor, rewrite what was printed or speak to the terminal itself; a bidirectional mark could
make one name look like another. Whatever is not printable by Unicode is shown as its escape.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec


def escaped(text: str, most: int = 0) -> str:
    """Return a text with every unprintable character escaped; cut at `most` characters, 0 never."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _python_escape(each) for each in text)
    return f"{text[: most - 1]}…" if 0 < most < len(text) else text


def json_text(value: Any) -> str:
    """Return a value as one line of JSON in which every unprintable character is escaped."""
    try:
        return escaped_json(msgspec.json.encode(value).decode())
    except UnicodeEncodeError:
        # A file's name that is not UTF-8: what stands for its bytes comes as the escape it has.
        return json.dumps(msgspec.to_builtins(value, str_keys=True), separators=(",", ":"))


def escaped_json(text: str) -> str:
    """Return one line of compact JSON with every unprintable character escaped."""
    if text.isprintable():
        return text
    # Outside of strings JSON is printable ASCII, so an escape lands inside one.
    return "".join(each if each.isprintable() else _json_escape(each) for each in text)


def _python_escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
