"""Looking whether Kafka and Redis answer, and how far behind we are, once in a while.

A consumer whose broker is dead returns nothing, as one whose topic is quiet does; a store that is
away shows only when something must be written. So both are asked a small question all the time,
each under a deadline of its own. An answer that stays out begins a mode and ends no session: the
doors reconnect by themselves, and the ordered save decides when to give up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from stream.bus import Bounds, EventSource
from stream.errors import BusUnavailable, ConfigError, RowCorrupt, StoreUnavailable
from stream.store import Store

from .baselines import BASELINE_MISSING
from .beginning import (
    CHECKPOINT_CORRUPT,
    JOURNAL_CUT,
    LOG_CHANGED,
    LOG_CUT,
    RECORDS_CORRUPT,
    STORE_FORGOT,
)
from .modes import BEHIND, BRAKED, BROKER_DOWN, OVERSPENT, STORE_DOWN, STORE_FULL, Modes
from .owned import Owned
from .spending import Spending

Answer = TypeVar("Answer")
# Until a partition is settled, what its beginning was named for still shows.
BEGINNINGS: Final = (
    STORE_FORGOT,
    CHECKPOINT_CORRUPT,
    RECORDS_CORRUPT,
    LOG_CHANGED,
    LOG_CUT,
    JOURNAL_CUT,
)


class TopicGone(BusUnavailable):
    """The topic was deleted under a session."""


class Looking:
    """Asks for one session; `within_ms` bounds an answer, `behind_events` is the declared lag."""

    def __init__(
        self, source: EventSource, store: Store, modes: Modes, within_ms: int, behind_events: int
    ) -> None:
        self._source = source
        self._store = store
        self._modes = modes
        self._within_s = within_ms / 1_000
        self._behind_events = behind_events

    async def look(self, owned: Mapping[int, Owned]) -> dict[int, int]:
        """Ask both, side by side; return the ends of the owned partitions that are known."""
        partitions = list(owned)
        asked, _ = await asyncio.gather(
            self._answered(BROKER_DOWN, lambda: self._ask_broker(partitions)),
            self._answered(STORE_DOWN, lambda: self._store.checkpoint(min(partitions, default=0))),
        )
        ends = {partition: bounds.end for partition, bounds in (asked or {}).items()}
        if asked is not None:
            self._judge_lag(owned, ends)
        beginnings = {
            mode for each in owned.values() if not each.is_settled for mode in each.began_in
        }
        self._modes.only(beginnings, BEGINNINGS, "a partition is being rebuilt, see the log")
        shed = {each.conditions.shed for each in owned.values()} & {BASELINE_MISSING}
        self._modes.only(shed, (BASELINE_MISSING,), "the baseline in force is nowhere to be read")
        braked = {tier for each in owned.values() for tier in each.conditions.braked}
        why = "rules on learned evidence enforce nobody new of class " + ", ".join(sorted(braked))
        self._modes.only({BRAKED} if braked else (), (BRAKED,), why)
        return ends

    def judge_alarms(self, spending: Spending, now_s: float) -> None:
        """Say whether more contexts alarm than their budget allows. Mutates: spending."""
        spent = spending.spent(now_s)
        why = (
            f"{spent.alarmed:,} of {spent.compared:,} contexts alarmed in a day, and"
            f" {spent.allowed:.1f} may: an attack, a change, or a baseline out of date"
        )
        self._modes.only({OVERSPENT} if spending.is_over(now_s) else (), (OVERSPENT,), why)

    def judge_room(self, full: Mapping[int, str]) -> None:
        """Say whether saves wait for room in the store; `full` has why, by partition."""
        why = next(iter(full.values()), "")
        self._modes.only({STORE_FULL} if full else (), (STORE_FULL,), why)

    async def _ask_broker(self, partitions: list[int]) -> dict[int, Bounds]:
        """Ask the leaders of what is owned; any broker while nothing is.

        Errors: BusUnavailable; TopicGone, which ends the session: the next one makes the topic.
        """
        if partitions:
            return await self._source.bounds(partitions)
        try:
            await self._source.partition_count()
        except ConfigError as error:
            raise TopicGone(error.message, hint=error.hint) from error
        return {}

    async def _answered(self, mode: str, ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Return the answer, or nothing, having said which of the two it was."""
        try:
            async with asyncio.timeout(self._within_s):
                answer = await ask()
        except TimeoutError:
            self._modes.begin(mode, f"no answer for {self._within_s:g} s")
            return None
        except TopicGone:
            raise
        except (BusUnavailable, StoreUnavailable) as error:
            self._modes.begin(mode, error.message)
            return None
        except RowCorrupt:
            # It answers; what it holds is judged by whoever takes the partition.
            answer = None
        self._modes.end(mode)
        return answer

    def _judge_lag(self, owned: Mapping[int, Owned], ends: Mapping[int, int]) -> None:
        """Begin `behind` above the bound, end it under half of it, so that it does not flicker."""
        lag = max((ends.get(p, 0) - each.position for p, each in owned.items()), default=0)
        if lag > self._behind_events:
            self._modes.begin(BEHIND, f"{lag:,} events of a partition wait")
        elif lag <= self._behind_events // 2:
            self._modes.end(BEHIND)
