"""What leaves a worker for Kafka: commands, dead letters, tombstones, heartbeats.

Everything is sent in the order it was derived, by one idempotent producer; acknowledgements are
kept with the partition, because no row may be stored before them (see `saving`).

A signature is put on here, behind everything that decides or counts: bodies, ids, the digest of
what is published and what is stored are the same with and without keys, and under any key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from stream.bus import Publisher, Rarely
from stream.clock import Clock
from stream.engine import StepResult
from stream.events import (
    Forwarded,
    Heartbeat,
    Reject,
    RejectCode,
    Seal,
    Source,
    Version,
    dead_letter,
    decode_request,
    encode,
    heartbeat_key,
    join_requests,
    split_signature,
    with_epoch,
    wrap,
)
from stream.identity import canonical_workload, positive_murmur2
from stream.metrics import Metrics
from stream.signing import Signer
from stream.store import NAMES_MAX

from .growth import next_home
from .owned import Owned
from .published import RECORDS_MAX
from .spec import TopicsSpec

rarely = Rarely(logging.getLogger(__name__), every_s=10.0)
_json = msgspec.json.Encoder()


class Outbox:
    """Sends for the partitions of a session.

    Requires: the session's turn, so that what is counted is what was sent, in that order.
    """

    def __init__(
        self,
        publisher: Publisher,
        topics: TopicsSpec,
        shown: tuple[Clock, Metrics],
        seal: Seal,
        signer: Signer | None = None,
    ) -> None:
        self._seal = seal
        self._publisher = publisher
        self._topics = topics
        self._clock, self._metrics = shown
        self._signer = signer

    async def publish(self, result: StepResult, owners: Mapping[int, Owned]) -> None:
        """Send the records of a step. Mutates: the owners' published, names, outputs, version.

        A partition has at most RECORDS_MAX records in force; beyond that, new subjects get none.
        """
        for partition, value, text in result.names:
            owned = owners[partition]
            if value in owned.named:
                continue
            if len(owned.named) >= NAMES_MAX:
                count_unstored_names(self._metrics, partition)
                continue
            owned.named.add(value)
            owned.names[value] = text
        for finding in result.findings:
            self._metrics.count_finding(finding.rule)
        for each in result.outgoing:
            owned = owners[each.partition]
            if len(owned.published) >= RECORDS_MAX and each.key not in owned.published:
                # The row says that it is in force: its next renewal tries again.
                self._metrics.count_unpublished()
                rarely.warning("%d records are in force, more are not published", RECORDS_MAX)
                continue
            stamped = with_epoch(each.value, owned.epoch)
            owned.published.put(each.key, stamped, each.expires_at_ms, each.row)
            sent = await self._to_enforcement(owned, each.key, stamped)
            owned.version = max(owned.version, each.command.version)
            self._watch(owned, each.key, self._timed(sent, each.command.caused_at_ms))
            body = each.command.body
            self._metrics.count_command(body.rule, body.action, body.mode)
            if body.reason.braked:
                self._metrics.count_braked(body.rule)

    async def send_away(self, owned: Owned, rejects: Sequence[Reject]) -> None:
        """Send misrouted events home, and what is no event to the dead letters. Mutates: owned."""
        strays = [each for each in rejects if each.code is RejectCode.MISROUTED]
        if strays:
            await self.forward(owned, strays)
            rejects = [each for each in rejects if each.code is not RejectCode.MISROUTED]
        await self.dead_letters(owned, rejects)

    async def dead_letters(self, owned: Owned, rejects: Sequence[Reject]) -> None:
        """Send what was not an event to the dead-letter topic. Mutates: owned.outputs."""
        for reject in rejects:
            owned.outputs.append(await self.letter(reject))

    async def letter(self, reject: Reject) -> Awaitable[int]:
        """Send one dead letter; it lies where those of its partition do."""
        value = _json.encode(dead_letter(reject))
        partition = reject.partition % self._topics.partitions
        self._metrics.count_reject(reject.code.value)
        return await self._publisher.send(self._topics.dead_letters, None, value, partition)

    async def forward(self, owned: Owned, strays: Sequence[Reject]) -> None:
        """Send misrouted events to their homes, in the order of their offsets.

        Those of one record that have one home go there as one, since a home hears of an offset
        once. Mutates: owned.
        """
        together: dict[tuple[int, int], tuple[bytes, list[Reject]]] = {}
        for stray in strays:
            key = canonical_workload(decode_request(stray.raw).workload).encode()
            home = next_home(owned.counts, owned.partition, positive_murmur2(key))
            place = stray.offset, home
            together.setdefault(place, (key, []))[1].append(stray)
        for (offset, home), (key, some) in together.items():
            source = Source(self._topics.requests, owned.partition, owned.log, offset)
            payload = join_requests([each.raw for each in some])
            event = Forwarded(source, payload, some[0].append_ms)
            owned.outputs.append(await self.carry(event, key, home))
        self._metrics.count_forwarded(len(strays))

    async def carry(self, event: Forwarded, key: bytes, home: int) -> Awaitable[int]:
        """Send an event to its home, sealed.

        Requires: `append_ms` is known; the events of a source come in the order of their places.
        """
        assert event.append_ms is not None
        value = wrap(event.source, event.payload, event.append_ms, self._seal)
        return await self._publisher.send(self._topics.requests, key, value, home)

    async def tombstone(self, owned: Owned, after_ms: int) -> None:
        """Erase the records that expired longer than `after_ms` ago. Mutates: owned."""
        if not owned.is_settled:
            return
        for key in owned.published.expired(self._clock.wall_ms() - after_ms):
            await self.erase(owned, key)
            owned.published.remove(key)
            owned.signatures.pop(key, None)
            owned.gone.append(key)

    async def erase(self, owned: Owned, key: bytes) -> None:
        """Write a tombstone. Mutates: owned."""
        sent = await self._to_enforcement(owned, key, None)
        self._watch(owned, key, _awaited(sent))

    async def put_again(
        self, owned: Owned, record: tuple[bytes, bytes], expires_at_ms: int, row: int
    ) -> None:
        """Publish a record of what is in force anew. Mutates: owned."""
        key, value = record[0], with_epoch(record[1], owned.epoch)
        owned.published.put_again(key, value, expires_at_ms, row)
        sent = await self._to_enforcement(owned, key, value)
        self._watch(owned, key, _awaited(sent))

    async def write_again(self, key: bytes, partition: int, value: bytes) -> None:
        """Write what an operator signed once more, into a partition of the enforcement topic."""
        rarely.warning("what an operator said was covered by what is not believed: written again")
        await (await self._publisher.send(self._topics.enforcement, key, value, partition))

    async def pass_on(self, owned: Owned, key: bytes, value: bytes) -> None:
        """Publish a record for the home that its workload has now. Mutates: owned.outputs."""
        owned.outputs.append(await self._to_enforcement(owned, key, value))

    def _watch(self, owned: Owned, key: bytes, sent: Coroutine[Any, Any, int]) -> None:
        """Keep an acknowledgement with the outputs, and as the last of its key."""
        task = asyncio.ensure_future(sent)
        # A session that ends awaits none of them; whoever does hears of a loss.
        task.add_done_callback(_heard)
        owned.outputs.append(task)
        owned.sent[key] = task

    async def beat(self, owned: Owned, partitions: int, every_ms: int) -> None:
        """Tell gateways how far the partition is and what they must hold of it."""
        version = owned.version
        beat = Heartbeat(
            partition=owned.partition,
            partitions=partitions,
            next_offset=owned.position,
            version=version if version.offset >= 0 else Version(version.era, 0),
            records=len(owned.published),
            digest=owned.published.digest,
            complete=owned.is_settled,
            at_ms=self._clock.wall_ms(),
            every_ms=every_ms,
            epoch=owned.epoch,
        )
        key = heartbeat_key(owned.partition)
        owned.outputs.append(await self._to_enforcement(owned, key, encode(beat)))

    async def _to_enforcement(
        self, owned: Owned, key: bytes, value: bytes | None
    ) -> Awaitable[int]:
        if self._signer is not None and value is not None:
            value = self._signer.sign(key, value)
            if key in owned.published:
                owned.signatures[key] = split_signature(value).signature
        partition = owned.partition % self._topics.enforcement_partitions
        return await self._publisher.send(self._topics.enforcement, key, value, partition)

    async def _timed(self, sent: Awaitable[int], caused_at_ms: int) -> int:
        offset = await sent
        self._metrics.delay.observe(max(0, self._clock.wall_ms() - caused_at_ms) / 1_000)
        return offset


def count_unstored_names(metrics: Metrics, partition: int, amount: int = 1) -> None:
    """Count texts of operations that found no room in a partition, and say so once in a while."""
    metrics.count_unstored_names(amount)
    said = "partition %d has %d names of operations: `explain` will show no text of further ones"
    rarely.warning(said, partition, NAMES_MAX)


async def _awaited(sent: Awaitable[int]) -> int:
    return await sent


def _heard(watched: asyncio.Future[int]) -> None:
    if not watched.cancelled():
        watched.exception()
