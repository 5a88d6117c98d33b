"""Deliberate bugs of what owners owe besides what events cause, and of what comes by two hops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream.events import FORWARDED
from stream.runtime.operators import Operators
from stream.runtime.outbox import Outbox
from stream.runtime.session import Session


def acts_ignored() -> Iterator[tuple[Any, str, Any]]:
    """What operators say reaches no journal."""

    def wanted(self: Operators, conditions: Any, *_: Any) -> Any:
        return conditions

    yield Operators, "wanted", wanted


def nothing_erased() -> Iterator[tuple[Any, str, Any]]:
    """Records stay on the topic after they ended."""

    async def tombstone(self: Outbox, owned: Any, after_ms: int) -> None:
        return None

    yield Outbox, "tombstone", tombstone


def second_hop_dropped() -> Iterator[tuple[Any, str, Any]]:
    """What was sent on once is not sent on again."""
    original, records = Outbox.forward, set[tuple[int, int]]()
    apply_now = Session._apply_now

    async def noting(self: Session, read: Any) -> None:
        for arrival in (each.arrival for each in read):
            for offset, value in zip(arrival.offsets, arrival.values, strict=True):
                if bytes(value or b"").startswith(FORWARDED):
                    records.add((arrival.partition, int(offset)))
        await apply_now(self, read)

    async def forward(self: Outbox, owned: Any, strays: Any) -> None:
        kept = [each for each in strays if (owned.partition, each.offset) not in records]
        await original(self, owned, kept)

    yield Session, "_apply_now", noting
    yield Outbox, "forward", forward
