"""From decisions of the model to commands: bodies, releases, and all that a record carries."""

from __future__ import annotations

import msgspec

from stream.events import Body, Command, Finding, Reason, Subject, Version, Weight
from stream.policy import Rule

from .cause import Cause, Held, Outcome
from .learned import Weighed
from .ledger import RANK, Entry
from .meaning import pair_of

RELEASE_SHOWN_MS = 60_000
HELD_MAX = 16
MODES = ("exempt", "shadow", "enforce")


def publish(
    cause: Cause,
    entry: Entry,
    rule: Rule,
    observed: int,
    learned: Weighed | None,
    *,
    is_in_force: bool,
) -> None:
    """A finding, and a command unless it is only observed, not in force or of one exempt."""
    request, row, spec = cause.request, cause.row, rule.spec
    pair = pair_of(rule) if rule.detector == "limit" else None
    reason = Reason(
        text="",
        detector=rule.detector,
        measure=pair.measure if pair else "span_ms",
        observed=observed,
        expected=rule.at_most if pair else rule.within_ms,
        window_ms=pair.window_ms if pair else rule.within_ms,
        weights=(Weight(request.operation),),
        controls=spec.controls,
    )
    if learned is not None:
        reason = msgspec.structs.replace(
            reason,
            detector=spec.anomaly.of if spec.anomaly else "",
            measure="bits",
            expected=learned.allowed,
            window_ms=0,
            weights=learned.weights,
            braked=learned.braked,
        )
    body = Body(
        subject=_subject(row.workload, entry),
        action=entry.action,
        mode="enforce" if entry.mode == MODES.index("enforce") else "shadow",
        rule=rule.name,
        reason=reason,
        clock_ms=row.clock_ms,
        until_ms=entry.until_ms,
        policy=cause.policy.hash,
        baseline=cause.baseline,
        rate=rule.rate,
        repeat=entry.repeat,
    )
    is_seen = is_in_force and entry.action != "observe" and entry.mode > 0
    _conclude(cause, entry, body, is_seen=is_seen)


def end(cause: Cause, entry: Entry, demand: int, rule: Rule | None = None) -> None:
    """A release of what was published for an entry, which ends now: by a limit, or a lift."""
    row = cause.row
    entry.until_ms = row.clock_ms
    before = row.held.get((entry.rule, entry.kind, entry.subject))
    if before is None:
        cause.ordinals[0] += 1
        return
    reason = msgspec.structs.replace(before.body.reason, observed=demand, weights=())
    if rule is not None:
        pair = pair_of(rule)
        reason = msgspec.structs.replace(
            reason,
            detector="limit",
            measure=pair.measure,
            expected=rule.at_most,
            window_ms=pair.window_ms,
        )
    body = msgspec.structs.replace(
        before.body,
        action="release",
        reason=reason,
        clock_ms=row.clock_ms,
        until_ms=row.clock_ms + RELEASE_SHOWN_MS,
        policy=cause.policy.hash,
        rate=None,
        repeat=0,
    )
    _conclude(cause, entry, body, is_seen=True)


def _conclude(cause: Cause, entry: Entry, body: Body, *, is_seen: bool) -> None:
    request, row, reason = cause.request, cause.row, body.reason
    version = Version(cause.era, cause.line.offset, cause.ordinals[0])
    cause.ordinals[0] += 1
    finding = Finding(
        workload=row.workload,
        at_ms=request.at_ms,
        clock_ms=row.clock_ms,
        operation=request.operation,
        rule=body.rule,
        detector=reason.detector,
        action=body.action,
        mode=MODES[entry.mode],
        observed=reason.observed,
        expected=reason.expected,
        task=request.task,
    )
    if not is_seen:
        cause.outcomes.append(Outcome(finding, None, ()))
        return
    held, mine = Held(version, body, cause.line.partition), (entry.rule, entry.kind, entry.subject)
    row.held = {key: each for key, each in row.held.items() if each.body.until_ms > row.clock_ms}
    row.held[mine] = held
    if len(row.held) > HELD_MAX:
        del row.held[min(row.held.keys() - {mine}, key=lambda key: _worth(row.held[key]))]
    together = [each for key, each in row.held.items() if key[1:] == mine[1:]]
    record = tuple(sorted(together, key=lambda each: each.cause))
    cause.outcomes.append(Outcome(finding, held, record))


def _worth(held: Held) -> tuple[bool, bool, bool, int, tuple[int, ...]]:
    """What is dropped first of too much: releases, shadows, parts, the weaker, the older."""
    action, is_enforced = held.body.action, held.body.mode == "enforce"
    is_whole = held.body.subject.kind == "workload"
    return action != "release", is_enforced, is_whole, RANK.get(action, 0), held.cause


def _subject(workload: str, entry: Entry) -> Subject:
    if entry.kind == "token":
        return Subject(workload=workload, token=entry.subject)
    return Subject(
        workload=workload,
        task=entry.subject if entry.kind == "task" else "",
        operation=entry.subject if entry.kind == "operation" else "",
    )


def without_texts(command: Command) -> Held:
    """A command of the engine as this model has it."""
    reason = msgspec.structs.replace(command.body.reason, text="", otherwise="")
    body = msgspec.structs.replace(command.body, reason=reason)
    return Held(command.version, body, command.partition)
