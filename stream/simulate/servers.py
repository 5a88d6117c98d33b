"""What befalls brokers and the store beside a seed's own faults: away, slow, or full.

Each is drawn from a stream of its own, in some seeds only.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Final

from stream.identity import canonical_workload

from .chance import stream
from .estate import Estate
from .traffic import NOT_EVENTS, payload, workload

AWAY: Final = 0.4
"""The part of all partitions that a broker leads."""
LEADERLESS_SEEDS: Final = 0.35
"""In which part of the seeds partitions that are written to lose their leader now and then."""
SLUGGISH_SEEDS: Final = 0.35
"""In which part of the seeds brokers take long for every record now and then."""
FULL_SEEDS: Final = 0.25
"""In which part of the seeds the store has no room for more now and then."""

Send = Callable[[bytes, bytes], None]


def server_storms(estate: Estate, send: Send) -> list[Coroutine[None, None, None]]:
    """Return what is to happen in the estate's seed; `send` puts a record of a key on its home."""
    servers = _Servers(estate, send)
    storms = (
        ("leaders", LEADERLESS_SEEDS, servers.leaderless),
        ("sluggish", SLUGGISH_SEEDS, servers.sluggish),
        ("full", FULL_SEEDS, servers.full),
    )
    told = []
    for name, part, storm in storms:
        chance = stream(estate.plan.seed, name)
        if chance.random() < part:
            told.append(storm(chance))
    return told


class _Servers:
    """Storms over the servers of an estate."""

    def __init__(self, estate: Estate, send: Send) -> None:
        self.estate, self.plan, self.send = estate, estate.plan, send

    async def leaderless(self, chance: random.Random) -> None:
        """Now and then a broker is away, and what it led has no leader for a while.

        Often a gateway goes mad at once: most of what is sent else needs no dead letter.
        """
        while True:
            await asyncio.sleep(chance.expovariate(1 / 2.0))
            self._go_away(chance, chance.choice((0.3, 3.0, 12.0)))
            for _ in range(chance.choice((0, 3, 10))):
                key = canonical_workload(workload(chance.randrange(self.plan.workloads))).encode()
                self.send(key, chance.choice(NOT_EVENTS))

    def _go_away(self, chance: random.Random, span_s: float) -> None:
        """Let some of all partitions have no leader for a while."""
        log, network = self.estate.log, self.estate.network
        topics = [each.name for each in self.estate.topics.specs()]
        places = [(each, at) for each in topics for at in range(len(log.partitions(each)))]
        away = [each for each in places if chance.random() < AWAY]
        network.leaderless.update(dict.fromkeys(away, self.estate.loop.time() + span_s))
        network.happened["leaderless"] += 1

    async def sluggish(self, chance: random.Random) -> None:
        """Now and then brokers take long for every record, and may go away in the end.

        Often several workloads break rules at once: more is decided than a producer's queue holds,
        so that a step is long under way.
        """
        network, plan = self.estate.network, self.plan
        while True:
            await asyncio.sleep(chance.expovariate(1.0))
            network.append_s = chance.choice((0.02, 0.1, 0.5))
            network.happened["sluggish"] += 1
            for number in range(min(plan.workloads, chance.choice((0, 3, 8)))):
                for _ in range(8):
                    now_ms = self.estate.broker_clock.wall_ms()
                    self.send(*payload(plan, chance, now_ms, number))
            await asyncio.sleep(chance.choice((0.5, 1.0, 2.0, 6.0)))
            if chance.random() < 0.5:
                self._go_away(chance, 5.0)
            network.append_s = 0.0

    async def full(self, chance: random.Random) -> None:
        """Now and then the store's memory is full: it takes only what makes room."""
        server = self.estate.server
        try:
            while True:
                await asyncio.sleep(chance.expovariate(1 / 3.0))
                server.is_full = True
                self.estate.network.happened["full"] += 1
                await asyncio.sleep(chance.choice((0.3, 2.0, 8.0)))
                server.is_full = False
        finally:
            server.is_full = False
