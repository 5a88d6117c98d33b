"""What rules mean, slow and literal: whom they are about, what they count, what they bind."""

from __future__ import annotations

from typing import Any, NamedTuple

from stream.events import Conditions, Request, TokenRef, decode_request
from stream.policy import Policy, Rule

from .pattern import model_operation_matches, model_workload_matches

BINS = 17
READS = ("GET", "HEAD", "OPTIONS", "TRACE")


class Line(NamedTuple):
    """One record of a log."""

    partition: int
    offset: int
    append_ms: int
    value: bytes

    @property
    def request(self) -> Request:
        """What the record says."""
        return decode_request(self.value)


class Pair(NamedTuple):
    """What a window counts."""

    measure: str
    operations: tuple[str, ...]
    effect: str
    window_ms: int


def has_room(conditions: Conditions, domain: int) -> bool:
    """Tell whether a trust domain, by its hash, may have another workload."""
    full, text = conditions.full, f"{domain:016x}"
    if not full:
        return True
    return text not in full.domains and (full.known is None or text in full.known)


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
    limit = rule.spec.limit
    return limit is not None and limit.measure == "requests" and rule.spec.action != "observe"


def class_of(policy: Policy, workload: str) -> str:
    """The first class that has a workload, `other` where none does."""
    for group in policy.spec.classes:
        if any(model_workload_matches(each, workload) for each in group.workloads):
            return group.name
    return "other"


def rules_of(policy: Policy, workload: str) -> list[Rule]:
    """The rules about a workload that are not off."""
    found = class_of(policy, workload)
    return [
        each
        for each in policy.rules
        if each.mode and (not each.spec.classes or found in each.spec.classes)
    ]


def pairs_of(policy: Policy, workload: str) -> set[Pair]:
    """The windows that a policy names for a workload."""
    pairs: set[Pair] = set()
    for rule in rules_of(policy, workload):
        if rule.detector == "limit":
            pair = pair_of(rule)
            pairs |= {pair, pair._replace(measure="refused")} if has_demand(rule) else {pair}
    return pairs


def pair_of(rule: Rule) -> Pair:
    """The window that a limit counts in."""
    assert rule.pair is not None
    return Pair(*rule.pair)


def ends_of(rule: Rule) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a forbidden sequence begins with, and what it must not end with."""
    assert rule.spec.forbid is not None
    return rule.spec.forbid.first, rule.spec.forbid.then


def firsts_of(rule: Rule) -> tuple[str, ...]:
    """What a forbidden sequence marks: sequences with the same firsts share a mark."""
    return tuple(sorted(set(ends_of(rule)[0])))


def subject_of(rule: Rule, request: Request, task: str) -> tuple[str, Any]:
    """What a command of the rule binds: what the event names, else the workload.

    `task`: whose context the event is in, empty for the workload's own: who is judged as the
    workload is bound as the workload.
    """
    token = request.token and TokenRef(request.token.issuer, request.token.id)
    named = {"workload": "", "task": task, "token": token, "operation": request.operation}
    subject = named[rule.spec.on]
    return (rule.spec.on, subject) if subject else ("workload", "")


def is_exempt(policy: Policy, workload: str) -> bool:
    """Tell whether the policy exempts a workload."""
    patterns = [each for group in policy.spec.exemptions for each in group.workloads]
    return any(model_workload_matches(each, workload) for each in patterns)


def bin_of(at_ms: int, pair: Pair) -> int:
    """The sixteenth of the window that a time lies in."""
    return at_ms * (BINS - 1) // pair.window_ms
