"""Telling a message of a newer version from one that is broken.

Fields that are added are ignored by older readers and have defaults for newer ones; whatever an
older reader must not misread raises `format`, or is a message of a new `type`. So a message whose
`format` is above ours is never believed, also where it happens to decode; and where one does not
decode, its `format` and `type` say whether it is newer or broken.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, TypeVar

import msgspec

from stream.errors import NewerFormat


class _Message(Protocol):
    """What has a format."""

    @property
    def format(self) -> int:
        """The version of its shape."""
        ...


Value = TypeVar("Value", bound=_Message)


class _Seen(msgspec.Struct):
    """What every message of ours with a format says of itself."""

    format: int = 1
    type: str = ""


_decoder = msgspec.json.Decoder(_Seen)


def decode_known(
    decoder: msgspec.json.Decoder[Value],
    data: bytes,
    known: int,
    what: str,
    types: Collection[str] = (),
) -> Value:
    """Return a message that this version can read.

    Errors: NewerFormat when its format is above `known`, or its type is none of `types` where
            there are such; other ValueErrors or RecursionError when the bytes are none of ours.
    """
    try:
        value = decoder.decode(data)
    except (ValueError, RecursionError):
        seen = _decoder.decode(data)
        _check(seen.format, known, what)
        if seen.type and types and seen.type not in types:
            raise NewerFormat(
                f"{what} is of type {seen.type[:40]!r}, which this version does not know"
            ) from None
        raise
    _check(value.format, known, what)
    return value


def _check(found: int, known: int, what: str) -> None:
    if found > known:
        raise NewerFormat(f"{what} has format {found}, and this version reads up to {known}")
