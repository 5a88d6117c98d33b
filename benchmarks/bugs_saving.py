"""Deliberate bugs of saving, for `bugs`: each is planted by replacing what it names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from stream.errors import StoreFull
from stream.runtime import saving
from stream.runtime.saving import Slice, Snapshot, snapshots
from stream.runtime.session import Session


def one_behind_a_failed_one() -> Iterator[tuple[Any, str, Any]]:
    """Let a save that waited for one that failed go on as though it had not."""

    async def save_round(self: Session, owned: Any, rows_max: int) -> None:
        if self.is_broken:
            return
        async with self._round:
            with self._careful():
                taken = snapshots(self.state, owned, rows_max, self.clock.wall_ms())
                await self._store(self._with_news(taken))

    yield Session, "save_round", save_round


def between_commands() -> Iterator[tuple[Any, str, Any]]:
    """Save without the turn: neither to look up what is unsaved, nor to take it."""

    async def all_at_once(self: Session, rows_max: int) -> list[list[Slice]]:
        return [[]]

    async def save_slices(self: Session, some: list[Slice]) -> list[Snapshot]:
        await self.save_round(list(self.owned.values()), self.spec.save_rows_max)
        return []

    yield Session, "slices", all_at_once
    yield Session, "save_slices", save_slices


def full_is_stored() -> Iterator[tuple[Any, str, Any]]:
    """Leave out what the store has no room for, and go on."""

    async def left_out(store: Any, owned: Any, part: Any, when_full: Any) -> None:
        if part.checkpoint is not None:
            bare = part._replace(names={}, records={}, rows=[], domains=[], number=owned.number)
            owned.number = await store.save(owned.partition, bare)

    original = saving._store_part

    async def store_part(store: Any, owned: Any, part: Any, when_full: Any) -> None:
        async def go_on(full: StoreFull) -> None:
            raise full

        try:
            await original(store, owned, part, go_on)
        except StoreFull:
            await left_out(store, owned, part, go_on)

    yield saving, "_store_part", store_part


def saves_on() -> Iterator[tuple[Any, str, Any]]:
    """Forget that something was cut short."""

    @contextlib.contextmanager
    def careful(self: Session) -> Iterator[None]:
        yield

    yield Session, "_careful", careful


def acts_on() -> Iterator[tuple[Any, str, Any]]:
    """Save nothing after something was cut short, but apply and journal."""

    @contextlib.contextmanager
    def acting(self: Session) -> Iterator[None]:
        with self._careful():
            yield

    yield Session, "_acting", acting
