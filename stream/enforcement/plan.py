"""Decisions to commands: bodies with their reasons, envelopes, and the records of subjects.

What a body says comes from the decision, the policy and the causing event, and from nothing that
differs between live and replay. `held` keeps what is in force per row, because a record carries
all of it and a release names what an earlier event named; it is stored with the row.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from stream.events import (
    ACTIONS,
    COMMANDS_MAX,
    SUBJECT_KINDS,
    Body,
    Command,
    Finding,
    Reason,
    Request,
    Subject,
    SubjectRecord,
    TokenRef,
    Version,
    Weight,
    command_id,
    encode,
    subject_key,
)
from stream.policy import Policy, Rule, spell_duration

from .anomaly_reason import anomaly_reason
from .decision import BRAKED, DROP, ISSUE, LIFT, RELEASE, RENEW, RESTART
from .expectation import Expectation
from .habit_reason import BITS
from .held import Held
from .ledger import RELEASE_SHOWN_MS
from .words import WORDS_LENGTH_MAX, printable

MODES: Final = ("exempt", "shadow", "enforce")


class Outgoing(NamedTuple):
    """One record for the enforcement topic, and which row and offset it was derived from."""

    partition: int
    row: int
    offset: int
    key: bytes
    value: bytes
    expires_at_ms: int
    command: Command


class Incident(NamedTuple):
    """The decision, the event that caused it, whose row it is, and what was expected of it."""

    decision: Any
    event: Any
    workload: str
    request: Request
    expectation: Expectation


def plan_decision(
    incident: Incident, policy: Policy, held: Held, era: int
) -> tuple[Finding | None, Outgoing | None]:
    """Return what a decision comes to: a finding, and where it binds anybody a record.

    Mutates: held.
    """
    decision = incident.decision
    what = int(decision["what"])
    if what == RESTART:
        held.clear()
        return None, None
    place = int(decision["rule_id"]), int(decision["kind"]), int(decision["subject"])
    if what in (ISSUE, RENEW, DROP):
        rule = policy.rules[int(decision["rule"])]
        reason = _with_shed(_reason(incident, rule), incident.expectation.shed)
        reason = _with_width(reason, incident, rule)
        if decision["brake"] == BRAKED:
            reason = _with_brake(reason, policy, incident.workload)
        finding = _finding(incident, rule.name, rule.detector, reason)
        if rule.spec.action == "observe" or decision["mode"] == 0 or what == DROP:
            return finding, None
        body = _body(incident, policy, rule, reason)
    else:
        before = held.get(place)
        if before is None:
            return None, None
        reason = _release_reason(incident, before, what, policy)
        finding = _finding(incident, before.body.rule, reason.detector, reason)
        body = msgspec.structs.replace(
            before.body,
            action="release",
            reason=reason,
            clock_ms=int(decision["clock_ms"]),
            until_ms=int(decision["clock_ms"]) + RELEASE_SHOWN_MS,
            policy=policy.hash,
            rate=None,
            repeat=0,
        )
    return finding, _publish(incident, body, held, place, era)


def _publish(
    incident: Incident, body: Body, held: Held, place: tuple[int, int, int], era: int
) -> Outgoing:
    """Put a body in its envelope and in the record of its subject. Mutates: held."""
    event, decision = incident.event, incident.decision
    version = Version(era, int(event["offset"]), int(decision["ordinal"]))
    command = Command(
        id=command_id(body, version),
        body=body,
        version=version,
        partition=int(event["partition"]),
        caused_at_ms=int(event["append_ms"]),
        expires_at_ms=int(event["append_ms"]) + body.until_ms - body.clock_ms,
        offsets=(int(event["offset"]),),
    )
    for other in [each for each in held if held[each].body.until_ms <= body.clock_ms]:
        del held[other]
    held[place] = command
    if len(held) > COMMANDS_MAX:
        del held[min(held.keys() - {place}, key=lambda each: _worth(held[each]))]
    together = [each for other, each in held.items() if other[1:] == place[1:]]
    record = _record(together, command.partition)
    return Outgoing(
        partition=command.partition,
        row=int(event["workload"]),
        offset=version.offset,
        key=subject_key("home", body.subject),
        value=encode(record),
        expires_at_ms=record.expires_at_ms,
        command=command,
    )


def record_of(held: Held, key: bytes, partition: int) -> SubjectRecord | None:
    """Return the record that a home partition has under a key for what is held, if it has one."""
    mine = [each for each in held.values() if subject_key("home", each.body.subject) == key]
    return _record(mine, partition) if mine else None


def _record(commands: list[Command], partition: int) -> SubjectRecord:
    """Return the record of a subject that carries these commands, the latest cause last."""
    together = sorted(commands, key=_cause)
    record = SubjectRecord(
        issuer="home",
        partition=together[-1].partition,
        subject=together[-1].body.subject,
        version=together[-1].version,
        expires_at_ms=max(each.expires_at_ms for each in together),
        commands=tuple(together),
    )
    return rehomed(record, partition)


def rehomed(record: SubjectRecord, partition: int) -> SubjectRecord:
    """Return a record as the home partition has it that its workload has now.

    One of an earlier home comes before all that this one publishes, and after all of that one's:
    gateways order by era, then home, then offset, and a later home has the higher number. It is of
    no epoch: those of another home say nothing here, and whoever hands over again says the same.
    """
    if record.partition == partition:
        return record
    return msgspec.structs.replace(
        record, partition=partition, version=Version(record.version.era, 0), epoch=0
    )


def _cause(command: Command) -> tuple[int, int, int, int]:
    """Return what orders commands by their causes, in this home and in earlier ones."""
    version = command.version
    return version.era, command.partition, version.offset, version.ordinal


def _worth(command: Command) -> tuple[bool, bool, bool, int, tuple[int, int, int, int]]:
    """Return what is forgotten first of too much: releases, shadows, parts, the weaker, the older.

    A record that leaves out a command frees its subject, so what binds must be the last to go; and
    what gave way in the ledger before what it gave way to.
    """
    body = command.body
    binds, is_whole = body.action != "release", body.subject.kind == "workload"
    rung = ACTIONS.index(body.action)
    return binds, body.mode == "enforce", is_whole, rung, _cause(command)


def _subject(incident: Incident) -> Subject:
    request, kind = incident.request, SUBJECT_KINDS[int(incident.decision["kind"])]
    if kind == "task":
        return Subject(workload=incident.workload, task=request.task)
    if kind == "token" and request.token is not None:
        token = TokenRef(request.token.issuer, request.token.id)
        return Subject(workload=incident.workload, token=token)
    if kind == "operation":
        return Subject(workload=incident.workload, operation=request.operation)
    return Subject(workload=incident.workload)


def _body(incident: Incident, policy: Policy, rule: Rule, reason: Reason) -> Body:
    decision = incident.decision
    return Body(
        subject=_subject(incident),
        action=ACTIONS[int(decision["action"])],
        mode="enforce" if decision["mode"] == MODES.index("enforce") else "shadow",
        rule=rule.name,
        reason=reason,
        clock_ms=int(decision["clock_ms"]),
        until_ms=int(decision["until_ms"]),
        policy=policy.hash,
        baseline=incident.expectation.version,
        rate=rule.rate,
        repeat=int(decision["repeat"]),
    )


def _finding(incident: Incident, rule: str, detector: str, reason: Reason) -> Finding:
    decision = incident.decision
    released = decision["what"] in (RELEASE, LIFT)
    return Finding(
        workload=incident.workload,
        at_ms=incident.request.at_ms,
        clock_ms=int(decision["clock_ms"]),
        operation=incident.request.operation,
        rule=rule,
        detector=detector,
        action="release" if released else ACTIONS[int(decision["action"])],
        mode=MODES[int(decision["mode"])],
        observed=reason.observed,
        expected=reason.expected,
        bits=reason.observed if reason.measure == BITS else 0,
        task=incident.request.task,
        text=reason.text,
    )


def _reason(incident: Incident, rule: Rule) -> Reason:
    """Return why a rule fired, in words and in numbers."""
    decision, operation = incident.decision, printable(incident.request.operation)
    weights = (Weight(incident.request.operation),)
    observed = int(decision["observed"])
    if rule.pair is not None:
        span = spell_duration(rule.pair.window_ms)
        what = _measured(rule)
        text = (
            f"{observed} {what} in {span} where at most {rule.at_most} are allowed"
            f" ({_over_percent(observed, rule.at_most)}); the last was {operation}"
        )
        return Reason(
            text=_with_note(text, rule),
            detector=rule.detector,
            measure=rule.pair.measure,
            observed=observed,
            expected=rule.at_most,
            window_ms=rule.pair.window_ms,
            weights=weights,
            otherwise=f"{rule.at_most} or fewer {what} in any {span} would not have fired",
            controls=rule.spec.controls,
        )
    if rule.spec.forbid is None:
        reason = anomaly_reason(decision, incident.request, incident.expectation)
        text = _with_note(reason.text, rule)
        return msgspec.structs.replace(reason, text=text, controls=rule.spec.controls)
    within = spell_duration(rule.within_ms)
    first = _listed(rule.spec.forbid.first)
    where = f"task {printable(incident.request.task)}" if decision["context"] else "this workload"
    text = f"{operation} came {spell_duration(observed)} after a call of {first} in {where}"
    return Reason(
        text=_with_note(f"{text}; that sequence is forbidden within {within}", rule),
        detector=rule.detector,
        measure="span_ms",
        observed=observed,
        expected=rule.within_ms,
        window_ms=rule.within_ms,
        weights=weights,
        otherwise=f"the same call more than {within} after the last {first} would not have fired",
        controls=rule.spec.controls,
    )


def _release_reason(incident: Incident, before: Command, what: int, policy: Policy) -> Reason:
    """Return why something ends: an operator's lift, or a limit as the policy in force has it."""
    old, decision = before.body.reason, incident.decision
    demand = int(decision["demand"])
    if what == LIFT:
        return msgspec.structs.replace(
            old, text="lifted by an operator", observed=demand, weights=(), otherwise=""
        )
    rule = policy.rules[int(decision["rule"])]
    assert rule.pair is not None, "only limits release what they asked for"
    span = spell_duration(rule.pair.window_ms)
    return msgspec.structs.replace(
        old,
        text=f"demand fell to {demand} {rule.pair.measure} in {span}, under 80 % of {rule.at_most}",
        detector=rule.detector,
        measure=rule.pair.measure,
        observed=demand,
        expected=rule.at_most,
        window_ms=rule.pair.window_ms,
        weights=(),
        otherwise="",
    )


def _measured(rule: Rule) -> str:
    """Return what a limit counts, in words."""
    assert rule.pair is not None
    words = {"bytes": "response bytes", "cost": "micro-units of cost"}
    what = words.get(rule.pair.measure, rule.pair.measure)
    if rule.pair.effect:
        what = f"{rule.pair.effect} {what}"
    return f"{what} of {_listed(rule.pair.operations)}" if rule.pair.operations else what


def _listed(patterns: tuple[str, ...]) -> str:
    """Return patterns for a sentence: all if they are few, else the first and how many more."""
    text = ", ".join(patterns)
    if len(text) <= WORDS_LENGTH_MAX or len(patterns) == 1:
        return printable(text)
    return f"{printable(patterns[0])} and {len(patterns) - 1} more"


def _over_percent(observed: int, at_most: int) -> str:
    return f"{observed * 100 // at_most} % of it" if at_most else "none is"


def _with_shed(reason: Reason, shed: str) -> Reason:
    """Let a reason say that learned evidence was not looked at, and by which mode."""
    if not shed:
        return reason
    text = f"{reason.text}. Learned detectors were off ({shed})"
    return msgspec.structs.replace(reason, text=text)


def _with_width(reason: Reason, incident: Incident, rule: Rule) -> Reason:
    """Let a reason say why less or more is bound than what its rule is `on`."""
    decision, request = incident.decision, incident.request
    names = {"task": request.task, "token": request.token, "operation": request.operation}
    what, on = int(decision["what"]), rule.spec.on
    if what == DROP:
        why = "Not in force: one workload may have no more commands, and none there is weaker"
    elif decision["kind"] != SUBJECT_KINDS.index("workload") or not names.get(on):
        return reason
    elif on == "task" and not decision["context"]:
        task = printable(request.task)
        why = f"The whole workload is bound: task {task} was not granted, or is one of too many"
    elif what == RENEW:
        why = f"The whole workload is bound already, not only this {on}"
    else:
        why = f"The whole workload is bound, not only this {on}: it may have no more commands"
    return msgspec.structs.replace(reason, text=f"{reason.text}. {why}")


def _with_brake(reason: Reason, policy: Policy, workload: str) -> Reason:
    """Let a reason say that the brake made a shadow of what would be enforced."""
    tier = policy.class_of(workload)
    assert policy.brake is not None, "where there is no brake nothing is braked"
    text = (
        f"{reason.text}. Shadow by the brake: of class {policy.class_name(tier)} as many were newly"
        f" enforced as may be ({policy.brake.spelled(tier)})"
    )
    return msgspec.structs.replace(reason, text=text, braked=True)


def _with_note(text: str, rule: Rule) -> str:
    return f"{text}. {rule.spec.note}" if rule.spec.note else text
