"""Workers die and zombies walk, on real servers: nothing is lost, nothing is counted twice."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.events import Request, encode, encode_request
from stream.local import Addresses
from stream.runtime import SystemClock
from tests.live import Installation, differences, other_rows, wait_until

KILLS = 20


def traffic(seed: int, count: int) -> list[bytes]:
    """Events of 150 workloads that trip every rule of the live policy, over ten minutes."""
    choose = random.Random(seed)
    payloads = []
    # Of today: rows whose clock is far behind the broker's are forgotten as idle.
    at_ms = SystemClock().wall_ms() - 600_000
    for number in range(count):
        at_ms += choose.randrange(0, 2 * 600_000 // count)
        agent = min(choose.randrange(150), choose.randrange(150))
        workload = f"spiffe://test.example/agents/a{agent}"
        verb = choose.choice(("get", "read", "send", "list", "delete"))
        request = Request(
            at_ms=at_ms - choose.choice((0, 0, 0, 700, 40_000)),
            workload=workload,
            operation=f"tool:{verb}_{choose.randrange(6)}",
            outcome=choose.choice(("served", "served", "served", "failed", "denied")),
            bytes=choose.randrange(60_000),
            task=choose.choice(("", f"task-{choose.randrange(12)}")),
            id=str(number),
        )
        payloads.append(encode_request(request))
    return payloads


@contextlib.contextmanager
def ended(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """End the processes, whatever happens."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@pytest.mark.timeout(400)
def test_killed_at_random_moments(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """After 20 SIGKILLs under load rows equal the replay's, no command is missing, none wrong."""
    seed = random.SystemRandom().randrange(10**6)
    choose = random.Random(seed)  # pytest shows the seed among the locals of a failure
    payloads = traffic(seed, 24_000)
    # Few slots, so that rows are evicted and read back all the time as well.
    installation = Installation(
        servers, fresh_name, slots_max=64, save_every_ms=50, batch_events_max=500
    )
    processes: list[subprocess.Popen[bytes]] = []

    async def feed_slowly(parts: int) -> None:
        size = -(-len(payloads) // parts)
        for start in range(0, len(payloads), size):
            await installation.feed(payloads[start : start + size])
            await asyncio.sleep(0.2)

    async def story() -> None:
        await installation.topics()
        feeding = asyncio.create_task(feed_slowly(120))
        kills = 0
        while kills < KILLS:
            processes.append(installation.process(tmp_path, "only"))
            before = await installation.applied()
            # Most die while they work, some while they are still taking their partitions.
            if choose.random() < 0.7 and not feeding.done():
                await wait_until(installation.applied, lambda now, before=before: now > before)
            await asyncio.sleep(choose.random() * 1.5)
            processes[-1].kill()
            processes[-1].wait()
            kills += 1
        await feeding
        processes.append(installation.process(tmp_path, "only"))
        await installation.wait_applied(len(payloads))

    with ended(processes):
        asyncio.run(story())
    commands = asyncio.run(installation.commands())
    bodies, rows = installation.replayed(payloads)
    assert len(bodies) > 100
    assert differences([encode(each.body) for each in commands], bodies) == ""
    assert other_rows(asyncio.run(installation.rows()), rows) == []


@pytest.mark.timeout(300)
def test_zombie(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """A worker that sleeps through its session and goes on can write nothing that is wrong."""
    payloads = traffic(7, 6_000)
    installation = Installation(servers, fresh_name, save_every_ms=100)
    timing = {"session_ms": 2_000, "heartbeat_ms": 300}
    processes: list[subprocess.Popen[bytes]] = []

    async def story() -> None:
        await installation.topics()
        zombie = installation.process(tmp_path, "zombie", **timing)
        processes.append(zombie)
        await installation.feed(payloads[:2_000])
        await wait_until(installation.applied, lambda now: now > 0)
        os.kill(zombie.pid, signal.SIGSTOP)
        await installation.feed(payloads[2_000:4_000])
        processes.append(installation.process(tmp_path, "heir", **timing))
        await installation.wait_applied(4_000)
        os.kill(zombie.pid, signal.SIGCONT)
        await installation.feed(payloads[4_000:])
        await installation.wait_applied(len(payloads))

    with ended(processes):
        asyncio.run(story())
    commands = asyncio.run(installation.commands())
    bodies, rows = installation.replayed(payloads)
    assert differences([encode(each.body) for each in commands], bodies) == ""
    assert other_rows(asyncio.run(installation.rows()), rows) == []
    log = (tmp_path / "worker-zombie.log").read_text()
    assert "OwnershipLost" in log or "let partitions" in log
