"""A worker under load on real servers, and what is found when the load is over.

The worker runs in this process, so that its progress is seen at once; the load is a stream of
events of a hundred and fifty workloads, with slots for fewer, so that rows are read back all the
time. Whatever happens meanwhile, bodies and rows must at the end be those of a replay of the log.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from stream.bus import KafkaPublisher, KafkaReader
from stream.events import Conditions, Request, decode_entry, encode, encode_request
from stream.local import Addresses
from stream.metrics import Metrics
from stream.policy import load_policy
from stream.runtime import SystemClock, Worker
from stream.store import RedisStore
from tests.live import KEY, Installation, key_of, opened, other_rows, wait_until, worker_of

RESUMES_S = 5.0
SLICE = 50
SLICE_S = 0.05
SPAN_MS = 600_000


class Outcome(NamedTuple):
    """What was found.

    `promotion_s`: from the fault until a server could serve again. `recovery_s`: from then until
    all that was sent by then is applied and stored. `lost` and `wrong`: commands that a replay
    has and the topic has not, and the other way round. `writes_lost`: acknowledged saves that the
    store no longer had after the fault; `late_write`: what became of a write that a hung server
    did when it woke. `causes`: why calls to Redis were
    repeated; `restarts`: why sessions ended; `modes`: in which named modes partitions began, as
    the journal says, and `counted` as the metrics do.
    """

    promotion_s: float
    recovery_s: float
    commands: int
    lost: int
    wrong: int
    rows_equal: bool
    writes_lost: int
    late_write: str
    causes: Counter[str]
    restarts: Counter[str]
    modes: Counter[str]
    counted: Counter[str]

    def __str__(self) -> str:
        names = (("causes", self.causes), ("restarts", self.restarts), ("modes", self.modes))
        counted = "; ".join(f"{name} {dict(each)}" for name, each in names if each)
        return (
            f"served again after {self.promotion_s:.2f} s, recovered {self.recovery_s:.2f} s "
            f"later; {self.commands} commands, {self.lost} lost, {self.wrong} wrong, rows "
            f"{'equal' if self.rows_equal else 'DIFFER'}; {self.writes_lost} acknowledged writes "
            f"forgotten; {counted}"
            f"{'; late write ' + self.late_write if self.late_write else ''}"
        )


def assert_nothing_lost(outcome: Outcome) -> None:
    """No command missing, none wrong, rows equal, and in time; pytest -s shows the figures."""
    sys.stderr.write(f"{outcome}\n")
    assert outcome.commands > 100
    assert (outcome.lost, outcome.wrong, outcome.rows_equal) == (0, 0, True)
    assert outcome.recovery_s <= RESUMES_S


def traffic(seed: int, count: int, until_ms: int) -> list[bytes]:
    """Events that trip every rule of the live policy, in the ten minutes before a time."""
    choose = random.Random(seed)
    payloads = []
    at_ms = until_ms - SPAN_MS
    for number in range(count):
        at_ms += choose.randrange(0, 2 * SPAN_MS // count)
        agent = min(choose.randrange(150), choose.randrange(150))
        verb = choose.choice(("get", "read", "send", "list", "delete"))
        request = Request(
            at_ms=at_ms - choose.choice((0, 0, 0, 700, 40_000)),
            workload=f"spiffe://test.example/agents/a{agent}",
            operation=f"tool:{verb}_{choose.randrange(6)}",
            outcome=choose.choice(("served", "served", "served", "failed", "denied")),
            bytes=choose.randrange(60_000),
            task=choose.choice(("", f"task-{choose.randrange(12)}")),
            id=str(number),
        )
        payloads.append(encode_request(request))
    return payloads


class Load:
    """One installation, its worker, and the events sent to it; `causes` counts failed attempts."""

    def __init__(self, kafka: str, redis: str, name: str, *, count: int = 3_000) -> None:
        worker = {"slots_max": 64, "save_every_ms": 50, "batch_events_max": 500}
        self.installation = Installation(Addresses(kafka=kafka, redis=redis), name, **worker)
        self.payloads = traffic(11, count, SystemClock().wall_ms())
        self.sent = 0
        self.writes_lost = 0
        self.late_write = ""
        self.causes: Counter[str] = Counter()
        self.metrics = Metrics()
        self.worker: Worker | None = None

    async def saved(self) -> int:
        """How many events the worker has applied and stored, 0 while it owns not all."""
        progress = self.worker.progress()
        if len(progress) < self.installation.config.topics.partitions:
            return 0
        return sum(max(0, saved) for _, saved in progress.values())

    async def reach(self, share: float) -> None:
        """Wait until this share of all events is applied and stored."""
        await wait_until(self.saved, lambda saved: saved >= share * len(self.payloads))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker while events come, then until all are applied and stored."""
        self.worker = self._worker()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.worker.run())
            feeding = group.create_task(self._feed())
            yield
            await feeding
            # What the worker was told may have been by a server that was demoted meanwhile.
            await self.installation.wait_applied(len(self.payloads))
            self.worker.stop()
            await task

    def _worker(self) -> Worker:
        config = self.installation.config
        worker = worker_of(config, self.installation.policy, "under-load")
        doors = worker._doors._replace(
            store=lambda: RedisStore(config.redis, lambda cause: self.causes.update([cause]))
        )
        specs, shown = (config.worker, config.topics), (SystemClock(), self.metrics, "under-load")
        return Worker(specs, doors, (self.installation.policy, load_policy), KEY, shown)

    async def _feed(self) -> None:
        async with opened(KafkaPublisher(self.installation.config.kafka)) as publisher:
            for start in range(0, len(self.payloads), SLICE):
                part = self.payloads[start : start + SLICE]
                for payload in part:
                    topic = self.installation.config.topics.requests
                    await publisher.send(topic, key_of(payload), payload)
                await publisher.flush()
                self.sent += len(part)
                await asyncio.sleep(SLICE_S)


async def _nothing() -> None:
    """What follows most faults."""


async def play(
    load: Load,
    fault: Callable[[Load], Awaitable[float]],
    aftermath: Callable[[], Awaitable[None]] = _nothing,
) -> Outcome:
    """Let a fault happen when a quarter of the load is done; return what was found.

    `fault` returns the monotonic second from which on a server could serve again; `aftermath`
    happens once the worker has recovered, while the load goes on.
    """
    await load.installation.topics()
    async with load.working():
        await load.reach(0.25)
        began_s = time.monotonic()
        served_s = await fault(load)
        sent = load.sent
        # As the store says, found anew each time: the worker may believe a demoted server.
        await load.installation.wait_applied(sent)
        recovered_s = time.monotonic()
        await aftermath()
    return await found(load, served_s - began_s, recovered_s - served_s)


async def found(load: Load, promotion_s: float, recovery_s: float) -> Outcome:
    """Compare commands and rows with those of a replay."""
    installation = load.installation
    commands = await installation.commands()
    bodies, rows = installation.replayed(load.payloads)
    published = Counter(encode(each.body) for each in commands)
    wanted = Counter(bodies)
    return Outcome(
        promotion_s=promotion_s,
        recovery_s=recovery_s,
        commands=len(commands),
        lost=(wanted - published).total(),
        wrong=(published - wanted).total(),
        rows_equal=not other_rows(await installation.rows(), rows),
        writes_lost=load.writes_lost,
        late_write=load.late_write,
        causes=load.causes,
        restarts=_counted(load.metrics, "enforcer_restarts_total", "cause"),
        modes=await journalled_modes(installation),
        counted=_counted(load.metrics, "enforcer_modes_total", "mode"),
    )


async def journalled_modes(installation: Installation) -> Counter[str]:
    """In which named modes partitions began, as their journals say."""
    modes: Counter[str] = Counter()
    topic = installation.config.topics.journal
    async with opened(KafkaReader(installation.config.kafka)) as reader:
        for partition, bounds in (await reader.bounds(topic)).items():
            for record in await reader.read(topic, partition, bounds.start, bounds.end):
                entry = decode_entry(record.value)
                if isinstance(entry, Conditions):
                    modes.update(entry.modes)
    return modes


def _counted(metrics: Metrics, name: str, label: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name == name:
                counted[sample.labels[label]] += int(sample.value)
    return counted
