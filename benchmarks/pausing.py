"""How long events wait for a worker that applies none while another baseline comes into force.

A pause begins when an event that was not applied is in the log, by the broker's clock, and ends
when the next are applied. Where broker or feeder stand still, nothing is there to apply, so the
time between two moments of progress, which is told beside, is no measure of a worker. A small and a
large baseline are promoted in turns, as an operator does it, and before each the same worker is
watched for as long without: what a busy machine does to it is seen beside. Whoever promotes is a
process of its own, else what it does would hold up whoever feeds the load, and of low priority,
since an operator has a machine of his own.

    python -m benchmarks.pausing CONFIG.json BASELINE    (promotes, and ends)
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec

from benchmarks.belt import Appended, belt, pieces
from benchmarks.estate import SMALL, Estate, estate_baseline, estate_events
from benchmarks.events import Load, recent
from benchmarks.figures import Figures, at_most, informs, say
from benchmarks.latency import quantile
from benchmarks.rounds import LEARNED_POLICY, Scene, create_topics, fresh, settings_of
from stream.baselines import encode_baseline, version_of
from stream.bus import KafkaPublisher, KafkaReader
from stream.config import Config
from stream.runtime import Library, Promoted
from tests.live import opened

PAUSE_MS_MAX = 100.0
RESIDENT_BYTES_MAX = 1 << 30  # of the worker, each time that a baseline has come into force
IN_FORCE_S = 300.0
PROMOTING_NICE = 10
# Of a promotion, so long after it is in force everywhere: rows are looked at anew, and stored.
AFTER_S = 2.0


class Span(NamedTuple):
    """What was watched, and from when until when, in seconds of the wall clock."""

    name: str
    from_s: float
    until_s: float


async def promote_live(config: Config, data: bytes) -> None:
    """Put a baseline where workers find it, and say that it is to be in force."""
    now_ms = time.time_ns() // 1_000_000
    async with (
        opened(KafkaReader(config.kafka)) as reader,
        opened(KafkaPublisher(config.kafka)) as publisher,
    ):
        library = Library(reader, config.topics.baselines)
        await library.look()
        await library.put(publisher, data, now_ms, ())
        await library.promote(publisher, Promoted(version=version_of(data), at_ms=now_ms))


async def promote_apart(config: Path, baseline: Path) -> None:
    """Do the same in another process."""
    command = [sys.executable, "-m", "benchmarks.pausing", str(config), str(baseline)]
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, "who was to promote has failed"


@contextlib.asynccontextmanager
async def watching(settings: dict[str, Any], at: Scene) -> AsyncIterator[Any]:
    """The process that is watched, until the block ends."""
    file = at.folder / "watched.json"
    file.write_text(json.dumps(settings))
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "benchmarks.watched", str(file)]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 28)
    try:
        yield process
    finally:
        process.stdin.close()
        await process.wait()


async def said(process: Any) -> dict[str, Any]:
    """The next that a watched process says."""
    async with asyncio.timeout(IN_FORCE_S):
        line = await process.stdout.readline()
    assert line, "the worker has ended"
    return dict(json.loads(line))


async def watch(args: argparse.Namespace, config: Config, at: Scene) -> dict[str, Any]:
    """Promote in turns under load; return spans, and the moments of progress."""
    estates: dict[str, Estate] = {"small": SMALL, "large": args.large}
    baselines, said_to = dict[str, tuple[Path, str]](), at.folder / "promoting.json"
    for name, each in estates.items():
        data, file = encode_baseline(estate_baseline(each)), at.folder / f"{name}.promoted"
        file.write_bytes(data)
        baselines[name] = file, version_of(data)
    said_to.write_bytes(msgspec.json.encode(config))
    load = recent(Load(args.pool, args.workloads, "M"))
    ready = list(pieces(estate_events(load, args.large), config.topics.partitions))
    spans, over, resident = [], asyncio.Event(), 0
    settings = settings_of("watched", config, 0) | {
        "config": msgspec.to_builtins(config),
        "policy": LEARNED_POLICY,
    }
    async with (
        belt(config.kafka, config.topics.requests) as one,
        watching(settings, at) as process,
    ):
        assert (await said(process))["version"] == ""
        feeding = asyncio.create_task(one.keep(itertools.cycle(ready), args.rate, over))
        await asyncio.sleep(args.seconds)
        for _ in range(args.rounds):
            for name, (file, version) in baselines.items():
                began_s = time.time()
                await asyncio.sleep(args.seconds)
                spans.append(Span("none", began_s, time.time()))
                began_s = time.time()
                await promote_apart(said_to, file)
                there = await said(process)
                assert there["version"] == version, "another one came into force"
                resident = max(resident, there["resident_bytes"])
                await asyncio.sleep(AFTER_S)
                spans.append(Span(name, began_s, time.time()))
                say(f"{name} is in force {there['at_s'] - began_s:.1f} s after")
        over.set()
        fed_per_s = await feeding
        process.stdin.write_eof()
        last = await said(process)
    return {
        "spans": spans,
        "moved": [
            (at_s, {int(each): position for each, position in places.items()})
            for at_s, places in last["moved"]
        ],
        "appended": one.appended,
        "fed_per_s": fed_per_s,
        "resident_bytes": resident,
    }


class Gap(NamedTuple):
    """Between two moments of progress: how long it was, and how long of it an event waited."""

    ms: float
    pause_ms: float


def gaps_in(
    moved: Sequence[tuple[float, dict[int, int]]], appended: Sequence[Appended], span: Span
) -> list[Gap]:
    """What was between the moments of progress that touch a span.

    `moved` are times in seconds and the next offset of each partition then.
    """
    ends: dict[int, list[int]] = {}
    times: dict[int, list[float]] = {}
    for partition, end, at_ms in sorted(appended):
        ends.setdefault(partition, []).append(end)
        times.setdefault(partition, []).append(at_ms / 1_000)
    gaps = []
    for (before_s, places), (after_s, _) in pairwise(moved):
        if after_s >= span.from_s and before_s <= span.until_s:
            # Of each partition the first batch that has an event which was not applied by then.
            firsts = {each: bisect.bisect_right(ends[each], places.get(each, 0)) for each in ends}
            waiting = [times[each][at] for each, at in firsts.items() if at < len(ends[each])]
            began_s = min(max(before_s, min(waiting, default=after_s)), after_s)
            gaps.append(Gap((after_s - before_s) * 1_000, (after_s - began_s) * 1_000))
    return gaps


def pause_figures(args: argparse.Namespace, at: Scene) -> tuple[Figures, dict[str, Any]]:
    """Figures of pauses, and what they were made of."""
    config = fresh(at.config, "pause")
    names = {each: f"{getattr(config.topics, each)}.pause" for each in ("requests", "baselines")}
    config = msgspec.structs.replace(config, topics=msgspec.structs.replace(config.topics, **names))
    asyncio.run(create_topics(config))
    found = asyncio.run(watch(args, config, at))
    by_name: dict[str, list[list[Gap]]] = {}
    for span in found["spans"]:
        gaps = gaps_in(found["moved"], found["appended"], span)
        by_name.setdefault(span.name, []).append(gaps)
    figures: Figures = {}
    for name, rounds in by_name.items():
        judge = informs if name == "none" else partial(at_most, target=PAUSE_MS_MAX)
        longest = [max(each.pause_ms for each in gaps) for gaps in rounds]
        pauses = [each.pause_ms for gaps in rounds for each in gaps]
        # Of each round the longest, of these the median: the machine may stand still in one.
        figures[f"pause_{name}_ms"] = judge(median(longest))
        figures[f"pause_{name}_max_ms"] = informs(max(longest))
        figures[f"pause_{name}_p99_ms"] = informs(quantile(pauses, 0.99))
        figures[f"pause_{name}_gap_max_ms"] = informs(max(map(max, rounds)).ms)
    figures["pause_resident_bytes"] = at_most(found["resident_bytes"], RESIDENT_BYTES_MAX)
    figures["pause_fed_per_s"] = informs(found["fed_per_s"])
    seen = {name: [sorted(each)[-20:] for each in rounds] for name, rounds in by_name.items()}
    return figures, {"gaps_ms": seen}


if __name__ == "__main__":
    os.nice(PROMOTING_NICE)
    asked = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config)
    asyncio.run(promote_live(asked, Path(sys.argv[2]).read_bytes()))
