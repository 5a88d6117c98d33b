"""`explain`: one workload's profile out of Redis, its limits and what is in force, with reasons."""

from __future__ import annotations

import time
from typing import NamedTuple

import click

from stream.bus import KafkaReader
from stream.config import Config, hash_key, load_config, policy_of
from stream.events import Conditions
from stream.explain import RowImage, StoredRow, open_row, read_profile
from stream.identity import home_partition
from stream.kernel import HashKey
from stream.policy import Policy, load_policy
from stream.runtime import Counts, conditions_in
from stream.store import RedisStore

from .doors import opened, wait_for
from .failure import NotSo
from .options import WORKLOAD, examples, json_option, reaching
from .profile_view import show_profile
from .screen import Screen


class Found(NamedTuple):
    """What is stored of a workload, and under which policy it is read."""

    image: RowImage
    names: dict[int, str]
    policy: Policy
    conditions: Conditions | None


@click.command(
    "explain",
    epilog=examples(
        "enforcer explain spiffe://example.org/agent/a",
        "enforcer explain spiffe://example.org/agent/a --policy candidate.yaml",
        "enforcer explain spiffe://example.org/agent/a --json | jq .in_force",
    ),
)
@click.argument("workload", type=WORKLOAD)
@click.option(
    "--policy",
    metavar="FILE",
    type=click.Path(),
    help="Read it under this policy, and not under the one that the journal names; Kafka is "
    "not asked then.",
)
@reaching
@json_option
def explain(
    *, workload: str, policy: str | None, environment: dict[str, str], is_json: bool
) -> None:
    """Show a workload's profile, and what is in force.

    Its windows with the distance to each limit, its tasks with their last operations, sequences
    that have begun, its heaviest transitions, and what is in force on it and why. It is what is
    stored, which is at most a second or so behind. Exit code 1 if nothing is stored of it.
    """
    if policy:
        environment = {**environment, "ENFORCER_POLICY": policy}
    config, key = load_config("", environment), hash_key(environment)
    chosen = policy_of(config) if policy else None
    found = wait_for(find(config, key, workload, chosen))
    now_ms = time.time_ns() // 1_000_000
    profile = read_profile(found.image, found.policy, found.names, found.conditions, now_ms)
    screen = Screen(is_json=is_json)
    screen.emit(profile)
    show_profile(screen, profile)


async def find(config: Config, key: HashKey, workload: str, policy: Policy | None) -> Found:
    """Return the stored row of a workload, open under a policy, the journal's where none is given.

    Errors: NotSo, StoreUnavailable, BusUnavailable, ConfigError, RowCorrupt.
    """
    async with opened(RedisStore(config.redis)) as store:
        counts = await _counts(store, config)
        store.first_partitions = counts[0]
        partition = home_partition(workload.encode(), counts[-1])
        (row,) = await store.load(partition, [key.hash(workload)])
        if row is None:
            raise NotSo(
                f"nothing is stored of {workload}",
                hint="it has sent no event that counts (domain_full in `enforcer dlq list`: there "
                "was no room), or another prefix or hash key is in use",
            )
        conditions = None
        if policy is None:
            checkpoint = await store.checkpoint(partition)
            start = checkpoint.journal_offset if checkpoint else 0
            conditions = await _conditions(config, partition, start)
            policy = load_policy(conditions.policy_text, "journal")
        image = open_row(key, policy, StoredRow(workload, partition, row))
        names = await store.names(partition, image.operations())
    return Found(image, names, policy, conditions)


async def _counts(store: RedisStore, config: Config) -> Counts:
    """Return how many partitions there have been, as the store has it.

    Before anything is stored, as many as are configured.
    """
    checkpoint = await store.checkpoint(0)
    counts = checkpoint.counts if checkpoint else ()
    return counts or (config.topics.partitions,)


async def _conditions(config: Config, partition: int, start: int) -> Conditions:
    """Return the conditions that a partition's owner has, or comes to.

    Errors: NotSo where there are none; BusUnavailable, ConfigError.
    """
    topic = config.topics.journal
    async with opened(KafkaReader(config.kafka)) as reader:
        bounds = (await reader.bounds(topic)).get(partition)
        if bounds is None:
            raise NotSo(
                f"{topic} has no partition {partition}", hint="is topics.partitions what it was?"
            )
        records = await reader.read(topic, partition, max(start, bounds.start), bounds.end)
    held = conditions_in(records)
    if not held:
        raise NotSo(
            f"the journal of partition {partition} names no policy",
            hint="name one: --policy FILE",
        )
    return held[-1]
