"""A compiled policy as arrays: what kernels take as `policy`.

Indices here are places in one `Layout`; `compiled.Policy.bind` makes these arrays for a layout.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

NO_RULE: Final = -1

OFF, SHADOW, ENFORCE = range(3)
NOVELTY, BEHAVIOUR = range(2)  # what a rule on learned evidence is about

PAIR: Final = np.dtype(
    [
        ("window_ms", np.int64),
        ("measure", np.int32),
        ("operations", np.int32),  # index of the operation set, -1 for all
        ("place", np.int32),
        ("is_sum", np.int32),
    ],
    align=True,
)
LIMIT: Final = np.dtype(
    [
        ("rule", np.uint64),
        ("at_most", np.int64),
        ("duration_ms", np.int64),
        ("index", np.int32),  # of the rule in the policy
        ("pair", np.int32),
        ("demand", np.int32),  # pair of refused requests, -1 where refusals carry no measure
        ("action", np.int16),
        ("mode", np.int16),
        ("kind", np.int16),  # what the command binds: index into SUBJECT_KINDS
        ("spare", np.int16),
    ],
    align=True,
)
FORBID: Final = np.dtype(
    [
        ("rule", np.uint64),
        ("within_ms", np.int64),
        ("duration_ms", np.int64),
        ("index", np.int32),
        ("place", np.int32),  # of the marks
        ("first", np.int32),  # operation sets
        ("then", np.int32),
        ("action", np.int16),
        ("mode", np.int16),
        ("kind", np.int16),
        ("spare", np.int16),
    ],
    align=True,
)
ANOMALY: Final = np.dtype(
    [
        ("rule", np.uint64),
        ("duration_ms", np.int64),
        ("index", np.int32),
        ("action", np.int16),
        ("mode", np.int16),
        ("kind", np.int16),
        ("of", np.int16),  # NOVELTY or BEHAVIOUR
    ],
    align=True,
)
SILENCE_RULE: Final = np.dtype(
    [
        ("rule", np.uint64),
        ("duration_ms", np.int64),
        ("alarms", np.int64),  # allowed in error, of a workload,
        ("per_ms", np.int64),  # within so long
        ("index", np.int32),
        ("action", np.int16),
        ("mode", np.int16),
        ("kind", np.int16),
        ("spare", np.int16),
    ],
    align=True,
)
CLASS: Final = np.dtype(
    [
        ("pairs_start", np.int32),
        ("pairs_end", np.int32),
        ("limits_start", np.int32),
        ("limits_end", np.int32),
        ("forbids_start", np.int32),
        ("forbids_end", np.int32),
        ("anomalies_start", np.int32),
        ("anomalies_end", np.int32),
        ("silences_start", np.int32),
        ("silences_end", np.int32),
    ],
    align=True,
)


class PolicyTables(NamedTuple):
    """The arrays of one policy.

    Shapes: classes [class] of CLASS: ranges into `class_pairs` [n] (indices of pairs),
    `limits` [n] of LIMIT, `forbids` [n] of FORBID, `anomalies` [n] of ANOMALY and `silences` [n] of
    SILENCE_RULE, which lie class by class;
    pairs [pair] of PAIR; no_rule [1] of LIMIT, index NO_RULE;
    facts [policy hash as int64 bits, tasks vouched, idle_max_ms, skew_ms, settled_ms].
    """

    classes: Any
    class_pairs: Any
    pairs: Any
    limits: Any
    forbids: Any
    anomalies: Any
    silences: Any
    no_rule: Any
    facts: Any


POLICY_HASH, TASKS_VOUCHED, IDLE_MAX_MS, SKEW_MS, SETTLED_MS = range(5)
