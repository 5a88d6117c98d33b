"""Task novelty over ended tasks: for hygiene and thresholds, by the kernel of the loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.baselines import Baseline, Tasks, packed, whole
from stream.kernel import routine
from stream.profiles import LEARNED, clear_learned

from .modes import mode_of
from .novelty import score_call


@routine
def _score_all(tasks: Any, calls: Any, of: Any, view: Any, owns: Any, out: Any) -> None:
    """Score tasks one after another. Mutates: out = (bits, modes, one record)."""
    bits, modes, records = out
    state = records[0]
    for number in range(len(tasks)):
        clear_learned(state)
        state["group"] = tasks[number]["group"]
        state["purpose"] = tasks[number]["purpose"]
        state["own"] = owns[number]
        state["mode"] = mode_of(view, state)
        first = whole(tasks[number]["calls_from"])
        for index in range(first, first + tasks[number]["calls_count"]):
            score_call(calls[index], whole(calls[index]["effect"]), of, view, state)
        bits[number] = state["bits_max"]
        modes[number] = state["mode"]


def score_tasks(baseline: Baseline, tasks: Tasks, owns: Any) -> tuple[Any, Any]:
    """Return the most evidence of each task in 1/1024 bit, and the mode it was compared in.

    Shapes: owns [task], 1 where the baseline learned from the task.
    """
    ours = packed(tasks)
    bits, modes = np.zeros(len(ours.tasks), np.int64), np.zeros(len(ours.tasks), np.int64)
    record = np.zeros(1, LEARNED)
    _score_all(
        ours.tasks,
        ours.calls,
        (ours.values, ours.tokens),
        baseline.view(),
        np.asarray(owns, np.int64),
        (bits, modes, record),
    )
    return bits, modes
