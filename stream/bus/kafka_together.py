"""Records that are appended all or none, by one writer of a name: a transaction of Kafka.

Starting ends every earlier writer of the same name: an open transaction of it is aborted, a
committed one is complete, and its next step is refused. What was written under the name before
`start` returned can therefore be read afterwards, and nothing is added behind one's back. A writer
that dies leaves a transaction that holds up readers of its partitions until `TRANSACTION_MS` later,
or until the next writer of the name starts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

import aiokafka.errors as vendor
from aiokafka import AIOKafkaProducer

from stream.errors import ConfigError, OwnershipLost

from .contract import Sending
from .kafka import KafkaSpec, answered, client_options, count_partitions, stop_client

TRANSACTION_MS: Final = 10_000
FENCED: Final = (
    vendor.ProducerFenced,
    vendor.InvalidProducerEpoch,
    vendor.InvalidProducerIdMapping,
)


class KafkaTogether:
    """Appends groups of records, each group all or none.

    Errors: OwnershipLost, BusUnavailable, ConfigError, as the contract says.
    """

    def __init__(self, spec: KafkaSpec, name: str) -> None:
        self._spec = spec
        self._name = name
        self._request_s = spec.request_ms / 1_000
        self._producer: AIOKafkaProducer | None = None
        self._counts: dict[str, int] = {}

    async def start(self) -> None:
        """Connect, and end every earlier writer of this name."""
        assert self._producer is None, "started twice"
        spec = self._spec
        producer = AIOKafkaProducer(
            **client_options(spec),
            transactional_id=self._name,
            transaction_timeout_ms=TRANSACTION_MS,
            acks="all",
            linger_ms=spec.linger_ms,
            max_batch_size=spec.batch_bytes,
            max_request_size=spec.record_bytes_max,
        )
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(stop_client, "a transactional producer", producer)
            async with answered(f"begin to write as {self._name}", self._request_s):
                await producer.start()
            undo.pop_all()
        self._producer = producer

    async def send_all(self, sendings: Sequence[Sending]) -> list[int]:
        """Append all of these records or none; return their offsets once they can be read."""
        producer = self._producer
        assert producer is not None, "not started, stopped, or ended by an error"
        for each in sendings:
            await self._check(producer, each)
        is_whole = False
        what = f"write {len(sendings)} records together"
        try:
            async with answered(what, TRANSACTION_MS / 1_000):
                offsets = await self._commit(producer, sendings)
            is_whole = True
            return offsets
        finally:
            if not is_whole:
                # What the client thinks of the transaction is of no use now; a new writer knows.
                self._producer = None
                await stop_client("a transactional producer", producer)

    async def _check(self, producer: AIOKafkaProducer, sending: Sending) -> None:
        topic, partition = sending.topic, sending.partition
        if topic not in self._counts:
            self._counts[topic] = await count_partitions(producer.client, topic, self._request_s)
        if not 0 <= partition < self._counts[topic]:
            raise ConfigError(
                f"topic {topic} has {self._counts[topic]} partitions, and no {partition}"
            )

    async def _commit(self, producer: AIOKafkaProducer, sendings: Sequence[Sending]) -> list[int]:
        try:
            await producer.begin_transaction()
            waiting: list[asyncio.Future[Any]] = [
                await producer.send(each.topic, each.value, each.key, each.partition)
                for each in sendings
            ]
            await asyncio.gather(*waiting)
            await producer.commit_transaction()
        except FENCED as error:
            raise _ended(self._name) from error
        except (AssertionError, vendor.IllegalOperation, vendor.KafkaError) as error:
            # The client's sender failed behind our back, and we hear of what came of that.
            cause = _failure(producer)
            if cause is None:
                raise
            if isinstance(cause, FENCED):
                raise _ended(self._name) from error
            raise cause from error
        return [int(each.result().offset) for each in waiting]

    async def stop(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_client("a transactional producer", producer)


def _failure(producer: AIOKafkaProducer) -> BaseException | None:
    """What ended the transaction of this client, if anything has."""
    end: asyncio.Future[Any] | None = producer._txn_manager.wait_for_transaction_end()
    if end is None or not end.done() or end.cancelled():
        return None
    return end.exception()


def _ended(name: str) -> OwnershipLost:
    return OwnershipLost(
        f"another writer of the name {name} has started, or this one took longer than"
        f" {TRANSACTION_MS // 1_000} s: nothing of its last group was written",
        hint="look at what is there now, and begin again",
    )
