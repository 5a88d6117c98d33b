"""Which part of task novelty contributes what: each part off, each part alone.

    python -m benchmarks.quality --ablation

Models, runs and baselines are those of the set `declared`. Each call's evidence is put together
anew from the parts that the engine wrote, with the engine's own weights; with all parts on that is
the engine's evidence to the last bit, which is checked for each call. How much wandering speaks
for a task was counted with all parts on, and stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.quality import novelty
from benchmarks.quality.figures import rates_of
from stream.detectors import KNOWN, MODES, PART_NAMES
from stream.detectors import novelty as detector
from stream.evaluation import Trial
from stream.events import encode_request
from stream.policy import default_policy
from stream.replay import Replay, batches

WEIGHTS: Final = {
    "operation": detector.W_OPERATION,
    "identifier": detector.W_IDENTIFIER,
    "entity": detector.W_ENTITY,
    "detail": detector.W_DETAIL,
    "found": detector.W_FOUND,
}
FOR_THE_CALL: Final = ("known", "errors", "wander")
EXPOSED: Final = "size of results"
PARTS: Final = (*WEIGHTS, EXPOSED, *FOR_THE_CALL)


class Call(NamedTuple):
    """One call as scored, in 1/1024 bit; `exposed` is what its task had when it was made."""

    parts: Any
    effect: int
    exposed: int
    bits: int


class Run(NamedTuple):
    """One run as scored."""

    calls: list[Call]
    is_attack: bool
    first_mal: int | None


def weighed(call: Call, parts: Sequence[str]) -> int:
    """Return the evidence of a call by some of the parts."""
    of = dict(zip(PART_NAMES, call.parts, strict=True))
    bits = sum(
        weights[call.effect] * of[name] for name, weights in WEIGHTS.items() if name in parts
    )
    bits //= 100
    if "known" in parts:
        bits -= detector.FOR_KNOWN * min(of["known"], 2)
    bits -= sum(of[name] for name in ("errors", "wander") if name in parts)
    return bits + (call.exposed if EXPOSED in parts else 0)


def runs_of(data: novelty.Data) -> list[Run]:
    """Return the runs of all models, each by a baseline of the others."""
    out = []
    for model in sorted({run.model for run in data.runs}):
        learned, asked = novelty.of_others(data, model)
        runs = [data.runs[index] for index in asked]
        out += _scored(novelty.baseline_of(data, learned), runs)
    return out


def _scored(baseline: Any, runs: Sequence[novelty.Run]) -> list[Run]:
    machine = Replay(default_policy(), novelty.KEY, slots_max=novelty.SLOTS)
    machine.expect(baseline, "ablation")
    events = sorted((each for run in runs for each in run.events), key=lambda each: each.at_ms)
    calls: dict[str, list[Call]] = {run.name: [] for run in runs}
    for part in batches(map(encode_request, events)):
        _, _, scores = machine.score(part)
        for position, row in zip(scores.positions.tolist(), scores.rows, strict=True):
            event = events[position]
            if event.kind == "request" and row["ready"]:
                assert MODES[int(row["mode"])] == MODES[KNOWN], "the set declares known purposes"
                effect = int(event.effect == "change")
                bare = Call(row["parts"].tolist(), effect, 0, int(row["bits"]))
                exposed = bare.bits - weighed(bare, PARTS)
                assert 0 <= exposed <= detector.EXPOSED_MAX[KNOWN], (exposed, event.id)
                calls[event.task].append(bare._replace(exposed=exposed))
    return [Run(calls[run.name], run.is_attack, run.first_mal) for run in runs]


def found_by(runs: Sequence[Run], parts: Sequence[str]) -> dict[str, float]:
    """Return percent of attacks found at 1 % and 5 % by some of the parts."""
    trials = []
    for run in runs:
        bits = np.array([weighed(call, parts) for call in run.calls] or [0])
        evidence = (np.maximum.accumulate(np.maximum(bits, 0)) / 1024).tolist()
        trials.append(Trial(evidence, run.is_attack, run.first_mal))
    found: dict[str, float] = rates_of(trials)["found"]
    return found


def measure(data: novelty.Data) -> dict[str, dict[str, Any]]:
    """Return what is found with all parts, with each one off, and by each one alone.

    What speaks for a call is evidence of nothing alone, so it is only taken off.
    """
    runs = runs_of(data)
    return {
        "all": found_by(runs, PARTS),
        "off": {each: found_by(runs, [p for p in PARTS if p != each]) for each in PARTS},
        "alone": {each: found_by(runs, [each]) for each in PARTS if each not in FOR_THE_CALL},
    }


def lines_of(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table as text."""
    rows = [f"{'part':<16} {'off, 1 % / 5 %':>18} {'alone, 1 % / 5 %':>18}"]
    rows.append(f"{'(none: all on)':<16} {_pair(found['all']):>18}")
    for name in PARTS:
        alone = _pair(found["alone"][name]) if name in found["alone"] else "-"
        rows.append(f"{name:<16} {_pair(found['off'][name]):>18} {alone:>18}")
    return rows


def _pair(found: dict[str, float]) -> str:
    return f"{found['1%']:.1f} / {found['5%']:.1f}"
