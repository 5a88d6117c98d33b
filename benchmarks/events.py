"""The events that benchmarks feed: S (152 bytes) and M (about 450 bytes), from a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

OPERATIONS = 24
START_MS = 1_790_000_000_000
EVENTS_PER_MS = 200  # so that 10,000 workloads make 20 requests a second each


def workload_of(number: int) -> str:
    """The identity of one of the workloads."""
    return f"spiffe://prod.example/agents/agent-{number:07d}"


def small_events(count: int, workloads: int, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and payload of S events, uniform over the workloads, in event time."""
    choose = random.Random(seed)
    names = [workload_of(each) for each in range(workloads)]
    keys = [each.encode() for each in names]
    for number in range(count):
        at_ms = START_MS + number // EVENTS_PER_MS
        place = choose.randrange(workloads)
        operation = choose.randrange(OPERATIONS)
        size = 1_000 + choose.randrange(9_000)
        yield (
            keys[place],
            (
                f'{{"at_ms":{at_ms},"workload":"{names[place]}",'
                f'"operation":"tool:query_{operation:02d}",'
                f'"outcome":"served","status":200,"bytes":{size}}}'
            ).encode(),
        )
