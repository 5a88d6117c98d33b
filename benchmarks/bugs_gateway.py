"""Deliberate bugs of the gateway: each puts one line of the product otherwise, see `bugs`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from stream.gateway import CommandTable
from stream.gateway.follower import Follower
from stream.gateway.holdings import Holdings
from stream.gateway.homes import Home

Planting = Iterator[tuple[Any, str, Any]]


def stale_unnoticed() -> Planting:
    """A proof holds for ever."""
    original = Home.state_at

    def state_at(self: Home, now_ms: int) -> Any:
        return original(self, min(now_ms, max(0, self.proven_until_ms - 1)))

    yield Home, "state_at", state_at


def replay_proves() -> Planting:
    """What an owner says while it replays is taken for proof."""
    original = Home.hear

    def hear(self: Home, heartbeat: Any, append_ms: int, missed_max: int) -> bool:
        said = msgspec.structs.replace(heartbeat, complete=True)
        return original(self, said, append_ms, missed_max)

    yield Home, "hear", hear


def expired_enforced() -> Planting:
    """A command binds beyond its end."""
    original = CommandTable.check

    def check(self: CommandTable, now_ms: int, workload: str, *asked: Any) -> Any:
        bound = self.bound(workload)
        ends_ms = [each.expires_at_ms for each in bound.everything] if bound is not None else []
        return original(self, min(now_ms, max(ends_ms, default=now_ms + 1) - 1), workload, *asked)

    yield CommandTable, "check", check


def zombies_believed() -> Planting:
    """What an earlier owner still writes is taken."""

    def meet(self: Home, epoch: int) -> bool:
        return True

    yield Home, "meet", meet


def mode_ignored() -> Planting:
    """Commands decide whatever the gateway knows."""
    original = CommandTable._overriding

    def overriding(self: CommandTable, now_ms: int, workload: str) -> Any:
        found = original(self, now_ms, workload)
        return found if found is not None and found.action in ("stop", "exempt") else None

    yield CommandTable, "_overriding", overriding


def tombstones_ignored() -> Planting:
    """What was erased is held."""

    def remove(self: Holdings, record: Any) -> Any:
        return "unchanged", None

    yield Holdings, "remove", remove


def lifts_ignored() -> Planting:
    """What an operator lifted is enforced."""

    def lifted_ms(self: CommandTable, now_ms: int, bound: Any) -> int:
        return 0

    yield CommandTable, "_lifted_ms", lifted_ms


def went_on_at_the_end() -> Planting:
    """After a lost connection the log is followed from its end, not from where it was left."""
    original = Follower._can_go_on

    async def can_go_on(self: Follower) -> bool:
        is_so = await original(self)
        if is_so:
            bounds = await self._reader.bounds(self._spec.enforcement)
            self._next = {partition: end for partition, (_, end) in bounds.items()}
        return is_so

    yield Follower, "_can_go_on", can_go_on
