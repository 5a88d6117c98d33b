"""The parts of JSON text, in kernels: each returns the place behind what it read, -1 for no.

No means "not plain", never "wrong": what is said no to here goes to msgspec, which decides what a
payload means. Plain is: ASCII without escapes or control characters; numbers as digits; nesting up
to DEPTH_MAX. Nothing here reads at or beyond `end`, which the caller keeps within `data`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel, load64, minus64, routine, zeros64

DEPTH_MAX: Final = 16
DIGITS_MAX: Final = 18  # so many fit int64

_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_COMMA: Final = 0x2C
_COLON: Final = 0x3A
_OPEN_LIST: Final = 0x5B
_CLOSE_LIST: Final = 0x5D
_OPEN: Final = 0x7B
_CLOSE: Final = 0x7D
_MINUS: Final = 0x2D
_POINT: Final = 0x2E
_ZERO: Final = 0x30
_NINE: Final = 0x39
_SPACE: Final = 0x20
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)
# A name of up to eight bytes is compared as one number; longer ones by their first eight.
_MASKS: Final = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)


def word_of(name: str) -> Any:
    """Return the first eight bytes of a name as the number that `word_at` finds."""
    return np.uint64(int.from_bytes(name.encode()[:8], "little"))


_TRUE: Final = word_of("true")
_FALSE: Final = word_of("false")
_NULL: Final = word_of("null")


@kernel
def skip_space(data: Any, at: int, end: int) -> int:
    """Return the first place that is not white space, `end` if there is none."""
    while at < end:
        byte = data[at]
        if byte > _SPACE or (byte != _SPACE and byte != 10 and byte != 13 and byte != 9):
            return at
        at += 1
    return at


@kernel
def word_at(data: Any, start: int, size: int, end: int) -> np.uint64:
    """Return up to eight bytes from a place on as a little-endian number, zeros behind them."""
    size = min(size, 8)
    if start + 8 <= end:
        return load64(data, start) & _MASKS[size]  # type: ignore[no-any-return]
    word = np.uint64(0)
    for place in range(size):
        word |= np.uint64(data[start + place]) << np.uint64(8 * place)
    return word


@kernel
def string_end(data: Any, at: int, end: int) -> int:
    """Return the place of the quote that ends a plain string whose characters begin at `at`."""
    while at + 8 <= end:
        word = load64(data, at)
        # A high bit says that the byte is a quote, a backslash, a control or no ASCII, or stands
        # behind one that is: so the lowest of them is the first one that is.
        quotes, slashes = word ^ _QUOTES, word ^ _BACKSLASHES
        found = minus64(quotes, _ONES) & ~quotes | minus64(slashes, _ONES) & ~slashes
        found = (found | minus64(word, _SPACES) & ~word | word) & _HIGHS
        if found:
            at += zeros64(found) >> 3
            return at if data[at] == _QUOTE else -1
        at += 8
    while at < end:
        byte = data[at]
        if byte == _QUOTE:
            return at
        if byte < _SPACE or byte >= 0x80 or byte == _BACKSLASH:
            return -1
        at += 1
    return -1


@routine
def number_end(data: Any, at: int, end: int) -> int:
    """Return the place behind a whole number without sign, leading zeros, point or exponent."""
    start = at
    while at < end and _ZERO <= data[at] <= _NINE:
        at += 1
    size = at - start
    if size == 0 or size > DIGITS_MAX or at == end or (size > 1 and data[start] == _ZERO):
        return -1
    byte = data[at]
    if byte == _COMMA or byte == _CLOSE or byte == _CLOSE_LIST or byte <= _SPACE:
        return at
    return -1


@kernel
def number(data: Any, start: int, end: int) -> int:
    """Return the number whose digits are [start, end)."""
    value = np.int64(0)
    for place in range(start, end):
        value = value * 10 + np.int64(data[place]) - _ZERO
    return value  # type: ignore[return-value]


@routine
def literal_end(data: Any, at: int, end: int) -> int:
    """Return the place behind true, false or null."""
    if at + 5 > end:
        return -1
    word = word_at(data, at, 5, end)
    if word == _FALSE:
        return at + 5
    word &= _MASKS[4]
    return at + 4 if word == _TRUE or word == _NULL else -1


@routine
def _scalar_end(data: Any, at: int, end: int) -> int:
    """Return the place behind a string, literal or short number; `at` is its first character."""
    byte = data[at]
    if byte == _QUOTE:
        at = string_end(data, at + 1, end)
        return at + 1 if at >= 0 else -1
    if byte != _MINUS and not _ZERO <= byte <= _NINE:
        return literal_end(data, at, end)
    if byte == _MINUS:
        at += 1
    start = at
    while at < end and _ZERO <= data[at] <= _NINE:
        at += 1
    size = at - start
    if size == 0 or size > DIGITS_MAX or (size > 1 and data[start] == _ZERO):
        return -1
    if at < end and data[at] == _POINT:
        at += 1
        start = at
        while at < end and _ZERO <= data[at] <= _NINE:
            at += 1
        if at == start or at - start > DIGITS_MAX:
            return -1
    if at == end:
        return -1
    byte = data[at]
    if byte == _COMMA or byte == _CLOSE or byte == _CLOSE_LIST or byte <= _SPACE:
        return at
    return -1


@kernel
def name_end(data: Any, at: int, end: int) -> int:
    """Return the place of the quote that ends a member's name; `at` should be its first quote."""
    return string_end(data, at + 1, end) if at < end and data[at] == _QUOTE else -1


@kernel
def value_at(data: Any, quote: int, end: int) -> int:
    """Return where the value of a member begins whose name ends at a quote, or at none (-1)."""
    if quote < 0:
        return -1
    at = skip_space(data, quote + 1, end)
    if at >= end or data[at] != _COLON:
        return -1
    at = skip_space(data, at + 1, end)
    return at if at < end else -1


@routine
def value_end(data: Any, at: int, end: int) -> int:
    """Return the place behind any plain value that begins at `at`."""
    depth, kinds, is_behind = 0, 0, False  # kinds: a bit a level, 1 for an object
    while True:
        at = skip_space(data, at, end)
        if at >= end:
            return -1
        byte = data[at]
        if not is_behind and (byte == _OPEN or byte == _OPEN_LIST):
            if depth == DEPTH_MAX:
                return -1
            depth, kinds = depth + 1, (kinds << 1) | int(byte == _OPEN)
            at = skip_space(data, at + 1, end)
            if at >= end:
                return -1
            is_behind = data[at] == (_CLOSE if byte == _OPEN else _CLOSE_LIST)
        elif not is_behind:
            at = _scalar_end(data, at, end)
            is_behind = True
        elif byte == _COMMA:
            at, is_behind = skip_space(data, at + 1, end), False
        elif byte == (_CLOSE if kinds & 1 else _CLOSE_LIST):
            at, depth, kinds = at + 1, depth - 1, kinds >> 1
        else:
            return -1
        if at < 0 or (is_behind and depth == 0):
            return at
        if not is_behind and kinds & 1:
            at = value_at(data, name_end(data, at, end), end)
            if at < 0:
                return -1


@routine
def strings_end(data: Any, at: int, end: int, bounds: Any) -> int:
    """Return the place behind a list of strings.

    Units: bounds: the shortest and longest string in characters, and the longest list.
    """
    if data[at] != _OPEN_LIST:
        return -1
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == _CLOSE_LIST:
        return at + 1
    for _ in range(bounds[2]):
        if at >= end or data[at] != _QUOTE:
            return -1
        start = at + 1
        at = string_end(data, start, end)
        if at < 0 or not bounds[0] <= at - start <= bounds[1]:
            return -1
        at = skip_space(data, at + 1, end)
        if at >= end:
            return -1
        if data[at] == _CLOSE_LIST:
            return at + 1
        if data[at] != _COMMA:
            return -1
        at = skip_space(data, at + 1, end)
    return -1
