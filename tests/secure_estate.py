"""An installation on secured servers, as each of its roles sees it."""

from __future__ import annotations

from typing import Any

import msgspec

from stream.bus import KafkaPublisher
from stream.cli.rights import Principals, Right, kafka_rights
from stream.config import Config, with_prefix
from stream.events import Reject, RejectCode, Request, dead_letter, encode_request
from stream.identity import home_partition
from stream.local import Addresses
from stream.policy import load_policy
from stream.runtime import SystemClock
from tests.live import Installation, opened, worker_of
from tests.secure import Acl, SecureKafka
from tests.valkey import Valkey

POLICY = """
name: strict
rules:
- name: burst
  limit: {measure: requests, at_most: 20, per: 1s}
  action: throttle
  rate: 1/h
  for: 10m
  mode: enforce
"""
BAD = "spiffe://test.example/agents/bad"
WHO = Principals("User:worker", "User:gateway", "User:operator", "User:admin", ())
WAYS = {
    "worker": ("SASLTLS", {"mechanism": "SCRAM-SHA-512"}),
    "gateway": ("MTLS", {}),
    "operator": ("SASLTLS", {"mechanism": "PLAIN"}),
    "admin": ("SASL", {"mechanism": "SCRAM-SHA-256"}),
    "edge-eu": ("SASLTLS", {}),
}


Zones = dict[str, tuple[str, ...]]


def acl_of(right: Right) -> Acl:
    """A right as the broker of the test takes it."""
    return Acl(right.principal, right.resource_type, right.resource, right.operation)


class Estate:
    """An installation of two partitions: what each role is set up with, and a super user's eyes."""

    def __init__(
        self, kafka: SecureKafka, valkey: Valkey, name: str, zones: Zones | None = None
    ) -> None:
        self.kafka = kafka
        self.valkey = valkey
        config = with_prefix(Config(), name[-20:].strip("-"))
        zones = zones or {}
        topics = msgspec.structs.replace(
            config.topics, partitions=2, enforcement_partitions=2, zone_partitions=2, zones=zones
        )
        self.config = msgspec.structs.replace(config, topics=topics)
        self.super = Installation(Addresses(kafka=kafka.plain, redis=valkey.url), name, POLICY)
        self.super.config = msgspec.structs.replace(self.super.config, topics=topics)
        who = WHO._replace(zones=tuple((zone, f"User:edge-{zone}") for zone in zones))
        self.rights = kafka_rights(self.config, who)

    def of(self, role: str, redis: dict[str, Any] | None = None) -> Config:
        """The settings of a role."""
        listener, how = WAYS[role]
        kafka = self.kafka.spec(listener, role, group=self.config.kafka.group, **how)
        store = msgspec.structs.replace(self.super.config.redis, **(redis or {}))
        return msgspec.structs.replace(
            self.config, kafka=kafka, redis=store, worker=self.super.config.worker
        )

    def worker(self, config: Config) -> Any:
        """A worker with these settings."""
        return worker_of(config, load_policy(POLICY, "test"), "worker")

    async def feed(self) -> None:
        """Send what is no event, and more requests than are allowed."""
        now_ms = SystemClock().wall_ms()
        workload = f"{BAD}-{now_ms}"
        events = [
            encode_request(Request(at_ms=now_ms + each, workload=workload, operation="tool:x"))
            for each in range(40)
        ]
        await self.super.feed([b"no event", *events])
        # One more that a gateway put elsewhere than its home.
        wrong = 1 - home_partition(workload.encode(), self.config.topics.partitions)
        async with opened(KafkaPublisher(self.super.config.kafka)) as publisher:
            topic = self.config.topics.requests
            await (await publisher.send(topic, b"k", events[0], wrong))

    async def letter(self) -> None:
        """Have a dead letter that may be retried."""
        now_ms = SystemClock().wall_ms()
        reject = Reject(
            code=RejectCode.TOO_MANY,
            message="no room",
            topic=self.config.topics.requests,
            partition=0,
            offset=now_ms,
            raw=encode_request(Request(at_ms=now_ms, workload=BAD, operation="tool:x")),
        )
        value = msgspec.json.encode(dead_letter(reject))
        async with opened(KafkaPublisher(self.super.config.kafka)) as publisher:
            await (await publisher.send(self.config.topics.dead_letters, None, value, 0))
