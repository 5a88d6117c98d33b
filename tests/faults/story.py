"""What every scenario of a fault shares: load, workers, the moment of recovery, the verdict.

A story feeds events at a pace to an installation of its own while something is done to its workers
or servers. At the end all that the log holds is replayed once, undisturbed, and compared: command
bodies as bags, rows byte for byte. The log is the oracle's input, not what was meant to be sent, so
a send that was repeated because nobody knew its outcome counts as what it is: two events.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stream.bus import KafkaPublisher, KafkaReader
from stream.errors import BusUnavailable, ConfigError
from stream.events import Conditions, Request, encode, encode_request
from stream.identity import home_partition
from stream.local import Addresses
from stream.replay import Replay
from tests.live import KEY, Installation, key_of, opened, other_rows, rows_of

PATIENCE_S = 90.0
# Events are recent, as live ones are: rows whose clock is far behind the broker's are forgotten by
# the sweep, which is right and no replay of the log alone would do. They run faster than the wall
# clock, so they begin far enough back never to overtake it.
BEFORE_NOW_MS = 2 * 86_400_000
PORT = re.compile(r"metrics at port (\d+)")
AT_ONCE = 40


class Unseen(Exception):
    """Something that a story waits for did not come in time."""


class Result(NamedTuple):
    """What a scenario came to; `recovery_s` by fault, `notes` whatever else was measured."""

    name: str
    recovery_s: dict[str, float]
    lost: int
    wrong: int
    rows_equal: bool
    commands: int
    events: int
    notes: dict[str, Any]

    @property
    def is_right(self) -> bool:
        """Whether nothing is missing, nothing wrong, and something was at stake."""
        return not self.lost and not self.wrong and self.rows_equal and self.commands > 0


class Segment(NamedTuple):
    """A part of one partition's log as the worker must have read it: from an offset, in an era."""

    partition: int
    era: int
    start: int
    values: list[bytes]
    log_era: int = 0


def traffic(seed: int, start_ms: int, step_ms: int = 25) -> Iterator[bytes]:
    """Events of 150 workloads that trip every rule of the live policy, without end."""
    choose = random.Random(seed)
    at_ms, number = start_ms, 0
    while True:
        at_ms += choose.randrange(0, 2 * step_ms)
        number += 1
        agent = min(choose.randrange(150), choose.randrange(150))
        request = Request(
            at_ms=at_ms - choose.choice((0, 0, 0, 700, 40_000)),
            workload=f"spiffe://test.example/agents/a{agent}",
            operation=f"tool:{choose.choice(('get', 'read', 'send', 'list', 'delete'))}"
            f"_{choose.randrange(6)}",
            outcome=choose.choice(("served", "served", "served", "failed", "denied")),
            bytes=choose.randrange(60_000),
            task=choose.choice(("", f"task-{choose.randrange(12)}")),
            id=str(number),
        )
        yield encode_request(request)


class Story:
    """An installation, its workers, and the load on it."""

    def __init__(self, servers: Addresses, name: str, folder: Path, **worker: Any) -> None:
        quick = {"slots_max": 4_096, "save_every_ms": 100, "heartbeat_ms": 200}
        quick |= {"look_every_ms": 200, "answer_ms": 1_000, "restart_wait_ms": 200}
        self.installation = Installation(servers, name, **(quick | worker))
        self.folder = folder
        self.start_ms = time.time_ns() // 1_000_000 - BEFORE_NOW_MS
        self.acknowledged = 0
        self.resent = 0
        self.ends: dict[int, int] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = asyncio.Event()

    # Workers.

    def start(self, member: str, redis: str = "", **kafka: Any) -> subprocess.Popen[bytes]:
        """Start a worker under a static name; its timing is quick, and can be set."""
        quick = {"session_ms": 2_000, "heartbeat_ms": 300, "linger_ms": 0}
        process = self.installation.process(self.folder, member, redis, **(quick | kafka))
        self.processes[member] = process
        return process

    def log_of(self, member: str) -> str:
        """All that a worker has logged."""
        return (self.folder / f"worker-{member}.log").read_text()

    async def page(self, member: str, path: str) -> str:
        """A page of the worker's little server, whatever its status; empty while there is none."""
        found = PORT.findall(self.log_of(member))

        def ask() -> str:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{found[-1]}{path}", timeout=5
                ) as answer:
                    return answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.read().decode()
            except OSError:
                return ""

        return await asyncio.to_thread(ask) if found else ""

    async def wait_mode(self, member: str, mode: str, *, holds: bool = True) -> float:
        """Wait until a mode shows in the gauge and in /readyz, or in neither; return seconds."""
        began_s = time.monotonic()
        line = f'enforcer_mode{{mode="{mode}"}} {float(holds)}'

        async def is_so() -> bool:
            shown = line in await self.page(member, "/metrics")
            return shown and (f"{mode} for " in await self.page(member, "/readyz")) is holds

        await waited(is_so, f"{member}: {mode} {holds}")
        return round(time.monotonic() - began_s, 2)

    async def wait_ready(self, *members: str, within_s: float = PATIENCE_S) -> None:
        """Wait until workers say that they are ready."""
        for member in members:

            async def is_so(member: str = member) -> bool:
                return await self.page(member, "/readyz") == "ok\n"

            await waited(is_so, f"{member} is ready", within_s)

    def end(self, *, asks_why: bool = False) -> None:
        """End all workers, whatever they are doing; their logs say what that was."""
        living = [each for each in self.processes.values() if each.poll() is None]
        for process in living if asks_why else ():
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGUSR1)
        time.sleep(1.0 if asks_why and living else 0.0)
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    # Load.

    @contextlib.asynccontextmanager
    async def feeding(self, seed: int, per_s: int = 800) -> AsyncIterator[None]:
        """Feed events at a pace while the block lasts, through whatever happens to the broker."""
        self._stop.clear()
        task = asyncio.create_task(self._feed(traffic(seed, self.start_ms), per_s))
        try:
            yield
        finally:
            self._stop.set()
            await task

    async def feed(self, seed: int, count: int) -> None:
        """Feed so many events as fast as they go."""
        source = traffic(seed, self.start_ms)
        async with opened(KafkaPublisher(self.installation.config.kafka)) as publisher:
            for start in range(0, count, AT_ONCE):
                await self._send(
                    publisher, [next(source) for _ in range(min(AT_ONCE, count - start))]
                )

    async def _feed(self, source: Iterator[bytes], per_s: int) -> None:
        deadline_s = time.monotonic() + 10 * PATIENCE_S
        waiting: list[bytes] = []
        while not self._stop.is_set() and time.monotonic() < deadline_s:
            try:
                async with opened(KafkaPublisher(self.installation.config.kafka)) as publisher:
                    while not self._stop.is_set():
                        began_s = time.monotonic()
                        waiting = waiting or [next(source) for _ in range(AT_ONCE)]
                        await self._send(publisher, waiting)
                        waiting = []
                        left_s = began_s + AT_ONCE / per_s - time.monotonic()
                        await asyncio.sleep(max(0.0, left_s))
            except (BusUnavailable, ConfigError):
                # Nobody knows which of them arrived: all are sent again.
                self.resent += len(waiting)
                await asyncio.sleep(0.1)

    async def _send(self, publisher: KafkaPublisher, payloads: list[bytes]) -> None:
        topic = self.installation.config.topics.requests
        sent = [await publisher.send(topic, key_of(each), each) for each in payloads]
        partitions = self.installation.config.topics.partitions
        for payload, each in zip(payloads, sent, strict=True):
            partition = home_partition(key_of(payload), partitions)
            self.ends[partition] = await each + 1
            self.acknowledged += 1

    async def more(self, count: int = 1_000) -> None:
        """Wait until so many more events were acknowledged."""
        wanted = self.acknowledged + count

        async def is_so() -> bool:
            return self.acknowledged >= wanted

        await waited(is_so, f"{count} more events")

    # Outcome.

    async def recovery(self) -> float:
        """Wait until every partition has applied and stored an event that is appended from now on.

        Return the seconds. Requires: the feed goes on.
        """
        began_s, before = time.monotonic(), dict(self.ends)

        async def is_so() -> bool:
            positions = await self.installation.positions()
            return all(positions[partition] > end for partition, end in before.items())

        await waited(is_so, f"an event applied in every partition after the fault: {before}")
        return round(time.monotonic() - began_s, 2)

    async def log(self) -> list[Segment]:
        """All that the log of requests holds, by partition."""
        topic, segments = self.installation.config.topics.requests, []
        async with opened(KafkaReader(self.installation.config.kafka)) as reader:
            for partition, bounds in sorted((await reader.bounds(topic)).items()):
                records = await reader.read(topic, partition, *bounds)
                values = [record.value or b"" for record in records]
                segments.append(Segment(partition, 0, bounds.start, values))
        return segments

    async def settled(self, segments: list[Segment]) -> None:
        """Wait until every partition is applied and stored up to the end of its last segment."""
        ends = {each.partition: each.start + len(each.values) for each in segments}

        async def is_so() -> bool:
            return await self.installation.positions() == ends

        await waited(is_so, f"everything applied: {ends}")

    async def verdict(
        self, name: str, recovery_s: dict[str, float], notes: dict[str, Any] | None = None,
        segments: list[Segment] | None = None,
    ) -> Result:  # fmt: skip
        """Compare commands and rows with one replay of the log."""
        segments = await self.log() if segments is None else segments
        await self.settled(segments)
        commands = await self.installation.commands()
        expected, rows = oracle(self.installation, segments)
        ours = Counter(encode(each.body) for each in commands)
        by_version = Counter((each.partition, each.version) for each in commands)
        twice = sum(count - 1 for count in by_version.values())
        other = other_rows(await self.installation.rows(), rows)
        return Result(
            name=name,
            recovery_s=recovery_s,
            lost=(expected - ours).total(),
            wrong=(ours - expected).total() + twice,
            rows_equal=not other,
            commands=expected.total(),
            events=sum(len(each.values) for each in segments),
            notes={**(notes or {}), "resent": self.resent, "rows": len(rows)},
        )


def oracle(
    installation: Installation, segments: list[Segment]
) -> tuple[Counter[bytes], dict[int, bytes]]:
    """The bag of command bodies and the rows of one undisturbed replay of segments, in order."""
    policy, partitions = installation.policy, installation.config.topics.partitions
    replay = Replay(policy, KEY, partitions, 20_000)
    bodies: Counter[bytes] = Counter()
    for each in segments:
        conditions = Conditions(
            nonce="oracle", era=each.era, from_offset=each.start, policy_hash=policy.hash,
            policy_text=policy.text, log_era=each.log_era,
        )  # fmt: skip
        replay.state.adopt(each.partition, conditions, policy)
        replay._offsets[each.partition] = each.start
        for result, _ in replay.run(each.values):
            bodies.update(encode(one.command.body) for one in result.outgoing)
    return bodies, rows_of(replay)


async def waited(is_so: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait until something is so; raise Unseen, and say what, when it takes too long."""
    deadline_s = time.monotonic() + within_s
    while not await is_so():
        if time.monotonic() >= deadline_s:
            raise Unseen(f"not after {within_s:.0f} s: {what}")
        await asyncio.sleep(0.05)
