"""An open row and a policy -> a `Profile`.

Windows are read at a time of the reader's choice, by the rule that kernels slide them by: a ring of
17 bins, of which those that lie before the newest 17 at that time have slid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from stream.events import ACTIONS, SUBJECT_KINDS, Command, Conditions, Subject
from stream.policy import OFF, Policy, Rule, demand_of, forbid_id, spell_duration, stable_id
from stream.profiles import BINS, SUM_MEASURES, PairId

from .image import RowImage
from .profile import (
    Distance,
    InForce,
    Profile,
    SequenceMark,
    TaskContext,
    Transition,
    WindowTotal,
)

RULE_MODES: Final = ("off", "shadow", "enforce")


class _Reader(NamedTuple):
    """What every part of a reading needs.

    Units: `now_ms` is the time of clocks, `read_ms` that of the row, which events may be ahead of.
    """

    image: RowImage
    policy: Policy
    rules: list[Rule]
    names: Mapping[int, str]
    now_ms: int
    read_ms: int

    def operation(self, value: int) -> str:
        """Return the name of an operation, or its hash."""
        return self.names.get(value) or _hex(value)

    def task(self, value: int) -> str:
        """Return the name of a task, or its hash; empty for none."""
        return (self.image.tasks.get(value) or _hex(value)) if value else ""


def read_profile(
    image: RowImage,
    policy: Policy,
    names: Mapping[int, str],
    conditions: Conditions | None,
    now_ms: int,
) -> Profile:
    """Return what a row says.

    `names`: operation hash -> text, as far as known. `conditions`: what is journalled for the
    partition, None where nobody knows. Requires: `image` was opened under `policy`.
    """
    head = image.row["head"]
    class_index = policy.class_of(image.workload)
    class_name = policy.class_name(class_index)
    rules = [
        each
        for each in policy.rules
        if each.mode != OFF and (not each.spec.classes or class_name in each.spec.classes)
    ]
    read_ms = max(now_ms, int(head["clock_ms"]))
    reader = _Reader(image, policy, rules, names, now_ms, read_ms)
    return Profile(
        workload=image.workload,
        class_name=class_name,
        partition=image.partition,
        policy=policy.spec.name,
        policy_hash=policy.hash,
        read_ms=reader.read_ms,
        clock_ms=int(head["clock_ms"]),
        first_ms=int(head["first_ms"]),
        next_offset=int(head["offset"]) + 1,
        events=int(head["events"]),
        late=int(head["late"]),
        contexts_dropped=int(head["contexts_dropped"]),
        transitions_dropped=int(head["transitions_dropped"]),
        notes=tuple(_notes(reader, conditions)),
        in_force=tuple(_in_force(reader)),
        windows=tuple(_windows(reader)),
        sequences=tuple(_sequences(reader)),
        contexts=tuple(_contexts(reader)),
        transitions=tuple(_transitions(reader)),
    )


def total_at(window: Any, clock_ms: int, read_ms: int, span_ms: int) -> int:
    """Return what a window of a row with this clock holds at a later time.

    Shapes: window has `total` and `bins` [bin]. Requires: read_ms >= clock_ms.
    """
    newest = clock_ms * (BINS - 1) // span_ms
    first = max(newest, read_ms * (BINS - 1) // span_ms) - (BINS - 1)
    oldest = newest - (BINS - 1)
    if first <= oldest:
        return int(window["total"])
    bins = window["bins"]
    return sum(int(bins[place % BINS]) for place in range(first, newest + 1))


def _totals(reader: _Reader, pair: PairId) -> tuple[int, int]:
    """Return what a window held at the row's last event, and what it holds at the read time."""
    layout, row = reader.policy.layout, reader.image.row
    is_sum = pair.measure in SUM_MEASURES
    ids = layout.sums if is_sum else layout.counts
    window = row["sums" if is_sum else "counts"][ids.index(stable_id(*pair))]
    clock_ms = int(row["head"]["clock_ms"])
    return int(window["total"]), total_at(window, clock_ms, reader.read_ms, pair.window_ms)


def _windows(reader: _Reader) -> Iterator[WindowTotal]:
    limits: dict[PairId, list[Distance]] = {}
    for rule in reader.rules:
        if rule.pair is not None:
            limits.setdefault(rule.pair, []).append(_distance(reader, rule, rule.pair))
    for pair, distances in limits.items():
        at_last, now = _totals(reader, pair)
        yield WindowTotal(
            measure=pair.measure,
            operations=pair.operations,
            effect=pair.effect,
            span_ms=pair.window_ms,
            at_last=at_last,
            now=now,
            limits=tuple(sorted(distances, key=lambda each: each.at_most)),
        )


def _distance(reader: _Reader, rule: Rule, pair: PairId) -> Distance:
    _, now = _totals(reader, pair)
    refused = demand_of(rule)
    demand = now + (_totals(reader, refused)[1] if refused else 0)
    return Distance(
        rule=rule.name,
        at_most=rule.at_most,
        left=rule.at_most - now,
        percent=now * 100 // rule.at_most if rule.at_most else (100 if now else 0),
        demand=demand,
        action=rule.spec.action,
        on=rule.spec.on,
        mode=RULE_MODES[rule.mode],
    )


def _sequences(reader: _Reader) -> Iterator[SequenceMark]:
    row, layout = reader.image.row, reader.policy.layout
    for rule in reader.rules:
        if rule.spec.forbid is None:
            continue
        place = layout.forbids.index(forbid_id(reader.policy, rule))
        for context, marks in zip(row["contexts"], row["marks"], strict=True):
            mark = marks[place]
            at_ms = int(mark["at_ms"]) - 1
            if at_ms < 0 or at_ms + rule.within_ms < reader.read_ms:
                continue
            yield SequenceMark(
                rule=rule.name,
                task=reader.task(int(context["task"])),
                operation=reader.operation(int(mark["operation"])),
                at_ms=at_ms,
                until_ms=at_ms + rule.within_ms,
                then=rule.spec.forbid.then,
                action=rule.spec.action,
                on=rule.spec.on,
                mode=RULE_MODES[rule.mode],
            )


def _contexts(reader: _Reader) -> Iterator[TaskContext]:
    used = [each for each in reader.image.row["contexts"] if each["events"] or each["task"]]
    for context in sorted(used, key=lambda each: -int(each["used_ms"])):
        yield TaskContext(
            task=reader.task(int(context["task"])),
            granted=bool(context["granted"]),
            events=int(context["events"]),
            used_ms=max(0, int(context["used_ms"]) - 1),
            recent=tuple(reader.operation(int(each)) for each in context["recent"] if each),
        )


def _transitions(reader: _Reader) -> Iterator[Transition]:
    entries = [each for each in reader.image.row["transitions"] if each["count"]]
    for entry in sorted(entries, key=lambda each: -int(each["count"])):
        yield Transition(
            source=reader.operation(int(entry["source"])),
            target=reader.operation(int(entry["target"])),
            count=int(entry["count"]),
            error=int(entry["error"]),
        )


def _in_force(reader: _Reader) -> Iterator[InForce]:
    """Yield what the ledger says is in force at the read time, the strongest first."""
    entries = [
        each for each in reader.image.row["ledger"] if each["rule"] and _is_in_force(reader, each)
    ]
    strength = np.array([int(each["mode"]) * 8 + int(each["action"]) for each in entries], np.int64)
    for place in np.argsort(-strength, kind="stable").tolist():
        entry = entries[place]
        kind = int(entry["kind"])
        command = _command_of(reader, entry)
        body = command.body if command else None
        yield InForce(
            rule=body.rule if body else _rule_name(reader.policy, int(entry["rule"])),
            action=ACTIONS[int(entry["action"])],
            mode=RULE_MODES[int(entry["mode"])],
            on=SUBJECT_KINDS[kind],
            subject=_spelled(body.subject) if body else _known(reader, kind, entry),
            first_ms=int(entry["first_ms"]),
            since_ms=int(entry["since_ms"]),
            ends_ms=command.expires_at_ms if command else int(entry["until_ms"]),
            repeat=int(entry["repeat"]),
            reason=body.reason.text if body else "",
            otherwise=body.reason.otherwise if body else "",
            controls=body.reason.controls if body else (),
            command=command.id if command else "",
        )


def _command_of(reader: _Reader, entry: Any) -> Command | None:
    place = int(entry["rule"]), int(entry["kind"]), int(entry["subject"])
    return reader.image.held.get(place)


def _is_in_force(reader: _Reader, entry: Any) -> bool:
    """Tell whether an entry holds: gateways obey a command by its own end, which is of clocks."""
    command = _command_of(reader, entry)
    if command is not None:
        return command.expires_at_ms > reader.now_ms
    return int(entry["until_ms"]) > reader.read_ms


def _spelled(subject: Subject) -> str:
    """Return what a command binds within its workload, in one text."""
    if subject.token is not None:
        return f"{subject.token.id} of {subject.token.issuer}"
    return subject.task or subject.operation


def _known(reader: _Reader, kind: int, entry: Any) -> str:
    """Return what is known of a subject of which the row has the hash only."""
    value = int(entry["subject"])
    if SUBJECT_KINDS[kind] == "operation":
        return reader.operation(value)
    return reader.task(value)


def _rule_name(policy: Policy, rule_id: int) -> str:
    return next((each.name for each in policy.rules if each.id == rule_id), _hex(rule_id))


def _notes(reader: _Reader, conditions: Conditions | None) -> Iterator[str]:
    """Yield what outranks the rules, or makes the row another one at its next event."""
    image, policy = reader.image, reader.policy
    head, read_ms = image.row["head"], reader.read_ms
    if policy.is_exempt(image.workload):
        yield "the policy exempts this workload: findings are recorded, nothing binds it"
    if int(head["policy"]) not in (0, policy.number):
        yield "its last event was judged under another policy; the windows of both are kept"
    if read_ms - int(head["clock_ms"]) > policy.idle_ms:
        span = spell_duration(policy.idle_ms)
        yield f"silent for longer than {span}: its profile starts anew at its next event"
    if conditions is None:
        return
    if int(head["clock_ms"]) < conditions.forgotten_before_ms:
        yield "idle rows of its age are forgotten: its profile starts anew at its next event"
    if conditions.stopped_until_ms > read_ms:
        yield "enforcement is stopped by an operator: commands are published as shadow"
    tier = policy.class_name(policy.class_of(image.workload))
    if tier in conditions.braked and policy.brake is not None:
        yield f"the brake holds class {tier}: rules on learned evidence enforce nothing new on it"
    for exemption in conditions.exemptions:
        if exemption.workload == image.workload and exemption.until_ms > read_ms:
            yield f"exempt by an operator: {exemption.reason}"
    for lift in conditions.lifts:
        if lift.workload == image.workload and lift.offset > int(head["lift_offset"]):
            yield "what is in force is lifted by an operator, at its next event"


def _hex(value: int) -> str:
    return f"#{value:016x}"
