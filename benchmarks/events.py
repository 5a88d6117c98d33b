"""The events that benchmarks feed: S (152 bytes) and M (about 450 bytes), from a fixed seed.

Every draw comes from numpy's PCG64 with the seed of the load, so the same load is the same bytes
on every machine. Event time runs at `per_ms` events a millisecond from `start_ms` on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

OPERATIONS = 24
START_MS = 1_790_000_000_000
EVENTS_PER_MS = 200  # so that 10,000 workloads make 20 requests a second each
CHUNK = 100_000
# Not in the future, by the clocks of broker and worker.
MARGIN_MS = 1_000
# One workload in so many events reads something and sends it out: see `with_alarms`.
ALARM_EVERY = 10

OFFENCE_EVERY = 250
OFFENCES_EACH = 400


class Load(NamedTuple):
    """Which events: how many, of how many workloads, in which form, and from when on.

    `share` of the events come from workload 0; the others are uniform over all, or where `zipf` is
    not 0 workload n has a weight of 1 / (n + 1) ** zipf.
    """

    count: int
    workloads: int = 10_000
    form: Literal["S", "M"] = "S"
    start_ms: int = START_MS
    share: float = 0.0
    zipf: float = 0.0
    seed: int = 1
    per_ms: int = EVENTS_PER_MS


class Draw(NamedTuple):
    """What one event is made of, besides its form."""

    at_ms: int
    name: str
    operation: str
    size: int


Form = Callable[[Draw], bytes]


def recent(load: Load) -> Load:
    """The same load with event times that end now, as live ones do.

    Rows whose clock is far behind the broker's are idle, and the sweep forgets them, rightly.
    """
    now_ms = time.time_ns() // 1_000_000
    return load._replace(start_ms=now_ms - load.count // load.per_ms - MARGIN_MS)


def workload_of(number: int) -> str:
    """The identity of one of the workloads."""
    return f"spiffe://prod.example/agents/agent-{number:07d}"


def small(draw: Draw) -> bytes:
    """An S event: 152 bytes."""
    return (
        f'{{"at_ms":{draw.at_ms},"workload":"{draw.name}",'
        f'"operation":"{draw.operation}",'
        f'"outcome":"served","status":200,"bytes":{draw.size}}}'
    ).encode()


def medium(draw: Draw) -> bytes:
    """An M event: about 450 bytes, with a task, a purpose, a token, two resources, one actor."""
    agent = draw.name[-7:]
    span = draw.at_ms // 60_000
    return (
        f'{{"at_ms":{draw.at_ms},"workload":"{draw.name}",'
        f'"operation":"{draw.operation}","outcome":"served","status":200,"bytes":{draw.size},'
        f'"purpose":"support","task":"task-{agent}-{span:08d}",'
        f'"token":{{"issuer":"https://issuer.prod.example","id":"jti-{agent}-{span:08d}",'
        f'"issued_at_ms":{span * 60_000},"expires_at_ms":{(span + 15) * 60_000}}},'
        f'"resources":["customer:{draw.size:08d}","ticket:{draw.size % 977:06d}"],'
        f'"actors":["spiffe://prod.example/people/user-{agent}"]}}'
    ).encode()


FORMS: dict[str, Form] = {"S": small, "M": medium}


def places(load: Load) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the workloads of the events, in order, a chunk at a time."""
    chance = np.random.Generator(np.random.PCG64(load.seed))
    edges = None
    if load.zipf:
        weights = 1.0 / np.arange(1, load.workloads + 1) ** load.zipf
        edges = np.cumsum(weights) / weights.sum()
    for start in range(0, load.count, CHUNK):
        size = min(CHUNK, load.count - start)
        if edges is None:
            drawn = chance.integers(load.workloads, size=size)
        else:
            drawn = np.searchsorted(edges, chance.random(size)).clip(max=load.workloads - 1)
        if load.share:
            drawn[chance.random(size) < load.share] = 0
        yield drawn


def draws(load: Load) -> Iterator[Draw]:
    """Yield what the events are made of, in event time."""
    chance = np.random.Generator(np.random.PCG64([load.seed, 1]))
    names = [workload_of(each) for each in range(load.workloads)]
    operations = [f"tool:query_{each:02d}" for each in range(OPERATIONS)]
    number = 0
    for chunk in places(load):
        chosen = chance.integers(OPERATIONS, size=len(chunk)).tolist()
        sizes = chance.integers(1_000, 10_000, size=len(chunk)).tolist()
        for place, operation, size in zip(chunk.tolist(), chosen, sizes, strict=True):
            at_ms = load.start_ms + number // load.per_ms
            yield Draw(at_ms, names[place], operations[operation], size)
            number += 1


def events(load: Load, drawn: Iterator[Draw] | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and payload of each event of a load, or of what was drawn for it."""
    form = FORMS[load.form]
    for draw in draws(load) if drawn is None else drawn:
        yield draw.name.encode(), form(draw)


def with_alarms(load: Load) -> Iterator[Draw]:
    """Yield the draws of a load in which every tenth completes a forbidden sequence.

    The workloads take turns: one reads with the ninth of ten events and sends with the tenth.
    """
    for number, draw in enumerate(draws(load)):
        turn = number % ALARM_EVERY
        if turn < ALARM_EVERY - 2:
            yield draw
        else:
            name = workload_of(number // ALARM_EVERY % load.workloads)
            verb = "send" if turn == ALARM_EVERY - 1 else "read"
            yield draw._replace(name=name, operation=f"tool:{verb}_00")


def with_offenders(load: Load) -> Iterator[Draw]:
    """Yield the draws of a load in which some workloads break the rules of the benchmark's policy.

    Every 250th event is of one of few workloads, each of which so passes the limit of 260 in ten
    seconds; now and then one of them reads something and sends it out.
    """
    few = max(1, load.count // OFFENCE_EVERY // OFFENCES_EACH)
    for number, draw in enumerate(draws(load)):
        offence, turn = divmod(number, OFFENCE_EVERY)
        if turn:
            yield draw
        else:
            verb = {5: "read", 9: "send"}.get(offence // few % 97, "query")
            name = workload_of(offence % few)
            yield draw._replace(name=name, operation=f"tool:{verb}_00")


def with_clocks_apart(load: Load, apart_ms: int) -> Iterator[Draw]:
    """Yield the draws of a load whose events pass two gateways in turns, one of them ahead."""
    for number, draw in enumerate(draws(load)):
        yield draw._replace(at_ms=draw.at_ms + number % 2 * apart_ms)


def with_late(load: Load, late_ms: int) -> Iterator[Draw]:
    """Yield the draws of a load of which one gateway of two delivers what it has kept so long."""
    for number, draw in enumerate(draws(load)):
        yield draw._replace(at_ms=draw.at_ms - number % 2 * late_ms)
