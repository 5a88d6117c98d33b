"""JSON values out of text lines, however the file was laid out.

Log files of this kind come as one document on one line, as documents behind one another without
any separator (`zcat *.json.gz`), as JSON lines, or indented for people. A line that consists of
whole values gives those; only if the first line does not, the input is read as one text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec

from .fault import Fault, FaultCode, excerpt

TEXT_BYTES_MAX: Final = 1 << 28  # 256 MiB held at once; CloudTrail's own files have 50 at most

_any_value: Final = msgspec.json.Decoder(msgspec.Raw)
_find: Final = json.JSONDecoder().raw_decode
_BLANK: Final = " \t\r\n"

Value = tuple[int, bytes]
Numbered = Iterable[tuple[int, bytes]]


def values_of_lines(lines: Iterable[bytes | str]) -> Iterator[Value | Fault]:
    """Yield each JSON value with the number of the line it starts on, or a fault.

    A value is the bytes of a whole object, array or scalar; what it means, and whether its text
    is UTF-8, is for its reader to say.

    Cost: linear in the text. Holds one line, or where the first is not whole TEXT_BYTES_MAX.
    """
    numbered = ((number, _as_bytes(line)) for number, line in enumerate(lines, 1))
    for number, line in numbered:
        if not line.strip():
            continue
        if _whole_values(line) is None:
            yield from _values_of_text(chain([(number, line)], numbered))
        else:
            yield from _values_of_line(number, line)
        break
    for number, line in numbered:
        yield from _values_of_line(number, line)


def _as_bytes(line: bytes | str) -> bytes:
    """Return a line as bytes; what is no UTF-8 stays none, for the reader to refuse."""
    return line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line


def _values_of_line(number: int, line: bytes) -> Iterator[Value | Fault]:
    """Yield the values of one line, or its fault; nothing for a blank line."""
    values = _whole_values(line)
    if values is None:
        message = f"not whole JSON values: {excerpt(line)}"
        yield Fault(line=number, code=FaultCode.MALFORMED, message=message)
    else:
        yield from ((number, value) for value in values)


def _values_of_text(numbered: Numbered) -> Iterator[Value | Fault]:
    """Yield the values of lines read as one text, from the first mistake on those of each line.

    Requires: the first line is not blank.
    """
    held: list[tuple[int, bytes]] = []
    held_bytes = 0
    for number, line in numbered:
        held.append((number, line))
        held_bytes += len(line)
        if held_bytes > TEXT_BYTES_MAX:
            message = f"a document of more than {TEXT_BYTES_MAX} bytes, so read line by line"
            yield Fault(line=held[0][0], code=FaultCode.TOO_LONG, message=message)
            break
    if held_bytes > TEXT_BYTES_MAX:
        yield from chain.from_iterable(_values_of_line(*each) for each in held)
        return
    joined = b"\n".join(line.rstrip(b"\r\n") for _, line in held)
    text = joined.decode("utf-8", "surrogateescape")
    number, counted = held[0][0], 0
    for start, value in _split(text):
        number, counted = number + text.count("\n", counted, start), start
        if value is not None:
            yield number, value
            continue
        # Once only, so the cost stays linear: what cannot be read from here on is read by line.
        for line_number, line in held:
            if line_number >= number:
                yield from _values_of_line(line_number, line)


def _whole_values(line: bytes) -> list[bytes] | None:
    """Return the values that a line consists of, or None if it is not whole values."""
    if _is_value(line):
        return [line]
    values = [value for _, value in _split(line.decode("utf-8", "surrogateescape"))]
    found = [value for value in values if value is not None]
    return found if len(found) == len(values) else None


def _is_value(line: bytes) -> bool:
    """Tell whether a line is one JSON value; the fast way, for nearly all lines are."""
    try:
        _any_value.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _split(text: str) -> Iterator[tuple[int, bytes | None]]:
    """Yield (start, value) for values behind one another; None, and the end, where none starts."""
    start = 0
    while True:
        rest = len(text)
        while start < rest and text[start] in _BLANK:
            start += 1
        if start == rest:
            return
        try:
            _, end = _find(text, start)
        except (ValueError, RecursionError):
            yield start, None
            return
        yield start, text[start:end].encode("utf-8", "surrogateescape")
        start = end
