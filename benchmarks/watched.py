"""A worker in a process of its own that says when it applied something, and by which baseline.

    python -m benchmarks.watched SETTINGS.json

Prints a line of JSON each time that one baseline is in force in all partitions, and when its
standard input ends the moments in which events had been applied, to a millisecond, and the next
offset of each partition then. Times are those of the wall clock, as the broker's are.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.contenders import resident_bytes, worker_of
from stream.cli.doors import settle
from stream.metrics import Metrics
from stream.runtime import Worker
from stream.warm import warm

EVERY_S = 0.001


def held(worker: Worker) -> str | None:
    """The baseline that is in force in all partitions, None while they differ."""
    session = worker._session
    owned = list(session.owned.values()) if session is not None else []
    versions = {each.conditions.baseline_version for each in owned}
    is_whole = len(owned) == worker.topics.partitions and len(versions) == 1
    return versions.pop() if is_whole else None


async def watched(settings: dict[str, Any]) -> None:
    """Run a worker until the standard input ends."""
    warm()
    settle()
    worker = worker_of(settings, Metrics())
    task = asyncio.create_task(worker.run())
    ending = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    moved: list[tuple[float, dict[int, int]]] = []
    before, known = dict[int, int](), None
    while not ending.done():
        await asyncio.sleep(EVERY_S)
        now_s, version = time.time(), held(worker)
        places = {each: position for each, (position, _) in worker.progress().items()}
        if places != before:
            moved.append((now_s, places))
            before = places
        if version is not None and version != known:
            known = version
            say = {"version": version, "at_s": now_s, "resident_bytes": resident_bytes()}
            print(json.dumps(say), flush=True)
    print(json.dumps({"moved": moved}), flush=True)
    worker.stop()
    await task


if __name__ == "__main__":
    uvloop.run(watched(json.loads(Path(sys.argv[1]).read_text())))
