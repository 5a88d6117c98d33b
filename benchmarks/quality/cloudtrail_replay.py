"""CloudTrail by the product alone: learned from benign events, replayed under the default policy.

    python -m benchmarks.quality.cloudtrail_replay [--data FOLDER] [--json]

`History`, `promote` and `Replay` do all of it, as `enforcer baseline learn` and `enforcer replay`
do; only workload, operation, effect, outcome and time are in the events. Each attack run is
replayed by itself against the baseline of all benign events. Benign events are cut into PIECES by
time, and each piece but the first is replayed against the baseline of those before it: so none is
scored by what was learned from it, and the first hour is one in which nothing is known.

A run is found at a threshold of `evidence_bits` that one of its events reaches. Beside it stands
first-seen API over the same benign pieces. Prints {"figures", "curve", "decided", "missed"}.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.quality import indented, main_of
from benchmarks.quality.cloudtrail import read
from stream.baselines import Baseline, promote
from stream.cli.score_lines import score_lines
from stream.detectors import JUDGES
from stream.events import Request, encode_request
from stream.kernel import HashKey
from stream.policy import default_policy
from stream.replay import History, Replay

KEY: Final = HashKey(b"no secret at all")
PIECES: Final = 5
HOUR_MS: Final = 3_600_000
THRESHOLDS: Final = (0.1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14)


class Seen(NamedTuple):
    """One event as scored."""

    event: Request
    bits: float
    is_alarm: bool
    parts: dict[str, float]


def learned(events: Iterable[Request]) -> Baseline:
    """Return the baseline of benign events."""
    history = History(KEY)
    history.add([encode_request(each) for each in events])
    return promote(history.tasks(), KEY.id, JUDGES, history.names)


def replayed(baseline: Baseline, events: Sequence[Request]) -> list[Seen]:
    """Return events with their evidence."""
    machine = Replay(default_policy(), KEY, slots_max=64)
    machine.expect(baseline, "benchmark")
    _, _, scores = machine.score([encode_request(each) for each in events])
    lines = [json.loads(each) for each in score_lines(scores)]
    return [
        Seen(event, line["evidence_bits"], line["alarm"], line.get("parts", {}))
        for event, line in zip(events, lines, strict=True)
    ]


def bare(event: Request) -> Request:
    """Return an event with nothing in it that a label was derived from."""
    return msgspec.structs.replace(event, token=None, resources=(), bytes=0, task="", purpose="")


def measure(folder: Path) -> dict[str, Any]:
    """Return figures, the curve, what decided, and what was missed."""
    found = read(folder)
    runs: dict[str, list[Request]] = defaultdict(list)
    benign = []
    for event in sorted(map(bare, found.events), key=lambda each: each.at_ms):
        label = found.labels[event.id]
        if label.mal:
            runs[label.technique].append(event)
        else:
            benign.append(event)
    edges = [len(benign) * piece // PIECES for piece in range(PIECES + 1)]
    usual: list[Seen] = []
    for start, end in pairwise(edges[1:]):
        usual += replayed(learned(benign[:start]), benign[start:end])
    made = learned(benign)
    attacks = {name: replayed(made, events) for name, events in runs.items()}
    seen, naive = {each.operation for each in benign[: edges[1]]}, 0
    for event in benign[edges[1] :]:
        naive += event.operation not in seen
        seen.add(event.operation)
    naive_found = sum(any(each.operation not in seen for each in mine) for mine in runs.values())
    curve = {bits: _at(bits, usual, attacks) for bits in THRESHOLDS}
    best = max(
        (each for each in curve.values() if 10 * each["benign_alarms"] <= naive),
        key=lambda each: each["runs_found"],
        default={"runs_found": 0, "benign_alarms": len(usual)},
    )
    figures = {
        "cloudtrail_replay_runs_found": {
            "value": best["runs_found"],
            "target": naive_found,
            "met": best["runs_found"] >= naive_found,
        },
        "cloudtrail_replay_benign_alarms": {
            "value": best["benign_alarms"],
            "target": naive / 10,
            "met": 10 * best["benign_alarms"] <= naive,
        },
    }
    decided = {}
    for name, mine in attacks.items():
        first = max(mine, key=lambda each: each.bits)
        decided[name] = f"{first.bits:.1f} bits at {first.event.operation}: {first.parts}"
    return {
        "figures": figures,
        "first_seen_api": {"runs_found": naive_found, "runs": len(runs), "benign_alarms": naive},
        "curve": curve,
        "decided": decided,
        "missed": sorted(name for name, mine in attacks.items() if not any(s.bits for s in mine)),
    }


def _at(bits: float, usual: Sequence[Seen], attacks: dict[str, list[Seen]]) -> dict[str, int]:
    """Return what is found and what cries at a threshold."""
    false = [each.event for each in usual if each.bits >= bits]
    return {
        "runs_found": sum(any(each.bits >= bits for each in mine) for mine in attacks.values()),
        "benign_alarms": len(false),
        "benign_events": len(usual),
        "benign_identity_hours_alarmed": len({(e.workload, e.at_ms // HOUR_MS) for e in false}),
        "by_alarm": sum(any(each.is_alarm for each in mine) for mine in attacks.values()),
        "benign_by_alarm": sum(each.is_alarm for each in usual),
    }


if __name__ == "__main__":
    sys.exit(main_of(measure, "Replay the CloudTrail events by the product.", indented))
