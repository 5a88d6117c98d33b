"""Rules as data: the policy file, its meaning, and the arrays that kernels take."""

from .compiled import (
    ACTION_INDEX,
    KIND_INDEX,
    OPERATION_SETS_MAX,
    OTHER_CLASS,
    Policy,
    compile_policy,
    forbid_id,
)
from .document import Document, read_document
from .lint import Remark, lint_policy
from .rule import OperationSet, Rule, demand_of, stable_id
from .settings import default_policy, default_policy_text, load_settings
from .spec import AnomalySpec, ClassSpec, ExemptionSpec, ForbidSpec, LimitSpec, PolicySpec, RuleSpec
from .tables import (
    ANOMALY,
    CLASS,
    ENFORCE,
    FORBID,
    IDLE_MAX_MS,
    LIMIT,
    NO_RULE,
    OFF,
    PAIR,
    POLICY_HASH,
    SHADOW,
    SKEW_MS,
    TASKS_VOUCHED,
    PolicyTables,
)
from .text import load_policy, read_policy
from .units import AlarmBudget, alarm_budget, duration_ms, quantity, rate, spell_duration

__all__ = [
    "ACTION_INDEX",
    "ANOMALY",
    "CLASS",
    "ENFORCE",
    "FORBID",
    "IDLE_MAX_MS",
    "KIND_INDEX",
    "LIMIT",
    "NO_RULE",
    "OFF",
    "OPERATION_SETS_MAX",
    "OTHER_CLASS",
    "PAIR",
    "POLICY_HASH",
    "SHADOW",
    "SKEW_MS",
    "TASKS_VOUCHED",
    "AlarmBudget",
    "AnomalySpec",
    "ClassSpec",
    "Document",
    "ExemptionSpec",
    "ForbidSpec",
    "LimitSpec",
    "OperationSet",
    "Policy",
    "PolicySpec",
    "PolicyTables",
    "Remark",
    "Rule",
    "RuleSpec",
    "alarm_budget",
    "compile_policy",
    "default_policy",
    "default_policy_text",
    "demand_of",
    "duration_ms",
    "forbid_id",
    "lint_policy",
    "load_policy",
    "load_settings",
    "quantity",
    "rate",
    "read_document",
    "read_policy",
    "spell_duration",
    "stable_id",
]
