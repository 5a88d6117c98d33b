"""Bringing a row to an event: skip what was applied, restart what was idle, find the context.

Nothing here decides about a workload; what an event finds when it is judged is made ready here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.kernel import kernel
from stream.policy import IDLE_MAX_MS, POLICY_HASH, SKEW_MS, TASKS_VOUCHED
from stream.profiles import (
    COMPLETION,
    GRANT,
    LEDGER,
    TICK,
    clear,
    clear_context,
    end_habits,
    end_learned,
    find_context,
    open_context,
)

from .decision import CONTEXTS_TALLY, DUPLICATES_TALLY, FUTURE_TALLY, RESTARTED_TALLY, Out
from .ledger import clear_entry

NO_OPERATION: Final = np.uint64(0)


class ConditionTables(NamedTuple):
    """What holds in each partition now.

    Shapes: all [partition]; `events.Conditions` says what they mean.
    """

    forgotten_before_ms: Any
    stopped_until_ms: Any
    era: Any
    log_era: Any
    fresh_era: Any


@kernel
def _restart(table: Any, slot: int) -> None:
    """Make a row new, except for who it is and what was applied. Mutates: table."""
    head = table.head[slot]
    head["policy"] = np.uint64(0)
    head["lift_offset"] = 0
    head["clock_ms"] = 0
    head["first_ms"] = 0
    head["events"] = 0
    head["late"] = 0
    head["contexts_dropped"] = 0
    head["transitions_dropped"] = 0
    head["ledger_dropped"] = 0
    head["tasks"] = 0
    head["in_force"] = 0
    end_habits(table.local[slot])
    for place in range(table.counts.shape[1]):
        clear(table.counts[slot, place])
    for place in range(table.sums.shape[1]):
        clear(table.sums[slot, place])
    for place in range(table.contexts.shape[1]):
        end_learned(table.local[slot], place)
        clear_context(table.contexts[slot], table.marks[slot], place)
    for place in range(table.transitions.shape[1]):
        entry = table.transitions[slot, place]
        entry["source"] = NO_OPERATION
        entry["target"] = NO_OPERATION
        entry["count"] = 0
        entry["error"] = 0
    for place in range(LEDGER):
        clear_entry(table.ledger[slot, place])


@kernel
def _adopt(table: Any, slot: int, policy: Any) -> None:
    """Forget what the policy does not name for the row's class. Mutates: table."""
    group = policy.classes[table.local[slot]["class_index"]]
    for is_sum in range(2):
        places = table.sums.shape[1] if is_sum == 1 else table.counts.shape[1]
        for place in range(places):
            named = False
            for number in range(group["pairs_start"], group["pairs_end"]):
                pair = policy.pairs[policy.class_pairs[number]]
                if pair["is_sum"] == is_sum and pair["place"] == place:
                    named = True
            if not named and is_sum == 1:
                clear(table.sums[slot, place])
            elif not named:
                clear(table.counts[slot, place])
    for place in range(table.marks.shape[2]):
        named = False
        for number in range(group["forbids_start"], group["forbids_end"]):
            if policy.forbids[number]["place"] == place:
                named = True
        if not named:
            for context in range(table.marks.shape[1]):
                mark = table.marks[slot, context, place]
                mark["at_ms"] = 0
                mark["operation"] = NO_OPERATION


@kernel
def arrive(event: Any, slot: int, table: Any, policy: Any, conditions: Any, out: Out) -> int:
    """Bring a row to an event; return the event's clamped time, -1 where it was applied before.

    -1 also for a tick that finds no row: whoever was forgotten is not missed.

    Mutates: table, out.tallies.
    """
    head = table.head[slot]
    partition = event["partition"]
    era = conditions.era[partition]
    is_of_log = head["era"] >= conditions.log_era[partition]
    is_fresh = head["era"] >= conditions.fresh_era[partition]
    if (is_of_log and is_fresh) and (
        event["offset"] < head["offset"]
        or (event["offset"] == head["offset"] and event["ordinal"] <= head["ordinal"])
    ):
        out.tallies[DUPLICATES_TALLY] += 1
        return -1
    at_ms = int(event["at_ms"])
    latest = event["append_ms"] + policy.facts[SKEW_MS]
    is_future = at_ms > latest
    if is_future:
        at_ms = latest
    is_gone = head["first_ms"] > 0 and (
        at_ms - head["clock_ms"] > policy.facts[IDLE_MAX_MS]
        or head["clock_ms"] < conditions.forgotten_before_ms[partition]
        or not is_fresh
    )
    if event["kind"] == TICK and (is_gone or head["first_ms"] == 0):
        return -1
    if is_future:
        out.tallies[FUTURE_TALLY] += 1
    if is_gone:
        _restart(table, slot)
        out.tallies[RESTARTED_TALLY] += 1
    local = table.local[slot]
    if local["unsaved_from"] == 0:
        local["unsaved_from"] = event["offset"] + 1
    head["offset"] = event["offset"]
    head["ordinal"] = event["ordinal"]
    head["era"] = era
    number = np.uint64(policy.facts[POLICY_HASH])
    if head["policy"] != number:
        _adopt(table, slot, policy)
        head["policy"] = number
    if head["first_ms"] == 0:
        head["first_ms"] = max(at_ms, 1)
    return at_ms


@kernel
def context_of(event: Any, slot: int, clock_ms: int, table: Any, policy: Any, out: Out) -> int:
    """Return the context an event belongs to, opening or closing a task's. Mutates: table."""
    contexts, marks, head = table.contexts[slot], table.marks[slot], table.head[slot]
    task = event["task"]
    place = find_context(contexts, task)
    if place == 0:
        return 0
    if event["kind"] == COMPLETION:
        if place > 0:
            clear_context(contexts, marks, place)
            head["tasks"] -= 1
        return 0
    if place < 0 and (policy.facts[TASKS_VOUCHED] != 0 or event["kind"] == GRANT):
        dropped = int(head["contexts_dropped"])
        place = open_context(contexts, marks, head, task)
        end_learned(table.local[slot], place)
        out.tallies[CONTEXTS_TALLY] += int(head["contexts_dropped"]) - dropped
    if place < 0:
        return 0
    if event["kind"] == GRANT:
        contexts[place]["granted"] = 1
    contexts[place]["used_ms"] = clock_ms + 1
    return place
