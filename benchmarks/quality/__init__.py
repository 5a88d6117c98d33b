"""How well it detects, on data written by nobody here: adapters that make it events.

An adapter reads one data set below the folder that `ENFORCER_DATA` names and gives events in the
order in which a gateway would have sent them. Labels are kept aside, by event id: nothing that only
a label knows is in an event, not even in a task's name.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from stream.events import Request, encode_request

VARIABLE: Final = "ENFORCER_DATA"
HELP: Final = f"the folder of the data; default: the environment variable {VARIABLE}"


LabelT = TypeVar("LabelT", bound=msgspec.Struct)


class Labelled(NamedTuple, Generic[LabelT]):
    """Events, and what is known of them by event id; an event without a label is unlabelled."""

    events: list[Request]
    labels: dict[str, LabelT]


def data_folder() -> Path | None:
    """Return the folder of the recorded data, or None if the machine has none."""
    folder = Path(os.environ.get(VARIABLE, ""))
    return folder if os.environ.get(VARIABLE) and folder.is_dir() else None


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, unpacked if its name ends in .gz."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        yield from lines


def write_lines(lines: Iterable[bytes], path: Path) -> int:
    """Write lines to a file, packed if its name ends in .gz; return how many.

    Equal lines are equal files: the packed one carries neither time nor name.
    """
    written = 0
    with ExitStack() as stack:
        out: io.BufferedIOBase = stack.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0)
            out = stack.enter_context(packed)
        for line in lines:
            out.write(line + b"\n")
            written += 1
    return written


def folder_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Path:
    """Return the folder of the data that a command line means; ends the program without one."""
    folder: Path | None = given.data or data_folder()
    if folder is None:
        parser.error(f"no data: give --data FOLDER or set {VARIABLE} to a folder")
    return folder


def main_of(
    measure: Callable[[Path], dict[str, Any]], summary: str, show: Callable[[Any], None]
) -> int:
    """Measure what is below the data's folder and print it; return 0 if all figures are met."""
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    found = measure(folder_of(parser, given))
    if given.json:
        print(json.dumps(found))
    else:
        show(found)
    return 0 if all(each["met"] for each in found.get("figures", {}).values()) else 1


def indented(found: dict[str, Any]) -> None:
    """Print an object over several lines."""
    print(json.dumps(found, indent=1))


def main(
    read: Callable[[Path], Labelled[LabelT]],
    summary: str,
    marks: Callable[[Labelled[LabelT]], Iterable[dict[str, str]]] | None = None,
) -> None:
    """Write one data set's events, and if asked for its labels, as JSON lines.

    `marks` are the labels that `enforcer evaluate` reads, where a set has any.
    """
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=HELP)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="packed if .gz")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="JSON lines, each with its id")
    if marks is not None:
        parser.add_argument(
            "--marks", type=Path, metavar="FILE", help="labels for `enforcer evaluate`"
        )
    given = parser.parse_args()
    found = read(folder_of(parser, given))
    count = write_lines(map(encode_request, found.events), given.out)
    print(f"{given.out}: {count} events", file=sys.stderr)
    if given.labels is not None:
        rows = (
            msgspec.json.encode({"id": name, **msgspec.structs.asdict(label)})
            for name, label in found.labels.items()
        )
        print(f"{given.labels}: {write_lines(rows, given.labels)} labels", file=sys.stderr)
    if marks is not None and given.marks is not None:
        lines = map(msgspec.json.encode, marks(found))
        print(f"{given.marks}: {write_lines(lines, given.marks)} marks", file=sys.stderr)
