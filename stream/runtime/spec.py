"""The worker's settings: topics, limits, spans. Every limit is printed at start."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stream.bus import TopicSpec

Millis = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]
TopicName = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+$")]
Partitions = Annotated[int, msgspec.Meta(ge=1, le=4_096)]


class TopicsSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The topics by name, and what they are made with when they are missing.

    `enforcement_partitions` is fixed for ever once the topic exists. The others may have become a
    multiple of `partitions` (`enforcer partitions grow`).
    """

    requests: TopicName = "requests"
    enforcement: TopicName = "enforcement"
    journal: TopicName = "journal"
    dead_letters: TopicName = "dead-letters"
    partitions: Partitions = 6
    enforcement_partitions: Partitions = 6
    replicas: Annotated[int, msgspec.Meta(ge=1, le=7)] = 1
    retention_ms: Annotated[int, msgspec.Meta(ge=3_600_000, le=10 * 365 * 86_400_000)] = 604_800_000

    def specs(self) -> list[TopicSpec]:
        """Return what each topic must be, requests first."""
        replicas, retention_ms = self.replicas, self.retention_ms
        return [
            TopicSpec(
                name=self.requests,
                partitions=self.partitions,
                replicas=replicas,
                retention_ms=retention_ms,
                may_grow=True,
            ),
            TopicSpec(
                name=self.enforcement,
                partitions=self.enforcement_partitions,
                compacted=True,
                replicas=replicas,
            ),
            TopicSpec(
                name=self.journal,
                partitions=self.partitions,
                replicas=replicas,
                retention_ms=retention_ms * 2,
                may_grow=True,
            ),
            TopicSpec(
                name=self.dead_letters,
                partitions=self.partitions,
                replicas=replicas,
                retention_ms=retention_ms,
                may_grow=True,
            ),
        ]


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one worker works.

    `slots_max` rows in memory; `batch_events_max` events a step; rows are written at most every
    `save_every_ms`, at most `save_rows_max` at a time, the longest unsaved first. Tombstones wait
    `tombstone_after_ms` beyond expiry, more than any gateway's clock may be off. Kafka and Redis
    are asked every `look_every_ms`; one that does not answer within `answer_ms` is `broker_down` or
    `store_down`. More than `behind_events` waiting events of a partition are `behind`.
    """

    slots_max: Annotated[int, msgspec.Meta(ge=64, le=16_000_000)] = 200_000
    batch_events_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    fetch_wait_ms: Millis = 200
    save_every_ms: Millis = 1_000
    save_rows_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000
    heartbeat_ms: Millis = 1_000
    tombstone_after_ms: Annotated[int, msgspec.Meta(ge=0, le=86_400_000)] = 60_000
    sweep_every_ms: Annotated[int, msgspec.Meta(ge=100, le=86_400_000)] = 600_000
    outputs_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    restart_wait_ms: Millis = 500
    stop_wait_ms: Millis = 10_000
    look_every_ms: Millis = 1_000
    answer_ms: Millis = 2_000
    behind_events: Annotated[int, msgspec.Meta(ge=2, le=1_000_000_000)] = 100_000
