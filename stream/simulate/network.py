"""The network of a simulation: what lies between processes and servers, and what happens there.

A request travels, is carried out, and its answer travels back. What is under way when its sender
dies arrives all the same. A failure tells the sender nothing: the request may have been carried
out, may be carried out later, or never.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

from .loop import Process, VirtualLoop, current_process

Result = TypeVar("Result")
LATENCY_S: Final = 0.001
SLOW_S: Final = 2.0
GIVEN_UP_S: Final = 2.5
"""For how long a producer tries to send a record to a partition without a leader."""
LATE_S: Final = 9.0
"""Longer than a session of the group lasts, so that what comes late comes to an heir's turn."""

HOWS: Final = {
    "refuse": "it never arrives, and the caller is told so",
    "lose_reply": "it is carried out, and the caller is told that it failed",
    "lose_ack": "the record is appended, and the caller is told that nobody knows",
    "repeat": "it is carried out twice",
    "late": "the caller is told that it failed, and it is carried out seconds later",
    "kill": "the process dies before it is sent",
    "kill_sent": "the process dies as it is sent; it is carried out",
    "kill_late": "the process dies as it is sent; it is carried out once others own",
    "freeze": "the process stands still for longer than its session lasts, then goes on",
}
"""The ways in which a sweep lets one call fail."""

ENDINGS: Final = ("kill", "kill_sent", "kill_late")
ENDS: Final = frozenset(ENDINGS)
ASKED: Final = ("refuse", "kill", "freeze")
CALLED: Final = ("refuse", "lose_reply", "repeat", "late", *sorted(ENDS), "freeze")
APPENDED: Final = ("refuse", "lose_ack", "late", *sorted(ENDS), "freeze")


class Operation(NamedTuple):
    """One call of a door: what, whose, and the ways in which a sweep can let it fail."""

    what: str
    who: str
    hows: tuple[str, ...]


class Network:
    """What lies between processes and servers; counts every call, and may fail the n-th.

    `faults` is emptied when the storm is over. `fail_at` names the one call that fails, for
    sweeps; `how` is what happens to it, one of HOWS. `fate` ends or freezes a process.
    `operations` has every call where it is kept, the n-th as operations[n - 1]. `echo_s` says how
    long after a write of a store a half-dead connection delivers it once more, None for never.
    `dies` says whether whoever calls dies at it. `leaderless` says until when a partition of a
    topic has no leader, in seconds of the loop. `append_s` is what each record takes to be appended
    beyond its journey.
    """

    def __init__(
        self, loop: VirtualLoop, chance: random.Random, faults: frozenset[str], rate: float
    ) -> None:
        self.loop = loop
        self.process = Process("network")
        self.faults = faults
        self.calls = 0
        self.fail_at = 0
        self.is_closed = False
        self.how = ""
        self.fate: Callable[[str, Process], None] = lambda how, process: None
        self.operations: list[Operation] | None = None
        self.echo_s: Callable[[], float | None] = lambda: None
        self.dies: Callable[[], bool] = lambda: False
        self.leaderless: dict[tuple[str, int], float] = {}
        self.append_s = 0.0
        self._cut_until_s = 0.0
        self._given_up_s = 0.0
        self.happened: Counter[str] = Counter()
        self._chance = chance
        self._rate = rate

    def calm(self) -> None:
        """Let nothing fail from here on, and count no more."""
        self.faults = frozenset()
        self.fail_at = 0
        self.operations = None
        self.echo_s = lambda: None
        self.dies = lambda: False
        self.leaderless.clear()
        self.append_s = 0.0
        self._cut_until_s = 0.0

    def cut_off(self, span_s: float) -> None:
        """Let nothing arrive for a while: whoever follows a log loses the connection."""
        self._cut_until_s = self.loop.time() + span_s

    def draw(
        self, what: str, kinds: tuple[str, ...], hows: tuple[str, ...], whose: Process | None
    ) -> str:
        """Return what happens to the next call: one of the kinds or hows, or nothing."""
        self.calls += 1
        if self.operations is not None:
            self.operations.append(Operation(what, whose.name if whose else "", hows))
        if self.is_closed or self.loop.time() < self._cut_until_s:
            return "refuse"
        if self.calls == self.fail_at and self.how in hows:
            self.happened[self.how] += 1
            return self.how
        if whose is not None and "kill" in hows and self.dies():
            self.happened["die"] += 1
            return self._chance.choice(ENDINGS[: 1 if "kill_sent" not in hows else None])
        possible = [each for each in kinds if each in self.faults]
        if possible and self._chance.random() < self._rate:
            kind = self._chance.choice(possible)
            self.happened[kind] += 1
            return kind
        return ""

    def delay_s(self) -> float:
        """Return how long something travels."""
        if "slow" in self.faults and self._chance.random() < self._rate:
            self.happened["slow"] += 1
            return self._chance.random() * SLOW_S
        return self._chance.random() * LATENCY_S

    async def led(self, place: tuple[str, int]) -> bool:
        """Wait until a partition of a topic has a leader; False where that takes too long."""
        given_up_s = self.loop.time() + GIVEN_UP_S
        while (until_s := self.leaderless.get(place, 0.0)) > self.loop.time():
            await asyncio.sleep(min(until_s, given_up_s) - self.loop.time())
            if self.loop.time() >= given_up_s:
                return False
        return True

    async def give_up(self) -> None:
        """Let a caller wait until it hears that its call never came: a moment, or very long."""
        is_long = self._chance.random() < 0.5
        span_s = self._chance.random() * LATE_S if is_long else self.delay_s()
        self._given_up_s = max(self._given_up_s, self.loop.time() + span_s)
        await asyncio.sleep(span_s)

    @property
    def is_awaited(self) -> bool:
        """Whether a caller may still wait to hear that its call never came."""
        return self.loop.time() < self._given_up_s

    async def call(
        self, op: Callable[[], Coroutine[Any, Any, Result]], error: type[Exception], what: str
    ) -> Result:
        """Carry out a call as the seed has it: refused, with its reply lost, twice."""
        mine = current_process()
        kind = self.draw(what, ("refuse", "lose_reply", "repeat"), CALLED, mine)
        if kind == "refuse":
            await self.give_up()
            raise error(f"{what}: cut on the way there")
        if kind == "kill":
            await self.struck(kind, mine)
        # Whoever asked may die meanwhile: what was sent arrives.
        sent = self.loop.spawn(self.process, self._carried(op, kind))
        if kind in ENDS or kind == "freeze":
            await self.struck(kind, mine)
        if kind == "late":
            sent.add_done_callback(heard)
            await asyncio.sleep(self.delay_s())
            raise error(f"{what}: cut, nobody knows where")
        result = await asyncio.shield(sent)
        if kind == "lose_reply":
            raise error(f"{what}: the reply was lost")
        return result

    def echo(self, op: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Carry out a write once more in a while, if a connection does, with nobody listening."""
        after_s = self.echo_s()
        if after_s is None:
            return

        async def again() -> None:
            await asyncio.sleep(after_s)
            await op()

        self.happened["echo"] += 1
        self.loop.spawn(self.process, again()).add_done_callback(heard)

    async def ask(self, what: str, error: type[Exception]) -> None:
        """Let pass what changes nothing and comes by itself, or lose the connection."""
        mine = current_process()
        kind = self.draw(what, ("refuse",), ASKED, mine)
        if kind == "refuse":
            raise error(f"{what}: the connection was lost")
        if kind:
            await self.struck(kind, mine)

    async def struck(self, how: str, process: Process | None) -> None:
        """Let a process of the estate die, and never return; or stand still here for a while."""
        assert process is not None, "whoever dies is a process"
        self.fate("kill" if how in ENDS else how, process)
        if process.is_dead:
            await self.loop.create_future()
        await asyncio.sleep(0)

    async def _carried(self, op: Callable[[], Coroutine[Any, Any, Result]], kind: str) -> Result:
        await asyncio.sleep(LATE_S if kind in ("late", "kill_late") else self.delay_s())
        result = await op()
        await asyncio.sleep(self.delay_s())
        if kind == "repeat":
            result = await op()
            await asyncio.sleep(self.delay_s())
        return result


def heard(done: asyncio.Future[Any]) -> None:
    """Nobody needs to await what came of something."""
    if not done.cancelled():
        done.exception()
