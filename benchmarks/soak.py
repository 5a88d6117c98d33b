"""Half of full load for half an hour, while a worker is killed every minute.

    python -m benchmarks.soak [--minutes 30] [--short] [--json] [--svg DIR]

Two workers share the topic, fed by a tide (benchmarks.tide) whose event times are those of now. One
is killed (SIGKILL) every minute and started again under the same static member id; the other lives
to the end, and its memory must stay flat, as Redis's must: the median of the last third of the
samples within 2 % of that of the first, which begins when all rows are there. Lag is looked at
before each kill. At the end every row must have counted what was sent, and all be stored. What is
stored of the log is deleted on the way, since half an hour of it would fill a disk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from redis.asyncio import Redis

from benchmarks.belt import Belt, belt
from benchmarks.contenders import KEY
from benchmarks.events import Load, events, recent
from benchmarks.figures import Figures, at_least, at_most, finish, informs, parser_of, say
from benchmarks.plots import curves_plot
from benchmarks.rounds import (
    FOR_LOAD,
    Scene,
    contend,
    create_topics,
    filled,
    fresh,
    installed,
    settings_of,
    with_topic,
)
from benchmarks.tide import Tide
from benchmarks.workers import Worker, worker
from stream.config import Config
from stream.local import Addresses, LocalServers
from tests.live import Installation, events_in

FLAT = 1.02
LAG_S_MAX = 5.0
LAG_GROWTH_S_MAX = 1.0
REQUESTS_PER_S = 20  # of a workload: no limit is passed
POOL_S = 4
SAMPLE_S = 5.0
KEPT_RECORDS = 1_000_000
DELETE_EVERY_S = 20.0
SETTLED_S = 300.0
# So that what is deleted leaves the disk soon.
BROKER = {"log.segment.bytes": str(128 * 1_048_576), "log.retention.check.interval.ms": "5000"}


class Sample(NamedTuple):
    """What was seen at a second of the run."""

    at_s: float
    steady_bytes: int
    redis_bytes: int
    lag: float
    sent: int


def small_segments(settings: Mapping[str, str]) -> Mapping[str, str]:
    """The settings of a broker that forgets soon."""
    return {**settings, **BROKER}


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """Servers whose log is deleted in small pieces."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LocalServers(folder / "servers", FOR_LOAD, adjust=small_segments) as servers:
            yield Scene(installed(servers.addresses.kafka, servers.addresses.redis), folder)


class Soak:
    """One run: the load, the two workers, what is sampled."""

    def __init__(self, args: argparse.Namespace, at: Scene, per_s: float) -> None:
        self.args = args
        self.folder = at.folder
        self.per_s = per_s
        self.config: Config = with_topic(fresh(at.config, "soak"), "soak")
        self.left = Installation(
            Addresses(kafka=self.config.kafka.bootstrap, redis=self.config.redis.url), "unused"
        )
        self.left.config = self.config
        load = Load(
            int(POOL_S * per_s),
            max(100, int(per_s / REQUESTS_PER_S)),
            per_ms=max(1, int(per_s / 1_000)),
        )
        span_ms = load.count // load.per_ms
        say(f"a pool of {load.count:,} events of {load.workloads:,} workloads")
        self.tide = Tide(events(recent(load)), self.config.topics.partitions, span_ms)
        self.samples: list[Sample] = []
        self.lags_s: list[float] = []
        self.kills = 0
        self.over = asyncio.Event()

    async def run(self) -> int:
        """Play it all; return how many workloads were miscounted."""
        await create_topics(self.config)
        async with contextlib.AsyncExitStack() as stack:
            one = await stack.enter_async_context(
                belt(self.config.kafka, self.config.topics.requests)
            )
            steady = stack.enter_context(worker(self.config, self.folder, "steady"))
            mortal = Worker(self.config, self.folder, "mortal")
            try:
                for each in (steady, mortal):
                    await asyncio.to_thread(each.wait, each.ready, "both are ready")
                load = asyncio.create_task(one.keep(self.tide.pieces(), self.per_s, self.over))
                deleting = asyncio.create_task(self._keep_deleting())
                mortal = await self._live(steady, mortal, one)
                self.over.set()
                self.fed_per_s = await load
                await deleting
                await self._settle(one)
            finally:
                mortal.stop()
        return await self._miscounted()

    async def _live(self, steady: Worker, mortal: Worker, one: Belt) -> Worker:
        """Sample, and kill, until the time is over; return who lives then."""
        began_s = time.monotonic()
        next_kill_s = self.args.kill_every_s
        while (at_s := time.monotonic() - began_s) < self.args.minutes * 60:
            lag = await asyncio.to_thread(lag_of, steady, mortal)
            await self._sample(at_s, steady, lag, one)
            if at_s >= next_kill_s:
                self.lags_s.append(lag / self.per_s)
                await asyncio.to_thread(mortal.kill)
                mortal = Worker(self.config, self.folder, "mortal")
                self.kills += 1
                next_kill_s += self.args.kill_every_s
                said = f"{at_s:6.0f} s: {one.sent:,} sent, lag {lag:,.0f}, killed {self.kills}"
                say(f"{said}, {self.samples[-1].steady_bytes / 1e6:,.1f} MB")
            await asyncio.sleep(min(SAMPLE_S, self.args.kill_every_s / 4))
        return mortal

    async def _sample(self, at_s: float, steady: Worker, lag: float, one: Belt) -> None:
        redis = Redis.from_url(self.config.redis.url)
        memory = await redis.info("memory")
        await redis.aclose()
        self.samples.append(
            Sample(at_s, steady.resident_bytes(), memory["used_memory"], lag, one.sent)
        )

    async def _keep_deleting(self) -> None:
        """Delete what no checkpoint needs any more, but for the last million."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.config.kafka.bootstrap)
        await admin.start()
        try:
            while not self.over.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.over.wait(), DELETE_EVERY_S)
                positions = await self.left.positions()
                kept = KEPT_RECORDS // len(positions)
                gone = {
                    TopicPartition(self.config.topics.requests, each): RecordsToDelete(
                        before_offset=position - kept
                    )
                    for each, position in positions.items()
                    if position > kept
                }
                if gone:
                    await admin.delete_records(gone)
        finally:
            await admin.close()

    async def _settle(self, one: Belt) -> None:
        over_at_s = time.monotonic() + SETTLED_S
        while await self.left.applied() < one.sent:
            if time.monotonic() > over_at_s:
                raise TimeoutError(f"not all is stored after {SETTLED_S:.0f} s")
            await asyncio.sleep(0.2)

    async def _miscounted(self) -> int:
        wanted = self.tide.counts()
        rows = await self.left.rows()
        hashes = KEY.hash_all([key.decode() for key in wanted])
        wrong = len(rows.keys() - set(hashes))
        for (key, count), each in zip(wanted.items(), hashes, strict=True):
            if count and (each not in rows or events_in(rows[each]) != count):
                say(f"{key.decode()}: {count} sent")
                wrong += 1
        return wrong


def lag_of(*workers: Worker) -> float:
    """The events that wait, as the workers see it; one that does not answer yet says nothing."""
    return sum(each.samples().get("enforcer_lag_events", 0.0) for each in workers)


def thirds(values: list[float]) -> tuple[float, float]:
    """The medians of the first and of the last third."""
    size = max(1, len(values) // 3)
    return statistics.median(values[:size]), statistics.median(values[-size:])


def measure(args: argparse.Namespace, at: Scene) -> dict[str, Any]:
    """Find full load, then live at half of it."""
    load = recent(Load(args.events))
    full = contend("ours", settings_of("ours", filled(at.config, load), load.count), at.folder)
    per_s = min(args.share * full["events"] / full["applied_s"], args.per_s_max)
    say(f"soaking at {per_s:,.0f} events/s for {args.minutes:g} minutes")
    soak = Soak(args, at, per_s)
    wrong = asyncio.run(soak.run())
    # What is there from the start (rows, caches, the heap's shape) is not growth.
    settled = soak.samples[len(soak.samples) // 10 :]
    figures: Figures = {
        "soak_miscounted": at_most(wrong, 0),
        "soak_load_fed": at_least(soak.fed_per_s / per_s, 0.95),
        "soak_kills": informs(soak.kills),
        "soak_events": informs(soak.samples[-1].sent),
    }
    for name in ("steady_bytes", "redis_bytes"):
        first, last = thirds([float(getattr(each, name)) for each in settled])
        figures[f"soak_{name}_growth"] = at_most(last / first, FLAT)
        figures[f"soak_{name}"] = informs(last)
    first_s, last_s = thirds(soak.lags_s)
    figures["soak_lag_s"] = at_most(max(soak.lags_s), LAG_S_MAX)
    figures["soak_lag_growth_s"] = at_most(last_s - first_s, LAG_GROWTH_S_MAX)
    return {
        "figures": figures,
        "per_s": round(per_s),
        "samples": [each._asdict() for each in soak.samples],
        "lags_s": soak.lags_s,
    }


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("soak", __doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kill-every-s", type=float, default=60.0)
    parser.add_argument("--share", type=float, default=0.5, help="of full load")
    parser.add_argument("--per-s-max", type=float, default=1e9, help="never more events a second")
    args = parser.parse_args()
    args.events = 2_000_000
    if args.short:
        args.minutes, args.kill_every_s = min(args.minutes, 0.5), 8.0
        args.events, args.per_s_max = 50_000, 20_000.0
    with scene() as at:
        report = measure(args, at)
    assert not report["figures"]["soak_miscounted"]["value"], "a row has another count"
    if args.svg:
        seen = report["samples"]
        megabytes = {
            name: {each["at_s"] + 1: each[f"{name}_bytes"] / 1e6 for each in seen}
            for name in ("steady", "redis")
        }
        curves_plot(args.svg / "soak.svg", megabytes, ("seconds", "MB"))
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
