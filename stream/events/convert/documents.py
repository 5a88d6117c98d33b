"""JSON values out of text lines, however the file was laid out.

Log files of this kind come as one document on one line, as documents behind one another without
any separator (`zcat *.json.gz`), as JSON lines, or indented for people. A line of whole values
gives those; only where the first line ends inside one, the input is read as one text.
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
_SHOWN: Final = 200

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
        if any(isinstance(found, Fault) for found in _values_of_line(number, line)):
            yield from _values_of_text(chain([(number, line)], numbered))
        else:
            yield from _values_of_line(number, line)
        break
    yield from _values_by_line(numbered)


def _as_bytes(line: bytes | str) -> bytes:
    """Return a line as bytes; what is no UTF-8 stays none, for the reader to refuse."""
    return line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line


def _values_by_line(numbered: Numbered) -> Iterator[Value | Fault]:
    """Yield the values of lines, each read alone."""
    for number, line in numbered:
        yield from _values_of_line(number, line)


def _values_of_line(number: int, line: bytes) -> Iterator[Value | Fault]:
    """Yield the values of one line, and a fault for what is behind the last of them."""
    if _is_value(line):
        yield number, line
        return
    text = line.decode("utf-8", "surrogateescape")
    for start, found in _split(text):
        if isinstance(found, bytes):
            yield number, found
        else:
            yield _fault_at(number, found, text[start:])


def _values_of_text(numbered: Numbered) -> Iterator[Value | Fault]:
    """Yield the values of lines read as one text, behind the first fault those of each line.

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
            yield from _values_by_line(held)
            return
    joined = b"\n".join(line.rstrip(b"\r\n") for _, line in held)
    text = joined.decode("utf-8", "surrogateescape")
    number, counted = held[0][0], 0
    for start, found in _split(text):
        number, counted = number + text.count("\n", counted, start), start
        if isinstance(found, bytes):
            yield number, found
        else:
            # Once only, so the cost stays linear: the lines behind are each read alone.
            yield _fault_at(number, found, text[start : start + _SHOWN])
            yield from _values_by_line(each for each in held if each[0] > number)


def _fault_at(number: int, code: FaultCode, text: str) -> Fault:
    """Return the fault for a text that does not start with a JSON value."""
    shown = excerpt(text[:_SHOWN].encode("utf-8", "surrogateescape"))
    return Fault(line=number, code=code, message=f"not a whole JSON value: {shown}")


def _is_value(line: bytes) -> bool:
    """Tell whether a line is one JSON value; the fast way, for nearly all lines are."""
    try:
        _any_value.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _split(text: str) -> Iterator[tuple[int, bytes | FaultCode]]:
    """Yield (start, value) for values behind one another; last a fault, where none starts."""
    start = 0
    while True:
        while start < len(text) and text[start] in _BLANK:
            start += 1
        if start == len(text):
            return
        try:
            _, end = _find(text, start)
        except ValueError:
            yield start, FaultCode.MALFORMED
            return
        except RecursionError:
            yield start, FaultCode.TOO_DEEP
            return
        yield start, text[start:end].encode("utf-8", "surrogateescape")
        start = end
