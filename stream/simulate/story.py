"""One run: traffic under a storm of faults, then calm, then the auditor.

While the storm lasts, anything may happen that its seed allows. Then every fault ends, all members
run, and the estate must come to rest: everything applied, stored and checkpointed. What does not
is a violation as much as a wrong command.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Final, Literal, NamedTuple

from stream.bus import MemoryTopics
from stream.events import OperatorAct, OperatorRecord, encode, operator_key
from stream.identity import home_partition
from stream.store import MemoryServer

from .audit import audit
from .audit_gate import audit_gate
from .chance import Plan, deaths_of, echoes_of, gate_plan_of, plan_of, stream
from .estate import SESSION_S, Estate, compiled
from .gate import gate_storm
from .learned import is_learned, with_baselines
from .loop import Process, Stuck, VirtualLoop
from .rest import STEP_S, at_rest
from .room import audit_counts
from .servers import server_storms
from .traffic import payload, policies, workload

# A run's cycles are collected at its end, and where very many have come together: at the usual
# thresholds that is a sixth of its time.
SELDOM: Final = (100_000, 10, 50)
ACTS: Final[tuple[Literal["stop", "exempt", "lift"], ...]] = ("stop", "exempt", "lift")


class Outcome(NamedTuple):
    """What a run came to: violations, nothing when all laws held, and what happened in it."""

    seed: int
    violations: list[str]
    events: int
    commands: int
    calls: int
    faults: dict[str, int]
    steps: int


def simulate(
    seed: int, minutes: float = 0.5, prepare: Callable[[Estate], None] | None = None
) -> Outcome:
    """Run a seed; the same seed gives the same run, in every process."""
    return run(plan_of(seed, minutes), prepare or (with_baselines if is_learned(seed) else None))


def run(
    plan: Plan,
    prepare: Callable[[Estate], None] | None = None,
    tell: Callable[[Estate], Coroutine[None, None, list[str]]] | None = None,
) -> Outcome:
    """Run a plan; `prepare` may change the estate before anything happens.

    `tell` lets happen what happens and returns the violations: without it, a seed's own story.
    """
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        return _run(plan, prepare, tell)
    finally:
        gc.set_threshold(*before)
        gc.collect(1)


def _run(
    plan: Plan,
    prepare: Callable[[Estate], None] | None,
    tell: Callable[[Estate], Coroutine[None, None, list[str]]] | None,
) -> Outcome:
    """Run a plan, and keep nothing of it but its outcome."""
    loop = VirtualLoop()
    quiet = logging.getLogger("stream")
    level, quiet.disabled = quiet.level, True
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        estate = Estate(plan, loop, compiled(policies()[0], "simulation"))
        if prepare is not None:
            prepare(estate)
        try:
            violations = loop.run(tell(estate) if tell else _Story(estate).told())
        except Stuck as error:
            violations = [str(error)]
        violations += loop.faults
        outcome = Outcome(
            plan.seed,
            violations,
            len(estate.log.of(estate.topics.requests)),
            len(estate.log.of(estate.topics.enforcement)),
            estate.network.calls,
            dict(estate.network.happened),
            loop.steps,
        )
        for network in (estate.network, *(each.network for each in estate.gates)):
            network.is_closed = True
        loop.end()
        return outcome
    finally:
        logging.disable(before)
        quiet.disabled = False
        quiet.setLevel(level)


async def judged(estate: Estate) -> list[str]:
    """Return every law that does not hold in an estate at rest."""
    found = await audit(estate) + audit_counts(estate) + await audit_gate(estate)
    return found + estate.server.broken()


class _Story:
    """The estate, and what happens to it."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.plan = estate.plan
        self.chance = stream(self.plan.seed, "story")
        self.images = [MemoryServer().image()]
        self.counts = [self.plan.partitions]
        self.late_until_s = 0.0
        self.sent = 0

    async def told(self) -> list[str]:
        """Let it all happen; return the violations."""
        estate = self.estate
        await self._topics()
        for member in estate.members:
            member.start()
        estate.network.echo_s = echoes_of(self.plan.seed)
        gate = estate.open_gate(gate_plan_of(self.plan.seed))
        gate.start()
        told = [
            self._storm(),
            self._growth(),
            gate_storm(gate, self._meanwhile),
            *(each() for each in estate.storms),
        ]
        told += server_storms(estate, self._send)
        if (dies := deaths_of(self.plan.seed)) is not None:
            estate.network.dies, estate.network.fate = dies, self._end
        storms = {asyncio.create_task(each) for each in told}
        await self._traffic()
        for storm in storms:
            storm.cancel()
        await asyncio.wait(storms)
        for storm in storms:
            if not storm.cancelled() and storm.exception() is not None:
                raise AssertionError("the storm itself failed") from storm.exception()
        violations = await at_rest(estate)
        for kind in ("remake", "truncate", "regrow"):
            if not violations and kind in self.plan.faults:
                await self._change_log(kind)
                violations += await at_rest(estate)
                break
        return violations + await judged(estate)

    async def _topics(self) -> None:
        admin = MemoryTopics(self.estate.log)
        await admin.ensure(self.estate.topics.specs())

    async def _traffic(self) -> None:
        """Send what gateways send, in bursts."""
        estate, plan = self.estate, self.plan
        chance = stream(plan.seed, "traffic")
        gap_s = plan.span_ms / 1_000 / max(1, plan.events)
        while self.sent < plan.events:
            for _ in range(min(plan.events - self.sent, chance.choice((1, 1, 1, 5, 20)))):
                self._send(*payload(plan, chance, estate.broker_clock.wall_ms()))
                self.sent += 1
                await asyncio.sleep(chance.random() * 0.01)
            await asyncio.sleep(chance.expovariate(1 / gap_s))

    def _send(self, key: bytes, value: bytes) -> None:
        # Some gateways notice at once that partitions have become more, some much later.
        is_late = key[-1] % 3 == 0 and self.estate.loop.time() < self.late_until_s
        count = self.counts[-2] if is_late else self.counts[-1]
        self.estate.log.append(*self.estate.route(key, count), key, self.estate.dress(value))

    async def _growth(self) -> None:
        """Multiply partitions while all else goes on, one time after another."""
        estate, chance = self.estate, stream(self.plan.seed, "grown")
        for at, factor in self.plan.growth:
            # The store and the gateways tell nobody.
            due = at * self.plan.events
            while self.sent < due or not await estate.has_grown():  # noqa: ASYNC110
                await asyncio.sleep(STEP_S)
            count = self.counts[-1] * factor
            estate.network.happened["grow"] += 1
            estate.log.grow(estate.topics.journal, count)
            await asyncio.sleep(chance.choice((0.0, 0.0, 1.0)))
            estate.log.grow(estate.topics.requests, count)
            self.counts.append(count)
            self.late_until_s = estate.loop.time() + chance.choice((0.0, 2.0, 30.0))

    async def _storm(self) -> None:
        """Now and then, one of the seed's faults."""
        acts: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "expire": self._expire,
            "failover": self._failover,
            "forget": self._forget,
            "clock": self._step_clock,
            "operate": self._operate,
            "reload": self._reload,
            "leave": self._leave,
            "cut": self._cut,
        }
        kinds = [each for each in sorted(self.plan.faults) if each in acts]
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / 2.0))
            if self.chance.random() < 0.5:
                self.images.append(self.estate.server.image())
                del self.images[:-4]
            if kinds:
                kind = self.chance.choice(kinds)
                self.estate.network.happened[kind] += 1
                acts[kind]()
            for member in self.estate.members:
                if member.process.is_dead and self.chance.random() < 0.5:
                    member.start()

    def _end(self, how: str, process: Process) -> None:
        """A process dies at a call of its own."""
        for member in self.estate.members:
            if member.process is process and not process.is_dead:
                member.kill()

    def _kill(self) -> None:
        member = self.chance.choice(self.estate.members)
        if not member.process.is_dead:
            member.kill()

    def _freeze(self) -> None:
        """SIGSTOP for longer than the session lasts or not; then it walks on as a zombie."""
        member = self.chance.choice(self.estate.members)
        process, source = member.process, member.source
        if process.is_dead or source is None or not source.is_member:
            return
        span_s = self.chance.choice((0.5, 3.0, 10.0, 15.0))
        unaware_s = self.chance.choice((0.0, 0.3, 3.0)) if span_s > SESSION_S else 0.0
        member.freeze(span_s, unaware_s, self._thaw)

    def _thaw(self, process: Process) -> None:
        """Let a process go on, often with something at once that it would journal."""
        for member in self.estate.members:
            if member.process is not process or member.worker is None:
                continue
            if "reload" in self.plan.faults and self.chance.random() < 0.7:
                policy = compiled(self.chance.choice(self.estate.policies), "simulation")
                member.worker.reload(policy)
        process.thaw(self.estate.loop)

    def _expire(self) -> None:
        """The group gives the partitions away, and the member learns of it late."""
        member = self.chance.choice(self.estate.members)
        source = member.source
        if source is not None and source.is_member:
            loop, broker = self.estate.loop, self.estate.network.process
            late_s = self.chance.choice((0.0, 0.2, 2.0))

            def expire() -> None:
                source.expire()
                loop.call_later(late_s, member.notice, source)

            loop.run_in(broker, expire)

    def _failover(self) -> None:
        """A replica takes over that lacks the latest writes."""
        self.estate.server.restore(self.chance.choice(self.images))

    def _forget(self) -> None:
        """The store comes back empty."""
        self.estate.server.restore({})

    def _step_clock(self) -> None:
        """A clock jumps, a member's or the broker's."""
        clocks = [each.clock for each in self.estate.members] + [self.estate.broker_clock]
        self.chance.choice(clocks).offset_ms += self.chance.choice(
            (-3_000, 2_000, 60_000, 130_000_000)
        )

    def _operate(self) -> None:
        """An operator stops, exempts or lifts."""
        self._act(self.chance)

    def _meanwhile(self, chance: random.Random) -> None:
        """An operator acts while a gateway is cut off, where there are operators at all."""
        if "operate" in self.plan.faults:
            self._act(chance)

    def _act(self, chance: random.Random) -> None:
        now_ms = self.estate.broker_clock.wall_ms()
        act = chance.choice(ACTS)
        name = "" if act == "stop" else workload(chance.randrange(3), self.plan.domains)
        until_ms = 0 if act == "lift" else now_ms + chance.choice((1_000, 5_000, 60_000))
        said = OperatorAct(act=act, reason="r", by="a person", at_ms=now_ms, until_ms=until_ms)
        acts = (said,) if chance.random() < 0.8 else ()
        value = encode(OperatorRecord(workload=name, acts=acts))
        key = operator_key(name)
        partition = home_partition(key, self.plan.enforcement_partitions)
        self.estate.log.append(self.estate.topics.enforcement, partition, key, value)

    def _reload(self) -> None:
        """Every member is given another policy, the dead ones when they start again."""
        policy = compiled(self.chance.choice(self.estate.policies), "simulation")
        for member in self.estate.members:
            if member.worker is not None and not member.process.is_dead:
                member.worker.reload(policy)

    def _leave(self) -> None:
        """A member stops in good order."""
        member = self.chance.choice(self.estate.members)
        if member.worker is not None and not member.process.is_dead:
            member.worker.stop()

    def _cut(self) -> None:
        """Retention forgets what every checkpoint has passed."""
        log = self.estate.log
        topic = self.estate.topics.requests
        for partition, part in enumerate(log.partitions(topic)):
            kept = self.estate.passed_by(partition, self.images)
            if kept > part.start:
                log.cut(topic, partition, kept)

    async def _change_log(self, kind: str) -> None:
        """Change the log of requests under stopped members, then let traffic go on."""
        estate, topic = self.estate, self.estate.topics.requests
        estate.network.happened[kind] += 1
        for member in estate.members:
            await member.stop()
        estate.note_change()
        if kind == "remake":
            estate.log.remake(topic)
        for partition, part in enumerate(estate.log.partitions(topic)):
            lost = min(part.end - part.start, self.chance.randrange(1, 20))
            if kind != "remake":
                estate.log.truncate(topic, partition, part.end - lost)
        assert estate.changed is not None
        estate.changed.left.extend(each.end for each in estate.log.partitions(topic))
        chance = stream(self.plan.seed, "after")
        for _ in range(self.chance.choice((1, 30)) if kind != "regrow" else 200):
            self._send(*payload(self.plan, chance, estate.broker_clock.wall_ms()))
        for member in estate.members:
            member.start()
        for _ in range(20):
            self._send(*payload(self.plan, chance, estate.broker_clock.wall_ms()))
            await asyncio.sleep(0.1)
