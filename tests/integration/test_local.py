"""Real servers on one machine: data comes back, crashes are survived, nothing is left running."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.errors import ConfigError
from stream.local import Addresses, LocalServers, read_ahead
from stream.local import servers as local
from stream.local.folder import Ports
from stream.local.leftover import living, wait_until
from tests.ports import free_port

# Another process that starts the servers, says where they are, and waits to be killed.
PARENT = """
import pathlib, sys
from stream.local import LocalServers
servers = LocalServers(pathlib.Path(sys.argv[1]))
addresses = servers.start()
print(addresses.kafka, addresses.redis, flush=True)
sys.stdin.read()
"""
TOPIC = TopicPartition("requests", 0)


async def write(address: str, *values: bytes) -> None:
    """Have the values in the topic, made if missing, acknowledged."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        if TOPIC.topic not in await admin.list_topics():
            await admin.create_topics([NewTopic(TOPIC.topic, 1, 1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(TOPIC.topic, value, partition=TOPIC.partition)
    finally:
        await producer.stop()


async def read(address: str, group: str | None = None) -> list[bytes]:
    """Return all values of the topic, and commit their end if there is a group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TOPIC])
        await consumer.seek_to_beginning(TOPIC)
        end = (await consumer.end_offsets([TOPIC]))[TOPIC]
        values: list[bytes] = []
        while len(values) < end:
            records = await asyncio.wait_for(consumer.getone(), timeout=20)
            values.append(records.value)
        if group is not None:
            await consumer.commit({TOPIC: end})
        return values
    finally:
        await consumer.stop()


def get(address: str, key: str) -> bytes | None:
    with redis.Redis.from_url(address) as client:
        answer = client.get(key)
        assert answer is None or isinstance(answer, bytes)
        return answer


def put(address: str, key: str, value: str) -> None:
    """Set the key, and return once that is on the disk."""
    with redis.Redis.from_url(address) as client:
        client.set(key, value)
        client.execute_command("WAITAOF", 1, 0, 5000)


def left(folder: Path) -> list[int]:
    """The processes that still serve the folder."""
    return [pid for file in folder.glob("*/*.pid") for pid in living(file, folder)]


def start_in_another_process(folder: Path) -> tuple[subprocess.Popen[bytes], Addresses]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    kafka, url = parent.stdout.readline().decode().split()
    return parent, Addresses(kafka=kafka, redis=url)


@pytest.mark.soak
@pytest.mark.timeout(300)  # Four starts of a JVM; a minute and more where cores are busy.
def test_a_crash_loses_no_data_and_leaves_no_process(tmp_path: Path) -> None:
    """Killed with its parent, the pair comes back at once on its ports, with what was written."""
    folder = (tmp_path / "a folder, é").resolve()
    parent, first = start_in_another_process(folder)
    assert len(left(folder)) == 4
    asyncio.run(write(first.kafka, b"one", b"two"))
    assert asyncio.run(read(first.kafka, "readers")) == [b"one", b"two"]
    put(first.redis, "key", "value")
    with pytest.raises(ConfigError, match=f"already run by process {parent.pid} "):
        LocalServers(folder).start()

    parent.kill()
    parent.communicate()
    # At once, while the servers may still be ending: the leftover is waited for.
    with LocalServers(folder) as again:
        assert again.addresses == first
        assert asyncio.run(read(first.kafka)) == [b"one", b"two"]
        assert get(first.redis, "key") == b"value"
        asyncio.run(write(first.kafka, b"three"))

        again.kill_kafka()
        again.kill_redis()
        assert left(folder) == []
        with pytest.raises(ConfigError, match="Kafka is not running"):
            again.check_alive()
        again.restart_kafka()
        again.restart_redis()
        again.check_alive()
        assert asyncio.run(read(first.kafka)) == [b"one", b"two", b"three"]
        assert get(first.redis, "key") == b"value"
    assert left(folder) == []


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    """A parent that was killed leaves no process, with nobody there to clean up."""
    folder = tmp_path.resolve()
    parent, _ = start_in_another_process(folder)
    pids = left(folder)
    parent.kill()
    parent.communicate()
    assert len(pids) == 4
    assert wait_until(lambda: not left(folder), within_s=20)
    assert not list(folder.glob("*/*.pid"))


def test_classes_are_taken_from_where_they_were_read_ahead(servers: Addresses) -> None:
    """The broker of this run has them in its memory, and what is done already is not done again."""
    began: list[str] = []
    archive = read_ahead(lambda _: None, on_progress=began.append)
    if began:
        pytest.skip("`enforcer warm --servers` was not run before this run's broker started")
    assert servers.kafka
    maps = [each / "maps" for each in Path("/proc").iterdir() if each.name.isdigit()]
    assert any(str(archive) in text_of(each) for each in maps)


def text_of(file: Path) -> str:
    """What a file of a process says, nothing where it is gone or another's."""
    try:
        return file.read_text()
    except OSError:
        return ""


def test_a_broken_server_says_what_is_wrong(tmp_path: Path) -> None:
    """Kafka's own reason stands in the error, and Valkey does not run on without it."""
    with LocalServers(tmp_path) as fine:
        fine.check_alive()
    (tmp_path / "kafka" / "data" / "meta.properties").write_text("broken\n")
    with pytest.raises(ConfigError, match=r"(?s)Kafka ended with exit code 1.*node ID not found"):
        LocalServers(tmp_path).start()
    assert left(tmp_path) == []


@pytest.mark.soak
def test_ports_that_are_taken_meanwhile_cost_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was faster keeps its port; where it stays so, or was asked for, that is the error."""
    taken = socket.create_server(("127.0.0.1", free_port()))
    port, choose = taken.getsockname()[1], local.choose_ports
    unlucky, told = ["redis", "kafka"], []

    def chosen(file: Path, *, kafka_port: int, redis_port: int) -> Ports:
        ports = choose(file, kafka_port=kafka_port, redis_port=redis_port)
        return msgspec.structs.replace(ports, **{unlucky.pop(): port}) if unlucky else ports

    monkeypatch.setattr(local, "choose_ports", chosen)
    with taken:
        with LocalServers(tmp_path, on_progress=told.append) as servers:
            servers.check_alive()
        assert sum("trying others" in each for each in told) == 2
        unlucky = ["redis"] * local.TRIES_MAX
        with pytest.raises(ConfigError, match=rf"(?s)Valkey.*{port}.*in use"):
            LocalServers(tmp_path).start()
        assert not unlucky


def test_the_session_has_its_servers(servers: Addresses, fresh_name: str) -> None:
    """What other tests build on: both answer, and a fresh name is fit for a topic and a key."""
    put(servers.redis, fresh_name, "value")
    assert get(servers.redis, fresh_name) == b"value"

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(fresh_name, 3, 1)])
            # The controller has made it; the broker that answers hears of it a little later.
            for _ in range(200):
                if fresh_name in await admin.list_topics():
                    return
                await asyncio.sleep(0.1)
            pytest.fail("a topic that was made is not listed after 20 s")
        finally:
            await admin.close()

    asyncio.run(create())
