"""Names without end through Kafka and Redis: what the worker's process and Redis take, measured."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from stream.cli import main
from stream.events import Request, encode_request
from stream.identity import home_partition
from stream.local import Addresses
from stream.store import NAMES_MAX, RedisStore
from tests.flood import (
    ESTABLISHED,
    EVERY,
    START_MS,
    established,
    flood,
    profile,
    quiet_profiles,
)
from tests.live import KEY, Installation, opened

SLOTS = 2_000
PART = 20_000  # what a slow machine applies in good time
# What a process takes that has done nothing yet: Python, Numba's compiler, clients, kernels.
EMPTY_BYTES = 450 << 20
# The caches of hashes: texts of up to 200 characters, three kinds, and what a dict adds.
CACHES_BYTES = 3 * 262_144 * 400
ROW_BYTES_MAX = 3_000


class Used(NamedTuple):
    """What a worker's process and the rows in Redis take."""

    worker: int
    redis: int
    names: int


def resident(pid: int) -> int:
    """The memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1_024
    raise AssertionError(f"process {pid} is gone")


async def in_redis(installation: Installation) -> tuple[int, int]:
    """The bytes of all keys of an installation, and how many names there are."""
    redis = Redis.from_url(installation.config.redis.url)
    total = names = 0
    async for key in redis.scan_iter(f"{installation.config.redis.prefix}:*", count=1_000):
        total += await redis.memory_usage(key, samples=20) or 0
        if key.endswith(b":names"):
            names = max(names, await redis.hlen(key))
    await redis.aclose()
    return total, names


def flooded(installation: Installation, folder: Path, parts: list[int]) -> list[Used]:
    """Flood a worker in a process of its own, in parts; return what was used after each."""
    used: list[Used] = []

    async def story() -> None:
        await installation.topics()
        process = installation.process(folder)
        try:
            done = sent = 0
            for count in parts:
                for start in range(done, done + count, PART):
                    part = min(PART, done + count - start)
                    sent += await installation.feed(flood(start, part))
                    await installation.wait_applied(sent)
                done += count
                redis, names = await in_redis(installation)
                used.append(Used(resident(process.pid), redis, names))
                sys.stdout.write(f"after {done:,} new workloads: {used[-1]}\n")
        finally:
            process.terminate()
            assert await asyncio.to_thread(process.wait, 60) == 0
        await compare(installation, sum(parts) // EVERY)

    asyncio.run(story())
    return used


async def compare(installation: Installation, count: int) -> None:
    """The established workloads' stored profiles are those without the flood."""
    expected = quiet_profiles(KEY, installation.policy, count)
    partitions = installation.config.topics.partitions
    async with opened(RedisStore(installation.config.redis)) as store:
        for name, quiet in expected.items():
            home = home_partition(name.encode(), partitions)
            row = (await store.load(home, [KEY.hash(name)]))[0]
            assert row is not None
            assert profile(KEY, installation.policy, name, row, partitions) == quiet
    assert len(expected) == ESTABLISHED


def stated(installation: Installation) -> int:
    """What a worker says at start that it takes at most."""
    return EMPTY_BYTES + CACHES_BYTES + SLOTS * installation.policy.layout.dtype.itemsize


def test_a_flood_of_names_on_real_servers(
    servers: Addresses, fresh_name: str, tmp_path: Path
) -> None:
    """Far more workloads than slots: profiles as without them, memory as stated, rows as small."""
    installation = Installation(servers, fresh_name, slots_max=SLOTS)
    used = flooded(installation, tmp_path, [8_000])
    assert used[0].worker < stated(installation), used
    assert used[0].redis < 8_000 * ROW_BYTES_MAX
    assert used[0].names <= NAMES_MAX


def test_a_flood_of_one_trust_domain_ends_in_redis_at_its_limit(
    servers: Addresses, fresh_name: str
) -> None:
    """Redis holds what is stated; `dlq` says why; others come, and nobody's profile suffers."""
    limits = {"stored_rows_max": 200, "batch_events_max": 500}
    installation = Installation(servers, fresh_name, slots_max=SLOTS, **limits)
    partitions, count, others = installation.config.topics.partitions, 6_000, 40
    domains = {name: KEY.hash(f"{name}.example") for name in ("hostile", "later", "established")}

    async def story() -> dict[int, int]:
        await installation.topics()
        async with installation.workers(1):
            # What waited as a partition was taken is let in, so the flood comes behind that.
            sent = await installation.feed(established(each) for each in range(ESTABLISHED))
            await installation.wait_applied(sent)
            sent += await installation.feed(flood(ESTABLISHED * EVERY, count))
            await installation.wait_applied(sent)
            sent += await installation.feed(newcomers(others))
            await installation.wait_applied(sent)
        counts: Counter[int] = Counter()
        async with opened(RedisStore(installation.config.redis)) as store:
            for partition in range(partitions):
                counts.update(await store.domains(partition))
        assert len(await installation.rows()) == sum(counts.values())
        await compare(installation, ESTABLISHED + count // EVERY)
        return counts

    counts = asyncio.run(story())
    assert counts[domains["hostile"]] <= partitions * (200 + 500)
    assert counts[domains["later"]] == others
    assert counts[domains["established"]] == ESTABLISHED
    prefix = installation.config.topics.requests.removesuffix(".requests")
    where = ["--kafka", installation.config.kafka.bootstrap, "--prefix", prefix, "--json"]
    words = ["dlq", "list", "--code", "domain_full", "--limit", "10000"]
    done = CliRunner().invoke(main, [*words, *where])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["found"] == count - counts[domains["hostile"]]
    assert "hostile.example has no room" in done.stdout


def newcomers(count: int) -> Iterator[bytes]:
    """An event of each of some workloads of a trust domain that has room."""
    for each in range(count):
        name = f"spiffe://later.example/agents/n{each}"
        yield encode_request(Request(at_ms=START_MS, workload=name, operation="tool:x"))


@pytest.mark.soak
@pytest.mark.timeout(3_000)
def test_a_million_names_on_real_servers(
    servers: Addresses, fresh_name: str, tmp_path: Path
) -> None:
    """A million of each: the worker's memory has stopped to grow, Redis grows by its rows only."""
    installation = Installation(servers, fresh_name, slots_max=SLOTS)
    used = flooded(installation, tmp_path, [300_000, 300_000, 400_000])
    assert all(each.worker < stated(installation) for each in used), used
    assert used[2].worker < used[1].worker * 1.1, used
    assert used[2].redis < 1_000_000 * ROW_BYTES_MAX
    assert used[2].names <= NAMES_MAX
