"""Small stories without chance, for sweeps: each has one thing happen, and a save behind it.

What a scenario says happens whatever fails in it: it waits for spans, never for success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final, Literal, NamedTuple

import msgspec

from stream.events import (
    OperatorAct,
    OperatorRecord,
    Request,
    Subject,
    SubjectRecord,
    Token,
    TokenRef,
    Version,
    encode,
    encode_request,
    operator_key,
    subject_key,
)
from stream.identity import canonical_workload, home_partition

from .chance import Plan
from .estate import Estate, Member, compiled
from .learned import versions
from .loop import Process
from .traffic import policies, workload

Act = Literal["stop", "exempt", "lift"]
TOKEN: Final = Token(issuer="issuer", id="t")
ELSEWHERE: Final = 1


class Stage:
    """What a scenario can let happen."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate

    def send(self, number: int, operation: str = "GET /a", off: int = 0, **fields: object) -> None:
        """Put an event of a workload on its home, or `off` partitions beside it."""
        name = workload(number)
        now_ms = self.estate.broker_clock.wall_ms()
        request = Request(at_ms=now_ms, workload=name, operation=operation)
        request = msgspec.structs.replace(request, **fields)
        self.put(name, encode_request(request), off)

    def put(self, name: str, value: bytes, off: int = 0) -> None:
        """Put any record under the name of a workload."""
        key, count = canonical_workload(name).encode(), self.estate.plan.partitions
        partition = (home_partition(key, count) + off) % count
        self.estate.log.append(self.estate.topics.requests, partition, key, value)

    async def burst(self, number: int, events: int, every_s: float = 0.02, off: int = 0) -> None:
        """Send events of a workload at a pace; seven in two seconds are over a limit."""
        for _ in range(events):
            self.send(number, off=off)
            await asyncio.sleep(every_s)

    def operate(self, act: Act, number: int | None = None, for_ms: int = 2_000) -> None:
        """Let an operator act on a workload, or on everything."""
        now_ms = self.estate.broker_clock.wall_ms()
        name = "" if number is None else workload(number)
        until_ms = 0 if act == "lift" else now_ms + for_ms
        said = OperatorAct(act=act, reason="r", by="a person", at_ms=now_ms, until_ms=until_ms)
        key = operator_key(name)
        partition = home_partition(key, self.estate.plan.enforcement_partitions)
        value = encode(OperatorRecord(workload=name, acts=(said,), at_ms=now_ms))
        self.estate.log.append(self.estate.topics.enforcement, partition, key, value)

    def forge(self, number: int, version: Version) -> None:
        """Free a workload's token as somebody would who may write, and has no key to sign with."""
        subject = Subject(workload=workload(number), token=TokenRef(TOKEN.issuer, TOKEN.id))
        value = SubjectRecord(
            issuer="home",
            partition=0,
            subject=subject,
            version=version,
            expires_at_ms=self.estate.broker_clock.wall_ms() + 60_000,
            commands=(),
        )
        key = subject_key("home", subject)
        self.estate.log.append(self.estate.topics.enforcement, 0, key, encode(value))

    def reload(self, place: int) -> None:
        """Give every worker another policy."""
        for member in self.alive():
            if member.worker is not None:
                member.worker.reload(compiled(policies()[place], "simulation"))

    async def promote(self, place: int | None) -> None:
        """Let a baseline take effect, or none. Requires: a scenario that has baselines."""
        assert self.estate.promote is not None, "not prepared"
        await self.estate.promote(b"" if place is None else versions()[place])

    async def task(self, number: int, name: str, recipient: str) -> None:
        """Let a workload read a mail and send one, as a task of that purpose."""
        self.send(number, "tool:read_mail", task=name, purpose="mail")
        await asyncio.sleep(0.02)
        said = (f"to:{recipient}",)
        self.send(number, "tool:send_mail", task=name, purpose="mail", resources=said)
        await asyncio.sleep(0.02)

    def alive(self) -> list[Member]:
        """Return the members that run."""
        return [each for each in self.estate.members if each.task and not each.process.is_dead]


Told = Callable[[Stage], Coroutine[None, None, None]]


class Scenario(NamedTuple):
    """A scenario by name: what it is about, how it is told, and what differs from usual."""

    name: str
    what: str
    told: Told
    workers: int = 1
    partitions: int = 1
    slots: int = 0
    started: int = 1
    batch_events_max: int = 1_000
    has_gateway: bool = False
    stored_rows_max: int = 1_000_000
    has_baselines: bool = False


def plan_for(scenario: Scenario) -> Plan:
    """Return the plan of a scenario: nothing in it is left to chance."""
    return Plan(
        seed=0,
        span_ms=0,
        partitions=scenario.partitions,
        enforcement_partitions=1,
        workers=scenario.workers,
        workloads=3,
        events=0,
        batch_events_max=scenario.batch_events_max,
        save_every_ms=200,
        save_rows_max=50_000,
        save_slice_rows=512,
        rate=0.0,
        gateways="at-home",
        faults=frozenset(),
        stored_rows_max=scenario.stored_rows_max,
    )


async def _steady(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    await stage.burst(0, 9)
    stage.send(1, outcome="denied", token=TOKEN)
    stage.send(1, outcome="denied", token=TOKEN)
    stage.send(2, "tool:read_mail", kind="grant", task="k")
    stage.send(2, "tool:read_mail", task="k")
    stage.send(2, "tool:send_mail", task="k")
    await asyncio.sleep(1.0)


async def _takeover(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    await stage.burst(0, 8)
    stage.estate.members[1].start()
    await stage.burst(1, 8)
    await stage.burst(2, 8)
    await asyncio.sleep(1.0)
    stage.estate.members[0].kill()
    await stage.burst(0, 8)
    await asyncio.sleep(6.5)


async def _policy(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    await stage.burst(0, 7)
    stage.reload(1)
    await stage.burst(0, 20, 0.03)
    stage.reload(2)
    await stage.burst(1, 12, 0.03)
    await asyncio.sleep(0.5)


async def _operator(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    await stage.burst(0, 8)
    stage.operate("exempt", 0)
    await stage.burst(1, 8, 0.05)
    stage.operate("lift", 1)
    await stage.burst(1, 8, 0.05)
    stage.operate("stop", for_ms=1_000)
    await stage.burst(2, 10, 0.15)
    await asyncio.sleep(0.5)


async def _misrouted(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    for _ in range(10):
        for number in range(3):
            stage.send(number, off=ELSEWHERE if number != 1 else 0)
        await asyncio.sleep(0.03)
    await asyncio.sleep(1.0)


async def _release(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    await stage.burst(0, 8)
    stage.send(1, bytes=4_000)
    await asyncio.sleep(2.6)
    stage.send(0)
    await asyncio.sleep(6.0)


async def _letters(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    for value in (b"", b"{", b"\xff\xfe"):
        stage.send(0)
        stage.put(workload(0), value)
        await asyncio.sleep(0.1)
    await stage.burst(0, 6)
    await asyncio.sleep(0.6)


async def _stop(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    await stage.burst(0, 8)
    for member in stage.alive():
        if member.worker is not None:
            member.worker.stop()
    await stage.burst(1, 8)
    for member in stage.estate.members:
        if member.task is not None and member.task.done():
            member.start()
    await stage.burst(0, 4)
    await asyncio.sleep(0.6)


async def _crowd(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    for number in (*range(20), *range(6), *range(12, 24)):
        stage.send(number)
        stage.send(number, outcome="denied", token=TOKEN)
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.6)


async def _full(stage: Stage) -> None:
    """Who has a row goes on, a burst of others is refused, also those who come again."""
    await asyncio.sleep(0.3)
    for number in range(8):
        stage.send(number)
        await asyncio.sleep(0.1)
    await stage.burst(0, 8)
    await stage.burst(7, 3, 0.1)
    stage.send(1, outcome="denied", token=TOKEN)
    stage.send(1, outcome="denied", token=TOKEN)
    await asyncio.sleep(0.6)


async def _zombie(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    first, second = stage.estate.members
    second.start()
    await asyncio.sleep(0.6)
    await stage.burst(0, 7)
    if not first.process.is_dead:
        first.freeze(8.0, 1.0, _reloaded(first))
    await stage.burst(1, 12)
    await asyncio.sleep(8.0)
    await stage.burst(0, 12, 0.05)
    await asyncio.sleep(1.0)


async def _outdated(stage: Stage) -> None:
    """The heir leaves a workload alone as an operator said, and its zombie never heard of it."""
    await asyncio.sleep(0.3)
    first, second = stage.estate.members
    second.start()
    await asyncio.sleep(0.6)
    await stage.burst(0, 3)
    stage.send(1)  # its row is in memory, so what comes to it needs no store
    await asyncio.sleep(0.3)
    if not first.process.is_dead:
        first.freeze(8.2, 1.0, lambda process: process.thaw(stage.estate.loop))
    await asyncio.sleep(6.6)
    stage.operate("exempt", 1, 900)
    await asyncio.sleep(0.4)
    stage.send(1, bytes=4_000)
    await asyncio.sleep(3.0)


def _reloaded(member: Member) -> Callable[[Process], None]:
    """Let a process go on with something that it would journal at once."""

    def thaw(process: Process) -> None:
        if member.worker is not None:
            member.worker.reload(compiled(policies()[1], "simulation"))
        process.thaw(member.estate.loop)

    return thaw


async def _failover(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    await stage.burst(0, 5)
    await asyncio.sleep(0.5)
    image = stage.estate.server.image()
    await stage.burst(1, 8)
    await asyncio.sleep(0.5)
    stage.estate.server.restore(image)
    await stage.burst(0, 8)
    stage.estate.server.restore({})
    await stage.burst(2, 8)
    await asyncio.sleep(1.0)


async def _gateway(stage: Stage) -> None:
    await asyncio.sleep(0.3)
    await stage.burst(0, 8)
    stage.send(1, outcome="denied", token=TOKEN)
    stage.send(1, outcome="denied", token=TOKEN)
    stage.operate("exempt", 0, 700)
    await asyncio.sleep(1.0)
    stage.operate("lift", 1)
    stage.send(2, bytes=4_000)
    await asyncio.sleep(1.5)


async def _forged(stage: Stage) -> None:
    """What somebody else writes under our key bears a higher version than ours will for long."""
    await asyncio.sleep(0.3)
    stage.send(1, outcome="denied", token=TOKEN)
    stage.send(1, outcome="denied", token=TOKEN)
    await asyncio.sleep(1.2)
    stage.forge(1, Version(0, 1_000))
    await asyncio.sleep(0.7)
    stage.forge(1, Version(0, 2_000))
    stage.send(1, outcome="denied", token=TOKEN)
    await asyncio.sleep(1.5)


async def _promoted(stage: Stage) -> None:
    """More is odd than the brake lets through, by one version, then by another, then by none."""
    await asyncio.sleep(0.3)
    await stage.promote(0)
    await asyncio.sleep(0.5)
    for number in range(3):
        await stage.task(number, "usual", "alice@example.org")
        await stage.task(number, "odd", "mallory@elsewhere.example")
    await asyncio.sleep(0.4)
    await stage.promote(1)
    await stage.task(0, "late", "mallory@elsewhere.example")
    await asyncio.sleep(0.6)
    await stage.task(1, "late", "mallory@elsewhere.example")
    await stage.promote(None)
    await asyncio.sleep(0.5)
    await stage.task(2, "late", "mallory@elsewhere.example")
    await asyncio.sleep(0.6)


SCENARIOS: Final = (
    Scenario("steady", "traffic, commands of each kind, saves", _steady),
    Scenario("takeover", "a second worker joins, the first dies", _takeover, 2, 2),
    Scenario("policy", "the policy is switched twice under traffic", _policy),
    Scenario("operator", "an operator exempts, lifts, stops", _operator),
    Scenario("misrouted", "events lie elsewhere than at home", _misrouted, 1, 2),
    Scenario("release", "commands are released, expire, are tombstoned", _release),
    Scenario("letters", "what is no event goes to the dead letters", _letters),
    Scenario("stop", "the worker stops in good order and starts again", _stop),
    Scenario("crowd", "more workloads than rows fit, written and read back", _crowd, slots=8),
    Scenario("full", "a trust domain has no room for more workloads", _full, stored_rows_max=3),
    Scenario(
        "zombie", "a worker stands still, walks on and finds an heir", _zombie, 2, has_gateway=True
    ),
    Scenario("outdated", "a zombie knows old conditions only", _outdated, 2, has_gateway=True),
    Scenario("forged", "a record is replaced by a later one", _forged, has_gateway=True),
    Scenario("gateway", "a gateway is asked meanwhile", _gateway, has_gateway=True),
    Scenario("failover", "the store goes back, then comes back empty", _failover),
    Scenario("promoted", "baselines take effect, and a brake holds", _promoted, has_baselines=True),
)
"""All scenarios, each swept as a whole by `make sim`."""
