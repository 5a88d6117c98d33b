"""Zones on a broker with rights: who may write where, who is believed about whom, and once only."""

import time
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from stream.bus import KafkaPublisher, KafkaReader
from stream.cli.dlq_retry import Plan, Tally, retry_letters
from stream.cli.letters import Choice
from stream.cli.screen import Screen
from stream.cli.topics import make_topics
from stream.config import Config
from stream.errors import ConfigError
from stream.events import DeadLetter, Request, Source, decode_letter, encode_request, wrap
from stream.gateway import Gateway
from stream.runtime import SystemClock
from stream.warm import warm
from tests.live import KEY, events_in, opened, wait_until
from tests.secure import SecureKafka, run
from tests.secure_estate import Estate, acl_of
from tests.secure_rights import working
from tests.valkey import Valkey, running_valkey

ZONES = {"eu": ("spiffe://test.example/eu",), "us": ("spiffe://test.example/us",)}
MINE, THEIRS = "spiffe://test.example/eu/agent", "spiffe://test.example/us/agent"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server of this module's own."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def estate(secure_kafka: SecureKafka, valkey: Valkey) -> Estate:
    """An installation of two zones whose roles have the printed rights."""
    made = Estate(secure_kafka, valkey, f"zones-{time.time_ns():x}", ZONES)

    async def prepare() -> None:
        await secure_kafka.allow([acl_of(each) for each in made.rights])
        await make_topics(made.of("admin"))

    run(prepare())
    warm()  # Compiling holds up everything else for longer than a group waits for a member.
    return made


def gateway_of(config: Config) -> Gateway:
    """A gateway of zone eu, not entered."""
    spec = msgspec.structs.replace(config.gateway, name="edge", zone="eu", close_s=1.0)
    return Gateway(KafkaReader(config.kafka), KafkaPublisher(config.kafka), SystemClock(), spec)


async def letters(estate: Estate) -> list[DeadLetter]:
    """All dead letters there are, markers of retries left out."""
    topic, found = estate.config.topics.dead_letters, []
    async with opened(KafkaReader(estate.super.config.kafka)) as reader:
        for partition, (start, end) in (await reader.bounds(topic)).items():
            records = await reader.read(topic, partition, start, end)
            found += [decode_letter(each.value) for each in records if each.key is None]
    return found


async def counts(estate: Estate) -> list[int]:
    """How many requests each stored row counted."""
    return sorted(map(events_in, (await estate.super.rows()).values()))


def test_a_zones_gateway_speaks_for_its_own_and_nobody_else(estate: Estate) -> None:
    """What it says of its own counts once and is obeyed; what it says of others is a dead letter.

    Once only also where a worker reads the zone from its start again. A retried letter goes past
    who screens it, so an operator does not let in what a gateway could not.
    """
    topics, edge = estate.config.topics, estate.of("edge-eu")
    secret = Source(topics.requests, 0, 0, 1 << 40)

    async def wrong() -> Counter[str]:
        return Counter(each.code for each in await letters(estate))

    async def refused() -> None:
        async with opened(KafkaPublisher(edge.kafka)) as publisher:
            for topic in (topics.requests, topics.zone_topic("us"), topics.enforcement):
                with pytest.raises(ConfigError, match=f"TopicAuthorizationFailed.*{topic}"):
                    await (await publisher.send(topic, b"k", b"v"))
            # With the hash key stolen too, an envelope is not believed here.
            now_ms = SystemClock().wall_ms()
            event = encode_request(Request(at_ms=now_ms, workload=THEIRS, operation="tool:x"))
            envelope = wrap(secret, event, now_ms, KEY.seal)
            await (await publisher.send(topics.zone_topic("eu"), THEIRS.encode(), envelope))

    async def scene() -> None:
        async with working(estate.worker(estate.of("worker"))), gateway_of(edge) as gateway:
            assert await gateway.wait_ready(60), gateway.state()
            for workload, times in ((MINE, 30), (THEIRS, 30), (MINE + "x/../../us/agent", 1)):
                for _ in range(times):
                    gateway.report(Request(gateway.now_ms(), workload, "tool:read_file"))
            await refused()

            async def is_allowed() -> tuple[bool, bool]:
                asked = [gateway.check(each, "tool:read_file") for each in (MINE, THEIRS)]
                return asked[0].is_allowed, asked[1].is_allowed

            assert await wait_until(is_allowed, lambda found: not found[0]) == (False, True)
            await wait_until(lambda: counts(estate), lambda found: found == [30])
            expected = {"outside_zone": 30, "forged": 1, "bad_identity": 1}
            await wait_until(wrong, lambda found: found == expected)
        assert {each.topic for each in await letters(estate)} == {topics.zone_topic("eu")}
        await again()

    async def again() -> None:
        # Under another name the group knows nothing, and the whole zone is read once more.
        config = estate.of("worker")
        kafka = msgspec.structs.replace(config.kafka, group=f"{config.kafka.group}-again")
        names = (config.kafka.group, kafka.group)
        given = [acl_of(each) for each in estate.rights if each.resource_type == "group"]
        await estate.kafka.allow(
            [each._replace(resource=each.resource.replace(*names)) for each in given]
        )
        tally = Tally(Screen(is_json=True))
        chosen = Choice(codes=frozenset({"outside_zone"}))
        await retry_letters(estate.of("operator"), Plan(chosen, 100), tally)
        assert tally.counts["retried"] == 30
        async with working(estate.worker(msgspec.structs.replace(config, kafka=kafka))):
            # What was read before, and the retried ones at offsets of their own.
            expected = {"outside_zone": 90, "forged": 2, "bad_identity": 2}
            await wait_until(wrong, lambda found: found == expected)
            await estate.super.wait_applied(60)
        assert await counts(estate) == [30]
        assert len({each.origin for each in await letters(estate)}) == 62

    run(scene())
