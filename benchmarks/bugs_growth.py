"""Deliberate bugs of growth, for `bugs`: each is planted by replacing what it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import stream.runtime.takeover
import stream.runtime.tenure
from stream.profiles import ProfileTable
from stream.runtime.handover import HandOver

takeover = stream.runtime.takeover
tenure = stream.runtime.tenure


def moved_offsets() -> Iterator[tuple[Any, str, Any]]:
    """Let a row keep the offsets of its earlier home."""

    def rehome(self: ProfileTable, slot: int, partition: int, origins: Any) -> None:
        self.sections.head[slot]["partition"] = partition

    yield ProfileTable, "rehome", rehome


def early_child() -> Iterator[tuple[Any, str, Any]]:
    """Let a new partition begin before its parent is done."""

    async def is_born(*_: Any) -> bool:
        return True

    yield tenure, "is_born", is_born
    yield takeover, "parent_of", lambda counts, partition: None


def records_left() -> Iterator[tuple[Any, str, Any]]:
    """Hand over nothing of what is in force."""

    async def pass_on(*_: Any) -> None:
        return None

    yield HandOver, "_pass_on", pass_on


def not_inherited() -> Iterator[tuple[Any, str, Any]]:
    """Let a new partition begin under the policy file."""

    async def bequeathed(*_: Any) -> list[Any]:
        return []

    yield takeover, "_bequeathed", bequeathed
