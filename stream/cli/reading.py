"""Lines out of files that people recorded: plain or gzip, `-` for stdin, bounded whatever they hold.

A line beyond the bound comes out cut one byte behind it, so that its reader sees that it is too
long; the rest of it is skipped. Gzip is known by its first bytes, not by a name.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from .failure import NotSo
from .plain import escaped

GZIP_MAGIC: Final = b"\x1f\x8b"
REPORT_BYTES: Final = 1 << 20


class Line(NamedTuple):
    """One line without its end, and where it stands."""

    file: str
    number: int
    data: bytes


def total_bytes(files: Sequence[str]) -> int | None:
    """Return the size of all files together, None where one of them has no size beforehand."""
    if "-" in files or not all(Path(file).is_file() for file in files):
        return None
    return sum(Path(file).stat().st_size for file in files)


def read_lines(
    files: Sequence[str], bytes_max: int, on_bytes: Callable[[int], None] = lambda position: None
) -> Iterator[Line]:
    """Yield the lines of all files that are not blank, in order.

    `on_bytes` is told now and then how many bytes were read of all files.
    Errors: NotSo when a file cannot be read or unpacked.
    """
    before = 0
    for file in files:
        for raw, source in _opened(file):
            try:
                yield from _lines(
                    file, source, bytes_max, lambda raw=raw, start=before: on_bytes(start + raw())
                )
            except (OSError, EOFError, zlib.error) as error:
                raise NotSo(f"{escaped(file)} cannot be read: {error}") from error
            before += raw()
    on_bytes(before)


def _opened(file: str) -> Iterator[tuple[Callable[[], int], BinaryIO]]:
    """Yield how far a file was read, and its unpacked content; once, so that it is closed."""
    if file == "-":
        yield lambda: 0, _unpacked(io.BufferedReader(sys.stdin.buffer))
        return
    try:
        with Path(file).open("rb") as raw:
            yield raw.tell, _unpacked(io.BufferedReader(raw))
    except OSError as error:
        raise NotSo(f"{escaped(file)} cannot be read: {error.strerror or error}") from error


def _unpacked(raw: io.BufferedReader) -> BinaryIO:
    return gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP_MAGIC else raw


def _lines(
    file: str, source: BinaryIO, bytes_max: int, report: Callable[[], None]
) -> Iterator[Line]:
    number = unreported = 0
    while data := source.readline(bytes_max + 2):
        number += 1
        unreported += len(data)
        rest = data
        while not rest.endswith(b"\n") and len(rest) > bytes_max + 1:
            rest = source.readline(bytes_max + 2)
        if unreported >= REPORT_BYTES:
            unreported = 0
            report()
        data = data.rstrip(b"\r\n")
        if data and not data.isspace():
            yield Line(file, number, data[: bytes_max + 1])
