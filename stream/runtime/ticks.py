"""Ticks: events by which a worker asks whether a workload that says nothing should have.

What is not there makes no event, and a decision must follow from the log. So who looks through the
stored rows and finds a silence that is odd by now appends a tick for its workload to the partition
that it owns; whoever applies it there judges anew (`enforcement.silence`). It is asked again as the
silence grows, and once more by who takes the partition; an answer that is given twice is one.

While nothing at all arrives here, or a zone is not read, nobody is asked about: then it is not the
workloads that fail. Nor while the partition is behind: what they did is in the log already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from stream.bus import Publisher
from stream.clock import Clock
from stream.detectors import INTERVAL_MS
from stream.engine import State, missed_now
from stream.events import Request, encode_request
from stream.policy import Policy
from stream.profiles import stored_clock_ms, stored_home

from .owned import Owned
from .sweep import Rows

SENT_AT_ONCE: Final = 256
# What became odd longer ago than this before a partition was taken is not asked about again.
LOOK_BACK_MS: Final = 86_400_000
QUIET_MS: Final = 2 * INTERVAL_MS
OPERATION: Final = "tick"


class Ticks:
    """Asks for the workloads of a session's partitions.

    `is_deaf` tells whether something of what they do does not come.
    """

    is_deaf: Callable[[], bool]

    def __init__(self, state: State, publisher: Publisher, topic: str, clock: Clock) -> None:
        self._state = state
        self._publisher = publisher
        self._topic = topic
        self._clock = clock
        self._looked_ms: dict[tuple[int, int], int] = {}

    def may_miss(self, owned: Owned, policy: Policy, everybody: Iterable[Owned], lag: int) -> bool:
        """Tell whether anybody of a partition could be missed now; `lag` in events."""
        if not any(each.mode and each.detector == "silence" for each in policy.rules):
            return False
        if owned.conditions.shed or not owned.conditions.baseline_version:
            return False
        recent_ms = self._clock.wall_ms() - QUIET_MS
        if lag > 0 and owned.called_ms < recent_ms:
            return False
        return any(each.called_ms > recent_ms for each in everybody) and not self.is_deaf()

    async def ask(self, owned: Owned, bucket: int, policy: Policy, stored: Rows) -> None:
        """Append a tick for each workload of a bucket whose silence is odd by now.

        Nobody is asked about where the policy is in force nowhere any more. Errors: BusUnavailable.
        """
        now_ms, place = self._clock.wall_ms(), (owned.partition, bucket)
        span_ms = self._looked_ms.get(place, now_ms - LOOK_BACK_MS), now_ms
        bound = self._state.bound.get(policy.hash)
        rules = () if bound is None else bound.tables.silences
        if not len(rules):
            return
        silent = [
            row
            for _, row in stored
            if stored_clock_ms(row) < now_ms - QUIET_MS and owned.is_home_of(stored_home(row))
        ]
        missed = [missed_now(self._state, row, rules, span_ms) for row in silent]
        names = [each for each in missed if each]
        for start in range(0, len(names), SENT_AT_ONCE):
            some = names[start : start + SENT_AT_ONCE]
            await asyncio.gather(*[await self._send(owned, each, now_ms) for each in some])
        self._looked_ms[place] = now_ms

    async def _send(self, owned: Owned, name: str, at_ms: int) -> Awaitable[int]:
        value = encode_request(Request(at_ms, name, OPERATION, kind="tick"))
        return await self._publisher.send(self._topic, name.encode(), value, owned.partition)
