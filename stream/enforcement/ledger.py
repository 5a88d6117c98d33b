"""The ledger of a row: which rule has what in force on it, and since when.

An entry is found by rule, subject kind and subject. It stays a short grace beyond its end, because
gateways that have not yet let go are believed when they say `refused`. A full ledger gives way
to a stronger command only; what does not fit is counted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel
from stream.policy import ENFORCE
from stream.profiles import LEDGER

from .decision import (
    FREE,
    ISSUE,
    ISSUED_TALLY,
    LEDGER_TALLY,
    RELEASE,
    RELEASED_TALLY,
    RENEW,
    RENEWED_TALLY,
    RESTART,
    Cause,
    Out,
)

GRACE_MS: Final = 10_000
RELEASE_SHOWN_MS: Final = 60_000
OBSERVE, THROTTLE, HOLD, REVOKE = range(4)
TOKEN_KIND: Final = 2


@kernel
def clear_entry(entry: Any) -> None:
    """Make a ledger entry free. Mutates: entry."""
    entry["rule"] = np.uint64(0)
    entry["subject"] = np.uint64(0)
    entry["since_ms"] = 0
    entry["until_ms"] = 0
    entry["first_ms"] = 0
    entry["offset"] = 0
    entry["ordinal"] = 0
    entry["repeat"] = 0
    entry["action"] = 0
    entry["kind"] = 0
    entry["mode"] = 0


@kernel
def purge(ledger: Any, head: Any, clock_ms: int) -> bool:
    """Free what ended more than the grace ago; tell whether `refused` is believable.

    Mutates: ledger, head. Cost: nothing for a row with nothing in force.
    """
    if head["in_force"] == 0:
        return False
    refuses = False
    for place in range(LEDGER):
        entry = ledger[place]
        if entry["rule"] == np.uint64(0):
            continue
        if entry["until_ms"] + GRACE_MS <= clock_ms:
            clear_entry(entry)
            head["in_force"] -= 1
        elif entry["mode"] == ENFORCE and entry["action"] != OBSERVE:
            refuses = True
    return refuses


@kernel
def find_entry(ledger: Any, rule: Any, kind: int, subject: Any) -> int:
    """Return the place of an entry, -1 where there is none."""
    for place in range(LEDGER):
        entry = ledger[place]
        if entry["rule"] == rule and entry["kind"] == kind and entry["subject"] == subject:
            return place
    return -1


@kernel
def _strength(mode: int, action: int) -> int:
    return mode * 8 + action


@kernel
def _room(ledger: Any, strength: int, clock_ms: int) -> int:
    """Return a place for a command of a strength: free, ended, or the weakest weaker one."""
    weakest = -1
    least = int(strength)
    for place in range(LEDGER):
        entry = ledger[place]
        if entry["rule"] == np.uint64(0) or entry["until_ms"] <= clock_ms:
            return place
        other = int(_strength(entry["mode"], entry["action"]))
        if other < least:
            weakest, least = place, other
    return weakest


@kernel
def subject_of(kind: int, event: Any) -> Any:
    """Return the hash of what a command of this kind binds; 0 where the event names none."""
    if kind == 1:
        return event["task"]
    if kind == 2:
        return event["token"]
    if kind == 3:
        return event["operation"]
    return np.uint64(0)


@kernel
def find_subject(ledger: Any, rule: Any, event: Any) -> int:
    """Return the place of a rule's entry for what the event names, else for the workload."""
    kind = int(rule["kind"])
    subject = subject_of(kind, event)
    if subject == np.uint64(0):
        kind = 0
    return find_entry(ledger, rule["rule"], kind, subject)


@kernel
def record_decision(out: Out, cause: Cause, rule: Any, entry: Any, what: int) -> int:
    """Append a decision about a ledger entry; return its place.

    `rule` is a row of LIMIT or FORBID. Mutates: out, and the entry's version.
    """
    place = int(out.used[0])
    decision = out.decisions[place]
    decision["event"] = cause.event
    decision["slot"] = cause.slot
    decision["rule_id"] = entry["rule"]
    decision["subject"] = entry["subject"]
    decision["observed"] = 0
    decision["demand"] = 0
    decision["mark_ms"] = 0
    decision["mark_operation"] = np.uint64(0)
    decision["clock_ms"] = cause.clock_ms
    decision["until_ms"] = entry["until_ms"]
    decision["rule"] = rule["index"]
    decision["repeat"] = entry["repeat"]
    decision["context"] = cause.context
    decision["what"] = what
    decision["action"] = entry["action"]
    decision["mode"] = entry["mode"]
    decision["kind"] = entry["kind"]
    decision["brake"] = FREE
    ordinal: Any = cause.ordinal
    if place > 0 and out.decisions[place - 1]["event"] == cause.event:
        ordinal = max(ordinal, out.decisions[place - 1]["ordinal"] + 1)
    decision["ordinal"] = ordinal
    out.used[0] = place + 1
    return place


@kernel
def record_restart(out: Out, event: int, slot: int) -> None:
    """Append that a row began anew, so that what is held in force on it is forgotten too.

    It takes no ordinal: versions are those of a row that was deleted and made again. Mutates: out.
    """
    decision = out.decisions[out.used[0]]
    decision["event"] = event
    decision["slot"] = slot
    decision["ordinal"] = -1
    decision["brake"] = FREE
    decision["what"] = RESTART
    out.used[0] += 1


@kernel
def issue(ledger: Any, head: Any, cause: Cause, rule: Any, event: Any, out: Out) -> int:
    """Put a rule's command in force, or on again; return the place of the decision, -1 for none.

    The subject is what the event names; where it names none, the workload. A live entry is
    renewed. Mutates: ledger, head, out.
    """
    kind = int(rule["kind"])
    subject = subject_of(kind, event)
    if subject == np.uint64(0):
        kind = 0
    mode = min(int(rule["mode"]), int(cause.force))
    place = find_entry(ledger, rule["rule"], kind, subject)
    if place >= 0 and ledger[place]["until_ms"] > cause.clock_ms:
        entry = ledger[place]
        entry["repeat"] += 1
        what = RENEW
    else:
        if place < 0:
            place = _room(ledger, _strength(mode, rule["action"]), cause.clock_ms)
            if place < 0:
                head["ledger_dropped"] += 1
                out.tallies[LEDGER_TALLY] += 1
                return -1
        entry = ledger[place]
        if entry["rule"] == np.uint64(0):
            head["in_force"] += 1
        clear_entry(entry)
        entry["rule"] = rule["rule"]
        entry["subject"] = subject
        entry["kind"] = kind
        entry["first_ms"] = cause.clock_ms
        what = ISSUE
    entry["action"] = rule["action"]
    entry["mode"] = mode
    entry["since_ms"] = cause.clock_ms
    entry["until_ms"] = cause.clock_ms + rule["duration_ms"]
    decision = record_decision(out, cause, rule, entry, what)
    entry["offset"] = event["offset"]
    entry["ordinal"] = out.decisions[decision]["ordinal"]
    out.tallies[ISSUED_TALLY if what == ISSUE else RENEWED_TALLY] += 1
    return decision


@kernel
def release(ledger: Any, place: int, cause: Cause, rule: Any, out: Out) -> int:
    """End an entry now; return the place of the decision. Mutates: ledger, out.

    It stays for the grace, as one that expired: gateways hear of its end later still.
    """
    entry = ledger[place]
    entry["until_ms"] = cause.clock_ms + RELEASE_SHOWN_MS
    decision = record_decision(out, cause, rule, entry, RELEASE)
    entry["until_ms"] = cause.clock_ms
    out.tallies[RELEASED_TALLY] += 1
    return decision


@kernel
def is_weaker(entry: Any, rule: Any, force: int) -> bool:
    """Tell whether an entry is less serious than it would be now.

    So it is once a stop or an exemption has ended, or a policy enforces what was in shadow: the
    entry is then renewed at once, where it would else leave its workload alone until it is over.
    """
    return bool(entry["mode"] < min(int(rule["mode"]), int(force)))


@kernel
def must_renew(entry: Any, clock_ms: int) -> bool:
    """Tell whether half of an entry's duration is over."""
    return bool(2 * (clock_ms - entry["since_ms"]) >= entry["until_ms"] - entry["since_ms"])
