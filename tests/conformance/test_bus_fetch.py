"""The fast way out of aiokafka's consumer gives what the public way gives, whatever a log holds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import aiokafka.errors as vendor
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import fetcher as inner
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from stream.bus import KafkaTopics, Record, TopicSpec
from stream.bus.kafka_fetch import Drain, Handover, Public, can_hand_over, hand_over, open_drain
from stream.bus.kafka_rescue import read_batch
from stream.bus.kafka_whole import can_hand_over_whole, hand_over_whole, open_whole
from tests.batches import AT, CODECS, Fetched, batch, next_offset
from tests.buses import kafka_spec, run

Row = tuple[Any, ...]  # offset, append time, value, and key where it was asked for


BATCH = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["plain", "plain", "transactional", "control"]),
        "codec": st.sampled_from([0, 0, *CODECS.values()]),
        "producer": st.integers(1, 2),
        "deltas": st.sets(st.integers(0, 8), min_size=1).map(sorted),
        "gap": st.integers(0, 2),
        "mark": st.integers(0, 1),
        "value": st.one_of(st.none(), st.binary(max_size=300)),
        "append_time": st.booleans(),
        "is_corrupt": st.sampled_from([False] * 9 + [True]),
    }
)


def public_rows(fetched: Fetched) -> Iterator[Row]:
    """What aiokafka itself would return."""
    for record in fetched.records:
        yield record.offset, record.timestamp, record.value, record.key


@given(
    st.lists(BATCH, max_size=6),
    st.lists(st.tuples(st.integers(1, 2), st.integers(0, 40)), max_size=2),
    st.integers(0, 12),
    st.lists(st.integers(1, 7), min_size=1),
    st.booleans(),
)
def test_columns_equal_the_clients_own_records(
    drawn: list[dict[str, Any]],
    aborted: list[tuple[int, int]],
    start: int,
    steps: list[int],
    is_whole: bool,
) -> None:
    """Columns, positions and errors are the client's own, however small the steps are."""
    hand: Any = hand_over_whole if is_whole else partial(hand_over, with_keys=True)

    async def scene() -> None:
        log: list[bytes] = []
        for one in drawn:
            log.append(batch(one, next_offset(log[-1]) if log else 0))
        theirs = Fetched(log, aborted, start)
        wanted: list[Row] = []
        wanted_error = ""
        try:
            wanted.extend(public_rows(theirs))
        except vendor.KafkaError as error:
            wanted_error = str(error)

        ours = Fetched(log, aborted, start, is_whole=is_whole)
        rows: list[Row] = []
        error_seen = ""
        is_empty, step = False, 0
        while not is_empty:
            records_max = steps[step % len(steps)]
            step += 1
            try:
                columns, is_empty = hand(AT, ours.result, records_max)
            except vendor.KafkaError as error:
                error_seen, is_empty = str(error), True
                continue
            if columns is not None:
                assert 0 < len(columns.offsets) <= records_max
                keys = [b"key"] * len(columns.offsets) if is_whole else columns.keys
                rows += zip(columns.offsets, columns.append_ms, columns.values, keys, strict=True)
                assert ours.state.position > columns.offsets[-1]
            if is_empty and wanted_error and not error_seen:
                # The response is dropped; the client asks again from the position.
                ours = Fetched(log, aborted, ours.state.position, is_whole=is_whole)
                is_empty = False
        assert rows == wanted
        assert error_seen == wanted_error
        if not wanted_error:
            assert ours.state.position == theirs.records.next_fetch_offset

    run(scene())


@given(BATCH, st.integers(0, 9))
def test_batch_is_read_without_its_headers(drawn: dict[str, Any], position: int) -> None:
    """What we read of a batch ourselves is what the client reads, also when a header is no text."""
    drawn |= {"kind": "plain"}
    sound = batch(drawn | {"is_corrupt": False}, 5)
    wanted = [
        Record(0, record.offset, record.timestamp, record.key, record.value)
        for record in MemoryRecords(sound).next_batch()
        if record.offset >= 5 + position
    ]
    odd = batch(drawn | {"header": b"\xff", "is_corrupt": False}, 5)
    if 5 + position < next_offset(odd):
        assert read_batch(sound, 0, 5 + position) == (wanted, next_offset(sound))
        assert read_batch(odd + b"tail", 0, 5 + position) == (wanted, next_offset(odd))
        with pytest.raises(ValueError, match="checksum"):
            read_batch(batch(drawn | {"is_corrupt": True}, 5), 0, 5 + position)
    with pytest.raises((UnicodeDecodeError, vendor.CorruptRecordException)):
        list(MemoryRecords(odd).next_batch())


def test_response_of_an_old_assignment_is_dropped() -> None:
    """What was fetched before the position moved, or the partition went, gives nothing."""

    async def scene() -> None:
        drawn = {"kind": "plain", "codec": 0, "producer": 1, "deltas": [0, 1], "gap": 0, "mark": 0}
        one = batch(drawn | {"value": b"v", "append_time": False, "is_corrupt": False}, 0)
        for is_whole in (False, True):
            moved, paused, taken = (Fetched([one], [], 0, is_whole=is_whole) for _ in range(3))
            moved.state.seek(1)
            paused.state.pause()
            taken.result._assignment._unassign()
            for fetched in (moved, paused, taken):
                assert hand_over_whole(AT, fetched.result, 10) == (None, True)

    run(scene())


async def fill(address: str, topic: str) -> None:
    """Write what a log may hold, every codec, committed and aborted and plain, interleaved."""

    @contextlib.asynccontextmanager
    async def producer(**settings: Any) -> AsyncIterator[AIOKafkaProducer]:
        made = AIOKafkaProducer(bootstrap_servers=address, max_batch_size=2_000, **settings)
        await made.start()
        yield made
        await made.stop()

    for codec in [None, *CODECS]:
        async with (
            producer(compression_type=codec) as plain,
            producer(compression_type=codec, transactional_id=f"{topic}-{codec}") as bound,
        ):
            for turn in range(6):
                for n in range(40):
                    value = [None, b"", b"%d" % n * 20][n % 3]
                    await plain.send(topic, value, key=b"k", partition=n % 2, headers=[("h", b"")])
                await plain.flush()
                await bound.begin_transaction()
                for n in range(30):
                    await bound.send(topic, b"bound %d %d" % (turn, n), partition=n % 2)
                await (bound.abort_transaction() if turn % 2 else bound.commit_transaction())


@contextlib.asynccontextmanager
async def consumer_at(address: str, topic: str, offset: int) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address, isolation_level="read_committed", max_partition_fetch_bytes=9_000
    )
    await consumer.start()
    partitions = [TopicPartition(topic, partition) for partition in range(2)]
    consumer.assign(partitions)
    for at in partitions:
        consumer.seek(at, offset)
    yield consumer
    await consumer.stop()


async def rows_of(drain: Drain, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> Any:
    """Read to the ends, at most 37 records at a time."""
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rows: dict[int, list[Row]] = {0: [], 1: []}
    async with asyncio.timeout(30):
        while [at for at in ends if await consumer.position(at) < ends[at]]:
            taken = await drain.take(37)
            assert sum(len(columns.offsets) for columns in taken) <= 37
            for columns in taken:
                rows[columns.at.partition] += zip(
                    columns.offsets, columns.append_ms, columns.values, strict=True
                )
            if not taken:
                await drain.wait(0.1, never)
    return rows


@pytest.mark.parametrize("offset", [0, 101])
def test_fast_way_equals_public_way(servers: Any, fresh_name: str, offset: int) -> None:
    """On a real log with codecs, transactions and their markers, all ways give the same."""

    async def scene() -> None:
        topics = KafkaTopics(kafka_spec(servers.kafka, fresh_name))
        await topics.start()
        await topics.ensure([TopicSpec(name=fresh_name, partitions=2)])
        await topics.stop()
        await fill(servers.kafka, fresh_name)
        found = []
        ways: list[Callable[[AIOKafkaConsumer], Drain]] = [
            open_whole,
            partial(open_drain, with_keys=False),
            partial(Public, with_keys=False),
        ]
        for way in ways:
            async with consumer_at(servers.kafka, fresh_name, offset) as consumer:
                assert can_hand_over(consumer)
                assert can_hand_over_whole(consumer)
                ends = await consumer.end_offsets(list(consumer.assignment()))
                found.append(await rows_of(way(consumer), consumer, ends))
        whole, fast, public = found
        assert whole == fast == public
        # Per codec and partition, 6 times 20 plain ones and 3 times 15 committed ones.
        if offset == 0:
            assert len(fast[0]) == len(fast[1]) == (1 + len(CODECS)) * (6 * 20 + 3 * 15)

    run(scene())


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (inner.FetchResult, "check_assignment"),
        (inner.PartitionRecords, "_unpack_records"),
        (inner.Fetcher, "_notify"),
        (inner.Fetcher, "_proc_fetch_request"),
    ],
)
def test_other_internals_mean_the_public_way(
    where: type, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a private spot is missing the public way is taken, and the log says so."""

    async def scene() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:9")
        consumer._fetcher = inner.Fetcher(consumer._client, consumer._subscription)
        assert isinstance(open_whole(consumer), Handover)
        assert not caplog.records
        monkeypatch.delattr(where, what)
        if what != "_proc_fetch_request":
            assert isinstance(open_drain(consumer, with_keys=False), Public)
        assert isinstance(open_whole(consumer), Public)
        assert "public way" in caplog.text
        monkeypatch.undo()
        await consumer._fetcher.close()
        consumer._closed = True

    run(scene())
