"""Dead letters on a real Kafka: another try counts once, whoever asks and whatever crashes."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from stream.bus import KafkaPublisher, KafkaReader, KafkaTogether, Sending
from stream.cli import main
from stream.cli.dlq_retry import Plan, Tally, retry_letters
from stream.cli.letters import Choice
from stream.cli.screen import Screen
from stream.errors import OwnershipLost
from stream.events import Reject, RejectCode, Request, dead_letter, encode_request
from stream.identity import home_partition
from stream.local import Addresses
from tests.live import Installation, events_in, opened, wait_until

AT_MS = 1_790_000_000_000
HOSTILE = b'{"at_ms":1\x1b]0;owned\x07'


def event(number: int) -> bytes:
    """An event of one of five workloads."""
    name = f"spiffe://test.example/agents/a{number % 5}"
    return encode_request(Request(at_ms=AT_MS + number, workload=name, operation=f"GET /{number}"))


def letter(installation: Installation, number: int, raw: bytes) -> tuple[int, bytes]:
    """A dead letter with its partition: as though a worker had not known the event."""
    partition = number % installation.config.topics.partitions
    reject = Reject(
        code=RejectCode.WRONG_TYPE,
        message="the field was not known \x1b[31m",
        topic=installation.config.topics.requests,
        partition=partition,
        offset=number,
        raw=raw,
        append_ms=AT_MS + number,
    )
    return partition, msgspec.json.encode(dead_letter(reject))


async def write_letters(installation: Installation, raws: dict[int, bytes]) -> None:
    """Put letters on the topic."""
    await installation.topics()
    async with opened(KafkaPublisher(installation.config.kafka)) as publisher:
        for number, raw in raws.items():
            partition, value = letter(installation, number, raw)
            topic = installation.config.topics.dead_letters
            await publisher.send(topic, None, value, partition)
        await publisher.flush()


async def sent(installation: Installation) -> Counter[bytes]:
    """What the topic of requests holds, each as often as it is there."""
    topic, found = installation.config.topics.requests, Counter[bytes]()
    async with opened(KafkaReader(installation.config.kafka)) as reader:
        for partition, bounds in (await reader.bounds(topic)).items():
            for record in await reader.read(topic, partition, bounds.start, bounds.end):
                assert record.value is not None
                found[record.value] += 1
    return found


async def committed(installation: Installation, at_least: int) -> Counter[bytes]:
    """The same, once so many are there: readers see a transaction a moment after its commit."""
    return await wait_until(lambda: sent(installation), lambda found: found.total() >= at_least)


def prefix_of(installation: Installation) -> str:
    """The prefix of an installation's topics."""
    return installation.config.topics.requests.removesuffix(".requests")


def where(installation: Installation) -> list[str]:
    """The options that reach an installation."""
    return ["--kafka", installation.config.kafka.bootstrap, "--prefix", prefix_of(installation)]


def enforcer(installation: Installation, *words: str) -> tuple[int, Any]:
    """Call a verb in this process; return its exit code and its JSON."""
    done = CliRunner().invoke(main, [*words, *where(installation), "--json"])
    return done.exit_code, json.loads(done.stdout) if done.stdout else done.stderr


def test_retry_counts_once(servers: Addresses, fresh_name: str) -> None:
    """The verb sends each event to its home; repeated it sends nothing; a worker settles after it.

    The log then ends with markers of transactions, which no position passes.
    """
    installation = Installation(servers, fresh_name)
    raws = {number: event(number) for number in range(40)} | {90: HOSTILE, 91: b"x" * 20_000}
    asyncio.run(write_letters(installation, raws))
    asyncio.run(write_letters(installation, {7: event(7)}))  # a worker that died, again
    code, found = enforcer(installation, "dlq", "list")
    assert (code, found["found"]) == (0, 42)
    assert {each["state"] for each in found["letters"]} == {"new"}
    for words in (("list",), ("show", f"{installation.config.topics.requests}/0/90")):
        shown = CliRunner().invoke(main, ["dlq", *words, *where(installation)])
        assert shown.exit_code == 0
        assert "\\x1b[31m" in shown.stdout
        assert all(each.isprintable() or each == "\n" for each in shown.stdout)
    assert "\\x1b]0;owned\\x07" in shown.stdout
    code, tried = enforcer(installation, "dlq", "retry", "--all")
    assert code == 0
    assert tried["outcomes"] == {"retried": 40, "not an event": 1, "cut": 1}
    assert asyncio.run(committed(installation, 40)) == Counter(event(each) for each in range(40))
    for each in tried["letters"]:
        if each["outcome"] == "retried":
            number = int(each["origin"].rpartition("/")[2])
            name = f"spiffe://test.example/agents/a{number % 5}".encode()
            assert each["partition"] == home_partition(name, 6)
    code, tried = enforcer(installation, "dlq", "retry", "--all")
    assert (code, tried["outcomes"]["already retried"]) == (1, 40)
    topic = installation.config.topics.requests
    code, tried = enforcer(installation, "dlq", "retry", f"{topic}/0/90", "--as-is")
    assert (code, tried["outcomes"]) == (0, {"retried": 1})
    code, found = enforcer(installation, "dlq", "list", "--new")
    assert [each["raw_bytes"] for each in found["letters"]] == [20_000]

    async def work() -> dict[int, bytes]:
        async with installation.workers(1) as workers:

            async def missing() -> list[str]:
                return workers[0].ready()

            await wait_until(missing, lambda missing: not missing)
        return await installation.rows()

    rows = asyncio.run(work())
    assert sum(map(events_in, rows.values())) == 40


STEPS = ("began", "sent", "committed")


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_between_two_steps_counts_once(
    step: str, servers: Addresses, fresh_name: str
) -> None:
    """SIGKILL with the transaction begun, sent, or committed: the next retry makes it whole."""
    installation = Installation(servers, fresh_name)
    raws = {number: event(number) for number in range(12)}
    asyncio.run(write_letters(installation, raws))
    words = [installation.config.kafka.bootstrap, prefix_of(installation), step]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.retry_process", *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == step
        process.kill()
    code, tried = enforcer(installation, "dlq", "retry", "--all")
    expected = ("already retried", 1) if step == "committed" else ("retried", 0)
    assert (tried["outcomes"], code) == ({expected[0]: 12}, expected[1])
    assert asyncio.run(committed(installation, len(raws))) == Counter(raws.values())


def test_a_second_operator_ends_the_first(servers: Addresses, fresh_name: str) -> None:
    """Whoever starts ends who was there: each event is sent once, whoever came when."""
    installation = Installation(servers, fresh_name)
    raws = {number: event(number) for number in range(60)}
    plan = Plan(Choice(), 1_000)

    async def one(delay_s: float) -> type[BaseException] | None:
        await asyncio.sleep(delay_s)
        try:
            await retry_letters(installation.config, plan, Tally(Screen(is_json=True)))
        except OwnershipLost as error:
            return type(error)
        return None

    async def story() -> list[type[BaseException] | None]:
        await write_letters(installation, raws)
        ended = await asyncio.gather(*(one(place * 0.03) for place in range(4)))
        await one(0)
        return list(ended)

    ended = asyncio.run(story())
    assert None in ended
    assert asyncio.run(committed(installation, len(raws))) == Counter(raws.values())


def test_a_fenced_writer_writes_nothing(servers: Addresses, fresh_name: str) -> None:
    """After a newer writer of the name has started, the older one's group is refused whole."""
    installation = Installation(servers, fresh_name)
    topics = installation.config.topics

    def sending(value: bytes) -> list[Sending]:
        return [
            Sending(topics.requests, 0, b"k", value),
            Sending(topics.dead_letters, 0, b"m", value),
        ]

    async def story() -> None:
        await installation.topics()
        async with (
            opened(KafkaTogether(installation.config.kafka, fresh_name)) as old,
            opened(KafkaReader(installation.config.kafka)) as reader,
        ):
            assert len(await old.send_all(sending(b"first"))) == 2
            async with opened(KafkaTogether(installation.config.kafka, fresh_name)) as new:
                with pytest.raises(OwnershipLost, match="another writer"):
                    await old.send_all(sending(b"late"))
                await new.send_all(sending(b"second"))
            for topic in (topics.requests, topics.dead_letters):
                end = (await reader.bounds(topic))[0].end
                records = await reader.read(topic, 0, 0, end)
                assert [each.value for each in records] == [b"first", b"second"]

    asyncio.run(story())


def test_a_writer_fenced_between_two_records_is_told_so(
    servers: Addresses, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own sender may learn of the newer writer while records are still handed in."""
    installation = Installation(servers, fresh_name)
    requests = installation.config.topics.requests
    send = AIOKafkaProducer.send

    async def slowly(self: AIOKafkaProducer, *args: Any) -> Any:
        sent = await send(self, *args)
        await asyncio.wait([sent], timeout=5)
        return sent

    async def story() -> None:
        await installation.topics()
        async with (
            opened(KafkaTogether(installation.config.kafka, fresh_name)) as old,
            opened(KafkaTogether(installation.config.kafka, fresh_name)),
        ):
            monkeypatch.setattr(AIOKafkaProducer, "send", slowly)
            with pytest.raises(OwnershipLost, match="another writer"):
                await old.send_all([Sending(requests, 0, b"k", b"late")] * 3)

    asyncio.run(story())


@pytest.mark.soak
def test_an_operator_who_dies_holds_nobody_up_for_long(servers: Addresses, fresh_name: str) -> None:
    """An open transaction of a killed retry ends by itself, and readers go on behind it."""
    installation = Installation(servers, fresh_name)
    asyncio.run(write_letters(installation, {1: event(1)}))
    words = [installation.config.kafka.bootstrap, prefix_of(installation), "sent"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.retry_process", *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()

    async def behind() -> Counter[bytes]:
        await installation.feed([event(6)])
        return await wait_until(lambda: sent(installation), bool)

    assert asyncio.run(behind()) == Counter([event(6)])
