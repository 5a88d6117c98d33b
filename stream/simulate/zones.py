"""Zones in a simulation: some gateways report to a zone's topic, and not always what they may.

Added to a run by `with_zones`, so that runs without are what they were. The auditor's own laws are
told from the zone's topic alone: what a zone may say is in `requests` as it came, once heard in the
zone's order; what it may not say is a letter, and nowhere else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from stream.bus import Committed
from stream.errors import BusUnavailable
from stream.events import FORWARDED, DeadLetter, Source, decode_request, unwrap, wrap
from stream.identity import canonical_workload, home_partition
from stream.runtime import TopicsSpec

from .chance import stream
from .doors import SimSource
from .estate import KEY, Estate, Member
from .traffic import placed, workload

ZONE: Final = "west"
# Few, so that each has traffic; a10 and a12 begin like a1, and are not below it.
MINE: Final = tuple(workload(each) for each in (0, 1, 4, 7))
STRAYS: Final = tuple(workload(each) for each in (2, 10, 12))
FORGED_EVERY: Final = 40
FORGOTTEN_EVERY: Final = 60
SHOWN: Final = 5


class ZoneSource(SimSource):
    """A member of the group of a zone; what it commits may get lost."""

    async def commit(self, next_offsets: Mapping[int, int], note: str = "") -> None:
        """Tell the group how far we are, perhaps in vain."""
        if not self._network.draw("commit", ("refuse", "lose_ack"), (), None):
            await super().commit(next_offsets, note)

    async def committed(self, partitions: Sequence[int]) -> dict[int, Committed]:
        """Return what the group was told last."""
        ask = super().committed
        return await self._network.call(lambda: ask(partitions), BusUnavailable, "committed")


def with_zones(estate: Estate) -> None:
    """Let a zone of two partitions report for some workloads, and try to for others."""
    topics = msgspec.to_builtins(estate.topics)
    estate.topics = msgspec.convert(topics | {"zones": {ZONE: MINE}, "zone_partitions": 2},
                                    TopicsSpec)  # fmt: skip
    zone = _Zone(estate)
    estate.route = zone.route
    estate.zone_source = zone.source
    estate.rests.append(zone.is_at_rest)
    estate.laws.append(zone.laws)


class _Zone:
    """The zone of an estate: its gateways, its readers, its laws."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._topic = estate.topics.zone_topic(ZONE)
        self._chance = stream(estate.plan.seed, "zones")

    def route(self, key: bytes, count: int) -> tuple[str, int]:
        """Return where the gateway of a workload reports; now and then something else happens."""
        estate = self._estate
        if key.decode() not in MINE + STRAYS:
            return estate.topics.requests, placed(estate.plan, key, count)
        if self._chance.random() < 1 / FORGED_EVERY:
            source = Source(estate.topics.requests, 0, 0, 1 << 40)
            value = wrap(source, b"{}", estate.broker_clock.wall_ms(), KEY.seal)
            estate.log.append(self._topic, 0, key, value)
        if self._chance.random() < 1 / FORGOTTEN_EVERY:
            # The group's memory is not what exactly-once rests on.
            estate.log.group("stream-enforcer", self._topic).committed.clear()
        return self._topic, home_partition(key, 2)

    def source(self, member: Member, zone: str) -> SimSource:
        """Return a reader of the zone that dies and sleeps with its process."""
        assert zone == ZONE
        made = ZoneSource(self._estate.log, self._topic, self._estate.network)
        if member.source is not None:
            member.source.siblings = [each for each in member.source.siblings if each.is_member]
            member.source.siblings.append(made)
        return made

    def is_at_rest(self) -> bool:
        """Tell whether everything that was reported is dealt with, and the group knows."""
        ends = [each.end for each in self._estate.log.partitions(self._topic)]
        told = self._estate.log.committed(self._topic)
        return all(told.get(each, 0) == end for each, end in enumerate(ends))

    def laws(self) -> list[str]:
        """Return what does not hold."""
        heard, broken = self._heard()
        letters = self._letters()
        for record in self._estate.log.of(self._topic):
            place, value = (record.partition, record.offset), record.value or b""
            what = heard.pop(place, None)
            if not _may_say(value):
                if place not in letters:
                    broken.append(f"{place} has no letter")
                if what is not None:
                    broken.append(f"{place} was let in")
            elif what != (record.append_ms, value):
                broken.append(f"{place} did not come home as it was: {what}")
            elif place in letters:
                broken.append(f"{place} is a letter and was let in")
        broken += [f"{place} came from nowhere" for place in heard]
        return [f"zone {ZONE}: {each}" for each in broken[:SHOWN]]

    def _heard(self) -> tuple[dict[tuple[int, int], tuple[int | None, bytes]], list[str]]:
        """Return what came home, by place, and what came in an order in which it is not heard."""
        topics, found, broken = self._estate.topics, {}, []
        last: dict[Any, int] = defaultdict(lambda: -1)
        name = f"{self._topic}@{self._estate.log.states([self._topic])[0].id}"
        for record in self._estate.log.of(topics.requests):
            value = record.value or b""
            if not value.startswith(FORWARDED):
                continue
            source, payload, append_ms = unwrap(value, KEY.seal)
            if source.topic != name:
                continue
            place = source.partition, source.offset
            road = record.partition, source.partition
            if place not in found and source.offset < last[road]:
                broken.append(f"{place} came behind {last[road]}, so it was never counted")
            last[road] = max(last[road], source.offset)
            found[place] = append_ms, payload
        return found, broken

    def _letters(self) -> set[tuple[int, int]]:
        letters = (
            msgspec.json.decode(each.value or b"", type=DeadLetter)
            for each in self._estate.log.of(self._estate.topics.dead_letters)
        )
        return {(each.partition, each.offset) for each in letters if each.topic == self._topic}


def _may_say(value: bytes) -> bool:
    """Tell whether the zone may say this, segment by segment."""
    try:
        name = canonical_workload(decode_request(value).workload)
    except (ValueError, RecursionError):
        return False
    segments = name.split("/")
    return any(segments[: len(each)] == each for each in (mine.split("/") for mine in MINE))
