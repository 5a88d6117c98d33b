"""The concrete objects of a call: `name:value` pairs out of its arguments.

An argument that is a list gives several values under one name; what is nested goes by the nearest
name above it (`instancesSet.items[0].instanceId` is `instanceId:...`). When there are more than
fit, every name keeps its first value before any keeps its second.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final

from ..request import RESOURCES_MAX

RESOURCE_LENGTH_MAX: Final = 1024
NAME_LENGTH_MAX: Final = 64
_VISITS_MAX: Final = 256
_INTEGER_BITS_MAX: Final = 256
_EXACT_MAX: Final = 1e15  # below it a float that has no fraction prints as the integer it is


def resource(name: str, value: str) -> str | None:
    """Return `name:value` within its bounds, or None where name or value is empty.

    A colon in the name becomes a dot, so that the first colon always ends the name.
    """
    short = _written(name[:NAME_LENGTH_MAX].replace(":", "."))
    if not short or not value:
        return None
    return f"{short}:{_written(value[: RESOURCE_LENGTH_MAX - len(short) - 1])}"


def resources_of(arguments: Mapping[str, object]) -> tuple[str, ...]:
    """Return up to RESOURCES_MAX different resources of a call's arguments, in a stable order.

    Nothing (None, empty text) names no object and is left out. Breadth first, so what stands at
    the top of the arguments is never crowded out by what is nested.
    """
    found: dict[str, list[str]] = {name: [] for name in arguments}
    waiting: deque[tuple[str, object]] = deque(arguments.items())
    for _ in range(_VISITS_MAX):
        if not waiting:
            break
        name, value = waiting.popleft()
        if isinstance(value, Mapping):
            room = _VISITS_MAX - len(waiting)
            pairs = list(value.items())[: max(room, 0)]
            waiting.extend((str(key), inner) for key, inner in pairs)
        elif isinstance(value, list | tuple):
            waiting.extend((name, inner) for inner in value[: max(_VISITS_MAX - len(waiting), 0)])
        else:
            text = resource(name, _text_of(value))
            if text is not None and text not in found.setdefault(name, []):
                found[name].append(text)
    ranked = sorted(
        ((rank, text) for texts in found.values() for rank, text in enumerate(texts)),
        key=lambda pair: pair[0],
    )
    return tuple(dict.fromkeys(text for _, text in ranked))[:RESOURCES_MAX]


def _text_of(value: object) -> str:
    """Return a scalar as text: 50.0 and 50 are one amount, true is `true`, nothing is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Python refuses to print integers of thousands of digits in decimal.
        return str(value) if value.bit_length() <= _INTEGER_BITS_MAX else hex(value)
    if isinstance(value, float) and math.isfinite(value) and abs(value) < _EXACT_MAX:
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _written(text: str) -> str:
    """Return a text that has a UTF-8 encoding: lone surrogates become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
