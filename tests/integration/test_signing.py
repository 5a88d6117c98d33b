"""An attacker who may write to `enforcement` on a real Kafka, and has no key."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.bus import KafkaPublisher, KafkaReader, Record
from stream.cli.doors import keys_of
from stream.cli.operating import Change, perform
from stream.events import (
    Heartbeat,
    OperatorAct,
    OperatorRecord,
    Request,
    Subject,
    SubjectRecord,
    decode_value,
    encode,
    operator_key,
    split_signature,
    subject_key,
)
from stream.gateway import Gateway
from stream.local import Addresses
from stream.runtime import SystemClock
from stream.signing import SigningSpec, new_key, public_part, trust_of, write_key, write_trusted
from tests.live import Installation, opened, wait_until
from tests.models.owner import command, subject_record

POLICY = """
name: signed
rules:
- name: burst
  limit: {measure: requests, at_most: 20, per: 1m}
  action: revoke
  for: 10m
  mode: enforce
"""
BAD = "spiffe://signed.example/agents/bad"
GOOD = "spiffe://signed.example/agents/good"
LATER = "spiffe://signed.example/agents/later"
OPERATION = "tool:read_file"
CLOCK = SystemClock()


def installed(
    servers: Addresses, name: str, folder: Path, algorithm: str = "ed25519"
) -> Installation:
    """An installation with keys for both roles."""
    installation = Installation(servers, name, POLICY)
    files = {role: folder / f"{role}.jwk" for role in ("worker", "operator")}
    made = [new_key(role, algorithm, role) for role in files]
    for key in made:
        write_key(str(files[key.role]), key)
    write_trusted(str(folder / "trusted.jwks"), [public_part(each) for each in made])
    signing = SigningSpec(
        installation=name,
        trust_file=str(folder / "trusted.jwks"),
        worker_key_file=str(files["worker"]),
        operator_key_file=str(files["operator"]),
    )
    topics = msgspec.structs.replace(installation.config.topics, partitions=2)
    topics = msgspec.structs.replace(topics, enforcement_partitions=2)
    installation.config = msgspec.structs.replace(
        installation.config, signing=signing, topics=topics
    )
    return installation


@contextlib.asynccontextmanager
async def gateway_of(installation: Installation) -> AsyncIterator[Gateway]:
    """A gateway with the installation's keys, which denies all while it does not know."""
    config = installation.config
    table = msgspec.structs.replace(config.gateway.table, mode="closed", heartbeats_missed_max=100)
    spec = msgspec.structs.replace(config.gateway, name="edge", table=table)
    believed = trust_of(config.signing, config.topics.enforcement)
    doors = KafkaReader(config.kafka), KafkaPublisher(config.kafka)
    async with Gateway(*doors, CLOCK, spec, believed) as gateway:
        yield gateway


class Attacker:
    """Reads all that was ever written, and writes as it likes."""

    def __init__(self, installation: Installation, publisher: KafkaPublisher) -> None:
        self.installation = installation
        self.topic = installation.config.topics.enforcement
        self.publisher = publisher

    async def read(self) -> list[Record]:
        """All records of the topic."""
        found = []
        async with opened(KafkaReader(self.installation.config.kafka)) as reader:
            for partition, bounds in (await reader.bounds(self.topic)).items():
                found += await reader.read(self.topic, partition, bounds.start, bounds.end)
        return found

    async def record_of(self, key: bytes) -> Record:
        """The last record of a key that is no tombstone."""
        return [each for each in await self.read() if each.key == key and each.value][-1]

    async def write(self, key: bytes | None, value: bytes | None, partition: int) -> None:
        """Write one record."""
        await (await self.publisher.send(self.topic, key, value, partition))


async def refuse(gateway: Gateway, workload: str) -> None:
    """Let a workload burst until the gateway refuses it."""
    for _ in range(40):
        gateway.report(Request(at_ms=gateway.now_ms(), workload=workload, operation=OPERATION))

    async def action() -> str:
        return gateway.check(workload, OPERATION).action

    await wait_until(action, lambda said: said == "revoke")


async def count_rises(gateway: Gateway, why: str, before: dict[str, int]) -> None:
    """Wait until one more record was refused for a reason."""

    async def ask() -> int:
        return gateway.state().refused.get(why, 0)

    await wait_until(ask, lambda count: count > before.get(why, 0))


async def until_ready(gateway: Gateway, count: int) -> None:
    """Wait until heartbeats say of so many commands that they are in force."""

    async def ask() -> tuple[str, int]:
        state = gateway.state()
        return state.state, sum(each.published for each in state.homes)

    await wait_until(ask, lambda found: found == ("ready", count))


Attack = tuple[str, bytes | None, bytes | None, int, str]
"""Its name, the record's key, value and partition, and why it must be refused."""


async def attacks_on(attacker: Attacker) -> list[Attack]:
    """Each kind of attack on an installation in which BAD is revoked."""
    name = subject_key("home", Subject(workload=BAD))
    true = await attacker.record_of(name)
    value, at = true.value or b"", true.partition
    read = decode_value(split_signature(value).payload)
    assert isinstance(read, SubjectRecord)
    other = Subject(workload=GOOD)
    revoke = subject_record(other, command(other, expires_at_ms=CLOCK.wall_ms() + 600_000))
    later = msgspec.structs.replace(read.version, offset=10**9)
    freed = encode(msgspec.structs.replace(read, commands=(), version=later))
    signature = value.rpartition(b',"signature":')[2]
    foreign = signature.replace(b'"key":"worker"', b'"key":"nobody"')
    shadow = value.replace(b'"enforce"', b'"shadow"')
    return [
        ("a revocation that nobody signed", *revoke, 0, "unsigned"),
        ("a release that nobody signed", name, freed, at, "unsigned"),
        ("a release under an old signature", name, graft(freed, signature), at, "forged"),
        ("a shadow of what is enforced", name, shadow, at, "forged"),
        ("a key that nobody has", name, graft(freed, foreign), at, "unknown_key"),
        ("a revocation that is erased", name, None, at, "unexplained"),
        *acts_of(attacker),
        *beats_of(await attacker.read(), at),
    ]


def acts_of(attacker: Attacker) -> list[Attack]:
    """What an attacker would have operators say; also with a worker's key, should it have one."""
    now_ms = CLOCK.wall_ms()
    stop = OperatorAct(act="stop", reason="x", by="x", at_ms=now_ms, until_ms=now_ms + 600_000)
    exempt = msgspec.structs.replace(stop, act="exempt")
    stopped = encode(OperatorRecord(workload="", acts=(stop,), at_ms=now_ms))
    exempted = encode(OperatorRecord(workload=BAD, acts=(exempt,), at_ms=now_ms))
    worker = keys_of(attacker.installation.config, "worker").signer
    assert worker is not None
    every = operator_key("")
    return [
        ("a stop that nobody signed", every, stopped, 0, "unsigned"),
        ("a stop with the worker's key", every, worker.sign(every, stopped), 0, "wrong_role"),
        ("an exemption that nobody signed", operator_key(BAD), exempted, 0, "unsigned"),
    ]


def beats_of(records: list[Record], partition: int) -> list[Attack]:
    """Heartbeats of a partition: a lie, the first once more, the last once more."""
    beats = [
        each
        for each in records
        if each.partition == partition and (each.key or b"").startswith(b'["heartbeat"')
    ]
    first, last = beats[0], beats[-1]
    beat = decode_value(split_signature(last.value or b"").payload)
    assert isinstance(beat, Heartbeat)
    lie = encode(msgspec.structs.replace(beat, records=0, digest="0", next_offset=10**9))
    return [
        ("a heartbeat that nobody signed", last.key, lie, partition, "unsigned"),
        ("the first heartbeat again", first.key, first.value, partition, "replayed"),
        ("the last heartbeat again", last.key, last.value, partition, "replayed"),
    ]


def graft(payload: bytes, signature: bytes) -> bytes:
    """A payload with somebody's signature."""
    return payload[:-1] + b',"signature":' + signature


@pytest.mark.timeout(240)
def test_each_attack_is_refused_and_the_truth_is_obeyed(
    servers: Addresses, fresh_name: str, tmp_path: Path
) -> None:
    """Forged, altered, unsigned, repeated, erased: refused by name; who is revoked stays so.

    A gateway that starts afterwards, from the log with all of it, comes to the same.
    """
    installation = installed(servers, fresh_name, tmp_path)
    config = installation.config

    async def story() -> None:
        await installation.topics()
        async with (
            installation.workers(1),
            opened(KafkaPublisher(config.kafka)) as publisher,
            gateway_of(installation) as gateway,
        ):
            attacker = Attacker(installation, publisher)
            assert await gateway.wait_ready(60)
            await refuse(gateway, BAD)
            await until_ready(gateway, 1)
            for what, key, value, partition, why in await attacks_on(attacker):
                before = dict(gateway.state().refused)
                await attacker.write(key, value, partition)
                await count_rises(gateway, why, before)
                assert gateway.check(BAD, OPERATION).action == "revoke", what
                assert gateway.check(GOOD, OPERATION).is_allowed, what
            # The truth is obeyed all the while.
            await refuse(gateway, LATER)
            await until_ready(gateway, 2)
            await operators_are_obeyed(attacker, gateway)
            assert set(gateway.state().signed_by) == {"worker", "operator"}
            async with gateway_of(installation) as second:
                assert await second.wait_ready(60)
                assert second.check(BAD, OPERATION).action == "revoke"
                assert second.check(LATER, OPERATION).action == "revoke"
                assert second.check(GOOD, OPERATION).is_allowed
                assert sum(second.state().refused.values()) >= 8

    asyncio.run(story())


async def operators_are_obeyed(attacker: Attacker, gateway: Gateway) -> None:
    """Exempt and end it with the operator's key; the exemption again, and its end erased."""
    config = attacker.installation.config
    keys = keys_of(config, "operator")
    exempt = Change(BAD, "exempt", 600_000, "an exercise")

    async def action() -> str:
        return gateway.check(BAD, OPERATION).action

    written = await perform(config, exempt, CLOCK, keys)
    await wait_until(action, lambda said: said == "exempt")
    first = await attacker.record_of(operator_key(BAD))
    await attacker.write(operator_key(BAD), None, written.partition)
    await count_rises(gateway, "unexplained", {})
    assert await action() == "exempt"
    await perform(config, exempt._replace(lasts_ms=0), CLOCK, keys)
    await wait_until(action, lambda said: said == "revoke")
    for value in (None, first.value):
        await attacker.write(operator_key(BAD), value, written.partition)

    async def older() -> int:
        return gateway.tallies()["records.older"]

    await wait_until(older, lambda count: count >= 1)
    assert await action() == "revoke"


@pytest.mark.timeout(240)
def test_a_topic_made_anew_is_noticed(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """Where the revocation is gone from the log and its heartbeat is not, nobody is let in.

    Also: another installation's records, signed by the same keys, count for nothing here.
    """
    installation = installed(servers, fresh_name, tmp_path, "hmac")
    config = installation.config

    async def story() -> None:
        await installation.topics()
        async with installation.workers(1), gateway_of(installation) as gateway:
            assert await gateway.wait_ready(60)
            await refuse(gateway, BAD)
            await until_ready(gateway, 1)
        async with opened(KafkaPublisher(config.kafka)) as publisher:
            attacker = Attacker(installation, publisher)
            copied = await attacker.read()
            erased = Installation(servers, f"e{fresh_name[-18:]}", POLICY).config.topics.enforcement
            topics = msgspec.structs.replace(config.topics, enforcement=erased)
            gate = msgspec.structs.replace(config.gateway, enforcement=erased)
            other: Any = Installation(servers, fresh_name, POLICY)
            other.config = msgspec.structs.replace(config, topics=topics, gateway=gate)
            await other.topics()
            attacker.topic = erased
            # Its own topic without the revocation, as compaction leaves it after a tombstone.
            signer = keys_of(other.config, "worker").signer
            assert signer is not None
            last = {each.key: each for each in copied if each.key and each.value}
            for each in last.values():
                await attacker.write(each.key, each.value, each.partition)
                if (each.key or b"").startswith(b'["heartbeat"'):
                    payload = split_signature(each.value or b"").payload
                    beat = decode_value(payload)
                    payload = encode(msgspec.structs.replace(beat, at_ms=CLOCK.wall_ms()))
                    value = signer.sign(each.key, payload)
                    await attacker.write(each.key, value, each.partition)
            async with gateway_of(other) as gateway:

                async def state() -> str:
                    return gateway.state().state

                await wait_until(state, lambda found: found == "mismatch")
                assert gateway.state().refused["forged"] == len(last)
                assert gateway.check(BAD, OPERATION).status == 503
                assert gateway.check(GOOD, OPERATION).status == 503

    asyncio.run(story())
