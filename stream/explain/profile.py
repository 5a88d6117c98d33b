"""What is said of one workload: plain values, the same for a table on a screen and for JSON.

Units: `_ms` are Unix milliseconds or spans, as the name says. Operations and tasks are texts where
they are known, else `#` and the keyed hash in hex: rows hold hashes only.
"""

from __future__ import annotations

import msgspec


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """One limit and how far a window is from it.

    `left` is how much more fits before the rule fires, negative where it is over. `demand` counts
    served and refused, where the rule keeps that: a command is released when it is below 80 % of
    the limit.
    """

    rule: str
    at_most: int
    left: int
    percent: int
    demand: int
    action: str
    on: str
    mode: str


class WindowTotal(msgspec.Struct, frozen=True, kw_only=True):
    """One window: what it held at the workload's last event, and what it still holds."""

    measure: str
    operations: tuple[str, ...]
    effect: str
    span_ms: int
    at_last: int
    now: int
    limits: tuple[Distance, ...]


class SequenceMark(msgspec.Struct, frozen=True, kw_only=True):
    """The first half of a forbidden sequence has happened; until `until_ms` the second one fires.

    `task` is empty for the workload's own context.
    """

    rule: str
    task: str
    operation: str
    at_ms: int
    until_ms: int
    then: tuple[str, ...]
    action: str
    on: str
    mode: str


class TaskContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sequence lives: a task, or with an empty `task` the workload itself.

    `recent`: its last operations, the newest first.
    """

    task: str
    granted: bool
    events: int
    used_ms: int
    recent: tuple[str, ...]


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """How often one operation followed another; at most `error` of `count` is not of this pair."""

    source: str
    target: str
    count: int
    error: int


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """One command on the workload, with its reason.

    `on` is the kind of its subject, `subject` that task, token or operation, empty for the whole
    workload. `ends_ms` is the expiry by the broker's clock, which gateways obey; `command` is empty
    where nothing was published: an observation, or a workload that is exempt (mode `off`).
    """

    rule: str
    action: str
    mode: str
    on: str
    subject: str
    first_ms: int
    since_ms: int
    ends_ms: int
    repeat: int
    reason: str
    otherwise: str
    controls: tuple[str, ...]
    command: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """All that the row of a workload says under a policy, at a time.

    `notes` are sentences about what outranks the rules: exemptions, stops, a row that restarts.
    `read_ms` is the time that windows are read at, never before the row's clock.
    """

    workload: str
    class_name: str
    partition: int
    policy: str
    policy_hash: str
    read_ms: int
    clock_ms: int
    first_ms: int
    next_offset: int
    events: int
    late: int
    contexts_dropped: int
    transitions_dropped: int
    notes: tuple[str, ...]
    in_force: tuple[InForce, ...]
    windows: tuple[WindowTotal, ...]
    sequences: tuple[SequenceMark, ...]
    contexts: tuple[TaskContext, ...]
    transitions: tuple[Transition, ...]
