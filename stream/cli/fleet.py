"""The agents of `demo`: forty that do their work, one of which goes bad when it is told to.

What they do is a function of the seed alone. How long the steps really take is the machine's
business, so two runs with one seed make the same calls at slightly different times.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Final, NamedTuple

TRUST_DOMAIN: Final = "demo.local"
HARVEST: Final = "GET /customers/{id}"
SEND_OUT: Final = "tool:send_webhook"
HARVEST_PAUSE_S: Final = 0.012
READS_PER_SEND: Final = 40
SETTLE_S: Final = 2.0
"""Within this time every agent has begun, so that a fleet does not start with a burst."""


class Call(NamedTuple):
    """One kind of call: its name, its effect, and how large its answers are at most."""

    operation: str
    effect: str
    bytes_max: int


class Step(NamedTuple):
    """One call of an agent, after a pause; `task` is what it works on."""

    pause_s: float
    call: Call
    bytes: int
    task: str
    is_bad: bool = False


class Agent(NamedTuple):
    """One agent: its name in short and as a SPIFFE ID, and what its kind does in a task."""

    name: str
    workload: str
    script: tuple[Call, ...]


_SCRIPTS: Final = {
    "support": (
        Call("GET /tickets/{id}", "read", 4_000),
        Call(HARVEST, "read", 2_000),
        Call("tool:search_knowledge", "read", 30_000),
        Call("tool:send_reply", "change", 600),
    ),
    "billing": (
        Call("GET /invoices/{id}", "read", 6_000),
        Call(HARVEST, "read", 2_000),
        Call("POST /invoices/{id}/reminders", "change", 400),
    ),
    "research": (
        Call("tool:web_search", "read", 50_000),
        Call("tool:fetch_page", "read", 200_000),
        Call("tool:fetch_page", "read", 200_000),
        Call("tool:write_note", "change", 300),
    ),
    "operations": (
        Call("GET /services/{name}/health", "read", 500),
        Call("GET /services/{name}/logs", "read", 80_000),
        Call("tool:run_diagnosis", "read", 9_000),
        Call("POST /services/{name}/restarts", "change", 200),
    ),
    "reports": (
        Call("GET /reports/{id}", "read", 40_000),
        Call("tool:render_chart", "read", 120_000),
        Call("tool:send_digest", "change", 700),
    ),
}
_COUNTS: Final = {"support": 12, "billing": 8, "research": 8, "operations": 6, "reports": 6}


def fleet() -> list[Agent]:
    """Return all agents, always the same ones."""
    return [
        Agent(name, f"spiffe://{TRUST_DOMAIN}/agent/{name}", _SCRIPTS[kind])
        for kind, count in _COUNTS.items()
        for name in (f"{kind}-{number:02}" for number in range(1, count + 1))
    ]


def bad_one(agents: list[Agent], seed: int) -> Agent:
    """Return the agent that goes bad: one of those that may read customers."""
    able = [each for each in agents if each.name.startswith("support")]
    return _chance(seed, "bad").choice(able)


def work(agent: Agent, seed: int) -> Iterator[Step]:
    """Yield the steps of an agent that does its work, task after task, for ever.

    It thinks between calls, seconds and parts of them, and now and then makes calls side by side.
    """
    chance = _chance(seed, agent.name)
    pause_s = chance.uniform(0, SETTLE_S)
    for number in itertools.count(1):
        task = f"{agent.name}-task-{number}"
        for call in agent.script:
            for _ in range(1 if chance.random() < 0.8 else 2):
                yield Step(pause_s, call, chance.randint(call.bytes_max // 8, call.bytes_max), task)
                pause_s = chance.uniform(0.002, 0.02)
            pause_s = min(0.9, 0.03 + chance.expovariate(1 / 0.12))
        pause_s += min(1.5, chance.expovariate(1 / 0.3))


def harvest(agent: Agent, seed: int) -> Iterator[Step]:
    """Yield the steps of an agent that a ticket has told to take customers' records outside.

    It reads them as fast as it can, and after each forty calls a webhook with what it has.
    """
    chance = _chance(seed, f"{agent.name} harvest")
    task = f"{agent.name}-task-injected"
    read, send = Call(HARVEST, "read", 2_000), Call(SEND_OUT, "change", 200)
    while True:
        for number in range(READS_PER_SEND):
            pause_s = 0.3 if number == 0 else HARVEST_PAUSE_S
            yield Step(pause_s, read, chance.randint(500, read.bytes_max), task, is_bad=True)
        yield Step(HARVEST_PAUSE_S, send, chance.randint(50, send.bytes_max), task, is_bad=True)


def _chance(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed} {name}")  # noqa: S311 - it makes a story, not a secret
