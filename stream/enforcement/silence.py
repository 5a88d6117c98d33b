"""Silence in the loop: whoever should have called by now, judged when a tick asks.

A tick is an event of the log, so everybody who reads it answers alike; `detectors.silence` says
what is odd. It changes nothing of what its workload is known by: not its clock, since nothing was
done, nor what it has learned, so one that comes twice or was forged asks the same again. Like any
event it brings the row under the policy in force. A workload of which there is no row, or whose row
is gone, is not missed: nobody knows it.

While no baseline is in force nothing is followed, and so nothing is missed. Nor is anybody that we
had stopped when it fell silent.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.detectors import (
    HABIT_PARTS,
    SILENCE_PARTS,
    SILENT_FROM_MS,
    allowed_silence,
    ask_silence,
)
from stream.kernel import kernel, routine
from stream.policy import ENFORCE
from stream.profiles import LEDGER, find_habits

from .decision import Cause, Out
from .learned_rule import issue_learned
from .ledger import HOLD

SILENT: Final = HABIT_PARTS  # behind the parts of habits: what decided was none of them


@kernel
def judge_silence(
    event: Any, cause: Cause, table: Any, policy: Any, learning: Any, out: Out
) -> None:
    """Issue what rules on silence ask for at a tick. Mutates: table, out, learning."""
    tier = int(table.local[cause.slot]["class_index"])
    group = policy.classes[tier]
    if group["silences_start"] < group["silences_end"]:
        _judge(event, cause, table, (policy, tier), learning, out)


@routine
def _judge(event: Any, cause: Cause, table: Any, of: Any, learning: Any, out: Out) -> None:
    """See `judge_silence`; of = (policy, class). Mutates: table, out, learning."""
    policy, tier = of
    habits, local = learning.habits, table.local[cause.slot]
    group, head = policy.classes[tier], table.head[cause.slot]
    found = int(find_habits(habits.workloads, local, event["workload"]))
    # What was not followed is no silence.
    if found < 0 or habits.workloads[found]["followed"] != head["events"]:
        return
    behaviour, details = habits.workloads[found]["behaviour"], habits.scratch
    observed = int(ask_silence(behaviour, cause.at_ms, details))
    if _is_stopped(table.ledger[cause.slot], details[SILENT_FROM_MS], policy, group):
        return
    for number in range(group["silences_start"], group["silences_end"]):
        rule = policy.silences[number]
        allowed = int(allowed_silence(behaviour, rule["alarms"], rule["per_ms"]))
        if observed <= allowed:
            continue
        done = int(issue_learned(event, cause, (table, policy, tier), rule, learning.brakes, out))
        if done >= 0:
            decision = out.decisions[done]
            decision["observed"] = observed
            decision["demand"] = allowed
            decision["habit"] = SILENT
            for part in range(SILENCE_PARTS):
                decision["details"][part] = details[part]


@kernel
def _is_stopped(ledger: Any, since_ms: int, policy: Any, group: Any) -> bool:
    """Tell whether a workload was told to make no call when it fell silent, or was since.

    By another rule than those on silence, which bind it for that.
    """
    for place in range(LEDGER):
        entry = ledger[place]
        stops = entry["mode"] == ENFORCE and entry["action"] >= HOLD
        if entry["rule"] == np.uint64(0) or not stops or entry["until_ms"] <= since_ms:
            continue
        is_other = True
        for number in range(group["silences_start"], group["silences_end"]):
            if policy.silences[number]["rule"] == entry["rule"]:
                is_other = False
        if is_other:
            return True
    return False
