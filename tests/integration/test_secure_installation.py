"""With the rights that `enforcer acl` prints a whole installation works; without one, not.

Each role comes by another way: SCRAM over TLS, a certificate, PLAIN over TLS, SCRAM; to Redis by
TLS as a user of its own.
"""

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.bus import KafkaPublisher, KafkaReader, KafkaSource
from stream.bus.kafka import client_options
from stream.cli.acl import redis_users
from stream.cli.explain import find
from stream.cli.listing import in_force, tables
from stream.cli.operating import Change, perform
from stream.cli.rights import Principals, kafka_rights
from stream.cli.topics import make_topics
from stream.config import Config
from stream.errors import ConfigError
from stream.events import Request
from stream.gateway import Gateway
from stream.runtime import SystemClock
from stream.store import RedisStore
from stream.warm import warm
from tests.buses import Member
from tests.live import KEY, opened, wait_until
from tests.secure import SecureKafka, password_of, run
from tests.secure_estate import BAD, WHO, Estate, acl_of
from tests.secure_rights import MEETS, gateway_of, kind_of, working
from tests.stores import take_over
from tests.tls import tls_in_front_of
from tests.valkey import Valkey, running_valkey

# One of each kind; all of them are for `make soak`.
SAMPLE = {
    ("worker", "enforcement", "Write"),
    ("worker", "stream-enforcer", "Read"),
    ("worker", "requests", "DescribeConfigs"),
    ("gateway", "requests", "Write"),
    ("operator", "journal", "Read"),
    ("operator", "dead-letters.retry", "Write"),
    ("admin", "journal", "Create"),
}


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server of this module's own, for its users."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def estate(secure_kafka: SecureKafka, valkey: Valkey) -> Estate:
    """An installation whose roles have all printed rights, and topics made by its admin."""
    made = Estate(secure_kafka, valkey, f"estate-{time.time_ns():x}")

    async def prepare() -> None:
        await secure_kafka.allow([acl_of(each) for each in made.rights])
        await make_topics(made.of("admin"))
        # What is empty is not read, so nobody would miss the right to.
        topics = made.config.topics
        async with opened(KafkaPublisher(made.super.config.kafka)) as publisher:
            for topic in (topics.journal, topics.baselines, topics.enforcement):
                for partition in range(2):
                    await (await publisher.send(topic, b"k", b"{}", partition))

    run(prepare())
    warm()  # Compiling holds up everything else for longer than a group waits for a member.
    return made


async def until(gateway: Gateway, *, is_allowed: bool) -> None:
    """Wait until the gateway says so of the bad workload."""

    async def ask() -> bool:
        return gateway.check(BAD, "tool:read_file").is_allowed

    await wait_until(ask, lambda found: found is is_allowed)


async def operators_day(gateway: Gateway, config: Config) -> None:
    """Stop, start, exempt and list, as the verbs do, each heard at the gateway."""
    clock = SystemClock()
    await perform(config, Change("", "stop", 600_000, "drill"), clock)
    await until(gateway, is_allowed=True)
    await perform(config, Change("", "stop", 0, ""), clock)
    await until(gateway, is_allowed=False)
    await perform(config, Change(BAD, "exempt", 600_000, "known"), clock)
    await until(gateway, is_allowed=True)
    topic = config.topics.enforcement
    async with (
        opened(KafkaReader(config.kafka)) as reader,
        contextlib.aclosing(tables(reader, topic, config.gateway.table)) as found,
    ):
        listed = in_force(await anext(found), clock.wall_ms(), None, is_shadow=True)
    assert [each["act"] for each in listed["acts"]] == ["exempt"]
    assert [each.body.subject.workload for each in listed["commands"]] == [BAD]


def test_whole_installation_with_the_printed_rights(
    estate: Estate, valkey: Valkey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events, commands at a gateway, dead letters, saves, and what an operator does: all work."""
    authority = estate.kafka.authority
    users = redis_users(estate.config, "worker", "operator")
    with contextlib.closing(valkey.client()) as client:
        for user in users:
            client.execute_command(*user["line"].split(" "), f">{password_of(user['user'])}")

    def redis_of(user: str, port: int) -> dict[str, Any]:
        file = tmp_path / user
        file.write_text(password_of(user))
        url = f"rediss://{user}@127.0.0.1:{port}/0"
        return {"url": url, "password_file": str(file), "ca_file": str(authority.file)}

    async def held(topic: str) -> int:
        async with opened(KafkaReader(estate.super.config.kafka)) as reader:
            bounds = await reader.bounds(topic)
        return sum(end - start for start, end in bounds.values())

    async def story() -> None:
        files = (estate.kafka.folder / "broker.crt", estate.kafka.folder / "broker.key")
        with tls_in_front_of(valkey.port, files) as port:
            worker = estate.worker(estate.of("worker", redis_of("worker", port)))
            operator = estate.of("operator", redis_of("operator", port))
            async with working(worker), gateway_of(estate.of("gateway")) as gateway:
                assert await gateway.wait_ready(60), gateway.state()
                for _ in range(40):
                    request = Request(gateway.now_ms(), BAD, "tool:read_file")
                    gateway.observe(request)
                await until(gateway, is_allowed=False)
                await operators_day(gateway, operator)
                await estate.super.feed([b"no event"])
                await estate.super.wait_applied(30)
                found = await find(operator, KEY, BAD, None)
                assert found.policy.spec.name == "strict"
                assert found.names
                for topic in (estate.config.topics.dead_letters, estate.config.topics.journal):
                    await wait_until(partial(held, topic), bool)

    run(story())
    assert "DescribeConfigs" not in caplog.text
    assert "good order" not in caplog.text
    with contextlib.closing(valkey.client()) as client:
        denied = {each["object"] for each in client.acl_log()}
    # The client tells its name and version at each connection, and does without where it may not.
    assert denied <= {"client|setinfo"}


def each_right() -> Iterator[Any]:
    """Every line of the printed rights, most of them for `make soak`."""
    for place, right in enumerate(kafka_rights(Config(), WHO)):
        key = (right.role, right.resource, right.operation)
        yield pytest.param(place, id="-".join(key), marks=() if key in SAMPLE else pytest.mark.soak)


@pytest.mark.parametrize("place", list(each_right()))
def test_each_right_is_needed(estate: Estate, place: int, caplog: pytest.LogCaptureFixture) -> None:
    """Without it something fails that is named, by topic or group; with it again nothing does."""
    right = estate.rights[place]

    async def scene() -> str:
        await estate.kafka.disallow([acl_of(right)])
        try:
            return await MEETS[right.role](estate, right)
        finally:
            await estate.kafka.allow([acl_of(right)])

    told = run(scene())
    if right.operation == "DescribeConfigs":
        assert "taken for right" in caplog.text
        assert right.resource in caplog.text
    elif right.role == "gateway" and right.operation == "Write":
        assert "may write to no topic" in told
    else:
        assert kind_of(right.resource) in told
        assert "enforcer acl" in told


def test_a_gateway_may_do_nothing_else(estate: Estate) -> None:
    """A stolen gateway cannot publish commands, journal, read requests or join the group.

    Nor begin a transaction, which held open would hide all later requests from the workers.
    """
    config = estate.of("gateway")
    topics = config.topics

    async def scene() -> None:
        async with opened(KafkaPublisher(config.kafka)) as publisher:
            for topic in (topics.enforcement, topics.journal, topics.dead_letters):
                with pytest.raises(ConfigError, match=f"TopicAuthorizationFailed.*{topic}"):
                    await (await publisher.send(topic, b"k", b"v"))
        async with opened(KafkaReader(config.kafka)) as reader:
            with pytest.raises(ConfigError, match=topics.requests):
                await reader.read(topics.requests, 0, 0, 1)
            for topic in (topics.journal, topics.dead_letters):
                with pytest.raises(ConfigError, match=topic):
                    await reader.bounds(topic)
        member = Member(KafkaSource(config.kafka, topics.requests), {})
        await member.source.start(member)
        try:
            with pytest.raises(ConfigError, match=f"GroupAuthorization.*{config.kafka.group}"):
                await member.read(lambda: False)
        finally:
            await member.source.stop()
        producer = AIOKafkaProducer(**client_options(config.kafka), transactional_id="mine")
        try:
            with pytest.raises(KafkaError, match="TransactionalIdAuthorizationFailed"):
                await producer.start()
        finally:
            await producer.stop()

    run(scene())


def test_a_zones_gateway_writes_its_topic_only(estate: Estate) -> None:
    """With zones, the gateways of one cannot write another's topic, nor `requests`."""
    zones = Principals("User:worker", "User:gateway", "User:operator", "User:admin",
                       (("eu", "User:edge-eu"), ("us", "User:edge-us")))  # fmt: skip
    rights = kafka_rights(estate.config, zones)
    mine = [each for each in rights if each.principal == "User:edge-eu"]
    assert not [each for each in rights if each.principal == "User:gateway"]
    requests = estate.config.topics.requests
    spec = estate.kafka.spec("SASLTLS", "edge-eu")

    async def scene() -> None:
        async with estate.kafka.admin() as admin:
            from aiokafka.admin import NewTopic

            await admin.create_topics([NewTopic(f"{requests}.{z}", 1, 1) for z in ("eu", "us")])
        await estate.kafka.allow([acl_of(each) for each in mine])
        async with opened(KafkaPublisher(spec)) as publisher:
            assert await (await publisher.send(f"{requests}.eu", b"k", b"v")) == 0
            for topic in (f"{requests}.us", requests):
                with pytest.raises(ConfigError, match=f"TopicAuthorizationFailed.*{topic}"):
                    await (await publisher.send(topic, b"k", b"v"))

    run(scene())


def test_reader_of_redis_cannot_write(estate: Estate, valkey: Valkey) -> None:
    """The user for `explain` reads rows, and can claim and save nothing."""
    (_, reader) = redis_users(estate.config, "worker-2", "reader-2")
    with contextlib.closing(valkey.client()) as client:
        client.execute_command(*reader["line"].split(" "), ">secret")
    url = f"redis://reader-2:secret@127.0.0.1:{valkey.port}/0"

    async def scene() -> None:
        async with opened(RedisStore(estate.of("operator", {"url": url}).redis)) as store:
            assert await store.load(0, [1]) == [None]
            with pytest.raises(ConfigError, match="ACL must allow"):
                await take_over(store, 0, "nonce")

    run(scene())
