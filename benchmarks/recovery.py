"""How soon a worker that was killed decides again, and how soon it has caught up.

    python -m benchmarks.recovery [--short] [--json] [--rows N ...]

A worker has so many rows, all stored, and then applies one more event of each without storing any:
they are dirty, and the checkpoint stands where it stood. It is killed (SIGKILL), a backlog is
written, and it is started again under the same static member id. The clock starts with the new
process, so it includes Python, the kernels from the cache, and the group. Sixty probes had their
first event before the kill and have the second, which the policy answers by a revoke, spread over
the backlog: the first of these commands is the first correct decision, since it needs what only the
dirty row knew. Caught up is when all of them are out, the lag is 0 and /readyz is ok.

Takeover: two workers, one is killed and stays dead; the clock runs from the kill until every probe
has its command, those of the dead one's partitions included.

At the end of each case rows and commands are compared with a count of all events and a replay.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from benchmarks.belt import belt, pieces
from benchmarks.events import Draw, Load, draws, events, recent, workload_of
from benchmarks.figures import Figures, at_most, finish, informs, parser_of, say
from benchmarks.recount import expected, miscounted
from benchmarks.rounds import POLICY, Scene, create_topics, fresh, scene, with_topic
from benchmarks.workers import Worker, worker
from stream.bus import KafkaReader
from stream.config import Config
from stream.events import SubjectRecord, decode_value
from stream.local import Addresses
from tests.live import Installation, opened

PROBES = 60
BACKLOG = 100_000
NEVER_MS = 3_600_000
DECISION_S = 5.0
CAUGHT_UP_S = 15.0
TAKEOVER_S = 5.0  # beside the session timeout
WAIT_S = 300.0
Events = list[tuple[bytes, bytes]]


class Told(NamedTuple):
    """Seconds of one case, and how much was miscounted."""

    first_s: float
    last_s: float
    caught_up_s: float
    wrong: int


def probe_of(number: int) -> str:
    """The workload of a probe."""
    return f"spiffe://prod.example/probes/probe-{number:04d}"


def one_each(load: Load) -> Events:
    """One event of each workload."""
    every = (
        Draw(load.start_ms + number // load.per_ms, workload_of(number), "tool:query_00", 1_000)
        for number in range(load.workloads)
    )
    return list(events(load, every))


def probed(load: Load, operation: str, at_ms: int) -> Events:
    """One event of each probe."""
    every = (Draw(at_ms, probe_of(number), operation, 1_000) for number in range(PROBES))
    return list(events(load, every))


def mixed(load: Load, operation: str) -> Events:
    """The events of a load with one of each probe spread over them."""
    step = max(1, load.count // PROBES)

    def every() -> Iterator[Draw]:
        for number, draw in enumerate(draws(load)):
            if number % step == 0 and number // step < PROBES:
                yield draw._replace(name=probe_of(number // step), operation=operation)
            yield draw

    return list(events(load, every()))


class Case:
    """An installation, what was sent to it, and when commands of probes came."""

    def __init__(self, at: Scene, name: str, rows: int) -> None:
        config = with_topic(fresh(at.config, name), name)
        self.config: Config = config
        self.folder = at.folder
        self.rows = rows
        self.load = recent(Load(rows, rows))
        self.sent: Events = []
        self.came_s: dict[str, float] = {}
        servers = Addresses(kafka=config.kafka.bootstrap, redis=config.redis.url)
        self.left = Installation(servers, "unused")
        self.left.config = config

    async def send(self, some: Events) -> None:
        """Append events."""
        async with belt(self.config.kafka, self.config.topics.requests) as one:
            await one.send(list(pieces(some, self.config.topics.partitions)))
        self.sent += some

    async def stored(self) -> None:
        """Wait until all that was sent is applied and stored."""
        await self._until(self._is_stored, "all is stored")

    async def _is_stored(self) -> bool:
        return await self.left.applied() >= len(self.sent)

    async def _until(self, is_so: Any, what: str) -> None:
        over_at_s = time.monotonic() + WAIT_S
        while not await is_so():
            if time.monotonic() > over_at_s:
                raise TimeoutError(f"not after {WAIT_S:.0f} s: {what}")
            await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Note when the command of each probe can be read, while the block lasts."""
        async with opened(KafkaReader(self.config.kafka)) as reader:
            following = asyncio.create_task(self._follow(reader))
            try:
                yield
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _follow(self, reader: KafkaReader) -> None:
        topic = self.config.topics.enforcement
        starts = {each: bounds.start for each, bounds in (await reader.bounds(topic)).items()}
        async for records in reader.follow(topic, starts):
            for record in records:
                value = decode_value(record.value) if record.value else None
                if isinstance(value, SubjectRecord) and "/probes/" in value.subject.workload:
                    self.came_s.setdefault(value.subject.workload, time.monotonic())

    async def caught_up(self, one: Worker) -> float:
        """Wait for all probes, no lag and readiness; return when that was."""

        async def is_so() -> bool:
            if len(self.came_s) < PROBES or not await asyncio.to_thread(one.ready):
                return False
            found = await asyncio.to_thread(one.samples)
            return found.get("enforcer_lag_events", 1.0) == 0

        await self._until(is_so, "it has caught up")
        return time.monotonic()

    async def told(self, began_s: float, caught_up_s: float) -> Told:
        """Compare what is left with what should be."""
        await self.stored()
        wanted = expected(self.sent, self.config.topics.partitions, self.rows)
        wrong = await miscounted(self.config, wanted, POLICY.read_text())
        came = sorted(self.came_s.values())
        return Told(came[0] - began_s, came[-1] - began_s, caught_up_s - began_s, sum(wrong))


async def killed(case: Case, backlog: int) -> Told:
    """Kill with dirty rows, restart under the same name."""
    slots = {"slots_max": 2 * case.rows + 1_000}
    await create_topics(case.config)
    with worker(case.config, case.folder, "only", **slots):
        await case.send(one_each(case.load))
        await case.stored()
    with worker(case.config, case.folder, "only", save_every_ms=NEVER_MS, **slots) as one:
        later = case.load._replace(start_ms=case.load.start_ms + 1)
        await case.send(one_each(later) + probed(later, "tool:read_00", later.start_ms))
        dirty = case.rows + PROBES
        await asyncio.to_thread(one.wait, lambda: one.applied() >= dirty, "rows are dirty")
        one.kill()
    assert await case.left.applied() == case.rows, "the rows of the second part were not stored"
    say(f"killed with {dirty:,} dirty rows")
    load = recent(Load(backlog, case.rows, seed=2))
    await case.send(mixed(load, "tool:send_00"))
    async with case.followed():
        with worker(case.config, case.folder, "only", **slots) as one:
            caught_up_s = await case.caught_up(one)
            return await case.told(one.began_s, caught_up_s)


async def taken_over(case: Case, backlog: int) -> Told:
    """Kill one of two workers; the other goes on with all partitions."""
    slots = {"slots_max": 2 * case.rows + 1_000}
    await create_topics(case.config)
    with (
        worker(case.config, case.folder, "heir", **slots) as heir,
        worker(case.config, case.folder, "dead", **slots) as dead,
    ):
        for each in (heir, dead):
            await asyncio.to_thread(each.wait, each.ready, "both are ready")
        first = probed(case.load, "tool:read_00", case.load.start_ms)
        await case.send(one_each(case.load) + first)
        await case.stored()
        async with case.followed():
            rest = mixed(recent(Load(backlog, case.rows, seed=2)), "tool:send_00")
            began_s = time.monotonic()
            dead.kill()
            await case.send(rest)
            caught_up_s = await case.caught_up(heir)
            return await case.told(began_s, caught_up_s)


def measure(args: argparse.Namespace, at: Scene) -> dict[str, Any]:
    """Play the cases; return figures."""
    figures: Figures = {}
    cases: dict[str, Any] = {}
    for rows in args.rows:
        say(f"killed with {rows:,} rows ...")
        case = Case(at, f"killed-{rows}", rows)
        told = asyncio.run(killed(case, min(args.backlog, rows)))
        cases[f"killed_{rows}"] = told._asdict()
        budget = case.config.worker
        # What is dirty could have been written in so long: to begin anew may take no longer.
        write_s = rows / budget.save_rows_max * budget.save_every_ms / 1_000
        limits = DECISION_S if rows <= BACKLOG else None, max(CAUGHT_UP_S, write_s)
        figures |= killed_figures(f"recovery_{rows}", told, *limits)
    if not args.short:
        say("taken over ...")
        case = Case(at, "taken", args.rows[0])
        told = asyncio.run(taken_over(case, min(args.backlog, args.rows[0])))
        cases["taken_over"] = told._asdict()
        limit_s = case.config.kafka.session_ms / 1_000 + TAKEOVER_S
        figures["recovery_takeover_s"] = at_most(told.last_s, limit_s)
        figures["recovery_takeover_miscounted"] = at_most(told.wrong, 0)
    return {"figures": figures, "cases": cases}


def killed_figures(name: str, told: Told, decision_s: float | None, caught_up_s: float) -> Figures:
    """The figures of one kill."""
    first = informs(told.first_s) if decision_s is None else at_most(told.first_s, decision_s)
    return {
        f"{name}_first_decision_s": first,
        f"{name}_caught_up_s": at_most(told.caught_up_s, caught_up_s),
        f"{name}_miscounted": at_most(told.wrong, 0),
    }


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("recovery", __doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--backlog", type=int, default=BACKLOG)
    args = parser.parse_args()
    if args.short:
        args.rows, args.backlog = [5_000], 5_000
    with scene() as at:
        report = measure(args, at)
    wrong = {name: case["wrong"] for name, case in report["cases"].items()}
    assert not any(wrong.values()), f"miscounted: {wrong}"
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
