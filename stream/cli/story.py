"""The story of `demo`, played against a real gateway: who called what, who was refused, and when.

Every call of every agent goes the way of a real request: `Gateway.check` says whether it may pass,
and `Gateway.report` tells the workers what became of it. Nothing here knows of rules or rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from stream.events import Effect, Request
from stream.gateway import Gateway, Verdict

from .fleet import Agent, Step, bad_one, fleet, harvest, work

REFUSED_PAUSE_S: Final = 0.03
STOPPED_WITHIN_S: Final = 5.0
"""From the first bad call to the revocation: above this the demo has failed."""

Say = Callable[[str, str], None]


class Seen(msgspec.Struct):
    """What became of one agent's calls; `state` is what the last verdict said."""

    served: int = 0
    refused: int = 0
    state: str = "allow"


class Refusal(NamedTuple):
    """A first refusal: when, after how many bad calls were served, and what it rested on.

    Units: `after_ms` since the first bad call; `reaction_ms` since the broker appended the event
    that broke the rule.
    """

    after_ms: int
    served: int
    reaction_ms: int
    verdict: Verdict


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the story ended; `problems` is empty where it ended well."""

    events: int
    seconds: float
    rate_per_s: int
    agents: int
    bad: str
    throttled_after_ms: int | None
    throttled_after_events: int | None
    stopped_after_ms: int | None
    stopped_after_events: int | None
    reaction_ms: int | None
    rule: str
    reason: str
    refused: int
    benign_touched: tuple[str, ...]
    problems: tuple[str, ...]


class Story:
    """Forty agents in front of one gateway.

    `say` gets a sentence and a style for each moment worth telling.
    """

    def __init__(self, gateway: Gateway, seed: int, bad_after_s: float, say: Say) -> None:
        self._gateway = gateway
        self._seed = seed
        self._bad_after_s = bad_after_s
        self._say = say
        self.agents = fleet()
        self.bad = bad_one(self.agents, seed)
        self.seen = {each.name: Seen() for each in self.agents}
        self.began_s = time.monotonic()
        self._bad_since_s: float | None = None
        self._bad_served = 0
        self.throttled: Refusal | None = None
        self.stopped: Refusal | None = None

    @property
    def events(self) -> int:
        """Return how many calls there were."""
        return sum(each.served + each.refused for each in self.seen.values())

    @property
    def elapsed_s(self) -> float:
        """Return for how long the agents have been at work."""
        return time.monotonic() - self.began_s

    async def play(self) -> None:
        """Let all agents work until cancelled."""
        self.began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for agent in self.agents:
                tasks.create_task(self._live(agent), name=agent.name)

    async def _live(self, agent: Agent) -> None:
        steps, turned = work(agent, self._seed), False
        while True:
            if agent is self.bad and not turned and self.elapsed_s >= self._bad_after_s:
                steps, turned = harvest(agent, self._seed), True
                self._say(f"{agent.name} reads a ticket with an order hidden in it", "magenta")
            step = next(steps)
            await asyncio.sleep(step.pause_s)
            if not self._call(agent, step):
                await asyncio.sleep(REFUSED_PAUSE_S)

    def _call(self, agent: Agent, step: Step) -> bool:
        """Make one call; tell whether it was served."""
        gateway, operation = self._gateway, step.call.operation
        if step.is_bad and self._bad_since_s is None:
            self._bad_since_s = time.monotonic()
            self._say(f"{agent.name} begins to read customers, one after the other", "magenta")
        verdict = gateway.check(agent.workload, operation, step.task)
        effect: Effect = "change" if step.call.effect == "change" else "read"
        request = Request(
            gateway.now_ms(), agent.workload, operation, effect=effect, task=step.task,
            gateway=gateway.spec.name, status=verdict.status,
        )  # fmt: skip
        seen = self.seen[agent.name]
        if verdict.is_allowed:
            seen.served += 1
            self._bad_served += step.is_bad
            if seen.state != "revoke":
                seen.state = verdict.action or seen.state
            gateway.report(msgspec.structs.replace(request, bytes=step.bytes))
            return True
        seen.refused += 1
        self._note_refusal(agent, verdict)
        gateway.report(msgspec.structs.replace(request, outcome="refused"))
        return False

    def _note_refusal(self, agent: Agent, verdict: Verdict) -> None:
        """Remember the first refusals of the bad agent, and tell of each agent's first."""
        seen = self.seen[agent.name]
        is_news = seen.state != verdict.action
        seen.state = verdict.action
        if agent is not self.bad or self._bad_since_s is None:
            if is_news:
                self._say(f"{agent.name} is refused: {verdict.reason}", "bold red")
            return
        refusal = Refusal(
            round((time.monotonic() - self._bad_since_s) * 1_000),
            self._bad_served,
            self._reaction_ms(verdict),
            verdict,
        )
        if verdict.decision == "deny" and self.stopped is None:
            self.stopped = refusal
            self._say(f"{agent.name} is stopped: {verdict.reason}", "bold red")
        elif verdict.decision == "throttle" and self.throttled is None:
            self.throttled = refusal
            self._say(f"{agent.name} is throttled: {verdict.reason}", "bold yellow")

    def _reaction_ms(self, verdict: Verdict) -> int:
        """Return how long ago the broker appended the cause of a verdict, -1 if nobody knows."""
        for command in self._gateway.in_force():
            if command.id == verdict.command:
                return max(0, self._gateway.now_ms() - command.caused_at_ms)
        return -1

    def outcome(self) -> Outcome:
        """Return how it ended, as far as it is now."""
        refused = {name for name, each in self.seen.items() if each.refused}
        bound = {
            command.body.subject.workload.rpartition("/")[2]
            for command in self._gateway.in_force()
            if command.body.mode == "enforce"
        }
        touched = tuple(sorted((refused | bound) - {self.bad.name}))
        first, last = self.throttled or self.stopped, self.stopped
        verdict = last.verdict if last else first.verdict if first else Verdict("allow")
        seconds = self.elapsed_s
        return Outcome(
            events=self.events,
            seconds=round(seconds, 1),
            rate_per_s=round(self.events / seconds) if seconds else 0,
            agents=len(self.agents),
            bad=self.bad.workload,
            throttled_after_ms=first.after_ms if first else None,
            throttled_after_events=first.served if first else None,
            stopped_after_ms=last.after_ms if last else None,
            stopped_after_events=last.served if last else None,
            reaction_ms=first.reaction_ms if first else None,
            rule=verdict.rule,
            reason=verdict.reason,
            refused=sum(each.refused for each in self.seen.values()),
            benign_touched=touched,
            problems=tuple(self._problems(touched)),
        )

    def _problems(self, touched: tuple[str, ...]) -> list[str]:
        problems = []
        if self.stopped is None:
            problems.append(f"{self.bad.name} was not stopped")
        elif self.stopped.after_ms > STOPPED_WITHIN_S * 1_000:
            problems.append(f"{self.bad.name} was stopped only after {self.stopped.after_ms} ms")
        if touched:
            problems.append(f"benign agents were touched: {', '.join(touched)}")
        tallies = self._gateway.tallies()
        lost = sum(tallies.get(f"report.{name}", 0) for name in ("lost", "unreportable"))
        if lost:
            problems.append(f"{lost} events were not reported")
        return problems
