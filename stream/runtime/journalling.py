"""What a session journals, and when: whatever is to hold, before it holds.

Mostly that is from the next offset on, between two batches. What a step itself closes is journalled
behind it, from the offset on that closed it, before anything of the step leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from stream.engine import Enforced
from stream.events import Conditions, with_brake, with_full
from stream.profiles import Batch, Read

from .baselines import is_behind
from .brake import allow, braked_of, closings, note_enforced
from .claiming import check_journal
from .growth import longest, with_counts
from .owned import Owned
from .room import full_of, is_closing
from .saving import verify
from .takeover import journal
from .tenure import Tenure

JOURNAL_AGAIN_MS: Final = 86_400_000


class Journalling(Tenure):
    """The conditions of the partitions of a session."""

    async def _close_full(self, partitions: Iterable[int]) -> None:
        """Let trust domains be full that what was just applied has filled."""
        for each in partitions:
            owned = self.owned[each]
            if owned.is_settled and is_closing(owned, self.spec):
                await self._change([owned])

    # The brake.

    def _allow(self, read: Sequence[Read]) -> None:
        """Have the brake's allowances ready for what comes next, where there is a brake."""
        braking = [
            (each.arrival, self.policies.compiled(owned.conditions))
            for each in read
            if (owned := self.owned[each.arrival.partition]).conditions.baseline_version
        ]
        braking = [(arrival, policy) for arrival, policy in braking if policy.braked_tiers]
        if braking:
            self.settled.look(self.owned.values(), self.policies)
        for arrival, policy in braking:
            now = int(arrival.append_ms[0]), self.clock.monotonic_s()
            allow(self.state, self.owned[arrival.partition], policy, self.settled, now)

    async def _close_brakes(self, batch: Batch, enforced: Sequence[Enforced]) -> None:
        """Journal which tiers a step has closed, before anything that it came to leaves.

        A crash before that leaves nothing behind, and one after it an heir who decides the same.
        """
        for partition in sorted({each.partition for each in enforced}):
            owned = self.owned[partition]
            policy = self.policies.compiled(owned.conditions)
            note_enforced(owned, policy, [each for each in enforced if each.partition == partition])
            here = batch.events["offset"][batch.events["partition"] == partition]
            for offset, tiers in closings(self.state, owned, policy, int(here.max()) + 1):
                owned.enforced.closed.update(tiers)
                wanted = with_brake(owned.conditions, {*owned.conditions.braked, *tiers})
                await self._journal([(owned, wanted)], offset)
                self._adopt(owned, owned.conditions)

    # Whatever is wanted otherwise than it holds.

    async def _reach(self, owned: Owned) -> None:
        """Let what is journalled from where a partition is on take effect."""
        while (due := owned.due()) is not None:
            owned.hold(*due)
            await self._take_effect(owned)

    def _must_journal(self, owned: Owned) -> bool:
        """Tell whether something else is wanted than holds, or what holds is old, and may be."""
        return owned.is_settled and (self._wanted(owned) != owned.conditions or self._is_old(owned))

    async def _change(self, some: Sequence[Owned]) -> None:
        """Journal what is wanted of partitions, and let it take effect."""
        await self._journal([(each, self._wanted(each)) for each in some])
        for each in some:
            await self._take_effect(each)

    async def _journal(
        self, changes: Sequence[tuple[Owned, Conditions]], from_offset: int | None = None
    ) -> None:
        """Journal conditions side by side, from the next offset on unless told: all events wait.

        They hold once nobody else had the partition when they came in: an entry behind the next
        owner's first counts for nobody, so it must not take effect here.
        """
        topic, mine = self.topics.journal, [owned for owned, _ in changes]
        appends = [
            journal(
                self.publisher,
                topic,
                owned,
                with_counts(wanted, longest(owned.counts, wanted.counts)),
                from_offset,
            )
            for owned, wanted in changes
        ]
        await asyncio.gather(*appends)
        await verify(self.store, mine)
        if unread := {each.partition: each for each in mine if not each.is_journal_read}:
            await check_journal(self.reader, topic, unread)
        for each in mine:
            each.journalled_ms = self.clock.wall_ms()

    def _is_old(self, owned: Owned) -> bool:
        """Tell whether the entry in force must be written again, before retention takes it."""
        age_ms = self.clock.wall_ms() - owned.journalled_ms
        return age_ms > min(self.topics.retention_ms // 4, JOURNAL_AGAIN_MS)

    def _wanted(self, owned: Owned) -> Conditions:
        wall = self.clock.wall_ms(), owned.position
        wanted = self.operators.wanted(owned.conditions, owned.partition, owned.count, wall)
        counts = longest(self.counts, longest(owned.counts, wanted.counts))
        if counts != wanted.counts:
            wanted = with_counts(wanted, counts)
        policy = self.policies.reloaded
        if policy is not None and policy.hash != wanted.policy_hash:
            wanted = msgspec.structs.replace(
                wanted, policy_hash=policy.hash, policy_text=policy.text
            )
        full = full_of(owned, self.spec)
        if full != (wanted.full or None):
            wanted = with_full(wanted, full)
        braked = braked_of(owned, self.policies.compiled(wanted), self.settled)
        if braked != set(wanted.braked):
            wanted = with_brake(wanted, braked)
        lag = self.ends.get(owned.partition, 0) - owned.position
        behind = is_behind(owned.conditions, lag, self.spec.behind_events)
        return self.baselines.wanted(wanted, is_behind=behind)
