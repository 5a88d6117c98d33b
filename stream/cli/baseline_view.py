"""What a baseline was learned from, as values that are shown or printed as JSON."""

from __future__ import annotations

from typing import Any, Final

from stream.baselines import BIT, Baseline, sureness, threshold_of
from stream.detectors import MODES

SHARES: Final = (0.05, 0.01, 0.005, 0.001)


def name_of(made: Baseline, hashed: Any) -> str:
    """Return what a hash stands for, or the hash where that is not kept."""
    key = f"{int(hashed):016x}"
    return made.facts.names.get(key, key)


def summary_of(made: Baseline, version: str) -> dict[str, Any]:
    """Return what a baseline was learned from, and where its thresholds are."""
    facts = made.facts
    return {
        "version": version,
        "hash_key": facts.key_id,
        "tasks": facts.tasks,
        "tasks_seen": facts.seen,
        "set_aside": facts.aside,
        "workloads": facts.workloads,
        "entries": len(made.listed),
        "classes": {name_of(made, each["group"]): int(each["purposes"]) for each in made.groups},
        "thresholds": [
            dict(zip(("mode", "share", "bits", "between", "tasks"), row, strict=True))
            for row in tails_of(made)
        ],
    }


def tails_of(made: Baseline) -> list[tuple[Any, ...]]:
    """Return for each mode and share of false alarms the threshold, and how sure it is."""
    rows = []
    for mode, tail in zip(MODES, made.facts.tails, strict=False):
        for share in SHARES if tail.tasks else ():
            low, high = sureness(tail, share)
            rows.append(
                (
                    mode,
                    f"{share:.1%}",
                    round(threshold_of(tail, share) / BIT, 2),
                    f"{low:.2%} to {high:.2%}",
                    tail.tasks,
                )
            )
    return rows
