"""AgentDojo by how calls are made alone: order, first use, loops, errors, fallback; no values.

    python -m benchmarks.quality.agentdojo_habits [--data FOLDER] [--json]

For each model, facts are learned from the benign runs of the others, by suite, and its own runs are
scored by them. A run is flagged where the most of a part passes a threshold that lets 1 % or 5 % of
all benign runs pass; figures are the share of successful attacks that are. This is an ablation:
purposes and values, which find nine of ten, are another detector's. It also shows what benign
runs repeat, beside what loops.py asserts.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.quality import indented, main_of
from benchmarks.quality.agentdojo import read
from stream.baselines import table_of
from stream.detectors import (
    BIT,
    CONTEXT_HABITS,
    CONTEXT_NAMES,
    CONTEXT_PARTS,
    DETAILS,
    ERROR,
    SHARE_PARTS,
    SHARES,
    BenignTask,
    end_stretch,
    follow_context,
    follow_loops,
    follow_usual,
    learn_loops,
    learn_sequences,
    learn_shares,
    usual_in,
)
from stream.detectors.loops import LEVELS, LOOPS, PLACES
from stream.kernel import HashKey, mix64
from stream.profiles import EVENT

KEY: Final = HashKey(b"agentdojo-habits")
OUTCOMES: Final = {"served": 0, "failed": 1, "denied": 2}
NAMES: Final = (*CONTEXT_NAMES, "error_share")
RATES: Final = (0.01, 0.05)


class Run(NamedTuple):
    """A run: its class, who made it, what it was, and its calls.

    Shapes: events [call] of EVENT; values [call] of uint64.
    """

    group: Any
    model: str
    kind: str
    events: Any
    values: Any


def runs_below(folder: Path) -> list[Run]:
    """Return the runs below a data folder that have calls."""
    found = read(folder)
    tasks = defaultdict(list)
    for event in found.events:
        if event.kind == "request":
            tasks[event.task].append(event)
    made = []
    for requests in tasks.values():
        label = found.labels[requests[0].id]
        events = np.zeros(len(requests), EVENT)
        events["operation"] = KEY.hash_all([each.operation for each in requests])
        events["effect"] = [each.effect == "change" for each in requests]
        events["outcome"] = [OUTCOMES[each.outcome] for each in requests]
        events["count"] = 1
        values = KEY.hash_all(["\n".join(sorted(each.resources)) for each in requests])
        group = np.uint64(KEY.hash(requests[0].purpose.partition("/")[0]))
        made.append(Run(group, label.model, label.kind, events, np.array(values, np.uint64)))
    return made


def levels_of(runs: Iterable[Run]) -> Any:
    """Return how far each run's loops came. Shapes: [run, place]."""
    rows = []
    for run in runs:
        state, row = np.zeros(1, LOOPS), np.zeros(PLACES, np.uint8)
        for event, value in zip(run.events, run.values, strict=True):
            symbol = np.uint64(mix64(event["operation"], value) | 1)
            follow_loops(state[0], symbol, int(event["outcome"] != 0))
        end_stretch(state[0], row)
        rows.append(row)
    return np.array(rows)


def learn(runs: list[Run]) -> Any:
    """Return the facts of benign runs."""
    groups = np.array([run.group for run in runs], np.uint64)
    failed = [[int((run.events["outcome"] == 1).sum()), 0] for run in runs]
    tasks = [
        BenignTask(int(run.group), run.events[["operation", "effect"]].tolist()) for run in runs
    ]
    return table_of(
        np.concatenate(
            [
                learn_sequences(tasks),
                learn_loops(groups, levels_of(runs)),
                learn_shares(groups, np.array([len(run.events) for run in runs]), np.array(failed)),
            ]
        )
    )


def most_of(run: Run, facts: Any) -> list[int]:
    """Return the most evidence of each part in a run, in 1/1024 bit."""
    state, shares = np.zeros(1, CONTEXT_HABITS), np.zeros(1, SHARES)
    bits, details = np.zeros(CONTEXT_PARTS, np.int64), np.zeros((CONTEXT_PARTS, DETAILS), np.int64)
    parts = np.zeros(SHARE_PARTS, np.int64)
    most, usual = np.zeros(len(NAMES), np.int64), usual_in(run.group, facts)
    for event, value in zip(run.events, run.values, strict=True):
        known = run.group, facts, value, usual
        follow_context(state[0], event, int(event["effect"]), known, (bits, details))
        call = int(event["outcome"] == 1), 1
        error = follow_usual(shares[0], call, usual[ERROR], parts)
        most = np.maximum(most, [*bits, error])
    return most.tolist()


def measure(runs: list[Run]) -> dict[str, Any]:
    """Return shares of attacks found by part, and what benign runs repeat."""
    benign, attacks = [], []
    for model in sorted({run.model for run in runs}):
        others = [run for run in runs if run.model != model and run.kind == "benign"]
        facts = learn(others)
        for run in runs:
            if run.model == model and run.kind == "benign":
                benign.append(most_of(run, facts))
            elif run.model == model and run.kind == "attack_success":
                attacks.append(most_of(run, facts))
    usual, found = np.array(benign), np.array(attacks)
    parts = {}
    for place, name in enumerate(NAMES):
        parts[name] = _found(usual[:, place], found[:, place])
    parts["maximum"] = _found(usual.max(axis=1), found.max(axis=1))
    levels = levels_of(run for run in runs if run.kind == "benign")
    repeated = {
        LEVELS[level]: {
            "retries": round(float((levels[:, 0] > level).mean()), 4),
            "any_period": round(float((levels[:, 1:].max(axis=1) > level).mean()), 4),
        }
        for level in range(6)
    }
    return {"runs": [len(usual), len(found)], "found": parts, "benign_repeats": repeated}


def _found(usual: Any, found: Any) -> dict[str, float]:
    """Return the share of attacks over the threshold that so many benign runs pass, in percent."""
    out = {}
    for rate in RATES:
        threshold = np.sort(usual)[::-1][int(rate * len(usual))]
        out[f"at_{rate:.0%}"] = round(100 * float((found > threshold).mean()), 1)
        out[f"bits_{rate:.0%}"] = round(int(threshold) / BIT, 1)
    return out


if __name__ == "__main__":
    sys.exit(
        main_of(
            lambda folder: measure(runs_below(folder)),
            "Score AgentDojo runs by how calls are made.",
            indented,
        )
    )
