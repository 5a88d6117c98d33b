"""Does a call read or change? Told by its verb, where nothing better says so."""

from __future__ import annotations

import re
from typing import Final

from ..request import Effect

_NAME_LENGTH_MAX: Final = 256

# Verbs that leave their target as it was. What is not listed changes: the cautious reading.
_READING: Final = (
    "browse check compare count describe download estimate fetch find get head inspect is list"
    " lookup peek preview query read scan search select show test validate verify view"
)
READING: Final = frozenset(_READING.split())
# Words that stand before the verb and say nothing about it.
_QUALIFYING: Final = frozenset({"admin", "api", "async", "batch", "bulk", "multi", "sync"})
_words: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+").findall


def effect_by_verb(name: str) -> Effect:
    """Return `read` if the name's verb reads, else `change`.

    The verb is the first word of `get_balance`, `getBalance` or `DescribeInstances`, behind
    words like `Batch`.
    """
    for word in _words(name[:_NAME_LENGTH_MAX]):
        lower = word.lower()
        if lower not in _QUALIFYING:
            return "read" if lower in READING else "change"
    return "change"
