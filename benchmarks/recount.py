"""Whether nothing was miscounted: what a run has left, beside a count and a replay of its own.

Rows do not depend on each other, so the events of some workloads alone, with the offsets that they
have in the log, must give the same rows and commands as the run that had all of them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from benchmarks.contenders import KEY
from benchmarks.inside import conditions_of
from stream.baselines import decode_baseline, version_of
from stream.config import Config
from stream.enforcement import NOTHING_EXPECTED, Expectation
from stream.engine import State, step
from stream.events import encode
from stream.identity import home_partition
from stream.local import Addresses
from stream.policy import load_policy
from stream.profiles import Arrival, Decoder
from tests.live import Installation, events_in, fixed_part, other_rows

SAMPLE = 2_000
BATCH = 20_000


class Log(NamedTuple):
    """The events of some workloads as one partition's log has them."""

    offsets: list[int]
    values: list[bytes]


class Expected(NamedTuple):
    """What a load comes to: events by workload, and the logs of some of the workloads."""

    counts: Counter[bytes]
    sample: set[bytes]
    logs: list[Log]


def expected(some: Iterable[tuple[bytes, bytes]], partitions: int, workloads: int) -> Expected:
    """Count the events of a load, and keep those of a sample of its workloads."""
    chance = random.Random(7)
    keys: dict[bytes, tuple[int, bool]] = {}
    counts: Counter[bytes] = Counter()
    logs = [Log([], []) for _ in range(partitions)]
    ends = [0] * partitions
    for key, payload in some:
        known = keys.get(key)
        if known is None:
            is_chosen = chance.random() * workloads < SAMPLE
            known = keys[key] = home_partition(key, partitions), is_chosen
        counts[key] += 1
        home, is_chosen = known
        if is_chosen:
            logs[home].offsets.append(ends[home])
            logs[home].values.append(payload)
        ends[home] += 1
    return Expected(counts, {key for key, (_, is_chosen) in keys.items() if is_chosen}, logs)


def replayed(
    policy_text: str, logs: list[Log], workloads: int = 4 * SAMPLE, baseline: bytes | None = None
) -> tuple[Counter[bytes], dict[int, bytes]]:
    """The command bodies and the rows of logs of which only some events are known."""
    policy, under = load_policy(policy_text, "benchmark"), NOTHING_EXPECTED
    if baseline is not None:
        under = Expectation(decode_baseline(baseline, "baseline"), version_of(baseline), KEY)
    state = State(KEY, workloads + BATCH, len(logs))
    decoder = Decoder(KEY, len(logs), with_values=baseline is not None)
    bodies: Counter[bytes] = Counter()
    for partition, log in enumerate(logs):
        state.adopt(partition, conditions_of(policy, under.version), policy, under)
        for part in _parts(log):
            # Append times only bound event times, and none of these was in the future.
            append_ms = [1 << 45] * len(part.offsets)
            arrival = Arrival("file", partition, part.offsets, append_ms, part.values)
            batch, rejects = decoder.decode([arrival])
            assert not rejects, rejects[:1]
            bodies.update(encode(each.command.body) for each in step(state, batch).outgoing)
    slots = state.table.used_slots().tolist()
    ids = state.table.sections.head["workload"][slots].tolist()
    return bodies, dict(zip(ids, map(fixed_part, state.stored(slots)), strict=True))


def _parts(log: Log) -> Iterator[Log]:
    for start in range(0, len(log.offsets), BATCH):
        yield Log(log.offsets[start : start + BATCH], log.values[start : start + BATCH])


class Miscounted(NamedTuple):
    """What a run has got wrong: workloads by their counts, rows and commands of the sample."""

    counts: int
    rows: int
    commands: int


async def miscounted(config: Config, wanted: Expected, policy_text: str) -> Miscounted:
    """Compare what a run has left in Redis and on Kafka with what it should have."""
    left = Installation(Addresses(kafka=config.kafka.bootstrap, redis=config.redis.url), "unused")
    left.config = config
    rows = await left.rows()
    names = list(wanted.counts)
    hashes = KEY.hash_all([name.decode() for name in names])
    counts = len(rows.keys() - set(hashes)) + sum(
        each not in rows or events_in(rows[each]) != wanted.counts[name]
        for name, each in zip(names, hashes, strict=True)
    )
    chosen = [each for name, each in zip(names, hashes, strict=True) if name in wanted.sample]
    bodies, mine = replayed(policy_text, wanted.logs)
    other = other_rows({each: rows[each] for each in chosen if each in rows}, mine)
    found = Counter(
        encode(each.body)
        for each in await left.commands()
        if each.body.subject.workload.encode() in wanted.sample
    )
    differing = (found - bodies).total() + (bodies - found).total()
    return Miscounted(counts, len(other), differing)
