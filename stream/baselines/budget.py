"""A budget of false alarms, as a share of tasks: what "one a workload in 30 days" comes to."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from .baseline import Facts

# A shorter history says nothing about how many tasks a day has.
SPAN_MS_MIN: Final = 3_600_000
SHARE_MAX: Final = 0.1
_LEFT_OUT: Final = 0.01


def share_of(facts: Facts, count: int, per_ms: int) -> float:
    """Return the share of tasks that gives each workload so many false alarms in a span.

    As many tasks as the workloads learned from had on the average, which a busy workload exceeds:
    the promise is for the estate. 0 where nothing was learned; at most SHARE_MAX.
    """
    tasks = max(facts.seen, facts.tasks)
    if not tasks or not facts.workloads:
        return 0.0
    span_ms = max(facts.apart_ms or facts.until_ms - facts.from_ms, SPAN_MS_MIN)
    each = tasks / facts.workloads * (per_ms / span_ms)
    return min(count / each, SHARE_MAX)


def apart_ms(ended_ms: Any) -> int:
    """Return how far apart tasks ended, told by all but the first and the last hundredth.

    A clock that is wrong by years makes a task of many years ago, and of a budget for each month
    one for each hour.
    """
    if not len(ended_ms):
        return 0
    first, last = np.quantile(ended_ms, (_LEFT_OUT, 1 - _LEFT_OUT), method="nearest").tolist()
    return int(last - first)
