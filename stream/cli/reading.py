"""Lines of files that people recorded: plain or gzip, `-` for stdin, bounded whatever they hold.

A line beyond the bound comes out cut one byte behind it, so that its reader sees that it is too
long; the rest of it is skipped. Gzip is known by its first bytes, not by a name. The mark that some
editors begin a file with (BOM) is no part of its first line.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from .failure import NotSo

STDIN: Final = "-"
GZIP_MAGIC: Final = b"\x1f\x8b"
REPORT_BYTES: Final = 1 << 20


class Line(NamedTuple):
    """One line without its end, and where it stands."""

    file: str
    number: int
    data: bytes


def total_bytes(files: Sequence[str]) -> int | None:
    """Return the size of all files together, None where one of them has no size beforehand."""
    if any(map(is_read_once, files)):
        return None
    return sum(Path(file).stat().st_size for file in files)


def is_read_once(file: str) -> bool:
    """Tell whether a name stands for stdin, a pipe or the like: a second look finds nothing."""
    return file == STDIN or not Path(file).is_file()


def read_lines(
    files: Sequence[str], bytes_max: int, on_bytes: Callable[[int], None] = lambda position: None
) -> Iterator[Line]:
    """Yield the lines of all files in order, blank ones too, so that they can be counted.

    `on_bytes` is told now and then how many bytes were read of all files that have a size.
    Errors: NotSo when a file cannot be read or unpacked.
    """
    before = 0
    for file in files:
        try:
            with _opened(file) as raw:
                is_placed = file != STDIN and raw.seekable()
                for line, is_due in _lines(file, _unpacked(raw), bytes_max):
                    yield line
                    if is_due and is_placed:
                        on_bytes(before + raw.tell())
                before += raw.tell() if is_placed else 0
        except (OSError, EOFError, zlib.error) as error:
            raise NotSo(f"{file} cannot be read: {error}") from error
    on_bytes(before)


@contextlib.contextmanager
def _opened(file: str) -> Iterator[io.BufferedReader]:
    if file == STDIN:
        # Not what is buffered already: that waits for a full buffer, and a pipe may be slow.
        given: Any = sys.stdin.buffer
        reader = io.BufferedReader(getattr(given, "raw", given))
        try:
            yield reader
        finally:
            reader.detach()
        return
    with Path(file).open("rb") as raw:
        yield raw


def _unpacked(raw: io.BufferedReader) -> io.BufferedIOBase:
    return gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP_MAGIC else raw


def _lines(file: str, source: io.BufferedIOBase, bytes_max: int) -> Iterator[tuple[Line, bool]]:
    """Yield lines, and now and then with one that it is time to report how far they are."""
    number = unreported = 0
    while data := source.readline(bytes_max + 2):
        number += 1
        if number == 1:
            data = data.removeprefix(BOM_UTF8)
        unreported += len(data)
        rest = data
        while len(rest) > bytes_max + 1 and not rest.endswith(b"\n"):
            rest = source.readline(bytes_max + 2)
        is_due = unreported >= REPORT_BYTES
        unreported = 0 if is_due else unreported
        yield Line(file, number, data.rstrip(b"\r\n")[: bytes_max + 1]), is_due
