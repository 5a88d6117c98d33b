"""A slow model of the whole step: dicts and lists, each rule as its definition reads.

It knows nothing of hashes, slots, layouts or batches. Texts of reasons are left empty: they are
held by unit tests, word by word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from stream.enforcement import DEFAULT_PPM, Expectation
from stream.identity import canonical_workload, trust_domain
from stream.policy import Policy, Rule

from .cause import Cause, Change, Newly, Outcome, Row
from .commands import end, publish
from .contexts import ContextModel
from .learned import Weighed, allowed_by, rarity_allowed, seen_as
from .ledger import ENFORCE, EXEMPT, SHADOW, Entry
from .meaning import (
    BINS,
    Line,
    amount_of,
    bin_of,
    class_of,
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


class Enforcer:
    """Applies a log line by line; `tallies` are named as the engine's, `refused` are offsets.

    `enforced` is what a brake counts.
    """

    def __init__(
        self,
        changes: tuple[Change, ...],
        hashed: Callable[[str], int] = lambda text: 0,
        baselines: Mapping[str, Expectation] | None = None,
    ) -> None:
        self.changes, self.hashed = changes, hashed
        self.baselines = baselines or {}
        self.refused: list[int] = []
        self.enforced: list[Newly] = []
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
        is_tick = request.kind == "tick"
        if is_gone and not is_tick and not has_room(conditions, self.hashed(trust_domain(name))):
            self.refused.append(line.offset)
            return []
        at_ms = min(request.at_ms, line.append_ms + policy.skew_ms)
        if is_tick and (is_gone or at_ms - row.clock_ms > policy.idle_ms):
            return []
        tallies["future"] += at_ms < request.at_ms
        self.rows[name] = row
        if row.first_ms is not None and (
            at_ms - row.clock_ms > policy.idle_ms or row.clock_ms < conditions.forgotten_before_ms
        ):
            tallies["restarted"] += 1
            row = self.rows[name] = Row(name)
        row.offset = line.offset
        if row.policy != policy.hash:
            row.policy = policy.hash
            _adopt(row, policy)
        if not is_tick:
            row.first_ms = at_ms if row.first_ms is None else row.first_ms
            row.clock_ms = max(row.clock_ms, at_ms)
        until = [e.until_ms for e in conditions.exemptions if e.workload == name]
        force = SHADOW if conditions.stopped_until_ms > row.clock_ms else ENFORCE
        if is_exempt(policy, name) or max(until, default=0) > row.clock_ms:
            force = EXEMPT
        under = conditions.baseline_version
        expected = None if conditions.shed else self.baselines.get(under)
        versions = under, expected, conditions.braked
        cause = Cause(line, request, row, policy, at_ms, force, conditions.era, [], [0], *versions)
        lifts = [each.offset for each in conditions.lifts if each.workload == name]
        if lifts and max(lifts) > row.lift_offset:
            row.lift_offset = max(lifts)
            for entry in row.ledger.entries():
                if entry.until_ms > row.clock_ms:
                    end(cause, entry, 0)
        if is_tick:
            # Nobody has a past of a week here, so nobody is missed.
            tallies["ticks"] += 1
        else:
            self._apply(cause)
        return cause.outcomes

    def _apply(self, cause: Cause) -> None:
        request, row, policy, tallies = cause.request, cause.row, cause.policy, self.tallies
        ended = row.contexts.find(request.task) if request.kind == "completion" else None
        is_vouched, before = policy.spec.tasks == "vouched", row.contexts.dropped
        context = row.contexts.of(request.kind, request.task, row.clock_ms, is_vouched=is_vouched)
        tallies["contexts_dropped"] += row.contexts.dropped - before
        cause = cause._replace(task=context.task)
        # A refusal is believed while something is enforced, and for a grace after it ended.
        refuses, is_refused = row.ledger.purge(row.clock_ms), request.outcome == "refused"
        tallies["refused"] += is_refused
        tallies["refused_disbelieved"] += is_refused and not refuses
        is_refused = is_refused and refuses
        if _count(cause, is_refused=is_refused):
            row.late += 1
            tallies["late"] += 1
        is_call = request.kind == "request" and not is_refused
        if request.kind == "request":
            self._judge_exactly(cause, context, is_refused=is_refused)
        else:
            tallies[f"{request.kind}s"] += 1
        if cause.expected is not None:
            # The end of a task is seen in its context, which then is no more.
            self._compare(cause, cause.expected, ended or context, is_call=is_call)

    def _judge_exactly(self, cause: Cause, context: ContextModel, *, is_refused: bool) -> None:
        """All that limits and sequences have to say of a request."""
        request, row = cause.request, cause.row
        row.events += 1
        self.tallies["requests"] += request.count
        rules = rules_of(cause.policy, row.workload)
        for rule in rules:
            if rule.detector == "limit":
                self._judge(cause, rule, is_refused=is_refused)
        if not is_refused:
            self._match(cause, [each for each in rules if each.detector == "forbid"], context)
            if context.recent:
                row.transitions[context.recent[0], request.operation] += 1
            context.remember(request.operation, row.clock_ms)

    def _compare(
        self, cause: Cause, expected: Expectation, context: ContextModel, *, is_call: bool
    ) -> None:
        """More evidence than a rule's budget allows; renewed as a sequence is."""
        request, row, learned = cause.request, cause.row, context.learned
        change = is_in((), "change", request)
        seen = seen_as(expected, cause.line.value, is_call=is_call, is_change=change)
        learned.declare(expected, (row.workload, context.task), row.clock_ms, request)
        ppm = self._budget_of(cause)
        bits, mode, weights = learned.score(expected, seen) if is_call else (0, None, ())
        at = row.workload, row.clock_ms, row.events
        rarity, parts = row.habits.follow(expected, seen, at, learned)
        if ppm:
            is_first = is_call and learned.calls == 1
            self.tallies["contexts_compared"] += is_first
            self.tallies["alarms_allowed_ppm"] += ppm * is_first
            self.tallies["contexts_alarmed"] += learned.alarms(expected, ppm, rarity)
        if not is_call:
            return
        for rule in rules_of(cause.policy, row.workload):
            if rule.detector != "anomaly" or not rule.spec.anomaly:
                continue
            observed, weighed = rarity, Weighed(rarity_allowed(rule), parts)
            if rule.spec.anomaly.of == "task-novelty":
                if mode is None:
                    continue
                allowed = allowed_by(expected, rule.false_alarms_ppm, mode)
                observed, weighed = bits, Weighed(allowed, weights)
            mine = cause
            if self._is_braked(cause, rule):
                mine = cause._replace(force=SHADOW)
                weighed = weighed._replace(braked=True)
            if observed > weighed.allowed and not self._is_recent(mine, rule):
                is_newly = _enforces(mine, rule) and not _is_held(cause)
                if self._issue(mine, rule, observed, weighed) and is_newly and _is_settled(cause):
                    tier = class_of(cause.policy, row.workload)
                    self.enforced.append(
                        Newly(cause.line.append_ms, cause.line.offset, tier, cause.policy)
                    )

    def _budget_of(self, cause: Cause) -> int:
        """The false alarms that its first rule on learned evidence allows, in a million."""
        rules = [
            each
            for each in rules_of(cause.policy, cause.row.workload)
            if each.detector == "anomaly"
        ]
        return rules[0].false_alarms_ppm if rules else DEFAULT_PPM

    def _is_braked(self, cause: Cause, rule: Rule) -> bool:
        """A rule would newly enforce something where the brake holds."""
        row, policy = cause.row, cause.policy
        is_held = class_of(policy, row.workload) in cause.braked and policy.spec.brake != "off"
        if not _enforces(cause, rule) or not is_held:
            return False
        entry = row.ledger.bound_by(_entry(cause, rule))
        goes_on = entry is not None and entry.until_ms > row.clock_ms and entry.mode == ENFORCE
        return not goes_on

    def _is_recent(self, cause: Cause, rule: Rule) -> bool:
        """What is in force and not renewed yet, unless it would be more serious now."""
        row = cause.row
        entry = row.ledger.bound_by(_entry(cause, rule))
        if entry is None or entry.until_ms <= row.clock_ms:
            return False
        span_ms = entry.until_ms - entry.since_ms
        is_weaker = entry.mode < min(rule.mode, cause.force)
        return 16 * (row.clock_ms - entry.since_ms) < span_ms and not is_weaker

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
                end(cause, entry, demand, rule)
                self.tallies["released"] += 1
        known = row.ledger.bound_by(_entry(cause, rule))
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
        request = cause.request
        for rule in rules:
            mark = context.marks.get(firsts_of(rule))
            if mark is None or abs(cause.at_ms - mark[0]) > rule.within_ms:
                continue
            if not is_in(ends_of(rule)[1], "", request):
                continue
            if self._is_recent(cause, rule):
                continue
            self._issue(cause, rule, abs(cause.at_ms - mark[0]))
        if request.outcome != "denied":
            for rule in rules:
                latest = context.marks.get(firsts_of(rule), (-1, ""))[0]
                if is_in(ends_of(rule)[0], "", request) and cause.at_ms > latest:
                    context.marks[firsts_of(rule)] = cause.at_ms, request.operation

    def _issue(
        self, cause: Cause, rule: Rule, observed: int, learned: Weighed | None = None
    ) -> bool:
        ledger, entry = cause.row.ledger, _entry(cause, rule)
        what = ledger.put(entry)
        self.tallies[{"issue": "issued", "renew": "renewed", "": "ledger_dropped"}[what]] += 1
        if what or ledger.says_dropped:
            publish(cause, entry, rule, observed, learned, is_in_force=bool(what))
        return bool(what)


def _entry(cause: Cause, rule: Rule) -> Entry:
    """What a rule would put in force now, if there is room for just that."""
    clock_ms, mode = cause.row.clock_ms, min(rule.mode, cause.force)
    kind, subject = subject_of(rule, cause.request, cause.task)
    until_ms = clock_ms + rule.duration_ms
    return Entry(rule.name, kind, subject, rule.spec.action, mode, clock_ms, until_ms)


def _enforces(cause: Cause, rule: Rule) -> bool:
    """A rule would do something to the workload."""
    return rule.spec.action != "observe" and min(rule.mode, cause.force) == ENFORCE


def _is_held(cause: Cause) -> bool:
    """A rule on learned evidence does something to the workload now."""
    row = cause.row
    mine = {
        each.name for each in rules_of(cause.policy, row.workload) if each.detector == "anomaly"
    }
    return any(
        each.rule in mine
        and (each.mode, each.until_ms > row.clock_ms) == (ENFORCE, True)
        and each.action != "observe"
        for each in row.ledger.entries()
    )


def _is_settled(cause: Cause) -> bool:
    """The workload has been there for so long that it counts."""
    row, brake = cause.row, cause.policy.brake
    age_ms = row.clock_ms - (row.clock_ms if row.first_ms is None else row.first_ms)
    return brake is not None and age_ms >= brake.settled_ms


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
