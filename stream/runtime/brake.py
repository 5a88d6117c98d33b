"""The brake in a worker: how much is allowed, when a tier closes, and when it opens again.

What an allowance is decides nothing by itself: a tier is closed from the offset on that the owner
has journalled, so whoever reads log and journal again decides the same (DESIGN 3.3, 5). It is
closed by the event that takes the last of the allowance, and journalled before anything of that
batch leaves. It opens again under nine tenths of what is allowed, so that entries are few.

The share is of workloads that have rows in this process: their classes and ages are there. Who is
evicted does not count, so an allowance is never more than a declared share of those who are known.
Nothing closes while what an earlier owner may have applied is applied again, for it may have been
published as it is: what waits in the log as a partition is taken is not braked. A new owner counts
anew; what it finds closed stays so for a whole window.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any, Final

import numpy as np

from stream.bus import Rarely
from stream.clock import Clock
from stream.enforcement import NEVER_CLOSED
from stream.engine import Enforced, State
from stream.events import TIERS_MAX
from stream.policy import Policy

from .owned import Owned
from .policies import Policies
from .recent import bin_ms

LOOK_EVERY_S: Final = 1.0
COUNTING_SHARE: Final = 0.01  # of the time, at most, goes into counting rows
rarely = Rarely(logging.getLogger(__name__), every_s=10.0)


class Settled:
    """How many workloads have been there for long, by partition and class; counted now and then.

    One pass over the rows in memory, 40 ms for a million; so often that it is a hundredth of the
    time at most.
    """

    def __init__(self, state: State, clock: Clock) -> None:
        self._state, self._clock = state, clock
        self._counts: Any = np.zeros((0, TIERS_MAX), np.int64)
        self._due_s = 0.0

    def look(self, owned: Iterable[Owned], policies: Policies) -> None:
        """Count anew if it is time to, each partition by its policy."""
        began_s = self._clock.monotonic_s()
        if began_s < self._due_s:
            return
        least_ms = np.full(self._state.partitions, NEVER_CLOSED, np.int64)
        for each in owned:
            brake = policies.compiled(each.conditions).brake
            if brake is not None:
                least_ms[each.partition] = brake.settled_ms
        self._counts = count_settled(self._state, least_ms)
        ended_s = self._clock.monotonic_s()
        self._due_s = ended_s + max(LOOK_EVERY_S, (ended_s - began_s) / COUNTING_SHARE)

    def of(self, partition: int, tier: int) -> int:
        """Return how many there are of a class in a partition, as counted last."""
        return int(self._counts[partition, tier]) if partition < len(self._counts) else 0


def count_settled(state: State, least_ms: Any) -> Any:
    """Return how many rows have clocks so far past their first event.

    Shapes: least_ms [partition], the result [partition, tier].
    """
    sections = state.table.sections
    slots = state.table.used_slots()
    slots = slots[sections.local["serial"][slots] >= 0]
    partitions = sections.head["partition"][slots]
    first_ms = sections.head["first_ms"][slots]
    age_ms = sections.head["clock_ms"][slots] - first_ms
    is_settled = (first_ms > 0) & (age_ms >= least_ms[partitions])
    places = partitions.astype(np.int64) * TIERS_MAX + sections.local["class_index"][slots]
    counts = np.bincount(places[is_settled], minlength=len(least_ms) * TIERS_MAX)
    return counts.reshape(len(least_ms), TIERS_MAX)


def allow(
    state: State, owned: Owned, policy: Policy, settled: Settled, now: tuple[int, float]
) -> None:
    """Say how many may be newly enforced from the next event on, if it is time to.

    That is once a second, a sixteenth of the window, or under other conditions. What has left the
    window since gives nothing back until then, so it is never too many. `now` is
    the append time of the next event, and the process's time. Mutates: state, owned.
    """
    brakes, recent, brake = state.brakes, owned.enforced, policy.brake
    assert brake is not None, "who has no brake has no allowance"
    at_ms, at_s = max(now[0], owned.clock_ms), now[1]
    recent.began_ms = recent.began_ms or at_ms
    brakes.counts_from[owned.partition] = NEVER_CLOSED if owned.is_following else owned.replay_until
    is_known = recent.under is owned.conditions
    is_soon = at_s - recent.looked_s < LOOK_EVERY_S
    if is_known and is_soon and at_ms - recent.looked_ms < bin_ms(brake.window_ms):
        return
    recent.under, recent.looked_ms, recent.looked_s = owned.conditions, at_ms, at_s
    brakes.left[owned.partition] = NEVER_CLOSED
    for name, tier in policy.tiers.items():
        if tier in policy.braked_tiers:
            count = recent.count(name, at_ms, brake.window_ms)
            allowed = brake.allowed(tier, settled.of(owned.partition, tier))
            brakes.left[owned.partition, tier] = allowed - count


def note_enforced(owned: Owned, policy: Policy, enforced: Iterable[Enforced]) -> None:
    """Count what was newly enforced in a partition. Mutates: owned."""
    assert policy.brake is not None, "where there is no brake nobody counts"
    for each in enforced:
        at_ms = max(each.append_ms, owned.clock_ms)
        owned.enforced.add(each.tier, at_ms, policy.brake.window_ms)


def closings(state: State, owned: Owned, policy: Policy, end: int) -> list[tuple[int, list[str]]]:
    """Return which tiers a step has closed, by the offset from which on, in order.

    `end` is the offset behind the step. What would close behind it only, as all before is an
    earlier owner's, does not. Mutates: state.
    """
    found: dict[int, list[str]] = {}
    closed_from = state.brakes.closed_from[owned.partition]
    for name, tier in policy.tiers.items():
        offset = int(closed_from[tier])
        if offset == NEVER_CLOSED or name in owned.conditions.braked:
            continue
        if offset <= end:
            found.setdefault(offset, []).append(name)
        else:
            closed_from[tier] = NEVER_CLOSED
    return sorted(found.items())


def braked_of(owned: Owned, policy: Policy, settled: Settled) -> set[str]:
    """Return in which tiers the brake is to hold from the next offset on."""
    held, recent, brake = owned.conditions.braked, owned.enforced, policy.brake
    if brake is None or not (held or recent.starts):
        return set()
    found, now_ms = set(), owned.clock_ms
    is_new = now_ms - recent.began_ms < brake.window_ms or not recent.began_ms
    for name in {*held, *recent.starts}:
        tier = policy.tiers.get(name, -1)
        if tier in policy.braked_tiers:
            count = recent.count(name, now_ms, brake.window_ms)
            allowed = brake.allowed(tier, settled.of(owned.partition, tier))
            if name in held:
                is_closed = 10 * count >= 9 * allowed or (is_new and name not in recent.closed)
            else:
                is_closed = count >= allowed
            if is_closed:
                found.add(name)
    return found


def say_braked(partition: int, before: Collection[str], now: Collection[str], offset: int) -> None:
    """Tell where the brake takes hold, and where it lets go."""
    for name in sorted(set(now) - set(before)):
        rarely.warning(
            "partition %d: class %s is braked from offset %d: rules on learned evidence newly"
            " enforced as many workloads as the policy allows, more go out as shadow",
            *(partition, name, offset),
        )
    for name in sorted(set(before) - set(now)):
        rarely.warning("partition %d: class %s is braked no more", partition, name)
