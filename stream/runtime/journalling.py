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
from stream.errors import OwnershipLost
from stream.events import Conditions, with_brake, with_full
from stream.profiles import Batch, Read

from .baselines import is_behind
from .brake import allow, braked_of, closings, note_enforced
from .claiming import check_journal
from .growth import longest, with_counts
from .owned import Asked, Owned
from .paces import LATE_S, Paces
from .room import full_of, is_closing
from .saving import verify
from .takeover import append_entries, entry_of, journal
from .tenure import Tenure

JOURNAL_AGAIN_MS: Final = 86_400_000
LATER_MAX: Final = 16  # offsets not yet reached for which anything is journalled

Change = tuple[Owned, Conditions, Conditions | None]
"""What is wanted of a partition, and what is still to come: None for nothing."""


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
                wanted = self._braked_too(owned.conditions, tiers)
                planned = owned.planned and self._braked_too(owned.planned, tiers)
                await self._journal([(owned, wanted, planned)], offset)
                self._adopt(owned, owned.conditions)

    def _braked_too(self, conditions: Conditions, tiers: Sequence[str]) -> Conditions:
        policy = self.policies.compiled(conditions)
        known = {each for each in tiers if policy.tiers.get(each, -1) in policy.braked_tiers}
        return with_brake(conditions, {*conditions.braked, *known})

    # Whatever is wanted otherwise than it holds.

    async def _reach(self, owned: Owned) -> None:
        """Let what is journalled from where a partition is on take effect, once it is journalled.

        Requires: the session's turn. Errors: BusUnavailable, where it may never be.
        """
        while True:
            while (due := owned.due()) is not None:
                owned.hold(*due)
                await self._take_effect(owned)
            asked = owned.asked
            if asked is None or owned.position < asked.conditions.from_offset:
                return
            await asked.done.wait()
            self.must_be_whole()

    def _must_journal(self, owned: Owned) -> bool:
        """Tell whether something else is wanted than holds, or what holds is old, and may be.

        What is about to come is left to come, unless nothing comes that would bring it.
        """
        if not owned.is_settled:
            return False
        wanted = self._wanted(owned)
        if not owned.coming:
            return wanted != owned.conditions or self._is_old(owned)
        return wanted != owned.coming[-1][1] or self.clock.monotonic_s() >= owned.coming_by_s

    async def _change(self, some: Sequence[Owned]) -> None:
        """Journal what is wanted of partitions, and let it take effect."""
        await self._journal([(each, self._wanted(each), None) for each in some])
        for each in some:
            await self._take_effect(each)

    async def _journal(self, changes: Sequence[Change], from_offset: int | None = None) -> None:
        """Journal conditions side by side, from the next offset on unless told: all events wait."""
        appends = [
            journal(
                self.publisher,
                self.topics.journal,
                owned,
                with_counts(wanted, longest(owned.counts, wanted.counts)),
                from_offset,
                planned,
            )
            for owned, wanted, planned in changes
        ]
        await asyncio.gather(*appends)
        await self._see_ours([(owned, owned.journal_end - 1) for owned, *_ in changes])

    async def _journal_ahead(self, some: Sequence[Owned], paces: Paces) -> None:
        """Journal what is planned of partitions for a little later, so that no event waits.

        Which offset that is, is settled between two batches; from there on none is applied before
        it is acknowledged. What is planned says nothing of the offset from which it holds.
        """
        if not any(self._may_plan(each, paces) for each in some):
            return
        async with self.turn:
            self.must_be_whole()
            mine = [each for each in some if self._may_plan(each, paces)]
            by_s = self.clock.monotonic_s() + LATE_S
            asked = [
                (each, each.ask(self._entry_of(each, self._wanted(each), place), by_s))
                for each in mine
                for place in [max([each.position + paces.ahead(each), *each.later])]
            ]
        with self._careful():
            try:
                await self._ask(asked)
            finally:
                for _, waited in asked:
                    waited.done.set()

    def _may_plan(self, owned: Owned, paces: Paces) -> bool:
        return (
            self._has(owned)
            and owned.is_settled
            and not owned.coming
            and len(owned.later_than(owned.position)) < LATER_MAX
            and paces.ahead(owned) > 0
            and is_planned(owned.conditions, self._wanted(owned))
        )

    async def _ask(self, asked: Sequence[tuple[Owned, Asked]]) -> None:
        """Journal what is asked for, and let it come unless it was given up meanwhile."""
        topic = self.topics.journal
        appended = await asyncio.gather(
            *(
                append_entries(self.publisher, topic, owned, [each.conditions])
                for owned, each in asked
            )
        )
        offsets = [offset for (offset,) in appended]
        await self._see_ours([(owned, at) for (owned, _), at in zip(asked, offsets, strict=True)])
        for (owned, each), offset in zip(asked, offsets, strict=True):
            if owned.asked is each:
                owned.asked = None
                owned.coming.append((offset, each.conditions))
                owned.coming_by_s = self.clock.monotonic_s() + LATE_S

    async def _see_ours(self, entries: Sequence[tuple[Owned, int]]) -> None:
        """Return once nobody else had partitions when entries came into their journals, at offsets.

        An entry behind the next owner's first counts for nobody, so it must not take effect here.
        Errors: StoreUnavailable, BusUnavailable, OwnershipLost. Mutates: the partitions.
        """
        while mine := [each for each in entries if self._has(each[0])]:
            unread = {each.partition: each for each, at in mine if each.journal_read <= at}
            try:
                await verify(self.store, [each for each, _ in mine])
                if unread:
                    await check_journal(self.reader, self.topics.journal, unread)
                break
            except OwnershipLost:
                # Of what was let go meanwhile nothing takes effect, whoever has it.
                if all(self._has(each) for each, _ in mine):
                    raise
        for each, _ in entries:
            each.journalled_ms = self.clock.wall_ms()

    def _has(self, owned: Owned) -> bool:
        return self.owned.get(owned.partition) is owned

    def _entry_of(self, owned: Owned, wanted: Conditions, from_offset: int) -> Conditions:
        counted = with_counts(wanted, longest(owned.counts, wanted.counts))
        return entry_of(owned, counted, from_offset)

    def _is_old(self, owned: Owned) -> bool:
        """Tell whether the entry in force must be written again, before retention takes it."""
        age_ms = self.clock.wall_ms() - owned.journalled_ms
        return age_ms > min(self.topics.retention_ms // 4, JOURNAL_AGAIN_MS)

    def _wanted(self, owned: Owned) -> Conditions:
        """Return what holds, or is to come, as it is wanted.

        Who heads what an earlier owner has planned may know nothing of it but that it is to come.
        """
        held = owned.coming[-1][1] if owned.coming else owned.conditions
        wall = self.clock.wall_ms(), owned.position
        wanted = self.operators.wanted(held, owned.partition, owned.count, wall)
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
        behind = is_behind(held, lag, self.spec.behind_events)
        return self.baselines.wanted(wanted, is_behind=behind)


def is_planned(held: Conditions, wanted: Conditions) -> bool:
    """Tell whether all that is to change is the policy or the baseline, as somebody planned.

    Not so in a hurry: where detectors are shed, and where anybody acts on what happens.
    """
    planned = msgspec.structs.replace(
        held,
        policy_hash=wanted.policy_hash,
        policy_text=wanted.policy_text,
        baseline=wanted.baseline,
        format=wanted.format,
    )
    return wanted != held and wanted.shed == held.shed and planned == wanted
