"""Scenarios of workers that die and brokers that fail, each returning a `Result`.

A scenario is given where its servers are, a fresh name and a folder, and how long it is to be. It
asserts what must be seen on the way (a mode, a refusal); what it came to is judged by its caller.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from stream.local import Addresses
from tests.brokers import Broker, Cluster

from .story import Result, Story, Unseen, waited


class Scene(NamedTuple):
    """Where a scenario plays: servers (by their plain doors), a fresh name, a folder."""

    servers: Addresses
    name: str
    folder: Path


def told(story: Story, playing: Any) -> Result:
    """Run a story's coroutine; no worker of it outlives it."""
    is_told = False
    try:
        result: Result = asyncio.run(playing)
        is_told = True
    finally:
        story.end(asks_why=not is_told)
    return result


def kills(scene: Scene, count: int, seed: int) -> Result:
    """SIGKILL workers at random moments under load, some while they take their partitions."""
    choose = random.Random(seed)
    # Few slots, so that rows are evicted and read back all the time as well.
    small = {"slots_max": 64, "save_every_ms": 50, "batch_events_max": 500}
    story = Story(*scene, **small)

    async def playing() -> Result:
        await story.installation.topics()
        slowest_s = 0.0
        async with story.feeding(seed):
            for _ in range(count):
                began_s = time.monotonic()
                process = story.start("only")
                before = await story.installation.applied()
                if choose.random() < 0.7:
                    # Not `recovery`: after many kills in a row there is more to catch up with.
                    async def is_so(before: int = before) -> bool:
                        return await story.installation.applied() > before

                    await waited(is_so, "progress between kills")
                    slowest_s = max(slowest_s, time.monotonic() - began_s)
                await asyncio.sleep(choose.random() * 1.5)
                process.kill()
                process.wait()
            story.start("only")
            recovery_s = {"after the last kill": await story.recovery()}
        notes = {"kills": count, "seed": seed, "start to progress, slowest": round(slowest_s, 2)}
        return await story.verdict("kills", recovery_s, notes)

    return told(story, playing())


def zombie(scene: Scene, session_ms: int, times: int) -> Result:
    """SIGSTOP a worker for twice its session under load, then let it go on beside its heir."""
    story = Story(*scene)
    timing = {"session_ms": session_ms}

    async def playing() -> Result:
        await story.installation.topics()
        process = story.start("zombie", **timing)
        story.start("heir", **timing)
        recovery_s = {}
        async with story.feeding(7):
            await story.wait_ready("zombie", "heir")
            for number in range(times):
                await story.more(400)
                os.kill(process.pid, signal.SIGSTOP)
                stopped_s = time.monotonic()
                recovery_s[f"heir {number}"] = await story.recovery()
                await asyncio.sleep(max(0.0, stopped_s + 2 * session_ms / 1_000 - time.monotonic()))
                os.kill(process.pid, signal.SIGCONT)
                await story.wait_ready("zombie", "heir")
                recovery_s[f"both {number}"] = await story.recovery()
        log = story.log_of("zombie")
        refused = log.count("OwnershipLost") + log.count("left without saving")
        let_go = log.count("let partitions")
        if refused + let_go < times:
            raise Unseen(f"the zombie noticed it {refused + let_go} times of {times}")
        notes = {"late writes refused": refused, "partitions let go": let_go}
        return await story.verdict("zombie", recovery_s, notes)

    return told(story, playing())


def broker(scene: Scene, cluster: Cluster, ways: tuple[str, ...]) -> Result:
    """End the only broker under load, in good order or by SIGKILL, and start it again."""
    story = Story(*scene)
    (one,) = cluster.brokers

    async def playing() -> Result:
        await story.installation.topics()
        story.start("only")
        recovery_s, notes = {}, {}
        async with story.feeding(11):
            await story.wait_ready("only")
            for number, way in enumerate(ways):
                await story.more(400)
                await asyncio.to_thread(one.kill if way == "kill" else one.stop)
                noticed_s = await story.wait_mode("only", "broker_down")
                await asyncio.to_thread(_start_again, cluster, one)
                recovery_s[f"{way} {number}"] = await story.recovery()
                notes[f"{way} {number} noticed"] = noticed_s
                await story.wait_mode("only", "broker_down", holds=False)
            await story.wait_ready("only")
        return await story.verdict("broker", recovery_s, notes)

    return told(story, playing())


def disk_full(scene: Scene, cluster: Cluster) -> Result:
    """Let the broker's files grow no further: it ends by itself; with room again nothing is lost.

    What a full disk is to a broker is a write that fails. Without root no small file system can be
    mounted, so the write fails by RLIMIT_FSIZE (EFBIG instead of ENOSPC): to Kafka both are an
    IOException in a log folder, and with its only log folder gone it halts.
    """
    story = Story(*scene)
    (one,) = cluster.brokers

    async def playing() -> Result:
        await story.installation.topics()
        story.start("only")
        async with story.feeding(13, per_s=2_000):
            await story.wait_ready("only")
            await story.more(400)
            one.limit_files(_largest_log(one) + 50_000)

            async def has_ended() -> bool:
                return one.has_ended()

            await waited(has_ended, "the broker halts when it cannot write")
            noticed_s = await story.wait_mode("only", "broker_down")
            await asyncio.to_thread(_start_again, cluster, one)
            recovery_s = {"room again": await story.recovery()}
        return await story.verdict("disk full", recovery_s, {"noticed": noticed_s})

    return told(story, playing())


def one_of_three(scene: Scene, cluster: Cluster, rounds: int) -> Result:
    """SIGKILL one of three brokers under load, go on without it, and get it back; in turns."""
    story = Story(*scene)
    story.installation.replicate(3)

    async def playing() -> Result:
        await story.installation.topics()
        story.start("only")
        recovery_s = {}
        async with story.feeding(17):
            await story.wait_ready("only")
            for number in range(rounds):
                dead = cluster.brokers[number % 3]
                others = [each for each in cluster.brokers if each is not dead]
                await story.more(400)
                await asyncio.to_thread(dead.kill)
                recovery_s[f"{number}: one lost"] = await story.recovery()
                await story.more(800)
                await story.wait_ready("only")
                await asyncio.to_thread(dead.launch)
                await asyncio.to_thread(cluster.await_ready)
                recovery_s[f"{number}: it is back"] = await story.recovery()
                # The next may go only when this one has all again: two must be in sync.
                await story.installation.in_sync(3)
                assert not any(each.has_ended() for each in others)
            await story.wait_ready("only")
        return await story.verdict("one of three", recovery_s)

    return told(story, playing())


def _start_again(cluster: Cluster, one: Broker) -> None:
    one.stop()
    one.launch()
    cluster.await_ready()


def _largest_log(one: Broker) -> int:
    return max(each.stat().st_size for each in (one.folder / "data").rglob("*.log"))
