"""Dates and times in text of lower case, in kernels; `resources` says which forms there are."""

from __future__ import annotations

from typing import Any, Final

from stream.kernel import kernel, routine

_ZERO: Final = 0x30
_NINE: Final = 0x39
_MINUS: Final = 0x2D
_PLUS: Final = 0x2B
_SLASH: Final = 0x2F
_POINT: Final = 0x2E
_COLON: Final = 0x3A
_SPACE: Final = 0x20
_LETTER_T: Final = 0x74
_LETTER_Z: Final = 0x7A
_FRACTION_MAX: Final = 9


@kernel
def is_digit(byte: int) -> bool:
    """Tell whether a byte is a digit."""
    return _ZERO <= byte <= _NINE


@routine
def _run(text: Any, at: int, end: int) -> int:
    """Return how many digits begin at a place."""
    start = at
    while at < end and is_digit(text[at]):
        at += 1
    return at - start


@routine
def is_moment(text: Any, start: int, end: int) -> bool:
    """Tell whether [start, end) is a date, a time, or both."""
    if start == end or not (is_digit(text[start]) or text[start] == _LETTER_T):
        return False
    at = _day_end(text, start, end)
    if at < 0:
        return _is_time(text, start + 1 if text[start] == _LETTER_T else start, end)
    if at == end:
        return True
    return (text[at] == _SPACE or text[at] == _LETTER_T) and _is_time(text, at + 1, end)


@routine
def _day_end(text: Any, at: int, end: int) -> int:
    """Return the place behind a day with its month and year, -1 for none."""
    first = _run(text, at, end)
    if (first != 4 and not 1 <= first <= 2) or at + first == end:
        return -1
    at += first
    mark = text[at]
    if mark not in (_MINUS, _SLASH, _POINT):
        return -1
    second = _run(text, at + 1, end)
    at += 1 + second
    if not 1 <= second <= 2 or at == end or text[at] != mark:
        return -1
    third = _run(text, at + 1, end)
    if (first == 4 and not 1 <= third <= 2) or (first != 4 and third != 4):
        return -1
    return at + 1 + third


@routine
def _is_time(text: Any, at: int, end: int) -> bool:
    """Tell whether [at, end) is a time of day, perhaps with its zone."""
    size = _run(text, at, end)
    at += size
    if not 1 <= size <= 2 or at == end or text[at] != _COLON or _run(text, at + 1, end) != 2:
        return False
    at += 3
    if at < end and text[at] == _COLON:
        if _run(text, at + 1, end) != 2:
            return False
        at += 3
        if at < end and text[at] == _POINT:
            size = _run(text, at + 1, end)
            if not 1 <= size <= _FRACTION_MAX:
                return False
            at += 1 + size
    if at == end:
        return True
    if text[at] == _LETTER_Z:
        return at + 1 == end
    if text[at] != _PLUS and text[at] != _MINUS:
        return False
    at += 1
    size = _run(text, at, end)
    if size == 4:
        return at + 4 == end
    at += 2
    return (
        size == 2 and at < end and text[at] == _COLON
        and _run(text, at + 1, end) == 2 and at + 3 == end
    )  # fmt: skip
