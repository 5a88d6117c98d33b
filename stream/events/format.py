"""Telling a message of a newer version from one that is broken.

Fields that are added are ignored by older readers and have defaults for newer ones; whatever an
older reader must not misread raises `format`, or is a message of a new `type`. Both are looked for
before anything else is decoded, so that "newer" is said also where the rest has changed shape.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from stream.errors import NewerFormat


class _Seen(msgspec.Struct):
    """What every message of ours with a format says of itself."""

    format: int = 1
    type: str = ""


_decoder = msgspec.json.Decoder(_Seen)


def check_format(data: bytes, known: int, what: str, types: Collection[str] = ()) -> None:
    """Let a message pass that this version can read.

    Errors: NewerFormat when its format is above `known`, or its type is none of `types` where
            there are such; other ValueErrors or RecursionError when the bytes are no JSON object
            of ours.
    """
    seen = _decoder.decode(data)
    if seen.format > known:
        raise NewerFormat(f"{what} has format {seen.format}, this version reads up to {known}")
    if seen.type and types and seen.type not in types:
        raise NewerFormat(f"{what} is of type {seen.type!r:.40}, which this version does not know")
