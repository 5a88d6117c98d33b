"""A policy with its meaning: classes, operation sets, windows, rules; and its arrays for kernels.

`compile_policy` checks what the Structs cannot say (names that must exist, numbers that must
fit); `Policy.bind` places the policy in a layout of rows.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any, Final

import msgspec
import numpy as np

from stream.errors import PolicyError
from stream.events import POLICY_BYTES_MAX, Rate
from stream.identity import (
    Pattern,
    compile_operation_pattern,
    compile_workload_pattern,
)
from stream.profiles import FORBIDS_MAX, MEASURES, SUM_MEASURES, Layout, PairId

from .brake import WINDOW_MS_MAX, WINDOW_MS_MIN, brake_meaning
from .converting import converted_at, span_at
from .hints import choice_hint
from .learned import anomaly_row, check_silence, silence_row
from .rule import ACTION_INDEX, KIND_INDEX, OperationSet, Rule, demand_of, pairs_of, stable_id
from .spec import ForbidSpec, LimitSpec, PolicySpec, RuleSpec
from .tables import (
    ANOMALY,
    CLASS,
    ENFORCE,
    FORBID,
    LIMIT,
    NO_RULE,
    PAIR,
    SHADOW,
    SILENCE_RULE,
    PolicyTables,
)
from .units import AlarmBudget, alarm_budget, quantity, rate

DURATION_MS_MIN: Final = 1_000
DURATION_MS_MAX: Final = 7 * 86_400_000
IDLE_MS_MIN: Final = 25 * 3_600_000
IDLE_MS_MAX: Final = 400 * 86_400_000
SKEW_MS_MAX: Final = 3_600_000
COUNT_AT_MOST_MAX: Final = 4 * 10**9  # less than a bin of the window holds
SUM_AT_MOST_MAX: Final = 4 * 10**17
OPERATION_SETS_MAX: Final = 63
COUNTS_MAX: Final = 24
SUMS_MAX: Final = 8
OTHER_CLASS: Final = "other"
NOBODY_SETTLED_MS: Final = 1 << 62

_encoder = msgspec.json.Encoder(order="deterministic")


class Policy:
    """One compiled policy: immutable, named by the hash of its canonical text."""

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec
        self.text = _encoder.encode(spec).decode()
        self.hash = hashlib.sha256(self.text.encode()).hexdigest()[:16]
        self.number = int(self.hash, 16) or 1
        size = len(self.text.encode())
        if size > POLICY_BYTES_MAX:
            raise PolicyError(
                f"written out the policy has {size} bytes, at most {POLICY_BYTES_MAX} - at $"
            )
        self.idle_ms = span_at(spec.idle, "$.idle", IDLE_MS_MIN, IDLE_MS_MAX)
        self.skew_ms = span_at(spec.skew, "$.skew", 0, SKEW_MS_MAX)
        self.classes = [
            (each.name, _workload_patterns(each.workloads, f"$.classes[{index}].workloads"))
            for index, each in enumerate(spec.classes)
        ]
        self.exemptions = [
            _workload_patterns(each.workloads, f"$.exemptions[{index}].workloads")
            for index, each in enumerate(spec.exemptions)
        ]
        self.operation_sets: list[OperationSet] = []
        self._set_index: dict[tuple[tuple[str, ...], str], int] = {}
        self._patterns: dict[str, Pattern] = {}
        self.rules = [self._rule(each, f"$.rules[{i}]") for i, each in enumerate(spec.rules)]
        _check_names(spec)
        names = [self.class_name(index) for index in range(len(self.classes) + 1)]
        self.brake = brake_meaning(spec, names)
        self.pairs = pairs_of(self.rules)
        self.layout = self._layout()

    def class_of(self, workload: str) -> int:
        """Return the index of the first class with a matching pattern, else of `other`."""
        for index, (_, patterns) in enumerate(self.classes):
            if any(each.matches(workload) for each in patterns):
                return index
        return len(self.classes)

    def class_name(self, index: int) -> str:
        """Return the name of a class by its index."""
        return self.classes[index][0] if index < len(self.classes) else OTHER_CLASS

    @functools.cached_property
    def tiers(self) -> dict[str, int]:
        """Return the index of each class by its name, `other` included."""
        return {self.class_name(index): index for index in range(len(self.classes) + 1)}

    @functools.cached_property
    def braked_tiers(self) -> tuple[int, ...]:
        """Return the classes where a rule on learned evidence may enforce something, by index."""
        if self.brake is None:
            return ()
        rules = [
            rule.spec
            for rule in self.rules
            if rule.spec.anomaly and rule.mode == ENFORCE and rule.spec.action != "observe"
        ]
        return tuple(
            tier
            for name, tier in self.tiers.items()
            if any(not each.classes or name in each.classes for each in rules)
        )

    def is_exempt(self, workload: str) -> bool:
        """Tell whether the policy exempts the workload."""
        return any(each.matches(workload) for group in self.exemptions for each in group)

    def sets_of(self, operation: str, effect: str) -> int:
        """Return the bit mask of the operation sets that a call belongs to."""
        mask = 0
        for index, each in enumerate(self.operation_sets):
            if each.matches(operation, effect):
                mask |= 1 << index
        return mask

    def _rule(self, spec: RuleSpec, path: str) -> Rule:
        span = span_at(spec.duration, f"{path}.for", DURATION_MS_MIN, DURATION_MS_MAX)
        if span > self.idle_ms:
            raise PolicyError(
                f"a command outlives the row (idle: {self.spec.idle}) - at {path}.for"
            )
        kinds = spec.limit, spec.forbid, spec.anomaly or None
        if sum(each is not None for each in kinds) != 1:
            raise PolicyError(
                f"a rule needs exactly one of limit, forbid and anomaly - at {path}",
                hint="add `limit: {measure: requests, at_most: 100, per: 10s}`",
            )
        if (spec.action == "throttle") != (spec.rate is not None):
            raise PolicyError(
                f"a rate belongs to action throttle, and only there - at {path}.rate",
                hint="write `rate: 5/s` beside `action: throttle`",
            )
        if spec.action == "throttle" and spec.on == "token":
            raise PolicyError(f"a token is revoked, not throttled - at {path}.on")
        mode = {"off": 0, "shadow": SHADOW, "enforce": ENFORCE}[spec.mode]
        detector, allowed = "anomaly", AlarmBudget(0)
        numbers: tuple[PairId | None, int, int, int, int] = (None, 0, 0, 0, 0)
        if spec.limit:
            detector, numbers = "limit", self._limit(spec.limit, path)
        elif spec.forbid:
            detector, numbers = "forbid", self._forbid(spec.forbid, path)
        elif spec.anomaly:
            at = f"{path}.anomaly.false_alarms"
            allowed = converted_at(at, alarm_budget, spec.anomaly.false_alarms)
            if spec.anomaly.of == "silence":
                detector = "silence"
                check_silence(spec, allowed, path)
        pair, at_most, within_ms, first, then = numbers
        return Rule(
            spec=spec,
            id=stable_id("rule", spec.name),
            detector=detector,
            mode=mode,
            duration_ms=span,
            rate=self._rate(spec.rate, f"{path}.rate") if spec.rate else None,
            pair=pair,
            at_most=at_most,
            within_ms=within_ms,
            first=first,
            then=then,
            false_alarms_ppm=allowed.ppm,
            false_alarms_each=(allowed.alarms, allowed.per_ms),
        )

    def _rate(self, text: str, path: str) -> Rate:
        estate = converted_at(path, rate, text)
        return Rate(estate.permits, estate.per_ms, self.spec.gateways)

    def _limit(self, spec: LimitSpec, path: str) -> tuple[PairId, int, int, int, int]:
        at = f"{path}.limit"
        window_ms = span_at(spec.per, f"{at}.per", WINDOW_MS_MIN, WINDOW_MS_MAX)
        at_most = converted_at(f"{at}.at_most", quantity, spec.at_most)
        if at_most > (SUM_AT_MOST_MAX if spec.measure in SUM_MEASURES else COUNT_AT_MOST_MAX):
            raise PolicyError(f"{at_most} is more than a window can count - at {at}.at_most")
        patterns = self._operations(spec.operations or (), f"{at}.operations")
        pair = PairId(spec.measure, patterns, spec.effect or "", window_ms)
        self.set_index(pair.operations, pair.effect, f"{at}.operations")
        return pair, at_most, 0, 0, 0

    def _forbid(
        self, spec: ForbidSpec | None, path: str
    ) -> tuple[PairId | None, int, int, int, int]:
        assert spec is not None
        at = f"{path}.forbid"
        within_ms = span_at(spec.within, f"{at}.within", 1, WINDOW_MS_MAX)
        firsts = self._operations(spec.first, f"{at}.first")
        thens = self._operations(spec.then, f"{at}.then")
        first = self.set_index(firsts, "", f"{at}.first")
        then = self.set_index(thens, "", f"{at}.then")
        return None, 0, within_ms, first, then

    def _operations(self, texts: tuple[str, ...], path: str) -> tuple[str, ...]:
        """Return the patterns of a set in the order that names the set, each once, compiled."""
        for place, text in enumerate(texts):
            if text not in self._patterns:
                at = f"{path}[{place}]"
                self._patterns[text] = converted_at(at, compile_operation_pattern, text)
        return tuple(sorted(set(texts)))

    def set_index(self, patterns: tuple[str, ...], effect: str, path: str) -> int:
        """Return the index of an operation set, -1 for all operations; made when new.

        Errors: PolicyError.
        """
        if not patterns and not effect:
            return -1
        key = (patterns, effect)
        if key not in self._set_index:
            if len(self.operation_sets) >= OPERATION_SETS_MAX:
                raise PolicyError(f"more than {OPERATION_SETS_MAX} sets of operations - at {path}")
            compiled = tuple(self._patterns[each] for each in patterns)
            self._set_index[key] = len(self.operation_sets)
            self.operation_sets.append(OperationSet(compiled, effect))
        return self._set_index[key]

    def _layout(self) -> Layout:
        counts = tuple(stable_id(*each) for each in self.pairs if each.measure not in SUM_MEASURES)
        sums = tuple(stable_id(*each) for each in self.pairs if each.measure in SUM_MEASURES)
        forbids = tuple(dict.fromkeys(forbid_id(self, each) for each in self._live("forbid")))
        layout = Layout(counts, sums, forbids)
        if len(counts) > COUNTS_MAX or len(sums) > SUMS_MAX or len(forbids) > FORBIDS_MAX:
            raise PolicyError(
                f"the rules name {len(counts)} windows of counts (at most {COUNTS_MAX}), "
                f"{len(sums)} of bytes and cost ({SUMS_MAX}), {len(forbids)} sequences "
                f"({FORBIDS_MAX}) - at $.rules",
                hint="let rules share measure, operations and span; a limit on requests that "
                "enforces needs a second window for refused ones",
            )
        return layout

    def _live(self, detector: str) -> list[Rule]:
        return [each for each in self.rules if each.mode and each.detector == detector]

    def bind(self, layout: Layout) -> PolicyTables:
        """Return the arrays of this policy for rows of a layout that names all it needs."""
        pairs = np.zeros(len(self.pairs), PAIR)
        for place, pair in enumerate(self.pairs):
            is_sum = pair.measure in SUM_MEASURES
            ids = layout.sums if is_sum else layout.counts
            pairs[place] = (
                pair.window_ms,
                MEASURES.index(pair.measure),
                self.set_index(pair.operations, pair.effect, "$.rules"),
                ids.index(stable_id(*pair)),
                is_sum,
            )
        classes = np.zeros(len(self.classes) + 1, CLASS)
        class_pairs: list[int] = []
        limits: list[tuple[Any, ...]] = []
        forbids: list[tuple[Any, ...]] = []
        anomalies: list[tuple[Any, ...]] = []
        silences: list[tuple[Any, ...]] = []
        for index in range(len(classes)):
            here = [
                (number, rule)
                for number, rule in enumerate(self.rules)
                if rule.mode
                and (not rule.spec.classes or self.class_name(index) in rule.spec.classes)
            ]
            lists = class_pairs, limits, forbids, anomalies, silences
            starts = [len(each) for each in lists]
            wanted = pairs_of([rule for _, rule in here])
            class_pairs += [self.pairs.index(each) for each in wanted]
            limits += [self._limit_row(n, rule) for n, rule in here if rule.pair]
            forbids += [
                self._forbid_row(n, rule, layout) for n, rule in here if rule.detector == "forbid"
            ]
            anomalies += [anomaly_row(n, rule) for n, rule in here if rule.detector == "anomaly"]
            silences += [silence_row(n, rule) for n, rule in here if rule.detector == "silence"]
            ends = [len(each) for each in lists]
            classes[index] = tuple(
                edge for ends_ in zip(starts, ends, strict=True) for edge in ends_
            )
        no_rule = np.zeros(1, LIMIT)
        no_rule["index"] = NO_RULE
        settled_ms = self.brake.settled_ms if self.brake else NOBODY_SETTLED_MS
        is_vouched = self.spec.tasks == "vouched"
        facts = [self.number, is_vouched, self.idle_ms, self.skew_ms, settled_ms]
        return PolicyTables(
            classes=classes,
            class_pairs=np.array(class_pairs, np.int32),
            pairs=pairs,
            limits=np.array(limits, LIMIT),
            forbids=np.array(forbids, FORBID),
            anomalies=np.array(anomalies, ANOMALY),
            silences=np.array(silences, SILENCE_RULE),
            no_rule=no_rule,
            facts=np.array(facts, np.uint64).view(np.int64),
        )

    def _limit_row(self, number: int, rule: Rule) -> tuple[Any, ...]:
        pair = rule.pair
        assert pair is not None
        demand = demand_of(rule)
        return (
            rule.id,
            rule.at_most,
            rule.duration_ms,
            number,
            self.pairs.index(pair),
            self.pairs.index(demand) if demand else -1,
            ACTION_INDEX[rule.spec.action],
            rule.mode,
            KIND_INDEX[rule.spec.on],
            0,
        )

    def _forbid_row(self, number: int, rule: Rule, layout: Layout) -> tuple[Any, ...]:
        return (
            rule.id,
            rule.within_ms,
            rule.duration_ms,
            number,
            layout.forbids.index(forbid_id(self, rule)),
            rule.first,
            rule.then,
            ACTION_INDEX[rule.spec.action],
            rule.mode,
            KIND_INDEX[rule.spec.on],
            0,
        )


def forbid_id(policy: Policy, rule: Rule) -> int:
    """Return the id of what a forbidden sequence marks: its first operations."""
    first = policy.operation_sets[rule.first]
    return stable_id("first", [each.text for each in first.patterns])


def _check_names(spec: PolicySpec) -> None:
    classes = [each.name for each in spec.classes]
    for names, kind in ((classes, "classes"), ([each.name for each in spec.rules], "rules")):
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            at = f"$.{kind}[{index}].name"
            if name in seen:
                hint = f"it is also the name of $.{kind}[{seen[name]}]"
                raise PolicyError(f"`{name}` is there twice - at {at}", hint=hint)
            seen[name] = index
    if OTHER_CLASS in classes:
        raise PolicyError(
            f"`{OTHER_CLASS}` is the class of workloads in no other class "
            f"- at $.classes[{classes.index(OTHER_CLASS)}].name",
            hint="rules may name it without this; or choose another name",
        )
    classes.append(OTHER_CLASS)
    known = set(classes)
    for index, rule in enumerate(spec.rules):
        for place, name in enumerate(rule.classes):
            if name not in known:
                at = f"$.rules[{index}].classes[{place}]"
                hint = choice_hint(name, classes)
                raise PolicyError(f"there is no class `{name}` - at {at}", hint=hint)


def _workload_patterns(texts: tuple[str, ...], path: str) -> tuple[Pattern, ...]:
    return tuple(
        converted_at(f"{path}[{place}]", compile_workload_pattern, text)
        for place, text in enumerate(texts)
    )


def compile_policy(spec: PolicySpec) -> Policy:
    """Return the policy with its meaning.

    Errors: PolicyError `reason - at $.path`.
    """
    return Policy(spec)
