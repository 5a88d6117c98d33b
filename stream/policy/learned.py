"""Rules on learned evidence: what they may ask for, and their rows for kernels."""

from __future__ import annotations

from typing import Any

from stream.errors import PolicyError

from .rule import ACTION_INDEX, KIND_INDEX, Rule
from .spec import RuleSpec
from .tables import BEHAVIOUR, NOVELTY
from .units import AlarmBudget


def anomaly_row(number: int, rule: Rule) -> tuple[Any, ...]:
    """Return a rule on what calls show as a row of ANOMALY."""
    action, kind = ACTION_INDEX[rule.spec.action], KIND_INDEX[rule.spec.on]
    assert rule.spec.anomaly
    of = BEHAVIOUR if rule.spec.anomaly.of == "behaviour" else NOVELTY
    return rule.id, rule.duration_ms, number, action, rule.mode, kind, of


def silence_row(number: int, rule: Rule) -> tuple[Any, ...]:
    """Return a rule on missing calls as a row of SILENCE_RULE."""
    action, kind = ACTION_INDEX[rule.spec.action], KIND_INDEX[rule.spec.on]
    return rule.id, rule.duration_ms, *rule.false_alarms_each, number, action, rule.mode, kind, 0


def check_silence(spec: RuleSpec, allowed: AlarmBudget, path: str) -> None:
    """See that a rule of silence asks for what can be done about it. Errors: PolicyError."""
    if spec.on != "workload":
        raise PolicyError(
            f"a workload that makes no call can be bound only as a whole - at {path}.on",
            hint="write `on: workload`, or leave it out",
        )
    if not allowed.alarms:
        raise PolicyError(
            f"a silence belongs to no task - at {path}.anomaly.false_alarms",
            hint="write `false_alarms: 1 per workload per 365 days`",
        )
