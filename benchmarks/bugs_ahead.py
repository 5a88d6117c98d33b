"""Deliberate bugs of what is journalled ahead, for `bugs`: each replaces what it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import stream.runtime.journalling
from stream.runtime.owned import Owned

journalling = stream.runtime.journalling
Planted = Iterator[tuple[Any, str, Any]]


def unwaited() -> Planted:
    """Apply events from the offset on for which conditions are still on their way."""

    def limit(self: Owned) -> int | None:
        return self.coming[0][1].from_offset if self.coming else None

    yield Owned, "limit", limit


def outlived() -> Planted:
    """Leave what is journalled for later as it was, though something else holds before it."""
    original = journalling.journal

    async def journal(publisher: Any, topic: str, owned: Any, *conditions: Any) -> None:
        owned.later = []
        await original(publisher, topic, owned, *conditions)

    yield journalling, "journal", journal
