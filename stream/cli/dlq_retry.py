"""`dlq retry`: what is planned of the letters, how it is carried out, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from stream.bus import KafkaReader, KafkaTogether
from stream.config import Config
from stream.events import Origin
from stream.runtime import SystemClock

from .doors import opened
from .letters import (
    GROUP_MAX,
    Choice,
    Found,
    Retrier,
    Target,
    Tried,
    find,
    judged,
    read_markers,
    retry_name,
)
from .operating import operator_name
from .screen import Screen

KEPT_MAX: Final = 10_000
TOLD_MAX: Final = 20


def spelled(counts: Mapping[str, int], *, dry_run: bool) -> str:
    """Return how often each outcome came, in words: a dry run has retried nothing."""
    names = {"retried": "would be retried"} if dry_run else {}
    return ", ".join(f"{count:,} {names.get(what, what)}" for what, count in sorted(counts.items()))


class Plan(msgspec.Struct, frozen=True):
    """What a retry is to do."""

    choice: Choice
    limit: int
    as_is: bool = False
    dry_run: bool = False


class Tally:
    """What became of the letters of a retry: all counted, the first of each outcome told.

    `left` letters would have been sent without a limit; of `missing` ones, which were asked for,
    there is none; `unreadable` records may be letters.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.counts: Counter[str] = Counter()
        self.kept: list[dict[str, Any]] = []
        self.left = 0
        self.missing: set[Origin] = set()
        self.unreadable: Counter[str] = Counter()

    def add(self, tried: Tried) -> None:
        """Count one letter, and tell why it was not sent."""
        self.counts[tried.outcome] += 1
        self.missing.discard(tried.origin)
        if len(self.kept) < KEPT_MAX:
            self.kept.append({**tried._asdict(), "origin": str(tried.origin)})
        if tried.message and self.counts[tried.outcome] <= TOLD_MAX:
            self._screen.note(f"{tried.origin}: {tried.outcome}: {tried.message}")

    def judge(self, found: Found, target: Target, plan: Plan) -> None:
        """Count one letter without sending it: as sent by a dry run below its limit, or left."""
        what, origin = judged(found, target, as_is=plan.as_is), found.letter.origin
        if isinstance(what, Tried):
            self.add(what)
        elif plan.dry_run and self.counts["retried"] < plan.limit:
            self.add(Tried(origin, "retried"))
        else:
            self.left += 1
            self.missing.discard(origin)


async def retry_letters(config: Config, plan: Plan, tally: Tally) -> None:
    """Carry out a plan. Errors: OwnershipLost, BusUnavailable, ConfigError. Mutates: tally."""
    topics = config.topics
    tally.missing |= plan.choice.origins
    async with opened(KafkaReader(config.kafka)) as reader:
        # An event of a zone goes through the zone's topic again, and so past who screens it.
        names = [topics.requests, *map(topics.zone_topic, topics.zones)]
        partitions = {each: len(await reader.bounds(each)) for each in names}
        target = Target(topics.requests, partitions, topics.dead_letters, operator_name())
        if plan.dry_run:
            markers = await read_markers(reader, topics.dead_letters)
            tally.unreadable = markers.unreadable
            async for each in find(reader, topics.dead_letters, markers, plan.choice):
                tally.judge(each, target, plan)
            return
        # The order is the proof: once this one has started nobody else can write under the name,
        # so the markers read after that are all there will ever be but its own.
        async with opened(
            KafkaTogether(config.kafka, retry_name(topics.dead_letters))
        ) as publisher:
            markers = await read_markers(reader, topics.dead_letters)
            tally.unreadable = markers.unreadable
            retrier = Retrier(publisher, markers, target, SystemClock())
            group: list[Found] = []
            left = plan.limit
            async for each in find(reader, topics.dead_letters, markers, plan.choice):
                if left == 0:
                    tally.judge(each, target, plan)
                    continue
                group.append(each)
                if len(group) >= min(GROUP_MAX, left):
                    left -= await _retry(retrier, group, plan, tally)
                    group = []
            await _retry(retrier, group, plan, tally)


async def _retry(retrier: Retrier, group: list[Found], plan: Plan, tally: Tally) -> int:
    """Try a group; return how many were sent. Mutates: tally."""
    before = tally.counts["retried"]
    for tried in await retrier.retry(group, as_is=plan.as_is):
        tally.add(tried)
    return tally.counts["retried"] - before
