"""What leaves a worker for Kafka: commands, dead letters, tombstones, heartbeats.

Everything is sent in the order it was derived, by one idempotent producer; acknowledgements are
kept with the partition, because no row may be stored before them (see `saving`).

A signature is put on here, behind everything that decides or counts: bodies, ids, the digest of
what is published and what is stored are the same with and without keys, and under any key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

import msgspec

from stream.bus import Publisher
from stream.clock import Clock
from stream.engine import StepResult
from stream.events import Heartbeat, Reject, Version, dead_letter, encode, heartbeat_key
from stream.metrics import Metrics
from stream.signing import Signer
from stream.store import NAMES_MAX

from .owned import Owned
from .spec import TopicsSpec

_json = msgspec.json.Encoder()


class Outbox:
    """Sends for the partitions of a session.

    Requires: the session's turn, so that what is counted is what was sent, in that order.
    """

    def __init__(
        self,
        publisher: Publisher,
        topics: TopicsSpec,
        clock: Clock,
        metrics: Metrics,
        signer: Signer | None = None,
    ) -> None:
        self._publisher = publisher
        self._topics = topics
        self._clock = clock
        self._metrics = metrics
        self._signer = signer

    async def publish(self, result: StepResult, owners: Mapping[int, Owned]) -> None:
        """Send the records of a step. Mutates: the owners' published, names, outputs, version."""
        for partition, value, text in result.names:
            owned = owners[partition]
            if len(owned.named) < NAMES_MAX and value not in owned.named:
                owned.named.add(value)
                owned.names[value] = text
        for finding in result.findings:
            self._metrics.count_finding(finding.rule)
        for each in result.outgoing:
            owned = owners[each.partition]
            sent = await self._to_enforcement(owned, each.key, each.value)
            owned.published.put(each.key, each.value, each.expires_at_ms, each.row)
            owned.version = max(owned.version, each.command.version)
            caused_at_ms = each.command.caused_at_ms
            owned.outputs.append(asyncio.ensure_future(self._watched(sent, caused_at_ms)))
            body = each.command.body
            self._metrics.count_command(body.rule, body.action, body.mode)

    async def dead_letters(self, owned: Owned, rejects: Sequence[Reject]) -> None:
        """Send what was not an event to the dead-letter topic. Mutates: owned.outputs."""
        for reject in rejects:
            value = _json.encode(dead_letter(reject))
            partition = owned.partition % self._topics.partitions
            sent = await self._publisher.send(self._topics.dead_letters, None, value, partition)
            owned.outputs.append(sent)
            self._metrics.count_reject(reject.code.value)

    async def tombstone(self, owned: Owned, after_ms: int) -> None:
        """Erase the records that expired longer than `after_ms` ago. Mutates: owned."""
        if not owned.is_settled:
            return
        for key in owned.published.expired(self._clock.wall_ms() - after_ms):
            owned.outputs.append(await self._to_enforcement(owned, key, None))
            owned.published.remove(key)
            owned.gone.append(key)

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
        )
        key = heartbeat_key(owned.partition)
        owned.outputs.append(await self._to_enforcement(owned, key, encode(beat)))

    async def _to_enforcement(
        self, owned: Owned, key: bytes, value: bytes | None
    ) -> Awaitable[int]:
        if self._signer is not None and value is not None:
            value = self._signer.sign(key, value)
        partition = owned.partition % self._topics.enforcement_partitions
        return await self._publisher.send(self._topics.enforcement, key, value, partition)

    async def _watched(self, sent: Awaitable[int], caused_at_ms: int) -> int:
        offset = await sent
        self._metrics.delay.observe(max(0, self._clock.wall_ms() - caused_at_ms) / 1_000)
        return offset
