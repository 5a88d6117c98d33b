"""Which rights each role has at Kafka: what its code asks of the broker, and nothing else.

Idempotent writing comes with the right to write since Kafka 2.8 (KIP-679). Only `dlq retry` uses
transactions, under one name of its own. Reading and writing a topic imply describing it. Nobody
needs a right on the cluster: a topic is created by a right to create that topic.

Source: Kafka's documentation, "Authorization and ACLs", table of operations by protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from stream.config import Config

from .doors import zone_group
from .letters import retry_name


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that one principal may do with one thing at Kafka; `why` it needs that.

    `resource_type`: topic, group or transactional-id.
    """

    role: str
    principal: str
    resource_type: str
    resource: str
    operation: str
    why: str
    pattern_type: str = "literal"
    host: str = "*"
    permission: str = "allow"


class Principals(NamedTuple):
    """Who plays which role; `zones` is (zone, principal of its gateways)."""

    worker: str
    gateway: str
    operator: str
    admin: str
    zones: Sequence[tuple[str, str]]


LOOK: Final = "to see that the topic is what it must be; without it that is only said"


def kafka_rights(config: Config, who: Principals) -> list[Right]:
    """Return all rights of an installation, by role.

    With zones each gateway writes its zone's topic only, so there is no right to write `requests`
    for gateways.
    """
    zones = [zone for zone, _ in who.zones]
    topics = [config.topics.zone_topic(zone) for zone in zones]
    rights = [*_of_worker(config, who.worker, zones)]
    if not who.zones:
        rights += _of_gateway(config, "gateway", who.gateway, config.topics.requests)
    for topic, (zone, principal) in zip(topics, who.zones, strict=True):
        rights += _of_gateway(config, f"gateway of zone {zone}", principal, topic)
    rights += _of_operator(config, who.operator, topics)
    return [*rights, *_of_admin(config, who.admin, topics)]


def _of_worker(config: Config, principal: str, zones: Sequence[str]) -> Iterator[Right]:
    topics = config.topics
    needs = [
        (topics.requests, "Read", "to read events"),
        (
            topics.requests,
            "Write",
            "to send misrouted events to their homes, and ask about who is silent",
        ),
        (topics.requests, "DescribeConfigs", LOOK),
        (topics.enforcement, "Read", "to hear what operators say"),
        (topics.enforcement, "Write", "to publish commands and heartbeats"),
        (topics.enforcement, "DescribeConfigs", LOOK),
        (topics.journal, "Read", "to take a partition over"),
        (topics.journal, "Write", "to journal what decisions depend on"),
        (topics.journal, "DescribeConfigs", LOOK),
        (topics.dead_letters, "Write", "to keep what is no event"),
        (topics.dead_letters, "DescribeConfigs", LOOK),
        (topics.baselines, "Read", "to compare with the baseline in force"),
        (topics.baselines, "Write", "to let every worker have that of its file"),
        (topics.baselines, "DescribeConfigs", LOOK),
    ]
    for topic in map(topics.zone_topic, zones):
        needs += [(topic, "Read", "to read a zone's events"), (topic, "DescribeConfigs", LOOK)]
    yield from _rights("worker", principal, needs)
    for group in (config.kafka.group, *(zone_group(config, zone) for zone in zones)):
        yield Right(
            role="worker",
            principal=principal,
            resource_type="group",
            resource=group,
            operation="Read",
            why="to be a member of the group",
        )


def _of_gateway(config: Config, role: str, principal: str, topic: str) -> Iterator[Right]:
    needs = [
        (topic, "Write", "to report requests"),
        (config.topics.enforcement, "Read", "to obey commands"),
    ]
    yield from _rights(role, principal, needs)


def _of_operator(config: Config, principal: str, zones: Sequence[str]) -> Iterator[Right]:
    needs = [
        (config.topics.enforcement, "Read", "for `list`, and to merge acts"),
        (config.topics.enforcement, "Write", "for `stop`, `start`, `exempt`, `lift`"),
        (config.topics.journal, "Read", "for `explain`, to know the policy in force"),
        (config.topics.baselines, "Read", "for `baseline list --live`, `promote`, `rollback`"),
        (config.topics.baselines, "Write", "for `baseline promote` and `rollback`"),
        (config.topics.dead_letters, "Read", "for `dlq`"),
        (config.topics.dead_letters, "Write", "for `dlq retry`, to mark what was sent"),
        (config.topics.requests, "Read", "for `baseline learn --live`"),
        (config.topics.requests, "Write", "for `dlq retry`, to send events again"),
        *((topic, "Write", "for `dlq retry`, to send events again") for topic in zones),
    ]
    yield from _rights("operator", principal, needs)
    yield Right(
        role="operator",
        principal=principal,
        resource_type="transactional-id",
        resource=retry_name(config.topics.dead_letters),
        operation="Write",
        why="for `dlq retry`, so that each counts once",
    )


def _of_admin(config: Config, principal: str, zones: Sequence[str]) -> Iterator[Right]:
    topics = config.topics
    growing = (topics.requests, topics.journal, topics.dead_letters)
    fixed = (topics.enforcement, topics.baselines, *zones)
    needs = [
        (topic, operation, f"for `topics`: {why}")
        for topic in (*growing, *fixed)
        for operation, why in (
            ("DescribeConfigs", "to look at its settings"),
            ("Create", "to make it where it is missing"),
        )
    ]
    # To alter a topic implies to describe it.
    needs += [(topic, "Alter", "for `topics`, and `partitions grow`") for topic in growing]
    needs += [(topic, "Describe", "for `topics`: to look whether it exists") for topic in fixed]
    needs.append((topics.journal, "Read", "for `partitions grow`, to know what there was"))
    yield from _rights("admin", principal, needs)


def _rights(role: str, principal: str, needs: Sequence[tuple[str, str, str]]) -> Iterator[Right]:
    for topic, operation, why in needs:
        yield Right(
            role=role,
            principal=principal,
            resource_type="topic",
            resource=topic,
            operation=operation,
            why=why,
        )
