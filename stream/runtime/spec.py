"""The worker's settings: topics, limits, spans. Every limit is printed at start."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from stream.bus import TopicSpec
from stream.events import FULL_MAX
from stream.identity import InvalidIdentity, Territory

from .heard import SOURCES_MAX
from .library import PARTITIONS as LIBRARY_PARTITIONS

Millis = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]
TopicName = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+$")]
Partitions = Annotated[int, msgspec.Meta(ge=1, le=4_096)]
ZONES_MAX: Final = 32
# It travels in each envelope, with the broker's id of the topic, in at most 255 bytes.
ZONE_TOPIC_LENGTH_MAX: Final = 200
ZoneName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,48}$")]
Prefix = Annotated[str, msgspec.Meta(max_length=2_048)]
Prefixes = Annotated[tuple[Prefix, ...], msgspec.Meta(min_length=1, max_length=64)]
Zones = Annotated[dict[ZoneName, Prefixes], msgspec.Meta(max_length=ZONES_MAX)]


class TopicsSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The topics by name, and what they are made with when they are missing.

    `enforcement_partitions` is fixed for ever once the topic exists; `requests` and `journal` may
    have become a multiple of `partitions` (`enforcer partitions grow`). `zones`: the SPIFFE
    prefixes that the gateways of a zone may speak for; they report to `requests.ZONE`, a topic of
    `zone_partitions`.

    Zones stand here and not in the policy: who may say what is settled before an event is in a
    partition's log, so nothing that is decided from the log depends on it; the topics must be
    there at start; and whoever may change rules is not thereby the one who widens rights, which
    belong beside the broker's (`enforcer acl`).
    """

    requests: TopicName = "requests"
    enforcement: TopicName = "enforcement"
    journal: TopicName = "journal"
    dead_letters: TopicName = "dead-letters"
    baselines: TopicName = "baselines"
    partitions: Partitions = 6
    enforcement_partitions: Partitions = 6
    replicas: Annotated[int, msgspec.Meta(ge=1, le=7)] = 1
    retention_ms: Annotated[int, msgspec.Meta(ge=3_600_000, le=10 * 365 * 86_400_000)] = 604_800_000
    zones: Zones = {}
    zone_partitions: Partitions = 6

    def __post_init__(self) -> None:
        """Refuse zones that would be no bound. Errors: ValueError."""
        for zone, prefixes in self.zones.items():
            try:
                Territory(prefixes)
            except InvalidIdentity as error:
                raise ValueError(f"zone {zone}: {error.message}") from error
        long = [each for each in self.zones if len(self.zone_topic(each)) > ZONE_TOPIC_LENGTH_MAX]
        if long:
            said = f"zone {long[0]}: its topic's name has more than {ZONE_TOPIC_LENGTH_MAX} letters"
            raise ValueError(said)
        names = [self.requests, self.enforcement, self.journal, self.dead_letters, self.baselines]
        names += [self.zone_topic(zone) for zone in self.zones]
        twice = sorted({each for each in names if names.count(each) > 1})
        if twice:
            # Who may report to a zone could else write what workers read as something else.
            raise ValueError(f"two topics are named {twice[0]}")
        if self.partitions + len(self.zones) * self.zone_partitions > SOURCES_MAX:
            raise ValueError(f"more than {SOURCES_MAX:,} partitions of requests and zones")

    def zone_topic(self, zone: str) -> str:
        """Return the topic that a zone's gateways report to."""
        return f"{self.requests}.{zone}"

    def zone_spec(self, zone: str) -> TopicSpec:
        """Return what a zone's topic must be: its append times bound what its events claim."""
        return TopicSpec(
            name=self.zone_topic(zone),
            partitions=self.zone_partitions,
            replicas=self.replicas,
            retention_ms=self.retention_ms,
        )

    def specs(self) -> list[TopicSpec]:
        """Return what each topic must be, requests first, those of zones last."""
        return [*self.core_specs(), *(self.zone_spec(zone) for zone in self.zones)]

    def core_specs(self) -> list[TopicSpec]:
        """Return what each topic must be without which nothing works, requests first."""
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
            TopicSpec(
                name=self.baselines,
                partitions=LIBRARY_PARTITIONS,
                compacted=True,
                replicas=replicas,
            ),
        ]


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one worker works.

    `slots_max` rows in memory; at most `stored_rows_max` stored rows of one trust domain in one
    partition, and of at most `stored_domains_max` trust domains, beyond which no new workload is
    admitted; a fetch brings at most `batch_events_max` events, fewer where
    applying them would take longer than `batch_ms`; rows are written at most every
    `save_every_ms`, at most `save_rows_max` in that time, the longest unsaved first, and
    `save_slice_rows` in one go, which events wait for; where saving would take more than
    `save_share` of the time, more rarely, down to every `save_every_max_ms`. Tombstones wait
    `tombstone_after_ms` beyond expiry, more than any gateway's clock may be off. Kafka and Redis
    are asked every `look_every_ms`; one that does not answer within `answer_ms` is `broker_down` or
    `store_down`. More than `behind_events` waiting events of a partition are `behind`. At most
    `zone_events_max` events of a zone are read in a turn, and no more than that in
    `look_every_ms` while we are `behind`. `baseline` is the file of what tasks are compared with
    where no journal names one; rows are evicted to keep about `learned_max` tasks that are being
    compared in memory, of less than 1 KiB each, and habits of as many workloads, 2.4 KiB each.
    """

    slots_max: Annotated[int, msgspec.Meta(ge=64, le=16_000_000)] = 200_000
    stored_rows_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 1_000_000
    stored_domains_max: Annotated[int, msgspec.Meta(ge=1, le=FULL_MAX)] = FULL_MAX
    batch_events_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000
    batch_ms: Millis = 50
    fetch_wait_ms: Millis = 200
    save_every_ms: Millis = 1_000
    save_every_max_ms: Millis = 4_000
    save_share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.1
    save_rows_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000
    save_slice_rows: Annotated[int, msgspec.Meta(ge=1, le=8_192)] = 512
    heartbeat_ms: Millis = 1_000
    tombstone_after_ms: Annotated[int, msgspec.Meta(ge=0, le=86_400_000)] = 60_000
    sweep_every_ms: Annotated[int, msgspec.Meta(ge=100, le=86_400_000)] = 600_000
    outputs_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    restart_wait_ms: Millis = 500
    stop_wait_ms: Millis = 10_000
    look_every_ms: Millis = 1_000
    answer_ms: Millis = 2_000
    behind_events: Annotated[int, msgspec.Meta(ge=2, le=1_000_000_000)] = 100_000
    zone_events_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2_000
    learned_max: Annotated[int, msgspec.Meta(ge=64, le=16_000_000)] = 65_536
    baseline: Annotated[str, msgspec.Meta(max_length=4_096)] = ""
