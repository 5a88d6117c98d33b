"""Learned evidence in the loop: the context of an event scored against the baseline in force.

A context's evidence is the most that any of its calls had. A rule on it is an edge, like a
sequence: it fires at a call that has more than the budget of false alarms allows, and again at each
later one that has. Nothing here costs anything but one comparison while no baseline is in force.

Score before learning: what is scored changes no baseline; learning is from ended tasks, elsewhere.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.baselines import (
    ESTATE,
    NOWHERE,
    OPERATION,
    View,
    support_of,
    whole,
)
from stream.detectors import NOT_READY, may_renew, mode_of, score_call
from stream.kernel import kernel, routine
from stream.profiles import (
    COMPLETION,
    GRANT,
    GRANTED,
    PARTS,
    claim_learned,
    find_learned,
)

from .decision import Cause, Out
from .ledger import find_subject, is_weaker, issue

DEFAULT_PPM: Final = 5_000  # of tasks: what `alarm` means where no rule says otherwise
LISTED: Final = np.dtype([("event", np.int64), ("operation", np.uint64)])
SCORE: Final = np.dtype(
    [
        ("evidence", np.int32),  # of the context after the event, 1/1024 bit
        ("bits", np.int32),  # of this call
        ("exposed", np.int32),
        ("parts", np.int32, (PARTS,)),  # of this call
        ("mode", np.int8),
        ("ready", np.int8),
        ("alarm", np.int8),
        ("is_call", np.int8),
    ],
    align=True,
)
IN_FORCE, VERSION = range(2)


class Learning(NamedTuple):
    """What the loop needs to score by a baseline.

    Shapes: facts [2]: whether a baseline is in force, and what records keep of its version; values,
            tokens as in a batch; listed [n] of LISTED, operations that grants list, by event;
            records [n] of LEARNED; free: as `claim_learned` takes it; thresholds [rule, mode], the
            last row for no rule; scores [event] of SCORE, or none where nobody asks.
    """

    facts: Any
    expected: View
    values: Any
    tokens: Any
    listed: Any
    records: Any
    free: Any
    thresholds: Any
    scores: Any


@kernel
def _declare(event: Any, context: int, learning: Any, state: Any) -> None:
    """Let a context know its purpose: a task's first, else that of each event. Mutates: state."""
    if event["purpose"] != np.uint64(0) and (state["purpose"] == np.uint64(0) or context == 0):
        state["purpose"] = event["purpose"]
    if state["calls"] == 0:
        state["mode"] = mode_of(learning.expected, state)


@kernel
def _list_granted(place: int, learning: Any, state: Any) -> None:
    """Keep the operations that a grant lists, of those that the estate knows. Mutates: state."""
    listed = learning.listed
    low, high = 0, len(listed)
    while low < high:
        middle = (low + high) // 2
        if listed[middle]["event"] < place:
            low = middle + 1
        else:
            high = middle
    where = (ESTATE, NOWHERE, whole(0))
    while low < len(listed) and listed[low]["event"] == place:
        operation, count = listed[low]["operation"], whole(state["granted_count"])
        if (
            count < GRANTED
            and support_of(learning.expected.entries, where, OPERATION, operation) > 0
        ):
            state["granted"][count] = operation
            state["granted_count"] = count + 1
        low += 1


@kernel
def _write_score(place: int, effect: int, alarm_bits: int, learning: Any, state: Any) -> None:
    """Write what a context's evidence is after an event. Mutates: learning.scores."""
    score = learning.scores[place]
    score["evidence"] = state["bits_max"]
    score["mode"] = state["mode"]
    score["ready"] = state["mode"] != NOT_READY
    score["alarm"] = state["bits_max"] > alarm_bits
    score["exposed"] = state["exposed"]
    if effect >= 0:
        score["is_call"] = 1
        score["bits"] = state["bits"]
        for part in range(PARTS):
            score["parts"][part] = state["parts"][part]


@kernel
def _judge(event: Any, cause: Cause, table: Any, policy: Any, evidence: Any, out: Out) -> None:
    """Issue what rules on learned evidence ask for. Mutates: table, out."""
    learning, state = evidence
    head, ledger = table.head[cause.slot], table.ledger[cause.slot]
    group = policy.classes[table.local[cause.slot]["class_index"]]
    for number in range(group["anomalies_start"], group["anomalies_end"]):
        rule = policy.anomalies[number]
        threshold = learning.thresholds[rule["index"], state["mode"]]
        if state["bits"] <= threshold:
            continue
        place = find_subject(ledger, rule, event)
        if (
            place < 0
            or ledger[place]["until_ms"] <= cause.clock_ms
            or may_renew(ledger[place], cause.clock_ms)
            or is_weaker(ledger[place], rule, cause.force)
        ):
            done = issue(ledger, head, cause, rule, event, out)
            if done >= 0:
                decision = out.decisions[done]
                decision["observed"] = state["bits"]
                decision["demand"] = threshold
                decision["compared"] = state["mode"]
                decision["exposed"] = state["exposed"]
                for part in range(PARTS):
                    decision["parts"][part] = state["parts"][part]


@routine
def follow(event: Any, cause: Cause, table: Any, policy: Any, given: Any, out: Out) -> None:
    """Score an event in its context and judge it; given = (learning, effect, task's old context).

    `effect` is that of a call, -1 for what is none or was refused. Mutates: learning, table, out.
    """
    learning, effect, before = given
    slot = cause.slot
    local, head = table.local[slot], table.head[slot]
    task = np.uint64(0)
    context = cause.context
    if event["kind"] == COMPLETION and before > 0:
        context, task = before, event["task"]
    elif context > 0:
        task = event["task"]
    ids = (head["workload"], task, context, learning.facts[VERSION])
    found = find_learned(learning.records, local, ids)
    if found < 0:
        found = claim_learned(learning.records, learning.free, local, ids)
        learning.records[found]["group"] = local["peers"]
    state = learning.records[found]
    _declare(event, context, learning, state)
    if event["kind"] == GRANT:
        _list_granted(cause.event, learning, state)
    if effect >= 0:
        of = (learning.values, learning.tokens)
        score_call(event, effect, of, learning.expected, state)
    group = policy.classes[local["class_index"]]
    row = len(learning.thresholds) - 1
    if group["anomalies_start"] < group["anomalies_end"]:
        row = whole(policy.anomalies[group["anomalies_start"]]["index"])
    if len(learning.scores) > 0:
        alarm_bits = learning.thresholds[row, state["mode"]]
        _write_score(cause.event, effect, alarm_bits, learning, state)
    if effect >= 0 and state["mode"] != NOT_READY:
        _judge(event, cause, table, policy, (learning, state), out)
