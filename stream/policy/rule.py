"""What a policy is made of, with its numbers: sets of operations, rules, the windows they need.

Ids of windows, sequences and rules are hashes of what they mean, never of a place, so that rows
keep across policies whatever both of them name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from stream.events import Rate
from stream.identity import Pattern
from stream.profiles import PairId

from .spec import RuleSpec

ACTION_INDEX: Final = {"observe": 0, "throttle": 1, "hold": 2, "revoke": 3}
KIND_INDEX: Final = {"workload": 0, "task": 1, "token": 2, "operation": 3}

_encoder: Final = msgspec.json.Encoder(order="deterministic")


def stable_id(*parts: object) -> int:
    """Return a 64-bit id of what the parts mean; never 0, the same on every machine."""
    digest = hashlib.blake2b(_encoder.encode(parts), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class OperationSet(NamedTuple):
    """Operations by patterns (none: all) and by effect (empty: either)."""

    patterns: tuple[Pattern, ...]
    effect: str

    def matches(self, operation: str, effect: str) -> bool:
        """Tell whether a call of the operation with this effect belongs to the set."""
        if self.effect and effect != self.effect:
            return False
        return not self.patterns or any(each.matches(operation) for each in self.patterns)


class Rule(NamedTuple):
    """One rule with its numbers; `spec` keeps the words."""

    spec: RuleSpec
    id: int
    detector: str
    mode: int
    duration_ms: int
    rate: Rate | None
    pair: PairId | None
    at_most: int
    within_ms: int
    first: int
    then: int
    false_alarms_ppm: int = 0
    false_alarms_each: tuple[int, int] = (0, 0)  # so many a workload, in so many ms

    @property
    def name(self) -> str:
        """Return the rule's name."""
        return self.spec.name


def demand_of(rule: Rule) -> PairId | None:
    """Return the window of refused requests that a limit needs to see its demand (DESIGN 21)."""
    if rule.pair is None or rule.pair.measure != "requests" or rule.spec.action == "observe":
        return None
    return rule.pair._replace(measure="refused")


def pairs_of(rules: Iterable[Rule]) -> list[PairId]:
    """Return the windows that rules need, each once, in the order of the rules that are on."""
    pairs: dict[PairId, None] = {}
    for rule in rules:
        if rule.mode and rule.pair:
            pairs[rule.pair] = None
            demand = demand_of(rule)
            if demand:
                pairs[demand] = None
    return list(pairs)
