"""A worker among versions: newer state is left alone, older state is read, the group goes on."""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.bus import MemoryPublisher
from stream.cli.failure import CONFIG, code_of
from stream.errors import NewerFormat
from stream.events import Conditions, Request, decode_entry, encode_request
from stream.profiles.rowwords import FORMAT_VERSION, checksum
from stream.runtime import SystemClock
from stream.store import Checkpoint, MemoryServer, MemoryStore, Save
from tests.estate import TOPICS, Estate, stored
from tests.live import PATIENCE_S, differences, other_rows

START_MS = 1_790_000_000_000
NOW_MS = SystemClock().wall_ms()


def payloads(count: int, start: int = 0) -> list[bytes]:
    """Events of nine workloads, some of whom come to be throttled and revoked."""
    return [
        encode_request(
            Request(
                at_ms=START_MS + each * 40,
                workload=f"spiffe://test.example/agents/a{each * each % 31}",
                operation=f"tool:{('get', 'send', 'delete')[each % 3]}_{each % 5}",
                outcome=("served", "failed", "denied")[each % 7 % 3],
                task=f"t{each % 4}",
            )
        )
        for each in range(start, start + count)
    ]


def newer_row(row: bytes) -> bytes:
    """A row as a newer version writes it: another format, intact."""
    count = int.from_bytes(row[4:8], "little")
    words = np.frombuffer(row[: count * 8], np.uint64).copy()
    words[0] += np.uint64(FORMAT_VERSION + 1 - (int(words[0]) & 0xFFFF))
    words[1] = checksum(words, 0, count)
    return words.tobytes()


async def ended(estate: Estate) -> NewerFormat:
    """How a worker ends that meets what is newer."""
    with pytest.raises(NewerFormat) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await estate.made().run()
    return caught.value


def scene(change: Callable[[Estate], Awaitable[None] | None], said: str, **holds: bool) -> Estate:
    """Let a worker meet a change, after one has worked; what is stored stays as the change left it.

    `claims`: the newer worker of the partition is fenced, which is not writing over its state.
    """
    estate = Estate()

    async def story() -> None:
        await estate.topics()
        await estate.feed(payloads(200))
        async with estate.worker() as worker:
            await stored(worker, 200)
        change(estate)
        await estate.feed(payloads(200, 200))
        before = copy.deepcopy(estate.server.partitions)
        entries = [len(each.records) for each in estate.log.partitions(TOPICS.journal)]
        error = await ended(estate)
        assert said in error.message
        assert "upgrade" in error.hint
        assert code_of(error) == CONFIG == 78
        after = estate.server.partitions[0]
        kept = before[0]
        assert (after.rows, after.records) == (kept.rows, kept.records)
        assert untimed(after.checkpoint) == untimed(kept.checkpoint)
        if not holds.get("claims", False):
            assert (after.nonce, after.epoch) == (kept.nonce, kept.epoch)
            assert len(estate.log.partitions(TOPICS.journal)[0].records) == entries[0]
        conditions = [
            decode_all(each.value) for each in estate.log.partitions(TOPICS.journal)[0].records
        ]
        assert sum(isinstance(each, Conditions) for each in conditions) == 1

    asyncio.run(story())
    return estate


def untimed(checkpoint: bytes | None) -> bytes | dict[str, Any] | None:
    """A checkpoint without when it was written: a worker may say again what it was told."""
    if checkpoint is None or b'"format":1,' not in checkpoint:
        return checkpoint
    fields: dict[str, Any] = msgspec.json.decode(checkpoint)
    return {name: value for name, value in fields.items() if name != "at_ms"}


def decode_all(value: bytes | None) -> Any:
    """A journal entry, None for what a newer version wrote."""
    try:
        return decode_entry(value or b"")
    except NewerFormat:
        return None


def test_a_newer_row_ends_the_worker_and_stays() -> None:
    """No byte of its partition is written: not the row, not its neighbours, no checkpoint."""

    def change(estate: Estate) -> None:
        rows = estate.server.partitions[0].rows
        rows |= {each: newer_row(row) for each, row in rows.items()}

    scene(change, "partition 0, spiffe://test.example/agents/a", claims=True)


@pytest.mark.parametrize("value", [b'{"format":3}', b'{"format":9,"next_offset":[]}'])
def test_a_newer_checkpoint_ends_the_worker_before_it_claims(value: bytes) -> None:
    """The partition is not even claimed, and nothing is journalled there."""

    def change(estate: Estate) -> None:
        estate.server.partitions[0].checkpoint = value

    scene(change, "checkpoint of partition 0 has format")


@pytest.mark.parametrize(
    "value", [b'{"type":"conditions","format":9,"nonce":7}', b'{"type":"later","format":1}']
)
def test_a_newer_journal_entry_ends_the_worker(value: bytes) -> None:
    """What decides cannot be read, so nothing is decided; no conditions are journalled over it."""

    def change(estate: Estate) -> None:
        estate.log.append(TOPICS.journal, 0, b"newer", value)

    scene(change, "a journal entry", claims=True)


def test_a_policy_that_reads_otherwise_ends_the_worker() -> None:
    """A journalled policy that this version cannot read, or reads as another one, is newer."""
    for old, new in ((b"name", b"later_field"), (b"live-test", b"other-test")):

        def change(estate: Estate, old: bytes = old, new: bytes = new) -> None:
            records = estate.log.partitions(TOPICS.journal)[0].records
            last = max(
                at for at, each in enumerate(records) if b"policy_text" in (each.value or b"")
            )
            entry = msgspec.json.decode(records[last].value or b"")
            entry["policy_text"] = entry["policy_text"].replace(old.decode(), new.decode(), 1)
            entry["policy_hash"] = "f" * len(entry["policy_hash"])
            records[last] = records[last]._replace(value=msgspec.json.encode(entry))

        scene(change, "the journalled policy", claims=True)


def test_a_corrupt_checkpoint_is_a_named_mode() -> None:
    """It is said, journalled and counted; what Kafka holds is replayed, and counts once."""
    estate = Estate()
    everything = payloads(600)

    async def story() -> tuple[list[bytes], dict[int, bytes]]:
        await estate.topics()
        await estate.feed(everything[:400])
        async with estate.worker() as worker:
            await stored(worker, 400)
        for number, spoiled in ((0, b"{"), (1, b"\xff" * 9), (2, b"null")):
            estate.server.partitions[number].checkpoint = spoiled
        await estate.feed(everything[400:])
        async with estate.worker() as worker:
            await stored(worker, 600)
            counted = estate.metrics.text().decode()
        assert 'enforcer_modes_total{mode="checkpoint_corrupt"} 3.0' in counted
        return estate.bodies(), await estate.rows()

    bodies, rows = asyncio.run(story())
    expected_bodies, expected_rows = estate.replayed(everything)
    assert len(expected_bodies) > 10
    assert differences(bodies, expected_bodies) == ""
    assert other_rows(rows, expected_rows) == []
    journalled = estate.values(TOPICS.journal)
    assert sum(b"checkpoint_corrupt" in each for each in journalled) == 3


def test_corrupt_records_are_read_from_the_topic() -> None:
    """What the store says is published cannot be read: the topic says it, and gateways agree."""
    estate = Estate()
    everything = payloads(600)

    async def story() -> None:
        await estate.topics()
        await estate.feed(everything[:400])
        async with estate.worker() as worker:
            await stored(worker, 400)
        spoiled = [each for each in estate.server.partitions.values() if each.records]
        for each in spoiled:
            each.records = dict.fromkeys(each.records, b"\x93\x01")
        await estate.feed(everything[400:])
        async with estate.worker() as worker:
            await stored(worker, 600)
            counted = estate.metrics.text().decode()
            assert f'modes_total{{mode="records_corrupt"}} {len(spoiled)}.0' in counted
            until_s = asyncio.get_running_loop().time() + PATIENCE_S
            while (table := estate.table()).state(NOW_MS) != "ready":
                assert asyncio.get_running_loop().time() < until_s, table.homes(NOW_MS)
                await asyncio.sleep(0.05)
        assert len(spoiled) > 1

    asyncio.run(story())
    assert differences(estate.bodies(), estate.replayed(everything)[0]) == ""


class LaterPublisher(MemoryPublisher):
    """What the next version publishes: the same, and a field more."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        """Append a record with a field that older versions do not know."""
        if value is not None and value.startswith(b"{") and topic != TOPICS.requests:
            value = value[:-1] + b',"later":{"x":[1]}}'
        return await super().send(topic, key, value, partition)


class LaterStore(MemoryStore):
    """What the next version stores: checkpoints with a field more."""

    async def save(self, partition: int, save: Save) -> int:
        """Write, and let the checkpoint have a field that older versions do not know."""
        number = await super().save(partition, save)
        held = self._server.partition(partition)
        if save.checkpoint is not None and held.checkpoint is not None:
            held.checkpoint = held.checkpoint[:-1] + b',"later":{"x":[1]}}'
        return number


def test_two_versions_in_one_group() -> None:
    """A rolling restart: older and newer take over from each other, work side by side, and back."""
    estate = Estate()
    everything = payloads(1_000)

    async def story() -> tuple[list[bytes], dict[int, bytes]]:
        await estate.topics()
        steps = [("old",), ("old", "new"), ("new",), ("new", "old"), ("old",)]
        for place, versions in enumerate(steps):
            workers = [estate.made() for _ in versions]
            for version, worker in zip(versions, workers, strict=True):
                if version == "new":
                    worker._doors = worker._doors._replace(
                        publisher=lambda: LaterPublisher(estate.log),
                        store=lambda: LaterStore(estate.server),
                    )
            tasks = [asyncio.create_task(each.run()) for each in workers]
            await estate.feed(everything[place * 200 : (place + 1) * 200])
            await all_stored(estate.server, (place + 1) * 200)
            for worker in workers:
                worker.stop()
            await asyncio.gather(*tasks)
        return estate.bodies(), await estate.rows()

    bodies, rows = asyncio.run(story())
    expected_bodies, expected_rows = estate.replayed(everything)
    assert differences(bodies, expected_bodies) == ""
    assert other_rows(rows, expected_rows) == []
    assert any(b'"later"' in each for each in estate.values(TOPICS.journal))
    assert any(b'"later"' in each for each in estate.values(TOPICS.enforcement))


async def all_stored(server: MemoryServer, count: int) -> None:
    """Wait until the checkpoints say that so many events need no replay."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            held = [each.checkpoint for each in server.partitions.values() if each.checkpoint]
            at = [msgspec.json.decode(each, type=Checkpoint).next_offset for each in held]
            if sum(at) >= count:
                return
            await asyncio.sleep(0.02)
