"""How tasks are left out, so that they are scored as those of workloads to come will be."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from .counting import purpose_numbers

FOLDS: Final = 10


def folds_by_workload(tasks: Any) -> Any:
    """Return the fold of each task: all tasks of a workload in one, as far as others can speak.

    A purpose that one workload alone has would be left out whole, and its tasks be compared with
    nothing that they will be compared with: those are dealt one by one.
    """
    found, workloads = np.unique(tasks["workload"], return_inverse=True)
    purposes = purpose_numbers(tasks)
    pairs = np.unique(np.stack([purposes, workloads.reshape(-1)], axis=1), axis=0)
    is_alone = (np.bincount(pairs[:, 0]) < 2)[purposes] if len(tasks) else np.zeros(0, bool)
    owners = workloads.reshape(-1).copy()
    owners[is_alone] = len(found) + np.arange(int(is_alone.sum()))
    return _dealt(owners)


def folds_by_purpose(tasks: Any) -> Any:
    """Return the fold of each task: all of a purpose in one, as of a purpose that is new."""
    return _dealt(purpose_numbers(tasks))


def _dealt(owners: Any) -> Any:
    """Deal owners into folds, all tasks of one into the same; tasks themselves if it is but one."""
    found, numbers = np.unique(owners, return_inverse=True)
    return (numbers.reshape(-1) if len(found) > 1 else np.arange(len(owners))) % FOLDS
