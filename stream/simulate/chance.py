"""What a seed decides: how large the estate is, which faults there are, and how often.

Swarm testing: each seed draws a few kinds of faults and leaves the others out, so that rare
combinations are met as well as storms (Groce et al., "Swarm Testing", ISSTA 2012). All that is
drawn later comes from named streams of the same seed, so that one thing more drawn in one place
changes nothing elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

FAULTS: Final = (
    "slow",
    "refuse",
    "lose_reply",
    "repeat",
    "lose_ack",
    "kill",
    "freeze",
    "expire",
    "failover",
    "forget",
    "clock",
    "remake",
    "truncate",
    "regrow",
    "operate",
    "reload",
    "leave",
    "cut",
)
"""The kinds of faults, each explained where it is carried out (`doors`, `story`)."""


GATEWAYS: Final = ("at-home", "at-home", "elsewhere", "mixed")
"""Whether gateways put events on their homes: all, none by anything but chance, or some."""


class Plan(NamedTuple):
    """One run, as its seed has it.

    Units: `span_ms` virtual milliseconds of traffic; `rate` faults per call of a door.
    `gateways` is one of GATEWAYS. `growth`: after which part of the events partitions are
    multiplied, and by how much. `domains`: of how many trust domains workloads are. `has_ticks`:
    some events ask about a silence.
    """

    seed: int
    span_ms: int
    partitions: int
    enforcement_partitions: int
    workers: int
    workloads: int
    events: int
    batch_events_max: int
    save_every_ms: int
    save_rows_max: int
    save_slice_rows: int
    rate: float
    gateways: str
    faults: frozenset[str]
    growth: tuple[tuple[float, int], ...] = ()
    stored_rows_max: int = 1_000_000
    stored_domains_max: int = 256
    domains: int = 1
    has_ticks: bool = False


class GatePlan(NamedTuple):
    """The gateway of a run: its mode while it does not know, and what happens to it.

    `rate` is that of faults per call of its doors.
    """

    mode: Literal["open", "closed", "last"]
    faults: frozenset[str]
    rate: float


ECHO_S: Final = 12.0
TICKS_SHARE: Final = 0.3
GATE_FAULTS: Final = ("slow", "refuse", "kill", "freeze", "cut")


def echoes_of(seed: int) -> Callable[[], float | None]:
    """Return how long after each write of a store it comes once more, None where it does not.

    In some seeds only, and drawn from a stream of its own.
    """
    chance = stream(seed, "echo")
    rate = chance.choice((0.0, 0.0, 0.05, 0.3))
    return lambda: chance.random() * ECHO_S if chance.random() < rate else None


def gate_plan_of(seed: int) -> GatePlan:
    """Return the gateway of a seed, drawn from a stream of its own."""
    chance = stream(seed, "gate")
    return GatePlan(
        mode=chance.choice(("open", "closed", "last", "last")),
        faults=frozenset(each for each in GATE_FAULTS if chance.random() < 0.5),
        rate=chance.choice((0.01, 0.03, 0.1)),
    )


def deaths_of(seed: int) -> Callable[[], bool] | None:
    """Return what draws whether a process dies at its next call, None where none does."""
    chance = stream(seed, "deaths")
    rate = chance.choice((0.0, 0.0, 0.0, 0.002, 0.03))
    return (lambda: chance.random() < rate) if rate else None


def plan_of(seed: int, minutes: float = 0.5) -> Plan:
    """Return the run of a seed."""
    chance = stream(seed, "plan")
    few = chance.random() < 0.3
    plan = Plan(
        seed=seed,
        span_ms=int(minutes * 60_000),
        partitions=chance.choice((1, 2, 3, 4)),
        enforcement_partitions=chance.choice((1, 2, 3)),
        workers=chance.choice((1, 1, 2, 2, 3)),
        workloads=chance.choice((3, 8, 20, 90)),
        events=int(minutes * chance.choice((100, 300, 600))),
        batch_events_max=chance.choice((1, 3, 20, 1_000)),
        save_every_ms=chance.choice((20, 200, 1_000)),
        save_rows_max=stream(seed, "budget").choice((2, 10, 50_000)),
        save_slice_rows=stream(seed, "slices").choice((2, 5, 512)),
        rate=chance.choice((0.01, 0.03, 0.1)),
        gateways=stream(seed, "gateways").choice(GATEWAYS),
        faults=frozenset(each for each in FAULTS if chance.random() < (0.15 if few else 0.4)),
        has_ticks=stream(seed, "ticks").random() < TICKS_SHARE,
    )
    plan = plan._replace(growth=_growth(seed, plan.partitions, plan.enforcement_partitions))
    return _capped(plan)


def _capped(plan: Plan) -> Plan:
    """Return a plan with the caps that its seed has, few having any that are met."""
    chance = stream(plan.seed, "caps")
    if chance.random() > 0.35:
        return plan
    return plan._replace(
        stored_rows_max=chance.choice((1, 3, 8)),
        stored_domains_max=chance.choice((1, 2, 256, 256)),
        domains=chance.choice((1, 2, 5)),
    )


def _growth(seed: int, partitions: int, enforcement_partitions: int) -> tuple[Any, ...]:
    """Return when a seed multiplies its partitions, where it may at all; most never do."""
    chance = stream(seed, "growth")
    if partitions % enforcement_partitions or chance.random() > 0.4:
        return ()
    times = sorted(chance.random() * 0.7 for _ in range(chance.choice((1, 1, 2))))
    return tuple((at, chance.choice((2, 2, 3))) for at in times)


def stream(seed: int, name: str) -> random.Random:
    """Return the numbers of a seed for one purpose."""
    return random.Random(f"{seed}/{name}")


def shown(plan: Plan) -> dict[str, object]:
    """Return a plan as plain values."""
    values = plan._asdict()
    return values | {"faults": sorted(plan.faults)}
