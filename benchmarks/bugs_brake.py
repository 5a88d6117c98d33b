"""Deliberate bugs of the brake, for `bugs`: each is planted by replacing what it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import stream.engine.steps
import stream.runtime.journalling
from stream.enforcement.decision import ISSUE, RENEW
from stream.events import with_brake
from stream.policy import SHADOW
from stream.runtime.brake import closings, note_enforced
from stream.runtime.session import Session

steps, journalling = stream.engine.steps, stream.runtime.journalling
Planted = Iterator[tuple[Any, str, Any]]


def unjournalled() -> Planted:
    """Let the brake hold before the journal has it."""

    async def close_brakes(self: Session, batch: Any, enforced: Any) -> None:
        for partition in sorted({each.partition for each in enforced}):
            owned = self.owned[partition]
            policy = self.policies.compiled(owned.conditions)
            note_enforced(owned, policy, [each for each in enforced if each.partition == partition])
            end = int(batch.events["offset"].max()) + 1
            for _, tiers in closings(self.state, owned, policy, end):
                self._adopt(owned, with_brake(owned.conditions, tiers))

    yield Session, "_close_brakes", close_brakes


def exact_braked() -> Planted:
    """Let the brake hold limits and sequences too."""
    original = steps._plan_all

    def plan_all(state: Any, batch: Any, bound: Any, out: Any, result: Any) -> None:
        for decision in out.decisions[: out.used[0]]:
            partition = int(batch.events[int(decision["event"])]["partition"])
            if state.conditions[partition].braked and decision["what"] in (ISSUE, RENEW):
                decision["mode"] = min(int(decision["mode"]), SHADOW)
        original(state, batch, bound, out, result)

    yield steps, "_plan_all", plan_all


def journalled_late() -> Planted:
    """Journal what a step has closed from its end on."""

    def late(state: Any, owned: Any, policy: Any, end: int) -> Any:
        return [(end, tiers) for _, tiers in closings(state, owned, policy, end)]

    yield journalling, "closings", late


def never() -> Planted:
    """Let everybody through, however many there were."""
    yield journalling, "allow", lambda *_: None
    yield journalling, "braked_of", lambda *_: set()
