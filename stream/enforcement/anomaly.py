"""Learned evidence in the loop: the context of an event scored against the baseline in force.

A context's novelty is the most that any of its calls had. Beside it stands how rare its habits were
at their rarest, and how rare those of its workload are now: the evidence of a context is its
novelty, or what novelty would be as rare, whichever is more. A rule on evidence is an edge, like a
sequence: it fires at a call that has more than the budget of false alarms allows, and again at each
later one that has. Nothing here costs anything but one comparison while no baseline is in force.

A task's context ends with the task. That of a workload without tasks begins anew where the learner
ends one: after IDLE_MS without an event or CALLS_MAX calls; its workload's habits go on.

Score before learning: what is scored changes no baseline; learning is from ended tasks, elsewhere.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.baselines import (
    CALLS_MAX,
    ESTATE,
    IDLE_MS,
    NEVER,
    NOWHERE,
    OPERATION,
    View,
    support_of,
    whole,
)
from stream.detectors import (
    CONTEXT_PARTS,
    DETAILS,
    HABIT_PARTS,
    NOT_READY,
    mode_of,
    score_call,
    worth_of,
)
from stream.kernel import kernel
from stream.policy import BEHAVIOUR
from stream.profiles import (
    COMPLETION,
    GRANT,
    GRANTED,
    PARTS,
    claim_learned,
    clear_learned,
    find_learned,
)

from .brake import Brakes
from .decision import (
    ALARMED_TALLY,
    ALLOWED_TALLY,
    COMPARED_TALLY,
    Cause,
    Out,
)
from .habits import BITS, NOBODY, RARITY, Habits, follow_habits, rarest_of
from .learned_rule import issue_learned

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
        ("habits", np.int32, (HABIT_PARTS,)),  # bits of each part of habits now
        ("known", np.int32),  # which of these know, by bit
    ],
    align=True,
)
IN_FORCE, VERSION = range(2)
# What a context keeps of its alarms. It lies where its habits had room: a field more, or another
# name, would be another layout, and all contexts that are stored would begin anew.
NO_ALARM, ALARM, ALARM_COUNTED = range(3)
HABIT: Final = NOT_READY + 1  # behind the modes: how rare habits may be
BUDGET: Final = HABIT + 1  # behind that: millionths of contexts that may alarm in error


class Learning(NamedTuple):
    """What the loop needs to score by a baseline.

    Shapes: facts [2]: whether a baseline is in force, and what records keep of its version; values,
            tokens as in a batch; listed [n] of LISTED, operations that grants list, by event;
            records [n] of LEARNED; free: as `claim_learned` takes it; thresholds [rule, mode], with
            HABIT and BUDGET behind the modes, the last row for no rule; scores [event] of SCORE, or
            none where nobody asks; habits, brakes: see there.
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
    habits: Habits
    brakes: Brakes


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
def _limits_of(policy: Any, tier: int, thresholds: Any) -> int:
    """Return the row of thresholds by which a class alarms: its first rule's, or none's."""
    group = policy.classes[tier]
    if group["anomalies_start"] < group["anomalies_end"]:
        return whole(policy.anomalies[group["anomalies_start"]]["index"])
    return len(thresholds) - 1


@kernel
def _rarity_of(shown: Any, state: Any) -> int:
    """Return how rare habits are: of the context at their rarest, of its workload now.

    Mutates: state.
    """
    habit = int(rarest_of(shown, 0, CONTEXT_PARTS))
    if habit >= 0:
        state["habit"] = max(whole(state["habit"]), whole(shown[RARITY, habit]))
    habit = int(rarest_of(shown, CONTEXT_PARTS, HABIT_PARTS))
    return int(max(whole(state["habit"]), whole(shown[RARITY, habit]) if habit >= 0 else 0))


@kernel
def _count(of: Any, is_first: int, is_odd: int, limits: Any, tallies: Any) -> None:
    """Count a context once that is compared, and once that alarms at any event.

    Shapes: of = (its record, its habits). One is compared from its first call on; what was odd
    before is counted then. Mutates: the context's habits, tallies.
    """
    state, habits = of
    if limits[HABIT] >= NEVER:
        return
    if is_first:
        tallies[COMPARED_TALLY] += 1
        tallies[ALLOWED_TALLY] += limits[BUDGET]
    kept = habits["fallback"]
    if is_odd and kept["spare"] == NO_ALARM:
        kept["spare"] = ALARM
    if state["calls"] > 0 and kept["spare"] == ALARM:
        kept["spare"] = ALARM_COUNTED
        tallies[ALARMED_TALLY] += 1


@kernel
def _write_score(place: int, effect: int, given: Any, learning: Any, state: Any) -> None:
    """Write what a context's evidence is after an event. Mutates: learning.scores."""
    is_odd, rarity, known = given
    score, mode = learning.scores[place], state["mode"]
    worth = whole(worth_of(learning.habits.worths[mode], rarity))
    score["evidence"] = max(whole(state["bits_max"]), worth)
    score["mode"] = mode
    score["ready"] = mode != NOT_READY
    score["alarm"] = is_odd
    score["exposed"] = state["exposed"]
    score["known"] = known
    for part in range(HABIT_PARTS):
        score["habits"][part] = learning.habits.shown[BITS, part]
    if effect >= 0:
        score["is_call"] = 1
        score["bits"] = state["bits"]
        for part in range(PARTS):
            score["parts"][part] = state["parts"][part]


@kernel
def _judge(event: Any, cause: Cause, table: Any, policy: Any, evidence: Any, out: Out) -> None:
    """Issue what rules on learned evidence ask for. Mutates: table, out, learning.brakes."""
    learning, state = evidence
    tier = int(table.local[cause.slot]["class_index"])
    group = policy.classes[tier]
    for number in range(group["anomalies_start"], group["anomalies_end"]):
        rule = policy.anomalies[number]
        habit = NOBODY
        observed, threshold = whole(state["bits"]), NEVER
        if rule["of"] == BEHAVIOUR:
            habit = int(rarest_of(learning.habits.shown, 0, HABIT_PARTS))
            observed = whole(learning.habits.shown[RARITY, habit] if habit >= 0 else 0)
            threshold = whole(learning.thresholds[rule["index"], HABIT])
        elif state["mode"] != NOT_READY:
            threshold = whole(learning.thresholds[rule["index"], state["mode"]])
        if observed <= threshold:
            continue
        done = int(issue_learned(event, cause, (table, policy, tier), rule, learning.brakes, out))
        if done >= 0:
            decision = out.decisions[done]
            decision["observed"] = observed
            decision["demand"] = threshold
            _say_why(decision, learning.habits, state, habit)


@kernel
def _say_why(decision: Any, habits: Habits, state: Any, habit: int) -> None:
    """Write what a decision's reason is made of. Mutates: decision."""
    decision["compared"] = state["mode"]
    decision["exposed"] = state["exposed"]
    decision["habit"] = habit
    for part in range(PARTS):
        decision["parts"][part] = state["parts"][part]
    for part in range(HABIT_PARTS):
        decision["habits"][part] = habits.shown[BITS, part]
    for detail in range(DETAILS if habit >= 0 else 0):
        if habit < CONTEXT_PARTS:
            decision["details"][detail] = habits.details[0][habit, detail]
        else:
            decision["details"][detail] = habits.details[1][habit - CONTEXT_PARTS, detail]


@kernel
def _record_of(event: Any, clock_ms: int, context: int, local: Any, learning: Learning) -> int:
    """Return the place of the record of an event's context. Mutates: learning, local."""
    task = event["task"] if context > 0 else np.uint64(0)
    ids = (event["workload"], task, context, learning.facts[VERSION])
    found = int(find_learned(learning.records, local, ids))
    if found < 0:
        found = int(claim_learned(learning.records, learning.free, local, ids))
        learning.records[found]["group"] = local["peers"]
        learning.habits.contexts[found] = learning.habits.empty[0][0]
    state = learning.records[found]
    is_over = state["calls"] >= CALLS_MAX or clock_ms - state["used_ms"] > IDLE_MS
    said, before = event["purpose"], state["purpose"]
    # Calls without a task are one for each purpose, as they are learned.
    is_over = is_over or (said != np.uint64(0) and before != np.uint64(0) and said != before)
    if context == 0 and state["used_ms"] > 0 and is_over:
        clear_learned(state)
        learning.habits.contexts[found] = learning.habits.empty[0][0]
    state["used_ms"] = clock_ms
    return found


@kernel
def follow(event: Any, cause: Cause, table: Any, policy: Any, given: Any, out: Out) -> None:
    """Score an event in its context and judge it; given = (learning, effect, task's old context).

    `effect` is that of a call, -1 for what is none or was refused. Mutates: learning, table, out.
    """
    learning, effect, before = given
    local, habits = table.local[cause.slot], learning.habits
    context = before if event["kind"] == COMPLETION and before > 0 else cause.context
    found = int(_record_of(event, cause.clock_ms, context, local, learning))
    state = learning.records[found]
    _declare(event, context, learning, state)
    if event["kind"] == GRANT:
        _list_granted(cause.event, learning, state)
    limits = learning.thresholds[_limits_of(policy, local["class_index"], learning.thresholds)]
    asked = np.uint64(0)
    if effect >= 0:
        of = (learning.values, learning.tokens)
        asked = score_call(event, effect, of, learning.expected, state)
    requests = whole(table.head[cause.slot]["events"])
    compared = (learning.expected.entries, learning.expected.groups)
    mine = (found, effect, compared, (asked, learning.values), requests)
    known = int(follow_habits(event, cause.clock_ms, local, mine, habits))
    rarity = int(_rarity_of(habits.shown, state))
    is_odd = int(state["bits_max"] > limits[state["mode"]] or rarity > limits[HABIT])
    is_first = int(effect >= 0 and state["calls"] == 1)
    _count((state, habits.contexts[found]), is_first, is_odd, limits, out.tallies)
    if len(learning.scores) > 0:
        _write_score(cause.event, effect, (is_odd, rarity, known), learning, state)
    if effect >= 0:
        _judge(event, cause, table, policy, (learning, state), out)
