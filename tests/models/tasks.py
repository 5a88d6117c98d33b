"""A small estate of agents at work: self-written tasks of two purposes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stream.baselines import Baseline, Tasks, promote
from stream.detectors import JUDGES
from stream.events import Request, encode_request
from stream.kernel import HashKey
from stream.replay import History

KEY = HashKey(b"no secret at all")
T0_MS = 1_700_000_000_000
CLASS = "spiffe://bank.example/agents"
BILLS = tuple(f"bill-{month:02}.txt" for month in range(1, 13))
PAYEE = "DE89370400440532013000"
THIEF = "US64SVBKUS6S3300958879"


def call(tool: str, *resources: str, effect: str = "change", size: int = 40) -> dict[str, object]:
    """One tool call, without who and when."""
    return {
        "operation": f"tool:{tool}",
        "effect": effect,
        "resources": tuple(resources),
        "bytes": size,
    }


def pay_bill(number: int, *more: dict[str, object]) -> list[dict[str, object]]:
    """What a task of purpose `pay-bill` does, and whatever more."""
    return [
        call("read_file", f"path:{BILLS[number % 12]}", effect="read", size=600),
        call("send_money", f"recipient:{PAYEE}", f"amount:{90 + number % 5}", "subject:bill"),
        *more,
    ]


def book_trip(number: int, *more: dict[str, object]) -> list[dict[str, object]]:
    """What a task of purpose `book-trip` does, and whatever more."""
    return [
        call("search_hotels", f"city:{('paris', 'rome')[number % 2]}", effect="read", size=900),
        call("reserve_hotel", f"hotel:hotel {number % 3}", f"day:2024-05-{number % 9 + 1:02}"),
        *more,
    ]


def task(
    name: str, agent: str, purpose: str, calls: list[dict[str, object]], at_ms: int = T0_MS
) -> Iterator[Request]:
    """The events of one task: grant, calls, completion."""
    known = {"workload": f"{CLASS}/{agent}", "purpose": purpose, "task": name}
    yield Request(at_ms=at_ms, operation="task:grant", kind="grant", id=f"{name}/grant", **known)
    for place, each in enumerate(calls):
        at = at_ms + 1_000 * (place + 1)
        yield Request(at_ms=at, id=f"{name}/{place}", **known, **each)
    at = at_ms + 1_000 * (len(calls) + 1)
    yield Request(at_ms=at, operation="task:done", kind="completion", id=f"{name}/done", **known)


def history(count: int = 24, agents: int = 6) -> list[Request]:
    """Benign tasks of both purposes, by several agents."""
    events: list[Request] = []
    for number in range(count):
        agent, at_ms = f"agent-{number % agents}", T0_MS + number * 60_000
        events += task(f"bill-{number}", agent, "pay-bill", pay_bill(number), at_ms)
        events += task(f"trip-{number}", agent, "book-trip", book_trip(number), at_ms + 20_000)
    return sorted(events, key=lambda each: each.at_ms)


def learned(events: list[Request], cut: int = 1_000_000) -> Tasks:
    """What events teach, read in pieces of `cut`."""
    reader = History(KEY)
    for start in range(0, len(events), cut):
        reader.add([encode_request(each) for each in events[start : start + cut]])
    return reader.tasks()


def baseline(events: list[Request] | None = None) -> Baseline:
    """The baseline that a history of this estate gives."""
    return promote(learned(events or history()), KEY.id, JUDGES, {})


def content(tasks: Tasks) -> list[tuple[object, ...]]:
    """Everything that tasks say, each in one value, in an order of its own."""
    said = []
    for one in tasks.tasks:
        calls = tasks.calls[one["calls_from"] : one["calls_from"] + one["calls_count"]]
        values = [
            (
                int(each["operation"]),
                int(each["bytes"]),
                int(each["effect"]),
                tuple(
                    (int(value["name"]), int(value["value"]), *_tokens(tasks, value))
                    for value in tasks.values[
                        each["values_from"] : each["values_from"] + each["values_count"]
                    ]
                ),
            )
            for each in calls
        ]
        said.append((int(one["workload"]), int(one["purpose"]), int(one["task"]), *values))
    return sorted(said)


def _tokens(tasks: Tasks, value: np.void) -> list[int]:
    start = int(value["tokens_from"])
    return [int(each) for each in tasks.tokens[start : start + int(value["tokens_count"])]]
