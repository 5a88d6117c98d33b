"""Rules as data: the policy file, its meaning, and the arrays that kernels take."""

from .compiled import Policy, Rule, compile_policy, stable_id
from .spec import PolicySpec, RuleSpec
from .tables import (
    ENFORCE,
    IDLE_MAX_MS,
    NO_RULE,
    OFF,
    POLICY_HASH,
    SHADOW,
    SKEW_MS,
    TASKS_VOUCHED,
    PolicyTables,
)
from .units import duration_ms, spell_duration

__all__ = [
    "ENFORCE",
    "IDLE_MAX_MS",
    "NO_RULE",
    "OFF",
    "POLICY_HASH",
    "SHADOW",
    "SKEW_MS",
    "TASKS_VOUCHED",
    "Policy",
    "PolicySpec",
    "PolicyTables",
    "Rule",
    "RuleSpec",
    "compile_policy",
    "duration_ms",
    "spell_duration",
    "stable_id",
]
