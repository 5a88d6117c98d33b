"""Zones: whom a gateway may speak for, what comes of the rest, and that each event counts once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest

from stream.bus import MemoryLog, MemoryPublisher, MemorySource, MemoryTopics
from stream.errors import BusUnavailable, ConfigError
from stream.events import DeadLetter, Request, Source, decode_letter, encode_request, wrap
from stream.runtime import TopicsSpec, Worker
from tests.estate import KEY, Estate, stored
from tests.live import differences, events_in, other_rows, wait_until

ZONES = {"eu": ("spiffe://test.example/agents",), "us": ("spiffe://us.example",)}
TOPICS = TopicsSpec(zone_partitions=2, zones=ZONES)
START_MS = 1_790_000_000_000
INSIDE = "spiffe://test.example/agents/a"


def event(workload: str = INSIDE, at_ms: int = START_MS, **fields: Any) -> bytes:
    """An event of a workload."""
    return encode_request(
        Request(at_ms=at_ms, workload=workload, operation="tool:read_file", **fields)
    )


def estate_with_zones() -> Estate:
    """An installation in memory with two zones."""
    return Estate(topics=TOPICS)


def letters(estate: Estate) -> list[DeadLetter]:
    """All dead letters."""
    return [decode_letter(each) for each in estate.values(TOPICS.dead_letters)]


def shown(estate: Estate, name: str) -> dict[tuple[str, ...], float]:
    """What the metrics show under a name, by the values of its labels, zeros left out."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in estate.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == f"enforcer_{name}" and sample.value
    }


async def counted(estate: Estate, total: int) -> None:
    """Wait until so many events of zones were dealt with."""

    async def ask() -> float:
        return sum(shown(estate, "zone_events_total").values())

    await wait_until(ask, lambda found: found >= total)


def mixed(count: int) -> list[bytes]:
    """Events of many workloads that give rise to commands."""
    return [
        event(
            f"spiffe://test.example/agents/a{each * each % 13}",
            START_MS + each * 20,
            outcome=("served", "failed", "denied")[each % 7 % 3],
        )
        for each in range(count)
    ]


async def rows_of(estate: Estate) -> list[int]:
    """How many requests each stored row counted."""
    return sorted(map(events_in, (await estate.rows()).values()))


def test_events_of_a_zone_count_once_like_any_others() -> None:
    """Rows and commands are those of a replay of what the gateways of a zone reported.

    Also where another worker reads the whole topic again because the group has forgotten.
    """
    estate, payloads = estate_with_zones(), mixed(400)

    async def story() -> dict[int, bytes]:
        await estate.topics()
        await estate.feed(payloads[:200], "eu")
        async with estate.worker() as worker:
            await stored(worker, 200)
            await estate.feed(payloads[200:], "eu")
            await stored(worker, 400)
        group = estate.zone("eu").group
        assert sum(group.committed.values()) == 400
        group.committed.clear()
        async with estate.worker() as worker:
            await counted(estate, 400)
            # The repeats are in the log of requests too, and are read there.
            await stored(worker, 800)
        return await estate.rows()

    rows = asyncio.run(story())
    bodies, expected = estate.replayed(payloads)
    assert len(bodies) > 5
    assert differences(estate.bodies(), bodies) == ""
    assert other_rows(rows, expected) == []
    assert letters(estate) == []


BESIDE = [
    "spiffe://test.example/agentsx/a",
    "spiffe://test.example/agent",
    "spiffe://test.example/a",
    "spiffe://test.example.evil/agents/a",
    "spiffe://xtest.example/agents/a",
    "spiffe://us.example/agents/a",
    "spiffe://test.example/AGENTS/a",
]
UNDER = [INSIDE, "spiffe://test.example/agents", "SPIFFE://TEST.example/agents/a/b", INSIDE + "/x"]
SOURCE = Source(TOPICS.requests, 0, 0, 9)


def test_a_zone_speaks_for_its_prefixes_and_nothing_else() -> None:
    """What lies outside, is no event or claims a source is a dead letter, counted by zone and code.

    Nothing of it comes near `requests`, and the events between are not held up.
    """
    estate = estate_with_zones()
    forged = [wrap(SOURCE, event(), START_MS, KEY.seal), b"\xc1\x02" + bytes(60), b"\xc1"]
    bad = {
        b"": "empty",
        b"{": "malformed",
        event().replace(b"read", b"\xffead"): "bad_text",
        b"x" * 70_000: "too_large",
    }
    codes = {
        **{event(each): "outside_zone" for each in BESIDE},
        **dict.fromkeys(forged, "forged"),
        **bad,
        event("nobody"): "bad_identity",
        b'{"x":' * 10_000: "too_deep",
        b'{"at_ms": 1}': "wrong_type",
    }

    async def story() -> list[int]:
        await estate.topics()
        sent = [each for pair in zip(codes, map(event, UNDER * 9), strict=False) for each in pair]
        await estate.feed(sent, "eu")
        async with estate.worker() as worker:
            await counted(estate, len(sent))
            await stored(worker, len(codes))
        return await rows_of(estate)

    applied = asyncio.run(story())
    found = letters(estate)
    assert sum(applied) == len(codes)
    assert {each.payload()[:100]: each.code for each in found} == {
        each[:100]: code for each, code in codes.items()
    }
    assert {each.topic for each in found} == {TOPICS.zone_topic("eu")}
    assert len({each.origin for each in found}) == len(codes)
    assert all(each.at_ms for each in found)
    by_code = Counter(codes.values())
    assert shown(estate, "zone_events_total") == {
        ("eu", "forwarded"): len(codes),
        **{("eu", code): count for code, count in by_code.items()},
    }
    assert {code: count for (code,), count in shown(estate, "rejects_total").items()} == by_code
    said = {each.message for each in found if each.code == "outside_zone"}
    assert "zone eu does not speak for spiffe://us.example/agents/a, see topics.zones" in said


def test_zones_and_requests_are_read_side_by_side() -> None:
    """Each zone speaks for its own, a gateway without a zone for all, and one row counts them."""
    estate = estate_with_zones()

    async def story() -> list[int]:
        await estate.topics()
        async with estate.worker() as worker:
            await estate.feed([event()] * 5)
            await estate.feed([event()] * 7, "eu")
            await estate.feed([event("spiffe://us.example/x")] * 3, "us")
            await estate.feed([event(INSIDE)], "us")
            await counted(estate, 11)
            await stored(worker, 15)
        return await rows_of(estate)

    assert asyncio.run(story()) == [3, 12]
    assert [(each.code, each.topic) for each in letters(estate)] == [
        ("outside_zone", TOPICS.zone_topic("us"))
    ]


def test_an_event_that_waited_in_a_zone_claims_no_later_time() -> None:
    """Its clock ends where the broker had it in the zone's topic, however late it comes home."""
    estate = estate_with_zones()
    clock = estate.log._clock
    came_ms = clock.wall_ms() - 3_600_000

    class AnHourAgo:
        def wall_ms(self) -> int:
            return came_ms

        def monotonic_s(self) -> float:
            return clock.monotonic_s()

    async def story() -> list[int]:
        await estate.topics()
        estate.log._clock = AnHourAgo()
        await estate.feed([event(at_ms=came_ms + 3_600_000) for _ in range(40)], "eu")
        estate.log._clock = clock
        async with estate.worker() as worker:
            await stored(worker, 40)
        return await rows_of(estate)

    assert asyncio.run(story()) == [40]
    (crowd,) = [
        each
        for each in map(msgspec.json.decode, estate.bodies())
        if each["rule"] == "crowd" and not each.get("repeat")
    ]
    assert crowd["clock_ms"] == came_ms + estate.policy.skew_ms
    assert shown(estate, "events_total")["future",] == 40


class Losing(MemoryPublisher):
    """A publisher that loses what is sent to `requests`, from the n-th on, once."""

    lost_from = 20

    async def send(self, topic: str, *record: Any, **where: Any) -> Awaitable[int]:
        if topic == TOPICS.requests and Losing.lost_from <= 0 and not getattr(self, "is_new", 0):
            raise BusUnavailable("cut")
        if topic == TOPICS.requests:
            Losing.lost_from -= 1
        return await super().send(topic, *record, **where)


def test_what_could_not_be_sent_home_is_read_again() -> None:
    """The session ends, the group was told nothing of it, and in the end each event counts once."""
    estate, payloads = estate_with_zones(), mixed(60)
    made: list[MemoryPublisher] = []

    def publisher(log: MemoryLog) -> MemoryPublisher:
        made.append(Losing(log) if not made else MemoryPublisher(log))
        return made[-1]

    estate.publisher = publisher

    async def story() -> list[int]:
        Losing.lost_from = 20
        await estate.topics()
        await estate.feed(payloads, "eu")
        async with estate.worker(restart_wait_ms=10) as worker:
            # The first twenty lie in `requests` twice.
            await stored(worker, 80)
        return await rows_of(estate)

    rows = asyncio.run(story())
    assert len(made) == 2
    bodies, expected = estate.replayed(payloads)
    assert rows == sorted(map(events_in, expected.values()))
    assert differences(estate.bodies(), bodies) == ""


def missing_line(worker: Worker) -> Callable[[], Awaitable[list[str]]]:
    """Ask what the worker misses of zones."""

    async def ask() -> list[str]:
        return [each for each in worker.ready() if "zone" in each]

    return ask


def test_a_zone_whose_topic_is_gone_holds_up_nothing_else() -> None:
    """It is the mode `zone_down` and named in /readyz; requests and other zones are applied.

    Once the topic may be made again it is, and its events count although offsets begin anew.
    """
    estate = estate_with_zones()

    class Forbidden(MemoryTopics):
        is_allowed = True

        async def create(self, specs: Any) -> None:
            if not Forbidden.is_allowed:
                raise ConfigError("create topics: TopicAuthorizationFailedError requests.eu")
            await super().create(specs)

    estate.admin = Forbidden

    async def story() -> list[int]:
        async with estate.worker(look_every_ms=20, restart_wait_ms=10) as worker:
            await wait_until(missing_line(worker), lambda found: worker.ready() == [])
            await estate.feed([event()] * 4, "eu")
            await stored(worker, 4)
            Forbidden.is_allowed = False
            del estate.log._topics[TOPICS.zone_topic("eu")]
            told = await wait_until(missing_line(worker), lambda found: len(found) == 2)
            assert "zone_down" in told[0]
            assert "requests.eu" in told[1]
            assert shown(estate, "mode") == {("zone_down",): 1}
            assert shown(estate, "zone_up") == {("us",): 1}
            await estate.feed([event()] * 2)
            await estate.feed([event("spiffe://us.example/x")], "us")
            await stored(worker, 7)
            Forbidden.is_allowed = True
            await wait_until(missing_line(worker), lambda found: not found)
            await estate.feed([event()] * 3, "eu")
            await stored(worker, 10)
            assert shown(estate, "mode") == {}
        return await rows_of(estate)

    assert asyncio.run(story()) == [1, 9]


def test_a_zones_topic_that_is_not_what_it_must_be_refuses_a_start() -> None:
    """Times that gateways write would bound nothing: an existing topic must have the broker's."""
    estate = estate_with_zones()

    async def story() -> None:
        await estate.topics()
        state = estate.log._topics[TOPICS.zone_topic("us")].state
        state.config["message.timestamp.type"] = "CreateTime"
        with pytest.raises(ConfigError, match=r"requests\.us.*LogAppendTime"):
            await estate.made().run()

    asyncio.run(story())


def test_what_retention_took_from_a_zone_is_said() -> None:
    """The events that nobody read are counted, and those that are left count once."""
    estate = estate_with_zones()

    async def story() -> list[int]:
        await estate.topics()
        await estate.feed([event()] * 10, "eu")
        async with estate.worker() as worker:
            await stored(worker, 10)
        await estate.feed([event()] * 10, "eu")
        (partition,) = [
            p for p, part in enumerate(estate.log.partitions(TOPICS.zone_topic("eu"))) if part.end
        ]
        estate.log.cut(TOPICS.zone_topic("eu"), partition, 16)
        async with estate.worker() as worker:
            await stored(worker, 14)
            assert shown(estate, "zone_events_missed_total") == {("eu",): 6}
        return await rows_of(estate)

    assert asyncio.run(story()) == [14]


def test_a_flood_in_a_zone_keeps_nobody_waiting() -> None:
    """Turns are bounded: requests and another zone are applied while a zone's flood still waits."""
    estate = estate_with_zones()
    turns: list[int] = []

    class Noting(MemorySource):
        async def fetch(self, records_max: int, wait_s: float) -> Any:
            chunks = await super().fetch(records_max, wait_s)
            turns.append(sum(len(each.offsets) for each in chunks))
            return chunks

    def source(zone: str) -> MemorySource:
        kind = Noting if zone == "eu" else MemorySource
        return kind(estate.log, TOPICS.zone_topic(zone), f"zone.{zone}")

    estate.zone = source
    waiting: Mapping[str, float] = {}

    async def story() -> None:
        await estate.topics()
        await estate.feed([event()] * 30_000, "eu")
        await estate.feed([event("spiffe://us.example/x")] * 5, "us")
        await estate.feed([event("spiffe://test.example/agents/b")] * 5)

        async with estate.worker(zone_events_max=100):

            async def small_rows() -> list[int]:
                return [each for each in await rows_of(estate) if each == 5]

            await wait_until(small_rows, lambda found: found == [5, 5])
            nonlocal waiting
            waiting = {"eu": 30_000 - shown(estate, "zone_events_total")["eu", "forwarded"]}

    asyncio.run(story())
    assert waiting["eu"] > 0
    assert max(turns) == 100
