"""One idempotent producer of Kafka, that replaces itself when the broker gives up on it.

An idempotent producer numbers its batches per partition. One batch refused for good leaves a gap,
and the broker then refuses all that follow: so after such a failure the next `send` makes a new
producer, with a new id, after the old one has delivered what it still can.

What is sent by the new one then stands behind a gap. Where the order is a proof (an event on its
way home counts only if none of its source from further on has come) there may be none: a publisher
that does not heal drops what waits behind a lost record and takes no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Generator, Sequence
from functools import lru_cache, partial
from typing import Any, Final

import aiokafka.errors as vendor
from aiokafka import AIOKafkaProducer

from stream.errors import BusUnavailable, ConfigError, EnforcerError
from stream.identity import home_partition

from .kafka import (
    REFUSALS,
    STOP_GRACE_S,
    KafkaSpec,
    answered,
    client_options,
    connected,
    count_partitions,
    ended,
    translated,
)

# murmur2 costs microseconds a key, and the same workloads come again and again.
KEYS_REMEMBERED: Final = 65_536


class KafkaPublisher:
    """Appends records in the order sent, each acknowledged by every replica in sync.

    With `heals=False` nothing is appended behind a record that was lost: whoever sends begins anew
    with another publisher. Errors: BusUnavailable, ConfigError, as the contract says.
    """

    def __init__(self, spec: KafkaSpec, *, heals: bool = True) -> None:
        self._spec = spec
        self._heals = heals
        self._request_s = spec.request_ms / 1_000
        self._delivery_s = spec.delivery_ms / 1_000
        self._producer: AIOKafkaProducer | None = None
        self._spent: AIOKafkaProducer | None = None
        self._renewal = asyncio.Lock()
        self._topics: set[str] = set()
        self._loss: EnforcerError | None = None

    async def start(self) -> None:
        """Connect, and get a producer id."""
        assert self._producer is None, "started twice"
        self._producer = await self._open()

    async def _open(self) -> AIOKafkaProducer:
        spec = self._spec
        producer = AIOKafkaProducer(
            **client_options(spec),
            enable_idempotence=True,
            acks="all",
            linger_ms=spec.linger_ms,
            max_batch_size=spec.batch_bytes,
            max_request_size=spec.record_bytes_max,
            partitioner=_partition_of,
        )
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(_close, producer, self._delivery_s)
            await connected("a producer", spec, producer)
            undo.pop_all()
        return producer

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        """Queue a record; the awaitable gives its offset once every replica in sync has it."""
        assert key is not None or (partition is not None and value is not None)
        producer = await self._usable()
        if topic not in self._topics:
            await count_partitions(producer.client, topic, self._request_s)
            self._topics.add(topic)
        try:
            # The client bounds both by its request timeout; a deadline more would cost as much
            # as the rest of a send.
            if partition is not None:
                known = await producer.partitions_for(topic)
                if partition not in known:
                    # The topic may have grown since the client last asked.
                    await producer.client.force_metadata_update()
                    known = await producer.partitions_for(topic)
                if partition not in known:
                    raise ConfigError(
                        f"topic {topic} has {len(known)} partitions, and no {partition}"
                    )
            future = await producer.send(topic, value=value, key=key, partition=partition)
        except (vendor.KafkaError, OSError) as error:
            if self._loss is not None:
                raise self._behind() from error
            raise translated(error, f"send to {topic}") from error
        future.add_done_callback(partial(self._judge, producer, topic))
        return _Acknowledgement(self, future, topic, self._delivery_s)

    def _judge(self, producer: AIOKafkaProducer, topic: str, future: asyncio.Future[Any]) -> None:
        # Also fetches the error of a record that nobody waits for, which asyncio would report.
        if not future.cancelled() and (error := future.exception()) is not None:
            if not self._heals and self._spent is not producer:
                self._loss = translated(error, f"acknowledge a record of {topic}")
                self._loss.__cause__ = error
                _drop_waiting(producer)
            self._spent = producer

    def _behind(self) -> EnforcerError:
        """Return what to say of a record behind a lost one: why it was lost, if that would stay."""
        is_refused = isinstance(self._loss and self._loss.__cause__, REFUSALS)
        if is_refused and isinstance(self._loss, ConfigError):
            return ConfigError(self._loss.message, hint=self._loss.hint)
        return BusUnavailable("a record before this one was lost, and none may follow it")

    async def _usable(self) -> AIOKafkaProducer:
        assert self._producer is not None, "not started, or stopped"
        if self._producer is self._spent:
            if not self._heals:
                raise self._behind()
            async with self._renewal:
                spent = self._producer
                if spent is self._spent:
                    await _close(spent, self._delivery_s)
                    self._producer = await self._open()
        return self._producer

    async def flush(self) -> None:
        """Wait until everything queued is acknowledged or failed.

        Errors: BusUnavailable when that takes too long.
        """
        assert self._producer is not None, "not started, or stopped"
        async with answered("flush", self._delivery_s):
            await self._producer.flush()

    async def stop(self) -> None:
        """Flush and disconnect; what cannot be delivered in STOP_GRACE_S is given up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer, min(self._delivery_s, STOP_GRACE_S))


class _Acknowledgement:
    """The offset of one record, once it is known."""

    def __init__(
        self, publisher: KafkaPublisher, future: asyncio.Future[Any], topic: str, within_s: float
    ) -> None:
        self._publisher = publisher
        self._future = future
        self._topic = topic
        self._within_s = within_s

    def __await__(self) -> Generator[Any, None, int]:
        return self._offset().__await__()

    async def _offset(self) -> int:
        future = self._future
        if not future.done():
            await asyncio.wait({future}, timeout=self._within_s)
        if future.done() and not future.cancelled() and future.exception() is None:
            offset = int(future.result().offset)
            if offset >= 0:
                return offset
        raise self._failure()

    def _failure(self) -> EnforcerError:
        what = f"acknowledge a record of {self._topic}"
        if self._future.cancelled() and self._publisher._loss is not None:
            return self._publisher._behind()
        if not self._future.done() or self._future.cancelled():
            return BusUnavailable(f"{what}: Kafka did not answer in {self._within_s:g} s")
        error = self._future.exception()
        if error is None:
            # The broker knows the batch as a repeat, and no longer where it put it.
            return BusUnavailable(f"{what}: appended, but where is unknown")
        failure = translated(error, what)
        failure.__cause__ = error
        return failure


async def _close(producer: AIOKafkaProducer, within_s: float) -> None:
    """Flush and disconnect; what cannot be delivered in time is unknown, as after a lost answer.

    The client retries for ever, so its parts are ended one by one, the connections last: without
    them its sender would wait for news of the brokers for ever.
    """
    if await ended("a producer", producer.stop(), within_s):
        return
    await ended("a producer's sender", producer._sender.close(), STOP_GRACE_S)
    waiting = producer._message_accumulator
    waiting._pending_batches.update(
        batch for batches in waiting._batches.values() for batch in batches
    )
    for batch in list(waiting._pending_batches):
        batch.future.cancel()
        for future, _ in batch._msg_futures:
            future.cancel()
    await ended("a producer's connections", producer.client.close(), STOP_GRACE_S)


def _drop_waiting(producer: AIOKafkaProducer) -> None:
    """Let nothing leave any more that has not left yet; whoever waits hears that it is lost.

    Called before the client's own task looks again at what waits, so nothing slips through.
    """
    waiting = producer._message_accumulator
    waiting._exception = vendor.KafkaError("a record before this one was lost")
    dropped = [batch for batches in waiting._batches.values() for batch in batches]
    waiting._batches.clear()
    for batch in dropped:
        batch.drain_ready()
        for future in (batch.future, *(future for future, _ in batch._msg_futures)):
            future.cancel()


@lru_cache(maxsize=KEYS_REMEMBERED)
def _home(key: bytes, partitions: int) -> int:
    return home_partition(key, partitions)


def _partition_of(key: bytes, partitions: Sequence[int], available: Sequence[int]) -> int:
    return _home(key, len(partitions))
