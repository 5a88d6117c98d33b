"""A gateway of the estate: the product's own, in a process that is cut off, restarted and frozen.

It reads the topic `enforcement` through a network of its own and is asked about requests all the
time; what it said, and what it knew then, is kept for the auditor. All of it is drawn from streams
of its own, so that workers live through the same with and without it, but for what operators do
while it is cut off. Its clock is the broker's:
both must agree (`TableSpec`), so no fault sets them apart.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from stream.clock import Clock
from stream.events import TokenRef
from stream.gateway import Gateway, GatewaySpec, TableSpec, Verdict

from .chance import GatePlan, Plan, stream
from .doors import SimPublisher, SimReader
from .log import SimLog
from .loop import Process
from .network import Network
from .traffic import OPERATIONS, workload

ASK_EVERY_S: Final = 0.2
ASKED_AT_ONCE: Final = 4
STORM_EVERY_S: Final = 0.7
TALKED_ABOUT: Final = 16
"""Of so many workloads that the log named last, one is asked about half of the time."""
IO_S: Final = 5.0
RELOAD_S: Final = 2.0


class Asked(NamedTuple):
    """One answer: how much had been appended to the whole log, the time, the state, the request."""

    appended: int
    now_ms: int
    state: str
    workload: str
    operation: str
    task: str
    token: TokenRef | None
    verdict: Verdict


class Gate:
    """One gateway process: alive, frozen, or dead; `plan` is its own, `run` that of the run."""

    def __init__(
        self, log: SimLog, clock: Clock, run: Plan, plan: GatePlan, network: Network
    ) -> None:
        self._log, self._clock = log, clock
        self.run, self.plan = run, plan
        self.network = network
        self.process = Process("gateway")
        self.gateway: Gateway | None = None
        self.task: asyncio.Task[None] | None = None
        self.answers: list[Asked] = []
        self._chance = stream(run.seed, "asked")
        self._talked_about: deque[str] = deque(maxlen=TALKED_ABOUT)
        self._heard = 0

    @property
    def spec(self) -> GatewaySpec:
        """What the gateway is set to."""
        return GatewaySpec(table=TableSpec(mode=self.plan.mode), io_s=IO_S, reload_s=RELOAD_S)

    def start(self) -> None:
        """Start a process."""
        self.process = Process("gateway")
        self.task = self.network.loop.spawn(self.process, self._run())

    def kill(self) -> None:
        """End the process as SIGKILL does."""
        self.process.is_dead = True

    def freeze(self, span_s: float) -> None:
        """Stand still as after SIGSTOP, then go on."""
        loop, process = self.network.loop, self.process
        process.freeze()
        loop.run_in(self.network.process, lambda: loop.call_later(span_s, process.thaw, loop))

    async def _run(self) -> None:
        reader = SimReader(self._log, self.network)
        publisher = SimPublisher(self._log, self.network)
        async with Gateway(reader, publisher, self._clock, self.spec) as gateway:
            self.gateway = gateway
            while True:
                for _ in range(ASKED_AT_ONCE):
                    self.answers.append(self._ask(gateway))
                await asyncio.sleep(ASK_EVERY_S)

    def _ask(self, gateway: Gateway) -> Asked:
        """Ask about a request such as traffic has, of those who are seen most or talked about."""
        chance = self._chance
        name = workload(int(self.run.workloads * chance.random() ** 2), self.run.domains)
        self._listen()
        if self._talked_about and chance.random() < 0.5:
            name = chance.choice(self._talked_about)
        operation = chance.choice(OPERATIONS)
        task = chance.choice(("", "", f"k{chance.randrange(4)}"))
        token = chance.choice((None, TokenRef("issuer", f"t{chance.randrange(3)}")))
        now_ms = gateway.now_ms()
        verdict = gateway.check(name, operation, task, token)
        state = gateway.state().state
        appended = len(self._log.history)
        return Asked(appended, now_ms, state, name, operation, task, token, verdict)

    def _listen(self) -> None:
        """Note whom the log names, whether or not the gateway has read so far."""
        history = self._log.history
        for topic, _, record in history[self._heard :]:
            if topic == self.spec.enforcement and record.key is not None:
                key = msgspec.json.decode(record.key)
                if key[0] != "heartbeat" and key[1]:
                    self._talked_about.append(str(key[1]))
        self._heard = len(history)


async def gate_storm(gate: Gate, meanwhile: Callable[[random.Random], None]) -> None:
    """Now and then, one of the faults of a gateway's process; often something while it is cut off.

    What nobody counts in heartbeats, as an operator's act, it must not miss then.
    """
    chance = stream(gate.run.seed, "gate storm")
    kinds = [each for each in ("kill", "freeze", "cut") if each in gate.plan.faults]
    while kinds:
        await asyncio.sleep(chance.expovariate(1 / STORM_EVERY_S))
        if gate.process.is_dead:
            gate.start()
            continue
        kind = chance.choice(kinds)
        gate.network.happened[kind] += 1
        if kind == "kill":
            gate.kill()
        elif kind == "cut":
            gate.network.cut_off(chance.choice((0.1, 1.0, 3.0)))
            if chance.random() < 0.5:
                meanwhile(chance)
        else:
            gate.freeze(chance.choice((0.5, 3.0, 6.0)))
