"""Deliberate bugs of caps, for `bugs`: each is planted by replacing what it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import stream.engine.steps
import stream.runtime.saving
from stream.enforcement import shut_out
from stream.events import with_full
from stream.runtime.room import full_of, is_closing
from stream.runtime.session import Session

steps = stream.engine.steps
saving = stream.runtime.saving


def full_before_journal() -> Iterator[tuple[Any, str, Any]]:
    """Let a trust domain be full before the journal has it."""

    async def close_full(self: Session, partitions: Any) -> None:
        for owned in map(self.owned.__getitem__, partitions):
            if owned.is_settled and is_closing(owned, self.spec):
                full = full_of(owned, self.spec)
                self._adopt(owned, with_full(owned.conditions, full))

    yield Session, "_close_full", close_full


def gone_rows_go_on() -> Iterator[tuple[Any, str, Any]]:
    """Let a row that is gone, and not deleted yet, go on where nobody new is admitted."""

    def only_missing(table: Any, batch: Any, slots: Any, *rest: Any) -> Any:
        return shut_out(table, batch, slots, *rest) & (slots < 0)

    yield steps, "shut_out", only_missing


def not_counted() -> Iterator[tuple[Any, str, Any]]:
    """Store rows without counting them."""
    original = saving._parts

    def parts(snapshot: Any) -> Any:
        return original(snapshot._replace(domains={}))

    yield saving, "_parts", parts
