"""One detector's evidence on one workload: what was observed and what was expected."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rule saw at one event, whether or not a command came of it.

    Units: `at_ms` the event's own time, `clock_ms` the row's clock; `bits` in 1/1024 bit,
    0 where the rule is exact. `action` is what the policy asked for, `mode` how seriously.
    """

    workload: str
    at_ms: int
    clock_ms: int
    operation: str
    rule: str
    detector: str
    action: str
    mode: str
    observed: int
    expected: int
    bits: int = 0
    task: str = ""
    text: str = ""
