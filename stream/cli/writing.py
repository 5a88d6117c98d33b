"""Files that a verb writes line by line: whole lines, and one clear error where it cannot."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from stream.errors import ConfigError

from .plain import escaped_json
from .reading import STDIN

Write = Callable[[bytes], None]


def check_apart(written: Sequence[str | None], read: Sequence[str | None]) -> None:
    """See that no file is written that is read too, and none twice; what is no file may be both.

    Errors: UsageError: it would be emptied before it is read, or hold a mixture.
    """
    inputs = {Path(each).resolve() for each in read if each and each != STDIN}
    outputs: set[Path] = set()
    for each in written:
        place = Path(each or STDIN).resolve()
        if not each or each == STDIN or (place.exists() and not place.is_file()):
            continue
        if place in inputs:
            raise click.UsageError(f"{each} would be read and written: name another file")
        if place in outputs:
            raise click.UsageError(f"{each} would be written twice: name another file")
        outputs.add(place)


@contextlib.contextmanager
def line_writer(file: str | None) -> Iterator[Write]:
    """Have a function that writes lines of JSON to a file, `-` for stdout, None for nowhere.

    On a terminal what is unprintable in them is escaped; files and pipes get the bytes as they are.
    Errors: ConfigError when the file cannot be written.
    """
    if file is None:
        yield lambda line: None
        return
    try:
        with contextlib.ExitStack() as stack:
            if file == STDIN and sys.stdout.isatty():
                yield lambda line: click.echo(escaped_json(line.decode("utf-8", "replace")))
                return
            out = sys.stdout.buffer if file == STDIN else stack.enter_context(Path(file).open("wb"))
            yield partial(_write_now if file == STDIN and _is_read_live() else _write, out)
            out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def _is_read_live() -> bool:
    """Tell whether stdout is a pipe or the like: somebody may wait for each line."""
    try:
        return not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except OSError:  # also of a stream without a file
        return False


def _write(out: BinaryIO, line: bytes) -> None:
    out.write(line + b"\n")


def _write_now(out: BinaryIO, line: bytes) -> None:
    out.write(line + b"\n")
    out.flush()
