"""The ledger of a row: which rule has what in force on it, and since when.

An entry is found by rule, subject kind and subject. It stays a short grace beyond its end, because
gateways that have not yet let go are believed when they say `refused`.

Places are few, and an agent that collects commands on its tasks must not disarm what comes after
them. So a full ledger gives way to a stronger command, and one on the whole workload is stronger
than any on a part of it (`_strength`). A command on a part that finds no place is one on the whole
workload instead. What gives way was published and binds at gateways until it ends by itself; it is
only not renewed any more, nor released before. What finds no place even so is counted and found.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel
from stream.policy import ENFORCE
from stream.profiles import LEDGER

from .decision import (
    DROP,
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
WORKLOAD_KIND, TASK_KIND, TOKEN_KIND, OPERATION_KIND = range(4)  # indices of SUBJECT_KINDS
# Without a place there is nothing to remember that something was said, and saying it at each event
# of a flood costs more than the flood: all of so many are said, and one of so many after them.
SAID_DROPPED: Final = 64


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
def _strength(mode: int, action: int, kind: int) -> int:
    """Return what gives way to what: by mode; what binds; the whole workload; the rung."""
    strength = int(mode) * 16 + int(action)
    if action != OBSERVE:
        strength += 8
    if kind == WORKLOAD_KIND:
        strength += 4
    return strength


@kernel
def _room(ledger: Any, strength: int, clock_ms: int) -> int:
    """Return a place for a command of a strength: free, ended, or the weakest weaker one.

    Of equally weak ones that which ends first, so that the least is lost; -1 where none is weaker.
    """
    weakest = -1
    least, ends_ms = int(strength), 0
    for place in range(LEDGER):
        entry = ledger[place]
        if entry["rule"] == np.uint64(0) or entry["until_ms"] <= clock_ms:
            return place
        other = int(_strength(entry["mode"], entry["action"], entry["kind"]))
        is_next = weakest >= 0 and other == least and entry["until_ms"] < ends_ms
        if other < least or is_next:
            weakest, least, ends_ms = place, other, int(entry["until_ms"])
    return weakest


@kernel
def subject_of(kind: int, event: Any, context: int) -> Any:
    """Return the hash of what a command of this kind binds; 0 where the event names none.

    A task that is judged in the workload's own context is none: whoever invents an id for each call
    would be bound by ids that it never uses again.
    """
    if kind == TASK_KIND and context > 0:
        return event["task"]
    if kind == TOKEN_KIND:
        return event["token"]
    if kind == OPERATION_KIND:
        return event["operation"]
    return np.uint64(0)


@kernel
def find_subject(ledger: Any, rule: Any, event: Any, cause: Cause) -> int:
    """Return the place of the entry by which a rule binds what an event names, -1 for none.

    That is the subject's own, and where that has ended the workload's, if it is as serious as the
    rule would be now: what is bound as a whole need not be bound in parts.
    """
    kind = int(rule["kind"])
    subject = subject_of(kind, event, cause.context)
    if subject == np.uint64(0):
        return int(find_entry(ledger, rule["rule"], WORKLOAD_KIND, subject))
    place = int(find_entry(ledger, rule["rule"], kind, subject))
    if place < 0 or ledger[place]["until_ms"] <= cause.clock_ms:
        whole = int(find_entry(ledger, rule["rule"], WORKLOAD_KIND, np.uint64(0)))
        if (
            whole >= 0
            and ledger[whole]["until_ms"] > cause.clock_ms
            and not is_weaker(ledger[whole], rule, cause.force)
        ):
            return whole
    return place


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
def _drop(head: Any, cause: Cause, rule: Any, ledger: Any, out: Out) -> int:
    """Count a command that finds no place; return the place of the decision that says so, or -1.

    Mutates: head, out.
    """
    head["ledger_dropped"] += 1
    out.tallies[LEDGER_TALLY] += 1
    if head["ledger_dropped"] > SAID_DROPPED and head["ledger_dropped"] % SAID_DROPPED != 0:
        return -1
    done = int(record_decision(out, cause, rule, ledger[0], DROP))
    decision = out.decisions[done]
    decision["rule_id"] = rule["rule"]
    decision["subject"] = np.uint64(0)
    decision["until_ms"] = cause.clock_ms
    decision["repeat"] = 0
    decision["action"] = rule["action"]
    decision["mode"] = min(int(rule["mode"]), int(cause.force))
    decision["kind"] = WORKLOAD_KIND
    return done


@kernel
def _place_of(ledger: Any, cause: Cause, rule: Any, event: Any) -> Any:
    """Return which place a rule's command gets, -1 for none, and its kind and subject."""
    kind = int(rule["kind"])
    subject = subject_of(kind, event, cause.context)
    if subject == np.uint64(0):
        kind = int(WORKLOAD_KIND)
    mode = min(int(rule["mode"]), int(cause.force))
    place = int(find_subject(ledger, rule, event, cause))
    if place < 0:
        place = int(_room(ledger, _strength(mode, rule["action"], kind), cause.clock_ms))
    elif ledger[place]["kind"] == WORKLOAD_KIND:
        kind, subject = int(WORKLOAD_KIND), np.uint64(0)
    if place < 0 and kind != WORKLOAD_KIND:
        kind, subject = int(WORKLOAD_KIND), np.uint64(0)
        place = int(find_entry(ledger, rule["rule"], kind, subject))
        if place < 0:
            place = int(_room(ledger, _strength(mode, rule["action"], kind), cause.clock_ms))
    return place, kind, subject


@kernel
def issue(ledger: Any, head: Any, cause: Cause, rule: Any, event: Any, out: Out) -> int:
    """Put a rule's command in force, or on again; return the place of the decision, -1 for none.

    The subject is what the event names; the workload where it names none, or the ledger is full.
    A live entry is renewed. What finds no place is a decision too, to DROP it. Mutates: ledger,
    head, out.
    """
    place, kind, subject = _place_of(ledger, cause, rule, event)
    if place < 0:
        return int(_drop(head, cause, rule, ledger, out))
    entry = ledger[place]
    if (
        entry["rule"] == rule["rule"]
        and entry["kind"] == kind
        and entry["subject"] == subject
        and entry["until_ms"] > cause.clock_ms
    ):
        entry["repeat"] += 1
        what = RENEW
    else:
        if entry["rule"] == np.uint64(0):
            head["in_force"] += 1
        clear_entry(entry)
        entry["rule"] = rule["rule"]
        entry["subject"] = subject
        entry["kind"] = kind
        entry["first_ms"] = cause.clock_ms
        what = ISSUE
    entry["action"] = rule["action"]
    entry["mode"] = min(int(rule["mode"]), int(cause.force))
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
