"""Figures of detection on tasks: how many attacks pass a threshold that so many benign tasks pass.

What a trial, a threshold and a delay is, `stream.evaluation` says; here they are made percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from stream.evaluation import PERCENT, Trial, early_of, roc_of

RATES: Final = (1.0, 5.0)


def rates_of(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return percent of attacks found at each rate of false positives, and of those found early."""
    points = {each.percent: round(100 * each.found, 1) for each in roc_of(trials)}
    return {
        "found": {f"{rate:g}%": points[rate] for rate in RATES},
        "early": {f"{rate:g}%": round(100 * early_of(trials, rate), 1) for rate in RATES},
        "benign": sum(not each.is_attack for each in trials),
        "attacks": sum(each.is_attack for each in trials),
        "roc": {f"{percent:g}%": points[percent] for percent in PERCENT},
    }


def figure(value: float, target: float | None = None) -> dict[str, Any]:
    """A figure that must not be below its target, if it has one."""
    return {"value": value, "target": target, "met": target is None or value >= target}


def at_most(value: float, target: float) -> dict[str, Any]:
    """A figure that must not be above its target."""
    return {"value": value, "target": target, "met": value <= target}
