"""A slow model of the whole step: dicts and lists, each rule as its definition reads.

It knows nothing of hashes, slots, layouts or batches. Texts of reasons are left empty: they are
held by unit tests, word by word.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from stream.events import (
    Body,
    Command,
    Finding,
    Reason,
    Request,
    Subject,
    TokenRef,
    Version,
    Weight,
)
from stream.identity import canonical_workload
from stream.policy import Policy, Rule
from tests.models.contexts import ContextModel, ContextsModel
from tests.models.logs import Change, Line
from tests.models.pattern import model_operation_matches, model_workload_matches

GRACE_MS = 10_000
RELEASE_SHOWN_MS = 60_000
LEDGER = 8
HELD_MAX = 16
BINS = 17
RANK = {"observe": 0, "throttle": 1, "hold": 2, "revoke": 3}
MODES = ("exempt", "shadow", "enforce")
READS = ("GET", "HEAD", "OPTIONS", "TRACE")


class Pair(NamedTuple):
    """What a window counts."""

    measure: str
    operations: tuple[str, ...]
    effect: str
    window_ms: int


@dataclass
class Entry:
    """What a rule has in force on a subject."""

    rule: str
    kind: str
    subject: Any
    since_ms: int
    until_ms: int
    action: str
    mode: int
    repeat: int = 0


class Held(NamedTuple):
    """A command as the record of its subject carries it."""

    version: Version
    body: Body


class Outcome(NamedTuple):
    """One decision: the finding, the command if there is one, and all its record carries."""

    finding: Finding
    command: Held | None
    record: tuple[Held, ...]


@dataclass
class Row:
    """All that is known of one workload."""

    workload: str
    clock_ms: int = 0
    first_ms: int = 0
    events: int = 0
    late: int = 0
    policy: str = ""
    windows: dict[Pair, list[tuple[int, int]]] = field(default_factory=dict)
    contexts: ContextsModel = field(default_factory=ContextsModel)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    ledger: list[Entry | None] = field(default_factory=lambda: [None] * LEDGER)
    held: dict[Any, Held] = field(default_factory=dict)
    offset: int = -1
    lift_offset: int = 0

    def total(self, pair: Pair) -> int:
        """What the 17 bins up to the clock's hold."""
        newest = bin_of(self.clock_ms, pair)
        return sum(n for at, n in self.windows.get(pair, []) if at > newest - BINS)


class Cause(NamedTuple):
    """An event with all that was found out about it."""

    line: Line
    request: Request
    row: Row
    policy: Policy
    at_ms: int
    force: int
    outcomes: list[Outcome]
    ordinals: list[int]


class Enforcer:
    """Applies a log line by line; `tallies` are named as the engine's."""

    def __init__(self, changes: tuple[Change, ...]) -> None:
        self._changes = changes
        self.rows: dict[str, Row] = {}
        self.tallies: Counter[str] = Counter()

    def apply(self, line: Line) -> list[Outcome]:
        """What follows from one line."""
        request, tallies = line.request, self.tallies
        tallies["events"] += 1
        if not request.authenticated:
            tallies["unauthenticated"] += 1
            return []
        change = [
            each
            for each in self._changes
            if each.partition == line.partition and each.conditions.from_offset <= line.offset
        ][-1]
        name, policy = canonical_workload(request.workload), change.policy
        row = self.rows.setdefault(name, Row(name))
        if line.offset <= row.offset:
            tallies["duplicates"] += 1
            return []
        at_ms = min(request.at_ms, line.append_ms + policy.skew_ms)
        tallies["future"] += at_ms < request.at_ms
        if row.first_ms and (
            at_ms - row.clock_ms > policy.idle_ms
            or row.clock_ms < change.conditions.forgotten_before_ms
        ):
            tallies["restarted"] += 1
            row = self.rows[name] = Row(name)
        row.offset = line.offset
        if row.policy != policy.hash:
            row.policy = policy.hash
            _adopt(row, policy)
        row.first_ms = row.first_ms or at_ms
        row.clock_ms = max(row.clock_ms, at_ms)
        force = _force(row, change)
        cause = Cause(line, request, row, policy, at_ms, force, [], [0])
        self._lift(cause, change)
        self._apply(cause)
        return cause.outcomes

    def _lift(self, cause: Cause, change: Change) -> None:
        row = cause.row
        lifts = change.conditions.lifts
        latest = max((each.offset for each in lifts if each.workload == row.workload), default=0)
        if latest > row.lift_offset:
            row.lift_offset = latest
            for entry in filter(None, row.ledger):
                _end(cause, entry, 0)
            row.ledger = [None] * LEDGER

    def _apply(self, cause: Cause) -> None:
        request, row, policy, tallies = cause.request, cause.row, cause.policy, self.tallies
        is_vouched = policy.spec.tasks == "vouched"
        before = row.contexts.dropped
        context = row.contexts.of(
            request.kind, request.task, row.clock_ms, is_vouched=is_vouched
        )
        tallies["contexts_dropped"] += row.contexts.dropped - before
        is_refused = self._is_refused(cause)
        if _count(cause, is_refused=is_refused):
            row.late += 1
            tallies["late"] += 1
        if request.kind != "request":
            tallies[f"{request.kind}s"] += 1
            return
        row.events += 1
        tallies["requests"] += request.count
        rules = rules_of(policy, row.workload)
        for rule in rules:
            if rule.detector == "limit":
                self._judge(cause, rule, is_refused=is_refused)
        if not is_refused:
            self._match(cause, [each for each in rules if each.detector == "forbid"], context)
            if context.recent:
                row.transitions[context.recent[0], request.operation] += 1
            context.remember(request.operation, row.clock_ms)

    def _is_refused(self, cause: Cause) -> bool:
        """A refusal is believed while something is enforced, and for a grace after it ended."""
        ledger, clock_ms = cause.row.ledger, cause.row.clock_ms
        for place, entry in enumerate(ledger):
            if entry is not None and entry.until_ms + GRACE_MS <= clock_ms:
                ledger[place] = None
        if cause.request.outcome != "refused":
            return False
        self.tallies["refused"] += 1
        is_believed = any(
            each.mode == MODES.index("enforce") and each.action != "observe"
            for each in filter(None, ledger)
        )
        self.tallies["refused_disbelieved"] += not is_believed
        return is_believed

    def _judge(self, cause: Cause, rule: Rule, *, is_refused: bool) -> None:
        """Release under 80 %, renew after half while demand is over, issue at what contributes."""
        row = cause.row
        pair = Pair(*rule.pair)
        observed = demand = row.total(pair)
        if has_demand(rule):
            demand += row.total(pair._replace(measure="refused"))
        for place, entry in enumerate(row.ledger):
            is_token = entry is not None and (entry.action, entry.kind) == ("revoke", "token")
            if (
                entry is not None
                and entry.rule == rule.name
                and entry.until_ms > row.clock_ms
                and 10 * demand < 8 * rule.at_most
                and not is_token
            ):
                _end(cause, entry, demand)
                row.ledger[place] = None
                self.tallies["released"] += 1
        entry = _find(cause, rule)
        if entry is not None and entry.until_ms > row.clock_ms:
            is_half_over = 2 * (row.clock_ms - entry.since_ms) >= entry.until_ms - entry.since_ms
            if demand <= rule.at_most or not is_half_over:
                return
        else:
            contributes = amount_of(pair, cause.request, is_refused=False) > 0
            if is_refused or observed <= rule.at_most or not contributes:
                return
        self._issue(cause, rule, observed)

    def _match(self, cause: Cause, rules: list[Rule], context: ContextModel) -> None:
        """A `then` after the latest `first`; renewed after a sixteenth of the duration."""
        request, row = cause.request, cause.row
        for rule in rules:
            mark = context.marks.get(_firsts(rule))
            if mark is None or abs(cause.at_ms - mark[0]) > rule.within_ms:
                continue
            if not is_in(rule.spec.forbid.then, "", request):
                continue
            entry = _find(cause, rule)
            if entry is not None and entry.until_ms > row.clock_ms:
                span_ms = entry.until_ms - entry.since_ms
                if 16 * (row.clock_ms - entry.since_ms) < span_ms:
                    continue
            self._issue(cause, rule, abs(cause.at_ms - mark[0]))
        if request.outcome != "denied":
            for rule in rules:
                latest = context.marks.get(_firsts(rule), (-1, ""))[0]
                if is_in(rule.spec.forbid.first, "", request) and cause.at_ms > latest:
                    context.marks[_firsts(rule)] = cause.at_ms, request.operation

    def _issue(self, cause: Cause, rule: Rule, observed: int) -> None:
        row = cause.row
        mode = min(rule.mode, cause.force)
        entry = _find(cause, rule)
        if entry is not None and entry.until_ms > row.clock_ms:
            entry.repeat += 1
            self.tallies["renewed"] += 1
        else:
            place = row.ledger.index(entry) if entry is not None else _room(row, rule, mode)
            if place is None:
                self.tallies["ledger_dropped"] += 1
                return
            kind, subject = subject_of(rule, cause.request)
            entry = Entry(rule.name, kind, subject, 0, 0, rule.spec.action, mode)
            row.ledger[place] = entry
            self.tallies["issued"] += 1
        entry.action, entry.mode = rule.spec.action, mode
        entry.since_ms, entry.until_ms = row.clock_ms, row.clock_ms + rule.duration_ms
        _publish(cause, entry, rule, observed)


def bin_of(at_ms: int, pair: Pair) -> int:
    """The sixteenth of the window that a time lies in."""
    return at_ms * (BINS - 1) // pair.window_ms


def is_in(patterns: tuple[str, ...], effect: str, request: Request) -> bool:
    """Tell whether a call is in a set of operations; no patterns hold all of them."""
    method = request.operation.partition(" ")[0]
    has = request.effect or ("read" if method in READS else "change")
    if effect and effect != has:
        return False
    return not patterns or any(
        model_operation_matches(each, request.operation) for each in patterns
    )


def amount_of(pair: Pair, request: Request, *, is_refused: bool) -> int:
    """What a request adds to a window."""
    if request.kind != "request" or not is_in(pair.operations, pair.effect, request):
        return 0
    if is_refused:
        return request.count if pair.measure == "refused" else 0
    return {
        "requests": request.count,
        "errors": request.count if request.outcome == "failed" else 0,
        "denials": request.count if request.outcome == "denied" else 0,
        "refused": 0,
        "bytes": request.bytes,
        "cost": request.cost,
    }[pair.measure]


def has_demand(rule: Rule) -> bool:
    """Tell whether refused requests count as demand for a limit."""
    return rule.spec.limit.measure == "requests" and rule.spec.action != "observe"


def rules_of(policy: Policy, workload: str) -> list[Rule]:
    """The rules about a workload that are not off."""
    found = "other"
    for group in policy.spec.classes:
        if any(_fits(each, workload) for each in group.workloads):
            found = group.name
            break
    return [
        each
        for each in policy.rules
        if each.mode and (not each.spec.classes or found in each.spec.classes)
    ]


def subject_of(rule: Rule, request: Request) -> tuple[str, Any]:
    """What a command of the rule binds: what the event names, else the workload."""
    token = request.token and TokenRef(request.token.issuer, request.token.id)
    named = {"workload": "", "task": request.task, "token": token, "operation": request.operation}
    subject = named[rule.spec.on]
    return (rule.spec.on, subject) if subject else ("workload", "")


def _fits(pattern: str, workload: str) -> bool:
    return model_workload_matches(pattern, workload)


def _firsts(rule: Rule) -> tuple[str, ...]:
    return tuple(sorted(set(rule.spec.forbid.first)))


def _force(row: Row, change: Change) -> int:
    """How seriously rules are taken: 0 exempt, 1 shadow, 2 enforce."""
    conditions, spec = change.conditions, change.policy.spec
    patterns = [each for group in spec.exemptions for each in group.workloads]
    until = [e.until_ms for e in conditions.exemptions if e.workload == row.workload]
    if any(_fits(each, row.workload) for each in patterns) or max(until, default=0) > row.clock_ms:
        return 0
    return 1 if conditions.stopped_until_ms > row.clock_ms else 2


def _adopt(row: Row, policy: Policy) -> None:
    """Forget what the policy does not name for the workload."""
    pairs: set[Pair] = set()
    firsts = set()
    for rule in rules_of(policy, row.workload):
        if rule.detector == "forbid":
            firsts.add(_firsts(rule))
            continue
        pair = Pair(*rule.pair)
        pairs |= {pair, pair._replace(measure="refused")} if has_demand(rule) else {pair}
    row.windows = {pair: row.windows.get(pair, []) for pair in pairs}
    for context in row.contexts.all():
        context.marks = {key: mark for key, mark in context.marks.items() if key in firsts}


def _count(cause: Cause, *, is_refused: bool) -> bool:
    """Count an event in the windows that still hold its time; tell whether one does not."""
    is_late = False
    for pair, seen in cause.row.windows.items():
        amount, at_bin = amount_of(pair, cause.request, is_refused=is_refused), 0
        at_bin = bin_of(cause.at_ms, pair)
        seen.append((at_bin, amount))
        if amount and at_bin <= bin_of(cause.row.clock_ms, pair) - BINS:
            is_late = True
    return is_late


def _find(cause: Cause, rule: Rule) -> Entry | None:
    key = (rule.name, *subject_of(rule, cause.request))
    for entry in filter(None, cause.row.ledger):
        if (entry.rule, entry.kind, entry.subject) == key:
            return entry
    return None


def _room(row: Row, rule: Rule, mode: int) -> int | None:
    """The first place that is free or ended, else that of the weakest weaker command."""
    strength = {}
    for place, entry in enumerate(row.ledger):
        if entry is None or entry.until_ms <= row.clock_ms:
            return place
        strength[place] = entry.mode, RANK[entry.action]
    weakest = min(strength, key=lambda place: strength[place])
    return weakest if strength[weakest] < (mode, RANK[rule.spec.action]) else None


def _publish(cause: Cause, entry: Entry, rule: Rule, observed: int) -> None:
    """A finding, and a command unless it is only observed or the workload is exempt."""
    request, row, spec = cause.request, cause.row, rule.spec
    is_limit = rule.detector == "limit"
    reason = Reason(
        text="",
        detector=rule.detector,
        measure=rule.pair.measure if is_limit else "span_ms",
        observed=observed,
        expected=rule.at_most if is_limit else rule.within_ms,
        window_ms=rule.pair.window_ms if is_limit else rule.within_ms,
        weights=(Weight(request.operation),),
        controls=spec.controls,
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
        rate=rule.rate,
        repeat=entry.repeat,
    )
    is_seen = entry.action != "observe" and entry.mode > 0
    _conclude(cause, entry, body, is_seen=is_seen)


def _end(cause: Cause, entry: Entry, demand: int) -> None:
    """A release of what was published for an entry."""
    row = cause.row
    before = row.held.get((entry.rule, entry.kind, entry.subject))
    if before is None:
        cause.ordinals[0] += 1
        return
    reason = msgspec.structs.replace(before.body.reason, observed=demand, weights=())
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
    version = Version(0, cause.line.offset, cause.ordinals[0])
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
    held, mine = Held(version, body), (entry.rule, entry.kind, entry.subject)
    row.held = {key: each for key, each in row.held.items() if each.body.until_ms > row.clock_ms}
    row.held[mine] = held
    if len(row.held) > HELD_MAX:
        del row.held[min(row.held.keys() - {mine}, key=lambda key: _worth(row.held[key]))]
    together = [each for key, each in row.held.items() if key[1:] == mine[1:]]
    record = tuple(sorted(together, key=lambda each: each.version))
    cause.outcomes.append(Outcome(finding, held, record))


def _worth(held: Held) -> tuple[bool, bool, int, Version]:
    """What is dropped first of too much: releases, then shadows, then the weaker, the older."""
    action, mode = held.body.action, held.body.mode
    return action != "release", mode == "enforce", RANK.get(action, 0), held.version


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
    return Held(command.version, msgspec.structs.replace(command.body, reason=reason))
