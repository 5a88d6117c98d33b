"""What the Python peers keep of a workload, and when they enforce: plain dicts, lists and loops.

The same rules as benchmarks/policy.yaml, written as one writes a stateful step by hand. The state
is made of lists and dicts, because frameworks pickle it or write it as JSON.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BINS = 17
FIRST, THEN, WITHIN_MS = "tool:read_", "tool:send_", 300_000

State = dict[str, Any]
Command = dict[str, Any]


class Limit(NamedTuple):
    """A limit on what a window counts."""

    rule: str
    measure: str
    at_most: int
    window_ms: int
    operations: str
    action: str
    on_task: bool
    for_ms: int


LIMITS = (
    Limit("burst", "requests", 1_000, 1_000, "", "throttle", False, 60_000),
    Limit("sustained", "requests", 260, 10_000, "tool:query_", "throttle", False, 60_000),
    Limit("errors", "errors", 100, 60_000, "", "throttle", False, 300_000),
    Limit("denials", "denials", 20, 300_000, "", "revoke", True, 900_000),
    Limit("volume", "bytes", 10_000_000_000, 3_600_000, "", "throttle", False, 600_000),
)
SEQUENCE = Limit("read-then-send", "", 0, 0, "", "revoke", True, 900_000)


def new_state() -> State:
    """The state of a workload that was never seen."""
    return {
        "clock_ms": 0,
        "windows": [{"newest": 0, "total": 0, "bins": [0] * BINS} for _ in LIMITS],
        "read_ms": {},
        "in_force": {},
    }


def amount_of(event: dict[str, Any], limit: Limit) -> int:
    """What an event adds to the window of a limit."""
    if not event["operation"].startswith(limit.operations):
        return 0
    count = event.get("count", 1)
    if limit.measure == "requests":
        return count
    if limit.measure == "bytes":
        return event.get("bytes", 0)
    wanted = "failed" if limit.measure == "errors" else "denied"
    return count if event.get("outcome") == wanted else 0


def slide(window: dict[str, Any], newest: int) -> None:
    """Drop the bins that are left behind when the newest moves on."""
    moved = newest - window["newest"]
    if moved <= 0:
        return
    bins = window["bins"]
    for step in range(1, min(moved, BINS) + 1):
        place = (window["newest"] + step) % BINS
        window["total"] -= bins[place]
        bins[place] = 0
    window["newest"] = newest


def apply(state: State, event: dict[str, Any]) -> list[Command]:
    """Count an event and return the commands that it causes. Mutates: state."""
    at_ms = event["at_ms"]
    state["clock_ms"] = clock_ms = max(state["clock_ms"], at_ms)
    commands = []
    for limit, window in zip(LIMITS, state["windows"], strict=True):
        newest = clock_ms * (BINS - 1) // limit.window_ms
        slide(window, newest)
        amount = amount_of(event, limit)
        at_bin = at_ms * (BINS - 1) // limit.window_ms
        if amount and at_bin > newest - BINS:
            window["bins"][at_bin % BINS] += amount
            window["total"] += amount
        if window["total"] > limit.at_most:
            commands += enforce(state, event, limit)
    operation, task = event["operation"], event.get("task", "")
    read_ms = state["read_ms"].get(task, 0)
    if operation.startswith(THEN) and 0 < read_ms >= clock_ms - WITHIN_MS:
        commands += enforce(state, event, SEQUENCE)
    # What was denied was not read.
    if operation.startswith(FIRST) and event.get("outcome") != "denied":
        state["read_ms"][task] = clock_ms
    return commands


def enforce(state: State, event: dict[str, Any], limit: Limit) -> list[Command]:
    """Return a command where none is in force, or half of its time is over. Mutates: state."""
    task = event.get("task", "") if limit.on_task else ""
    clock_ms = state["clock_ms"]
    subject = f"{limit.rule}/{task}"
    since_ms = state["in_force"].get(subject)
    if since_ms is not None and clock_ms - since_ms < limit.for_ms // 2:
        return []
    state["in_force"][subject] = clock_ms
    return [
        {
            "workload": event["workload"],
            "rule": limit.rule,
            "action": limit.action,
            "task": task,
            "clock_ms": clock_ms,
            "until_ms": clock_ms + limit.for_ms,
        }
    ]
