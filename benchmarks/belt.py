"""A conveyor belt: record batches made ahead, then sent as they are, at any pace.

Making a record costs some microseconds of Python; sending a batch that is there costs little a
thousand records. So one process can feed far more than it could make, and on a machine of two
cores a load takes little from what is measured. Batches are those of a producer without
idempotence, of the product's own batch size.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from stream.bus import KafkaSpec
from stream.identity import home_partition

BATCH_BYTES = 131_072
REQUEST_BYTES = 4 * 1_048_576
REQUEST_PIECES = 64
ANSWER_MS = 30_000


class Piece(NamedTuple):
    """One record batch of one partition."""

    partition: int
    count: int
    data: bytes


def pieces(events: Iterable[tuple[bytes, bytes]], partitions: int) -> Iterator[Piece]:
    """Yield batches of the events, each at the home of its key, as they become full."""
    homes: dict[bytes, int] = {}
    open_ones = [_Open(partition) for partition in range(partitions)]
    for key, payload in events:
        home = homes.get(key)
        if home is None:
            home = homes[key] = home_partition(key, partitions)
        full = open_ones[home].add(key, payload)
        if full is not None:
            yield full
    for each in open_ones:
        if each.count:
            yield each.close()


class _Open:
    """The batch of a partition that is being filled."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._begin()

    def _begin(self) -> None:
        self.count = 0
        self._builder = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1,
            base_sequence=-1, batch_size=BATCH_BYTES,
        )  # fmt: skip

    def add(self, key: bytes, payload: bytes) -> Piece | None:
        """Add an event; return the batch before it where that was full."""
        full = None
        if self._builder.append(self.count, 0, key, payload, []) is None:
            full = self.close()
            self._builder.append(0, 0, key, payload, [])
        self.count += 1
        return full

    def close(self) -> Piece:
        """Return what was filled, and begin anew."""
        piece = Piece(self._partition, self.count, bytes(self._builder.build()))
        self._begin()
        return piece


class Appended(NamedTuple):
    """Up to which offset a partition was filled, when by the broker's clock; -1: it has none."""

    partition: int
    end: int
    at_ms: int


class Belt:
    """Sends pieces to a topic; says how many records it has sent, and when they were appended."""

    def __init__(self, client: AIOKafkaClient, topic: str) -> None:
        self._client = client
        self._topic = topic
        self.sent = 0
        self.appended: list[Appended] = []

    async def send(self, some: Sequence[Piece]) -> None:
        """Append the pieces, in order, and return when they are acknowledged."""
        left = list(some)
        while left:
            # A request has one batch a partition: the first of each that comes.
            now: dict[int, Piece] = {}
            later, size = [], 0
            for each in left:
                if each.partition in now or size > REQUEST_BYTES:
                    later.append(each)
                else:
                    now[each.partition] = each
                    size += len(each.data)
            await self._request(list(now.values()))
            self.sent += sum(each.count for each in now.values())
            left = later

    async def _request(self, some: Sequence[Piece]) -> None:
        """Append one batch a partition; what a broker does not lead yet is tried again."""
        left, over_at_s = list(some), time.monotonic() + ANSWER_MS / 1_000
        while left:
            at = TopicPartition(self._topic, left[0].partition)
            request = ProduceRequest(
                transactional_id=None,
                required_acks=-1,
                timeout=ANSWER_MS,
                topics=[(self._topic, [(each.partition, each.data) for each in left])],
            )
            leader = self._client.cluster.leader_for_partition(at)
            answer = await self._client.send(leader, request)
            # Of a partition: its number, an error's, the offset, and the time of appending.
            said = {part[0]: part for _, parts in answer.topics for part in parts}
            for each in left:
                partition, code, offset, at_ms = said[each.partition][:4]
                if not code:
                    self.appended.append(Appended(partition, offset + each.count, at_ms))
            left = [each for each in left if said[each.partition][1]]
            for each in left:
                error = for_code(said[each.partition][1])
                if not error.retriable or time.monotonic() > over_at_s:
                    raise error
            if left:
                await asyncio.sleep(0.1)
                await self._client.force_metadata_update()

    async def keep(self, some: Iterable[Piece], per_s: float, until: asyncio.Event) -> float:
        """Send pieces at a pace until they or the time are over; return records a second.

        A request that takes long is made up for by those that follow.
        """
        began_s, before = time.monotonic(), self.sent
        source = iter(some)
        while not until.is_set():
            due = (time.monotonic() - began_s) * per_s
            now: list[Piece] = []
            ahead = self.sent - before
            while ahead <= due and len(now) < REQUEST_PIECES:
                piece = next(source, None)
                if piece is None:
                    break
                now.append(piece)
                ahead += piece.count
            if now:
                await self.send(now)
            elif ahead <= due:
                break
            else:
                await asyncio.sleep((ahead - due) / per_s)
        return (self.sent - before) / (time.monotonic() - began_s)


@contextlib.asynccontextmanager
async def belt(kafka: KafkaSpec, topic: str) -> AsyncIterator[Belt]:
    """A belt to one broker, while the block lasts."""
    client = AIOKafkaClient(bootstrap_servers=kafka.bootstrap, request_timeout_ms=ANSWER_MS)
    await client.bootstrap()
    try:
        await client.set_topics([topic])
        yield Belt(client, topic)
    finally:
        await client.close()
