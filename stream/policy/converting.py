"""Texts of a policy file to numbers, with the path of what does not fit in the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from stream.errors import PolicyError
from stream.identity import InvalidPattern

from .units import duration_ms, spell_duration

Text = TypeVar("Text")
Value = TypeVar("Value")


def converted_at(path: str, convert: Callable[[Text], Value], text: Text) -> Value:
    """Return what a text means.

    Errors: PolicyError `reason - at $.path`.
    """
    try:
        return convert(text)
    except (PolicyError, InvalidPattern) as error:
        raise PolicyError(f"{error.message} - at {path}", hint=error.hint) from error


def span_at(text: str, path: str, least_ms: int, most_ms: int) -> int:
    """Return the milliseconds of a duration between two bounds.

    Errors: PolicyError `reason - at $.path`.
    """
    span_ms = converted_at(path, duration_ms, text)
    if not least_ms <= span_ms <= most_ms:
        least, most = spell_duration(least_ms), spell_duration(most_ms)
        raise PolicyError(f"{text} is not between {least} and {most} - at {path}")
    return span_ms
