"""A slow model of the whole step: dicts and lists, each rule as its definition reads.

It knows nothing of hashes, slots, layouts or batches. Texts of reasons are left empty: they are
held by unit tests, word by word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from stream.events import (
    Body,
    Command,
    Conditions,
    Finding,
    Reason,
    Request,
    Subject,
    Version,
    Weight,
)
from stream.identity import canonical_workload, trust_domain
from stream.policy import Policy, Rule

from .contexts import ContextModel, ContextsModel
from .ledger import ENFORCE, EXEMPT, RANK, SHADOW, Entry, LedgerModel
from .meaning import (
    BINS,
    Line,
    Pair,
    amount_of,
    bin_of,
    ends_of,
    firsts_of,
    has_demand,
    has_room,
    is_exempt,
    is_in,
    pair_of,
    pairs_of,
    rules_of,
    subject_of,
)

RELEASE_SHOWN_MS = 60_000
HELD_MAX = 16
MODES = ("exempt", "shadow", "enforce")


class Change(NamedTuple):
    """Conditions that hold in a partition from their `from_offset` on, and their policy."""

    partition: int
    conditions: Conditions
    policy: Policy


class Held(NamedTuple):
    """A command as the record of its subject carries it, and the home that it came from."""

    version: Version
    body: Body
    home: int = 0

    @property
    def cause(self) -> tuple[int, ...]:
        """What orders commands by their causes: a workload's later homes have higher numbers."""
        return self.version.era, self.home, self.version.offset, self.version.ordinal


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
    first_ms: int | None = None
    events: int = 0
    late: int = 0
    policy: str = ""
    offset: int = -1
    lift_offset: int = 0
    windows: dict[Pair, list[tuple[int, int]]] = field(default_factory=dict)
    contexts: ContextsModel = field(default_factory=ContextsModel)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    ledger: LedgerModel = field(default_factory=LedgerModel)
    held: dict[Any, Held] = field(default_factory=dict)

    def total(self, pair: Pair) -> int:
        """What the 17 bins up to the clock's hold."""
        newest = bin_of(self.clock_ms, pair)
        return sum(n for at, n in self.windows.get(pair, []) if at > newest - BINS)


class Cause(NamedTuple):
    """An event with all that was found out about it, and what it came to so far."""

    line: Line
    request: Request
    row: Row
    policy: Policy
    at_ms: int
    force: int
    era: int
    outcomes: list[Outcome]
    ordinals: list[int]


class Enforcer:
    """Applies a log line by line; `tallies` are named as the engine's, `refused` are offsets."""

    def __init__(
        self, changes: tuple[Change, ...], hashed: Callable[[str], int] = lambda text: 0
    ) -> None:
        self.changes, self.hashed = changes, hashed
        self.refused: list[int] = []
        self.rows: dict[str, Row] = {}
        self.tallies: Counter[str] = Counter()

    def apply(self, line: Line) -> list[Outcome]:
        """What follows from one line."""
        request, tallies = line.request, self.tallies
        tallies["events"] += 1
        if not request.authenticated:
            tallies["unauthenticated"] += 1
            return []
        conditions, policy = [
            each[1:]
            for each in self.changes
            if each.partition == line.partition and each.conditions.from_offset <= line.offset
        ][-1]
        name = canonical_workload(request.workload)
        row = self.rows.get(name) or Row(name)
        if line.offset <= row.offset:
            tallies["duplicates"] += 1
            return []
        is_gone = row.first_ms is None or row.clock_ms < conditions.forgotten_before_ms
        if is_gone and not has_room(conditions, self.hashed(trust_domain(name))):
            self.refused.append(line.offset)
            return []
        self.rows[name] = row
        at_ms = min(request.at_ms, line.append_ms + policy.skew_ms)
        tallies["future"] += at_ms < request.at_ms
        if row.first_ms is not None and (
            at_ms - row.clock_ms > policy.idle_ms or row.clock_ms < conditions.forgotten_before_ms
        ):
            tallies["restarted"] += 1
            row = self.rows[name] = Row(name)
        row.offset = line.offset
        if row.policy != policy.hash:
            row.policy = policy.hash
            _adopt(row, policy)
        row.first_ms = at_ms if row.first_ms is None else row.first_ms
        row.clock_ms = max(row.clock_ms, at_ms)
        until = [e.until_ms for e in conditions.exemptions if e.workload == name]
        force = SHADOW if conditions.stopped_until_ms > row.clock_ms else ENFORCE
        if is_exempt(policy, name) or max(until, default=0) > row.clock_ms:
            force = EXEMPT
        cause = Cause(line, request, row, policy, at_ms, force, conditions.era, [], [0])
        lifts = [each.offset for each in conditions.lifts if each.workload == name]
        if lifts and max(lifts) > row.lift_offset:
            row.lift_offset = max(lifts)
            for entry in row.ledger.entries():
                if entry.until_ms > row.clock_ms:
                    _end(cause, entry, 0)
        self._apply(cause)
        return cause.outcomes

    def _apply(self, cause: Cause) -> None:
        request, row, policy, tallies = cause.request, cause.row, cause.policy, self.tallies
        is_vouched, before = policy.spec.tasks == "vouched", row.contexts.dropped
        context = row.contexts.of(request.kind, request.task, row.clock_ms, is_vouched=is_vouched)
        tallies["contexts_dropped"] += row.contexts.dropped - before
        # A refusal is believed while something is enforced, and for a grace after it ended.
        refuses, is_refused = row.ledger.purge(row.clock_ms), request.outcome == "refused"
        tallies["refused"] += is_refused
        tallies["refused_disbelieved"] += is_refused and not refuses
        is_refused = is_refused and refuses
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

    def _judge(self, cause: Cause, rule: Rule, *, is_refused: bool) -> None:
        """Release under 80 %, renew after half while demand is over, issue at what contributes.

        What is less serious than it would be now is renewed at once.
        """
        row, pair = cause.row, pair_of(rule)
        observed = demand = row.total(pair)
        if has_demand(rule):
            demand += row.total(pair._replace(measure="refused"))
        for entry in row.ledger.entries():
            is_token = (entry.action, entry.kind) == ("revoke", "token")
            is_live = entry.rule == rule.name and entry.until_ms > row.clock_ms
            if is_live and 100 * demand < 80 * rule.at_most and not is_token:
                _end(cause, entry, demand)
                self.tallies["released"] += 1
        known = row.ledger.find((rule.name, *subject_of(rule, cause.request)))
        if known is not None and known.until_ms > row.clock_ms:
            is_half_over = 2 * (row.clock_ms - known.since_ms) >= known.until_ms - known.since_ms
            is_weaker = known.mode < min(rule.mode, cause.force)
            if demand <= rule.at_most or not (is_half_over or is_weaker):
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
            mark = context.marks.get(firsts_of(rule))
            if mark is None or abs(cause.at_ms - mark[0]) > rule.within_ms:
                continue
            if not is_in(ends_of(rule)[1], "", request):
                continue
            entry = row.ledger.find((rule.name, *subject_of(rule, request)))
            if entry is not None and entry.until_ms > row.clock_ms:
                span_ms = entry.until_ms - entry.since_ms
                is_weaker = entry.mode < min(rule.mode, cause.force)
                if 16 * (row.clock_ms - entry.since_ms) < span_ms and not is_weaker:
                    continue
            self._issue(cause, rule, abs(cause.at_ms - mark[0]))
        if request.outcome != "denied":
            for rule in rules:
                latest = context.marks.get(firsts_of(rule), (-1, ""))[0]
                if is_in(ends_of(rule)[0], "", request) and cause.at_ms > latest:
                    context.marks[firsts_of(rule)] = cause.at_ms, request.operation

    def _issue(self, cause: Cause, rule: Rule, observed: int) -> None:
        row = cause.row
        kind, subject = subject_of(rule, cause.request)
        mode, until_ms = min(rule.mode, cause.force), row.clock_ms + rule.duration_ms
        entry = Entry(rule.name, kind, subject, rule.spec.action, mode, row.clock_ms, until_ms)
        what = row.ledger.put(entry)
        self.tallies[{"issue": "issued", "renew": "renewed", "": "ledger_dropped"}[what]] += 1
        if what:
            _publish(cause, entry, rule, observed)


def _adopt(row: Row, policy: Policy) -> None:
    """Forget what the policy does not name for the workload."""
    pairs, rules = pairs_of(policy, row.workload), rules_of(policy, row.workload)
    firsts = {firsts_of(each) for each in rules if each.detector == "forbid"}
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


def _publish(cause: Cause, entry: Entry, rule: Rule, observed: int) -> None:
    """A finding, and a command unless it is only observed or the workload is exempt."""
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
    """A release of what was published for an entry, which ends now."""
    row = cause.row
    entry.until_ms = row.clock_ms
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


def _worth(held: Held) -> tuple[bool, bool, int, tuple[int, ...]]:
    """What is dropped first of too much: releases, then shadows, then the weaker, the older."""
    action, mode = held.body.action, held.body.mode
    return action != "release", mode == "enforce", RANK.get(action, 0), held.cause


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
