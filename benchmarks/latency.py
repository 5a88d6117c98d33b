"""From an event that the broker has acknowledged to its command at a gateway, at half of full load.

    python -m benchmarks.latency [--short] [--json] [--svg DIR]

First a worker reads a full topic as fast as it can: that is full load. Then `enforcer run` works on
half of it, fed by a belt (benchmarks.belt). Beside the load, probes go in at a steady pace, each of
a workload of its own: one event reads something, and a while later one sends it out, which the
policy answers by a revoke. The clock of a probe starts when the second event is acknowledged, and
stops when a follower, as gateways have one, is handed the command.

An echo is a process that does nothing: it consumes a record with plain aiokafka and produces it
again; its clock starts at the acknowledgement of the first record, and stops when the same kind of
follower is handed the second. There are two. The idle one has a topic to itself and is measured in
the same seconds, in turns with the probes, so it meets the same machine. The loaded one is
measured right after, when the worker is gone, and reads the same load at the same rate from the
same topic. Targets compare 99th percentiles with either.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec

from benchmarks.belt import belt
from benchmarks.events import Draw, Load, events, recent, small
from benchmarks.figures import Figures, at_least, at_most, finish, informs, parser_of, say
from benchmarks.plots import quantiles_plot
from benchmarks.rounds import Scene, contend, create_topics, filled, fresh, scene, settings_of
from benchmarks.tide import Tide
from benchmarks.workers import Worker, worker
from stream.bus import KafkaPublisher, KafkaReader, KafkaTopics, TopicSpec
from stream.config import Config
from stream.events import SubjectRecord, decode_value
from tests.live import opened

TAIL_RATIO_MAX = 3.0
PROBES_PER_S = 50
WARM_PROBES_MAX = 100_000
# Long enough that the first event of a probe is applied before the second is sent.
APART_S = 1.0
GRACE_S = 20.0
# Of the load's events that may wait at the end, in seconds of the load.
LAG_S_MAX = 1.0
REQUESTS_PER_S = 20  # of a workload, in event time: no limit is passed, all commands are of probes
POOL_S = 4


class Spans(NamedTuple):
    """Milliseconds, of the probes and of the echoes, and how many of either never came back."""

    ours: list[float]
    echo: list[float]
    lost: int
    lost_echoes: int


class Carried(NamedTuple):
    """What was measured under a load: spans, the load's events a second, what waited at the end."""

    spans: Spans
    fed_per_s: float
    lag: float


def quantile(spans: list[float], share: float) -> float:
    """The smallest span that so many of all do not exceed."""
    return sorted(spans)[min(len(spans) - 1, int(len(spans) * share))]


class Probes:
    """Sends probes and echoes in turns, or echoes alone, and notes when each comes back.

    `first` is the number of the first: a workload that was bound by one probe is none for another.
    """

    def __init__(
        self, config: Config, echo: tuple[str, str], first: int, *, alone: bool = False
    ) -> None:
        self._first = first
        self._step = 2 if alone else 1
        self._config = config
        self._echo = echo
        self._sent: dict[bytes, float] = {}
        self._back: dict[bytes, float] = {}

    async def run(self, seconds: float) -> Spans:
        """Probe for so long; return what was measured."""
        async with contextlib.AsyncExitStack() as stack:
            kafka = self._config.kafka
            publisher = await stack.enter_async_context(opened(KafkaPublisher(kafka)))
            reader = await stack.enter_async_context(opened(KafkaReader(kafka)))
            following = [
                asyncio.create_task(self._follow(reader, topic))
                for topic in (self._config.topics.enforcement, self._echo[1])
            ]
            sending = []
            numbers = range(0, int(seconds * PROBES_PER_S), self._step)
            began_s = time.monotonic()
            for number in numbers:
                await asyncio.sleep(max(0.0, began_s + number / PROBES_PER_S - time.monotonic()))
                play = self._probe if number % 2 else self._one_echo
                sending.append(asyncio.create_task(play(publisher, self._first + number)))
            await asyncio.gather(*sending)
            over_at_s = time.monotonic() + GRACE_S
            while len(self._back) < len(numbers) and time.monotonic() < over_at_s:
                await asyncio.sleep(0.05)
            for each in following:
                each.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        return self._spans(sum(1 for each in numbers if each % 2), len(numbers))

    def _spans(self, probes: int, count: int) -> Spans:
        ours, echo = [], []
        for key, sent_s in self._sent.items():
            if key in self._back:
                # Some come back before we hear that they were acknowledged.
                span_ms = max(0.0, self._back[key] - sent_s) * 1_000
                (echo if key.startswith(b"echo") else ours).append(span_ms)
        return Spans(ours, echo, probes - len(ours), count - probes - len(echo))

    async def _probe(self, publisher: KafkaPublisher, number: int) -> None:
        name = f"spiffe://prod.example/probes/probe-{number:07d}"
        topic = self._config.topics.requests
        for operation in ("tool:read_00", "tool:send_00"):
            draw = Draw(time.time_ns() // 1_000_000, name, operation, 1_000)
            acknowledged = await publisher.send(topic, name.encode(), small(draw))
            await acknowledged
            self._sent[name.encode()] = time.monotonic()
            if operation == "tool:read_00":
                await asyncio.sleep(APART_S)

    async def _one_echo(self, publisher: KafkaPublisher, number: int) -> None:
        key = b"echo-%07d" % number
        await asyncio.sleep(APART_S)
        acknowledged = await publisher.send(self._echo[0], key, bytes(150))
        await acknowledged
        self._sent[key] = time.monotonic()

    async def _follow(self, reader: KafkaReader, topic: str) -> None:
        starts = {each: bounds.end for each, bounds in (await reader.bounds(topic)).items()}
        async for records in reader.follow(topic, starts):
            now_s = time.monotonic()
            for record in records:
                if record.key is None or record.value is None:
                    continue
                if record.key.startswith(b"echo"):
                    self._back.setdefault(record.key, now_s)
                elif b"/probes/" in record.key:
                    value = decode_value(record.value)
                    if isinstance(value, SubjectRecord):
                        self._back.setdefault(value.subject.workload.encode(), now_s)


@contextlib.asynccontextmanager
async def echoing(config: Config, topics: tuple[str, str]) -> AsyncIterator[None]:
    """A process that echoes, for as long as the block lasts."""
    made = [each for each in topics if each != config.topics.requests]
    async with opened(KafkaTopics(config.kafka)) as admin:
        await admin.ensure([TopicSpec(name=each, partitions=1) for each in made])
    command = [sys.executable, "-m", "benchmarks.echo", config.kafka.bootstrap, *topics]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        await process.stdout.readline()
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def probe(
    args: argparse.Namespace, config: Config, tide: Tide, per_s: float, at: Worker
) -> Carried:
    """Run load, worker, idle echo and probes together."""
    topics = f"{config.topics.requests}.there", f"{config.topics.requests}.back"
    over = asyncio.Event()
    async with belt(config.kafka, config.topics.requests) as one, echoing(config, topics):
        load = asyncio.create_task(one.keep(tide.pieces(), per_s, over))
        # What is compiled or connected at the first event is not the latency in service.
        await Probes(config, topics, 0).run(args.warm_s)
        spans = await Probes(config, topics, WARM_PROBES_MAX).run(args.seconds)
        lag = (await asyncio.to_thread(at.samples)).get("enforcer_lag_events", 0.0)
        over.set()
        return Carried(spans, await load, lag)


async def echo_loaded(
    args: argparse.Namespace, config: Config, tide: Tide, per_s: float
) -> Carried:
    """Run the load and an echo that reads it; what waited at the end is not known of it."""
    topics = config.topics.requests, f"{config.topics.requests}.loaded"
    over = asyncio.Event()
    async with belt(config.kafka, config.topics.requests) as one, echoing(config, topics):
        load = asyncio.create_task(one.keep(tide.pieces(), per_s, over))
        await Probes(config, topics, 0, alone=True).run(args.warm_s)
        spans = await Probes(config, topics, WARM_PROBES_MAX, alone=True).run(args.seconds)
        over.set()
        return Carried(spans, await load, 0.0)


def tide_of(per_s: float, workloads: int, partitions: int, seconds: float) -> Tide:
    """A load of so many events a second, whose event times go on from round to round.

    Faster than the clock where each workload would else make more requests than the policy allows,
    as they do in a log that is caught up with; so they begin as far back that none is ahead of it.
    """
    per_ms = max(1, int(min(per_s, workloads * REQUESTS_PER_S) / 1_000))
    gain_ms = int(seconds * max(0.0, per_s / per_ms - 1_000))
    load = recent(Load(int(POOL_S * per_s), workloads, per_ms=per_ms))
    load = load._replace(start_ms=load.start_ms - gain_ms)
    return Tide(events(load), partitions, load.count // load.per_ms)


def measure(args: argparse.Namespace, at: Scene) -> dict[str, Any]:
    """Find full load, then probe at half of it, or at the rate that is asked for."""
    load = Load(args.events, args.workloads)
    full_per_s, per_s = 0.0, args.per_s
    if per_s is None:
        full = contend(
            "ours",
            settings_of("ours", filled(at.config, recent(load)), args.events),
            at.folder,
        )
        full_per_s = full["events"] / full["applied_s"]
        per_s = args.share * full_per_s
        say(f"full load is {full_per_s:,.0f} events/s; probing at {per_s:,.0f}")
    config = fresh(at.config, "latency")
    names = {"requests": f"{config.topics.requests}.probed"}
    topics = msgspec.structs.replace(config.topics, **names)
    config = msgspec.structs.replace(config, topics=topics)
    asyncio.run(create_topics(config))
    tide = tide_of(per_s, args.workloads, topics.partitions, args.warm_s + args.seconds + GRACE_S)
    with worker(config, at.folder, "probed") as one:
        one.wait(one.ready, "the worker is ready")
        ours = asyncio.run(probe(args, config, tide, per_s, one))
    loaded = asyncio.run(echo_loaded(args, config, tide, per_s))
    return report_of(ours, loaded, per_s) | {"full_per_s": round(full_per_s)}


def report_of(ours: Carried, loaded: Carried, per_s: float) -> dict[str, Any]:
    """Figures from what was measured.

    An echo of the loaded kind that has not come back by the end counts with the time that we waited
    then, less than it took. Whoever falls behind is no measure: beside a loaded echo that does, the
    ratio is shown without a target.
    """
    figures: Figures = {"latency_lost": at_most(ours.spans.lost, 0)}
    all_spans = {
        "ours": ours.spans.ours,
        "echo": ours.spans.echo,
        "loaded_echo": loaded.spans.echo + [GRACE_S * 1_000] * loaded.spans.lost_echoes,
    }
    for name, some in all_spans.items():
        for share in (50, 99):
            figures[f"latency_{name}_p{share}_ms"] = informs(quantile(some, share / 100))
    for name in ("echo", "loaded_echo"):
        some = all_spans[name]
        tail = quantile(ours.spans.ours, 0.99) / quantile(some, 0.99)
        keeps_up = statistics.median(some) <= LAG_S_MAX * 1_000
        judged = at_most(tail, TAIL_RATIO_MAX) if keeps_up else informs(tail)
        figures[f"latency_p99_to_{name}"] = judged
        median = statistics.median(ours.spans.ours) / statistics.median(some)
        figures[f"latency_p50_to_{name}"] = informs(median)
    # Else it was not half of full load that was measured.
    figures["latency_load_fed"] = at_least(ours.fed_per_s / per_s, 0.9)
    figures["latency_lag_s"] = at_most(ours.lag / per_s, LAG_S_MAX)
    figures["latency_loaded_echo_load_fed"] = at_least(loaded.fed_per_s / per_s, 0.9)
    figures["latency_loaded_echo_lost"] = informs(loaded.spans.lost_echoes)
    return {
        "figures": figures,
        "fed_per_s": round(ours.fed_per_s),
        "probes": len(ours.spans.ours),
        "spans_ms": all_spans,
    }


def main() -> int:
    """Measure and print; return 1 where a figure is missed in a full run."""
    parser = parser_of("latency", __doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--share", type=float, default=0.5, help="of full load")
    parser.add_argument("--per-s", type=float, help="events a second, instead of a share")
    args = parser.parse_args()
    args.warm_s = 15.0
    if args.short:
        args.events, args.workloads, args.seconds, args.warm_s = 50_000, 2_000, 4.0, 1.0
    with scene() as at:
        report = measure(args, at)
    if args.svg:
        quantiles_plot(args.svg / "latency.svg", report["spans_ms"])
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
