"""Getting into a Kafka that asks who comes: each way in works, each wrong one is told at once."""

import asyncio
import contextlib
import json
import logging
import time
import traceback
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from click.testing import CliRunner

from stream.bus import KafkaPublisher, KafkaReader, KafkaSource, KafkaSpec, KafkaTopics, TopicSpec
from stream.cli import main
from stream.config import Config, with_prefix
from stream.errors import BusUnavailable, ConfigError
from stream.policy import default_policy
from tests.buses import Member
from tests.live import opened, worker_of
from tests.secure import PASSPHRASE, Acl, SecureKafka, password_of, run

NOWHERE = dict.fromkeys(("ENFORCER_CONFIG", "ENFORCER_PREFIX", "ENFORCER_KAFKA"))
LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)
WAYS = (
    ("SASL", {"mechanism": "PLAIN"}),
    ("SASL", {"mechanism": "SCRAM-SHA-256"}),
    ("SASLTLS", {"mechanism": "PLAIN"}),
    ("SASLTLS", {"mechanism": "SCRAM-SHA-512"}),
    ("MTLS", {}),
)


def rights(user: str, topic: str, *operations: str) -> list[Acl]:
    """Rights on one topic, and to be in the group of its name."""
    group = [Acl(f"User:{user}", "group", topic, "Read")]
    return group + [Acl(f"User:{user}", "topic", topic, each) for each in operations]


@pytest.mark.parametrize(("listener", "how"), WAYS)
def test_every_client_by_every_way(
    secure_kafka: SecureKafka,
    fresh_name: str,
    caplog: pytest.LogCaptureFixture,
    listener: str,
    how: dict[str, str],
) -> None:
    """Topics, publisher, reader, follower and group member work, and without rights they do not.

    Each stops in good order: TLS does not wait for a goodbye of the broker.
    """
    spec = secure_kafka.spec(listener, "nobody", group=fresh_name, **how)

    async def scene() -> None:
        async with opened(KafkaTopics(spec)) as topics:
            with pytest.raises(ConfigError, match=f"TopicAuthorizationFailed.*{fresh_name}"):
                await topics.ensure([TopicSpec(name=fresh_name, partitions=1)])
            await secure_kafka.allow(
                rights("nobody", fresh_name, "Create", "Read", "Write", "DescribeConfigs")
            )
            (state,) = await topics.ensure([TopicSpec(name=fresh_name, partitions=1)])
            assert state.config["cleanup.policy"] == "delete"
        async with opened(KafkaPublisher(spec)) as publisher:
            assert await (await publisher.send(fresh_name, b"k", b"v")) == 0
        async with opened(KafkaReader(spec)) as reader:
            assert [each.value for each in await reader.read(fresh_name, 0, 0, 1)] == [b"v"]
            async with contextlib.aclosing(reader.follow(fresh_name, {0: 0})) as batches:
                async for records in batches:
                    if records:
                        assert [each.value for each in records] == [b"v"]
                        break
        member = Member(KafkaSource(spec, fresh_name), {})
        await member.source.start(member)
        try:
            await member.read(lambda: bool(member.seen))
        finally:
            await member.source.stop()
        assert member.seen == [(0, 0, b"v")]

    run(scene())
    assert "good order" not in caplog.text


WRONG = (
    ("SASL", {"mechanism": "PLAIN", "user": "worker"}, "user, password and mechanism"),
    ("SASL", {"mechanism": "SCRAM-SHA-256", "user": "worker"}, "user, password and mechanism"),
    ("SASLTLS", {"mechanism": "SCRAM-SHA-512", "user": "worker"}, "user, password and mechanism"),
    ("SASLTLS", {"mechanism": "PLAIN", "user": "unheard-of"}, "user, password and mechanism"),
    ("MOVED", {"mechanism": "PLAIN", "user": "worker"}, "UnsupportedSaslMechanism"),
    ("SASLTLS", {"user": "worker", "ca_file": ""}, "ca_file must hold the authority"),
    ("SASLTLS", {"user": "worker", "ca_file": "stranger.pem"}, "ca_file must hold the authority"),
    ("SASLTLS", {"user": "worker", "host": "localhost"}, "not valid for 'localhost'"),
    ("EXPIRED", {}, "certificate has expired.*renew the server's"),
    ("MTLS", {}, "wants a client certificate.*set cert_file"),
    ("MTLS", {"cert": "expired"}, "certificate has expired.*renew our certificate"),
    ("MTLS", {"cert": "from-elsewhere"}, "certificate.*cert_file"),
)


@pytest.mark.parametrize(("listener", "given", "told"), WRONG)
def test_who_is_not_let_in_is_told_at_once(
    secure_kafka: SecureKafka, tmp_path: Path, listener: str, given: dict[str, str], told: str
) -> None:
    """A wrong password, certificate, authority or name is a ConfigError that says what to do."""
    settings: dict[str, Any] = {each: given[each] for each in ("mechanism",) if each in given}
    folder = secure_kafka.folder
    if "user" in given:
        file = tmp_path / "password"
        file.write_text("wr0ngpass")
        settings |= {"user": given["user"], "password_file": str(file)}
    if "ca_file" in given:
        settings["ca_file"] = given["ca_file"] and str(folder / given["ca_file"])
    if "host" in given:
        settings["bootstrap"] = secure_kafka.address(listener, given["host"])
    if "cert" in given:
        settings["cert_file"] = str(folder / f"{given['cert']}.crt")
        settings["key_file"] = str(folder / f"{given['cert']}.key")
    spec = secure_kafka.spec(listener, **settings)

    async def enter(door: type[Any]) -> None:
        async with opened(door(spec)):
            pass

    for loop, door in zip(LOOPS, (KafkaPublisher, KafkaReader), strict=True):
        began_s = time.monotonic()
        with pytest.raises(ConfigError, match=told) as caught:
            run(enter(door), loop)
        assert time.monotonic() - began_s < spec.request_ms / 1_000
        shown = "".join(traceback.format_exception(caught.value))
        assert "wr0ngpass" not in shown
        assert password_of("worker") not in shown


@pytest.mark.parametrize(
    "door",
    # The producer asks for its number by that name over and over, so it takes its whole time.
    [KafkaTopics, KafkaReader, pytest.param(KafkaPublisher, marks=pytest.mark.soak)],
)
def test_broker_that_names_itself_otherwise(secure_kafka: SecureKafka, door: Any) -> None:
    """A listener lets us in and advertises a name that its certificate has not: told at once."""
    spec = secure_kafka.spec("MOVED", "worker", request_ms=3_000, rebalance_ms=1_000)

    async def enter() -> None:
        async with opened(door(spec)):
            pass

    with pytest.raises(ConfigError, match=r"localhost:.*not valid for 'localhost'.*reach it by"):
        run(enter())


MISTAKEN = (
    ("plain", "sasl_plaintext", ConfigError, "the listener one that asks for them"),
    ("plain", "ssl", BusUnavailable, "does the listener speak ssl"),
    ("SASL", "ssl", BusUnavailable, "does the listener speak ssl"),
    ("SASLTLS", "sasl_plaintext", BusUnavailable, "does the listener speak sasl_plaintext"),
    ("SASLTLS", "ssl", BusUnavailable, "does the listener speak ssl"),
    ("SASL", "plaintext", BusUnavailable, "connect a reader"),
    ("MTLS", "plaintext", BusUnavailable, "connect a reader"),
)


@pytest.mark.parametrize(("listener", "security", "error", "told"), MISTAKEN)
def test_a_listener_that_speaks_otherwise(
    secure_kafka: SecureKafka, listener: str, security: str, error: type[Exception], told: str
) -> None:
    """Where the listener speaks something else it ends in time, and the hint asks about that."""
    address = secure_kafka.plain if listener == "plain" else secure_kafka.address(listener)
    like = {"plaintext": "EXPIRED", "ssl": "EXPIRED", "sasl_plaintext": "SASL"}[security]
    user = "worker" if security.startswith("sasl") else ""
    spec = secure_kafka.spec(like, user, bootstrap=address, request_ms=2_000, rebalance_ms=1_000)
    if security == "plaintext":
        spec = msgspec.convert(
            {"kind": "kafka", "bootstrap": address, "request_ms": 2_000, "rebalance_ms": 1_000},
            KafkaSpec,
        )

    async def enter() -> None:
        async with opened(KafkaReader(spec)):
            pass

    with pytest.raises(error, match=told):
        run(enter())


def test_encrypted_key(secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key under a passphrase opens with it, from the environment; its owner is let in."""
    monkeypatch.setenv("ENFORCER_KAFKA_PASSPHRASE", PASSPHRASE)
    spec = secure_kafka.spec("MTLS", "sealed")

    async def enter() -> None:
        async with opened(KafkaReader(spec)):
            pass

    run(enter())


def test_no_log_holds_the_password(
    secure_kafka: SecureKafka, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where the host of a gateway logs everything, a password sent in the clear is not."""
    caplog.set_level(logging.DEBUG)
    for name in ("aiokafka", "aiokafka.conn"):
        caplog.set_level(logging.DEBUG, logger=name)

    async def enter() -> None:
        async with opened(KafkaReader(secure_kafka.spec("SASL", "worker", mechanism="PLAIN"))):
            pass

    run(enter())
    assert "ApiVersionRequest" in caplog.text, "the client's requests are not logged any more"
    assert password_of("worker") not in caplog.text
    assert "s3cret" not in caplog.text


def test_worker_with_a_wrong_password_ends(
    secure_kafka: SecureKafka, fresh_name: str, tmp_path: Path
) -> None:
    """A worker that is not let in ends with the reason, and does not try for ever."""
    file = tmp_path / "password"
    file.write_text("wr0ngpass")
    spec = secure_kafka.spec("SASL", user="worker", password_file=str(file))
    config = with_prefix(msgspec.structs.replace(Config(), kafka=spec), fresh_name[-20:].strip("-"))
    worker = worker_of(config, default_policy(), "worker")
    with pytest.raises(ConfigError, match="Kafka does not let us in"):
        run(worker.run())


def test_a_verb_with_a_wrong_password_says_so_in_json(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    """The exit code is that of wrong settings, and neither password is in what is said."""
    file = tmp_path / "password"
    spec = secure_kafka.spec("SASLTLS", user="admin", password_file=str(file))
    (tmp_path / "settings.json").write_bytes(
        msgspec.json.encode({"kafka": msgspec.to_builtins(spec), "topics": {"requests": "none"}})
    )
    said = []
    for password in ("wr0ngpass", password_of("admin")):
        file.write_text(password)
        done = CliRunner().invoke(
            main, ["list", "--config", str(tmp_path / "settings.json"), "--json"], env=NOWHERE
        )
        assert done.exit_code == 78, done.stderr
        assert password not in done.stdout + done.stderr
        said.append(json.loads(done.stderr.splitlines()[-1])["error"]["message"])
    assert "Kafka does not let us in" in said[0]
    assert "TopicAuthorizationFailed" in said[1]


def test_topics_without_the_right_to_look(
    secure_kafka: SecureKafka, fresh_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be looked at is taken for right and said; what can be seen is still judged."""
    admin, least = secure_kafka.spec("SASL", "admin"), secure_kafka.spec("SASL", "gateway")
    wanted = TopicSpec(name=fresh_name, partitions=2)
    missing = TopicSpec(name=f"{fresh_name}-2", partitions=2)

    async def scene() -> None:
        await secure_kafka.allow(rights("admin", fresh_name, "Create", "DescribeConfigs"))
        await secure_kafka.allow(rights("admin", fresh_name, "Describe"))
        await secure_kafka.allow(rights("gateway", fresh_name, "Describe"))
        await secure_kafka.allow(rights("gateway", missing.name, "Describe"))
        async with opened(KafkaTopics(admin)) as topics:
            (made,) = await topics.ensure([wanted])
        async with opened(KafkaTopics(least)) as topics:
            (seen,) = await topics.ensure([wanted])
            assert (seen.id, seen.partitions, seen.is_config_hidden) == (made.id, 2, True)
            assert "DescribeConfigs" in caplog.text
            assert fresh_name in caplog.text
            with pytest.raises(ConfigError, match="partitions is 2, must be 3"):
                await topics.ensure([msgspec.structs.replace(wanted, partitions=3)])
            with pytest.raises(ConfigError, match=r"cannot be created.*enforcer topics"):
                await topics.ensure([missing])
            longer = msgspec.structs.replace(missing, outlives=fresh_name)
            with pytest.raises(ConfigError, match="may not look at"):
                await topics.ensure([longer])

    run(scene())
