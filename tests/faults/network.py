"""Scenarios of links: between a worker and the broker, between a worker and Redis.

The worker `cut` stands behind proxies, `other` and the feed do not. A cut that is longer than the
session makes `cut` a zombie by network: `other` takes its partitions, and when the link is back
what it had under way arrives late.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.brokers import Cluster
from tests.proxy import Proxy, between

from .kafka import Scene, told
from .story import Result, Story

SESSION_S = 2.0


class Cut(NamedTuple):
    """A fault of a link: which (`kafka`, `redis`), how, and for how long.

    `how` is `both`, `up` or `down` (nothing passes in these directions, nothing is lost), `refused`
    (all connections end, none is accepted), `reset` (all connections end, once), `slow` (200 ms in
    each direction) or `narrow` (60 kB a second).
    """

    link: str
    how: str
    span_s: float

    @property
    def name(self) -> str:
        """What it is called among the recoveries."""
        return f"{self.link} {self.how} {self.span_s:g} s"


SHORT_S, LONG_S = SESSION_S / 2, SESSION_S * 2
FEW = (
    Cut("kafka", "both", LONG_S),
    Cut("kafka", "down", SHORT_S),
    Cut("redis", "both", LONG_S),
    Cut("redis", "refused", SHORT_S),
)
ALL = tuple(
    Cut(link, how, span_s)
    for link in ("kafka", "redis")
    for how in ("both", "up", "down", "refused", "reset")
    for span_s in (SHORT_S, LONG_S, 12.0)
) + tuple(Cut(link, how, 6.0) for link in ("kafka", "redis") for how in ("slow", "narrow"))


def spoil(proxy: Proxy, how: str) -> None:
    """Make a link bad."""
    if how in ("both", "up", "down"):
        proxy.hold(up=how != "down", down=how != "up")
    elif how == "refused":
        proxy.refuse()
    elif how == "reset":
        proxy.reset()
    elif how == "slow":
        proxy.slow(delay_s=0.2)
    else:
        assert how == "narrow", how
        proxy.slow(bytes_per_s=60_000)


def cuts(scene: Scene, cluster: Cluster, faults: tuple[Cut, ...]) -> Result:
    """Spoil links one after another under load; all must be as it was after each."""
    story = Story(*scene)
    redis = urlsplit(scene.servers.redis)
    assert redis.port is not None

    async def playing(to_redis: Proxy) -> Result:
        await story.installation.topics()
        behind = f"redis://127.0.0.1:{to_redis.port}{redis.path}"
        links = {"kafka": cluster.brokers[0].proxy, "redis": to_redis}
        story.start("cut", behind, bootstrap=cluster.faulty)
        story.start("other")
        recovery_s, notes = {}, {}
        async with story.feeding(19):
            await story.wait_ready("cut", "other")
            assert all(each.connections for each in links.values()), "nobody is behind the proxies"
            for fault in faults:
                await story.more(200)
                await asyncio.to_thread(spoil, links[fault.link], fault.how)
                over_at_s = time.monotonic() + fault.span_s
                if fault.how in ("both", "up", "down", "refused") and fault.span_s > SHORT_S:
                    mode = "broker_down" if fault.link == "kafka" else "store_down"
                    notes[f"{fault.name} noticed"] = await story.wait_mode("cut", mode)
                await asyncio.sleep(max(0.0, over_at_s - time.monotonic()))
                await asyncio.to_thread(links[fault.link].heal)
                recovery_s[fault.name] = await story.recovery()
                await story.wait_ready("cut", "other")
        return await story.verdict("network", recovery_s, notes)

    with between(redis.port) as to_redis:
        return told(story, playing(to_redis))


class Far(NamedTuple):
    """A link that is long and narrow all the time, in each direction, and how the worker uses it.

    `backlog`: how many events wait when the worker starts; `probes`: how often it is asked how long
    an event takes until it is applied and stored. `ready_s`: when it must have caught up, and have
    stored what it caught up with, by what its start and its backlog take on such a link.
    """

    delay_s: float
    bytes_per_s: int
    backlog: int
    probes: int
    request_ms: int = 20_000
    ready_s: float = 90.0


NARROW = Far(delay_s=0.1, bytes_per_s=250_000, backlog=1_000, probes=1)
NARROWEST = Far(delay_s=0.2, bytes_per_s=60_000, backlog=20_000, probes=10, ready_s=240.0)


def far_away(scene: Scene, cluster: Cluster, far: Far) -> Result:
    """A worker far from Kafka and Redis starts, catches up and keeps up, without one restart."""
    story = Story(*scene)
    redis = urlsplit(scene.servers.redis)
    assert redis.port is not None

    async def playing(to_redis: Proxy) -> Result:
        await story.installation.topics()
        await story.feed(23, far.backlog)
        behind = f"redis://127.0.0.1:{to_redis.port}{redis.path}"
        for link in (to_redis, cluster.brokers[0].proxy):
            link.slow(far.delay_s, far.bytes_per_s)
        recovery_s = {}
        patient = {"session_ms": 6_000, "request_ms": far.request_ms}
        patient["rebalance_ms"] = min(10_000, far.request_ms // 2)
        began_s = time.monotonic()
        story.start("far", behind, bootstrap=cluster.faulty, **patient)
        try:
            async with story.feeding(29, per_s=100):
                await story.wait_ready("far", within_s=far.ready_s)
                notes: dict[str, Any] = {"ready_s": round(time.monotonic() - began_s, 2)}
                # Rows of the backlog are still under way, and events that came meanwhile.
                await story.recovery()
                notes["stored_s"] = round(time.monotonic() - began_s, 2)
                assert notes["stored_s"] <= far.ready_s, notes
                for number in range(far.probes):
                    await story.more(50)
                    recovery_s[f"event {number + 1} over a slow link"] = await story.recovery()
            shown = await story.page("far", "/metrics")
            notes["restarts"] = sum(
                float(line.rpartition(" ")[2])
                for line in shown.splitlines()
                if line.startswith("enforcer_restarts_total{")
            )
            notes["lines"] = len(story.log_of("far").splitlines())
            return await story.verdict("far_away", recovery_s, notes)
        finally:
            cluster.brokers[0].proxy.heal()

    with between(redis.port) as to_redis:
        return told(story, playing(to_redis))
