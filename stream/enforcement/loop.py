"""The compiled loop over a batch: each event updates its row and is decided at that event.

The order within an event is fixed here and nowhere else: skip what was applied, restart what was
idle, adopt the policy, honour a lift, believe or disbelieve a refusal, count windows, judge
limits, match sequences, follow the context, remember the transition, score by the baseline in
force. A tick is judged once what was lifted is, and does nothing else.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.detectors import (
    amount_of,
    belongs,
    count_windows,
    demand_of,
    is_match,
    is_under,
    may_renew,
    set_mark,
    total_of,
)
from stream.kernel import kernel, prefetch_line
from stream.policy import (
    ENFORCE,
    OFF,
    SHADOW,
)
from stream.profiles import (
    COMPLETION,
    DENIED,
    GRANT,
    LEDGER,
    REFUSED,
    TICK,
    count_transition,
    end_learned,
    find_context,
    remember_operation,
)

from .anomaly import IN_FORCE, follow
from .arrival import NO_OPERATION, arrive, context_of
from .decision import (
    COMPLETIONS_TALLY,
    DECISIONS_MAX,
    DECISIONS_PER_EVENT_MAX,
    DISBELIEVED_TALLY,
    EVENTS_TALLY,
    GRANTS_TALLY,
    LATE_TALLY,
    LIFT,
    REFUSED_TALLY,
    REQUESTS_TALLY,
    RESTARTED_TALLY,
    TICKS_TALLY,
    TRANSITIONS_TALLY,
    UNAUTHENTICATED_TALLY,
    Cause,
    Out,
)
from .foresight import ask_expected, ask_order, ask_pair, ask_record
from .ledger import (
    REVOKE,
    TOKEN_KIND,
    find_subject,
    is_weaker,
    issue,
    must_renew,
    purge,
    record_decision,
    record_restart,
    release,
)
from .silence import judge_silence


class Where(NamedTuple):
    """What was looked up for a batch beforehand.

    Shapes: slots, operations [event]; sets [operation, effect]; effects [operation]; row_lines: of
            each row, so many cache lines are touched by most events.
    """

    slots: Any
    operations: Any
    sets: Any
    effects: Any
    row_lines: int


# Rows lie all over memory, so that of a later event is asked for while this one is applied:
# 0.29 instead of 0.42 us an event, all of the step, with 10,000 workloads. Then what a row says:
# what its class expects; where its pairs and records are; and those say what came before.
ROW_AHEAD: Final = 8
EXPECTED_AHEAD: Final = 4
RECORD_AHEAD: Final = 2
ORDER_AHEAD: Final = 1


@kernel
def _lift(table: Any, slot: int, cause: Cause, policy: Any, out: Out) -> None:
    """Honour an operator's lift: what is in force ends now. Mutates: table, out."""
    head = table.head[slot]
    head["lift_offset"] = table.local[slot]["lift_offset"]
    for place in range(LEDGER):
        entry = table.ledger[slot, place]
        if entry["rule"] != np.uint64(0) and entry["until_ms"] > cause.clock_ms:
            entry["until_ms"] = cause.clock_ms
            record_decision(out, cause, policy.no_rule[0], entry, LIFT)


@kernel
def _judge_limits(event: Any, cause: Cause, table: Any, policy: Any, flags: Any, out: Out) -> None:
    """Issue, renew and release what limits ask for. Mutates: table, out."""
    slot = cause.slot
    sets, is_refused = flags
    head, ledger = table.head[slot], table.ledger[slot]
    group = policy.classes[table.local[slot]["class_index"]]
    for number in range(group["limits_start"], group["limits_end"]):
        limit = policy.limits[number]
        pair = policy.pairs[limit["pair"]]
        observed = total_of(table, slot, pair)
        at_most = int(limit["at_most"])
        if head["in_force"] > 0:
            demand = int(demand_of(table, slot, policy, limit))
            for place in range(LEDGER):
                entry = ledger[place]
                if entry["rule"] != limit["rule"] or entry["until_ms"] <= cause.clock_ms:
                    continue
                never = entry["action"] == REVOKE and entry["kind"] == TOKEN_KIND
                if is_under(demand, at_most) and not never:
                    done = release(ledger, place, cause, limit, out)
                    out.decisions[done]["observed"] = observed
                    out.decisions[done]["demand"] = demand
        if observed > at_most or head["in_force"] > 0:
            _over(event, cause, table, policy, (number, sets, is_refused), out)


@kernel
def _over(event: Any, cause: Cause, table: Any, policy: Any, flags: Any, out: Out) -> None:
    """Renew a limit whose demand is over, or issue it at an event that contributes.

    Mutates: table, out.
    """
    number, sets, is_refused = flags
    limit = policy.limits[number]
    pair = policy.pairs[limit["pair"]]
    head, ledger = table.head[cause.slot], table.ledger[cause.slot]
    observed = int(total_of(table, cause.slot, pair))
    demand = int(demand_of(table, cause.slot, policy, limit))
    place = find_subject(ledger, limit, event, cause)
    if place >= 0 and ledger[place]["until_ms"] > cause.clock_ms:
        if demand <= limit["at_most"] or not (
            must_renew(ledger[place], cause.clock_ms)
            or is_weaker(ledger[place], limit, cause.force)
        ):
            return
    elif (
        is_refused
        or observed <= limit["at_most"]
        or amount_of(pair["measure"], event, 0) == 0
        or not belongs(pair["operations"], sets)
    ):
        return
    done = issue(ledger, head, cause, limit, event, out)
    if done >= 0:
        out.decisions[done]["observed"] = observed
        out.decisions[done]["demand"] = demand


@kernel
def _match(event: Any, cause: Cause, table: Any, policy: Any, sets: Any, out: Out) -> None:
    """Match declared sequences in the event's context. Mutates: table, out."""
    slot = cause.slot
    head, ledger = table.head[slot], table.ledger[slot]
    group = policy.classes[table.local[slot]["class_index"]]
    for number in range(group["forbids_start"], group["forbids_end"]):
        forbid = policy.forbids[number]
        mark = table.marks[slot, cause.context, forbid["place"]]
        if belongs(forbid["then"], sets) and is_match(mark, forbid["within_ms"], cause.at_ms):
            place = find_subject(ledger, forbid, event, cause)
            if (
                place < 0
                or ledger[place]["until_ms"] <= cause.clock_ms
                or may_renew(ledger[place], cause.clock_ms)
                or is_weaker(ledger[place], forbid, cause.force)
            ):
                done = issue(ledger, head, cause, forbid, event, out)
                if done >= 0:
                    out.decisions[done]["observed"] = abs(cause.at_ms - (mark["at_ms"] - 1))
                    out.decisions[done]["mark_ms"] = mark["at_ms"] - 1
                    out.decisions[done]["mark_operation"] = mark["operation"]
    if event["outcome"] != DENIED:
        for number in range(group["forbids_start"], group["forbids_end"]):
            forbid = policy.forbids[number]
            if belongs(forbid["first"], sets):
                mark = table.marks[slot, cause.context, forbid["place"]]
                set_mark(mark, event["operation"], cause.at_ms)


@kernel
def _follow(event: Any, cause: Cause, table: Any, out: Out) -> None:
    """Remember the operation in its context and count the transition. Mutates: table, out."""
    slot = cause.slot
    context = table.contexts[slot, cause.context]
    before = context["recent"][0]
    if before != NO_OPERATION:
        dropped = count_transition(table.transitions[slot], before, event["operation"], 1)
        table.head[slot]["transitions_dropped"] += dropped
        out.tallies[TRANSITIONS_TALLY] += dropped
    remember_operation(context, event["operation"], cause.clock_ms)


@kernel
def _apply(event: Any, cause: Cause, table: Any, policy: Any, where: Any, out: Out) -> int:
    """Do all that an event asks for by exact rules, its row being there. Mutates: table, out.

    Returns its effect, 0 or 1, where it is a call that counts, else -1.
    """
    slot = cause.slot
    head = table.head[slot]
    old_ms = int(head["clock_ms"])
    head["clock_ms"] = cause.clock_ms
    refuses = purge(table.ledger[slot], head, cause.clock_ms)
    is_refused = event["outcome"] == REFUSED
    if is_refused:
        out.tallies[REFUSED_TALLY] += 1
        if not refuses:
            out.tallies[DISBELIEVED_TALLY] += 1
            is_refused = False
    operation = where.operations[cause.event]
    effect = int(event["effect"]) - 1
    if effect < 0:
        effect = int(where.effects[operation])
    sets = where.sets[operation, effect]
    if count_windows(
        table, policy, event, (slot, old_ms, cause.clock_ms, cause.at_ms), (sets, int(is_refused))
    ):
        head["late"] += 1
        out.tallies[LATE_TALLY] += 1
    if event["kind"] == GRANT:
        out.tallies[GRANTS_TALLY] += 1
        return -1
    if event["kind"] == COMPLETION:
        out.tallies[COMPLETIONS_TALLY] += 1
        return -1
    head["events"] += 1
    out.tallies[REQUESTS_TALLY] += event["count"]
    _judge_limits(event, cause, table, policy, (sets, is_refused), out)
    if is_refused:
        return -1
    _match(event, cause, table, policy, sets, out)
    _follow(event, cause, table, out)
    return effect


@kernel
def _look_ahead(events: Any, place: int, where: Any, table: Any, learning: Any) -> None:
    """Ask for what the next events are going to touch and to be compared with."""
    last, slots = len(events) - 1, where.slots
    later = min(place + ROW_AHEAD, last)
    if slots[later] >= 0:
        for line in range(where.row_lines):
            prefetch_line(table.head, slots[later], line)
    is_learned = learning.facts[IN_FORCE] != 0
    later = min(place + EXPECTED_AHEAD, last)
    if is_learned and slots[later] >= 0:
        ask_expected(events[later], table.local[slots[later]], learning)
    later = min(place + RECORD_AHEAD, last)
    if slots[later] >= 0:
        ask_pair(events[later], slots[later], table)
        if is_learned:
            ask_record(events[later], slots[later], table, learning)
    later = min(place + ORDER_AHEAD, last)
    if is_learned and slots[later] >= 0:
        ask_order(events[later], slots[later], table, learning)


@kernel
def run(events: Any, start: int, where: Any, table: Any, policy: Any, rest: Any) -> int:
    """Apply the events from `start` on; return how far it came: less than all if `out` is full.

    Shapes: events [event] of EVENT; rest = (conditions, out, learning).
    Mutates: table, out, learning.
    """
    conditions, out, learning = rest
    is_learned = learning.facts[IN_FORCE] != 0
    for place in range(start, len(events)):
        if out.used[0] + DECISIONS_PER_EVENT_MAX > DECISIONS_MAX:
            return place
        event = events[place]
        _look_ahead(events, place, where, table, learning)
        out.tallies[EVENTS_TALLY] += 1
        if event["authenticated"] == 0:
            out.tallies[UNAUTHENTICATED_TALLY] += 1
            continue
        slot = int(where.slots[place])
        restarted = out.tallies[RESTARTED_TALLY]
        at_ms = arrive(event, slot, table, policy, conditions, out)
        if at_ms < 0:
            continue
        if out.tallies[RESTARTED_TALLY] != restarted:
            record_restart(out, place, slot)
        local, head = table.local[slot], table.head[slot]
        clock_ms = max(int(head["clock_ms"]), at_ms)
        force = int(ENFORCE)
        if conditions.stopped_until_ms[event["partition"]] > clock_ms:
            force = int(SHADOW)
        if local["exempt_until_ms"] > clock_ms:
            force = int(OFF)
        ordinal = int(event["ordinal"]) * DECISIONS_PER_EVENT_MAX
        if local["lift_offset"] > head["lift_offset"]:
            lifted_ms = int(head["clock_ms"]) if event["kind"] == TICK else clock_ms
            cause = Cause(place, slot, at_ms, lifted_ms, 0, force, ordinal)
            _lift(table, slot, cause, policy, out)
        if event["kind"] == TICK:
            out.tallies[TICKS_TALLY] += 1
            if is_learned:
                cause = Cause(place, slot, at_ms, clock_ms, 0, force, ordinal)
                judge_silence(event, cause, table, policy, learning, out)
            continue
        before = 0
        if event["kind"] == COMPLETION:
            before = int(find_context(table.contexts[slot], event["task"]))
        context = context_of(event, slot, clock_ms, table, policy, out)
        cause = Cause(place, slot, at_ms, clock_ms, context, force, ordinal)
        effect = _apply(event, cause, table, policy, where, out)
        if is_learned:
            follow(event, cause, table, policy, (learning, effect, before), out)
        if before > 0:
            end_learned(local, before)
    return len(events)
