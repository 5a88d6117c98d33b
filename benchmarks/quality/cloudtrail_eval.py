"""CloudTrail, streamed: benign first, then attack techniques, by what a workload does alone.

    python -m benchmarks.quality.cloudtrail_eval [--data FOLDER] [--json]

Only workload, operation, effect, outcome and time are used: no user agent, session, address or
region (regions of the recorded attacks are invented, and would give them away). Benign events come
first, in order of time, then attacks; each event is scored before anything is learned of it. What
a workload did without a pause of IDLE_MS is a stretch; a stretch is learned when it ends, unless
its evidence passed the threshold. So early benign stretches are scored by almost nothing, as they
would be on the first day of an installation.

Evidence of an event is the largest of sequence, errors, denials, loops and fallback, and it is in
force for its identity and hour. Beside it, in the same run: first-seen API, which cries at each
operation that the estate has not seen. Both are shown at all thresholds; `at_a_tenth` is the one at
which benign events cause at most a tenth of the alarms of first-seen API.

Prints {"figures", "curve", "decided": what decided each detection, "missed"}.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.quality import indented, main_of
from benchmarks.quality.cloudtrail import read
from stream.baselines import table_of
from stream.detectors import (
    BIT,
    DENIAL,
    ERROR,
    FALLBACK,
    FALLBACK_PARTS,
    FIRST_PART,
    LOOP_PARTS,
    LOOPS,
    SEQUENCE,
    SEQUENCE_PARTS,
    SHARE_PARTS,
    SHARES,
    USUAL_LOOPS,
    USUAL_ORDER,
    BenignTask,
    end_stretch,
    fallback_bits,
    follow_fallback,
    follow_loops,
    follow_order,
    follow_usual,
    learn_loops,
    learn_sequences,
    learn_shares,
    repeated_bits,
    usual_in,
)
from stream.events import Request
from stream.identity import parent_path
from stream.kernel import HashKey

IDLE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
PARTS: Final = ("first use", "sequence", "errors", "denials", "loops", "fallback")
THRESHOLDS: Final = (3, 4, 5, 6, 7, 8, 9, 10, 12, 15)
KEY: Final = HashKey(b"cloudtrail-eval.")
EFFECTS: Final = {"read": 0, "change": 1}
OUTCOMES: Final = {"served": 0, "failed": 1, "denied": 2, "refused": 3}
PLACES: Final = 9  # of levels of loops


class Event(NamedTuple):
    """What is used of an event, and its label."""

    at_ms: int
    workload: str
    group: Any
    operation: Any
    effect: int
    outcome: int
    name: str
    run: str  # the technique, or "" for benign events


class Stretch:
    """What a workload does without a pause, and what detectors keep of it."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.events: list[Event] = []
        self.most = 0
        self.sequence, self.loops = np.zeros(1, SEQUENCE), np.zeros(1, LOOPS)
        self.fallback, self.shares = np.zeros(1, FALLBACK), np.zeros(2, SHARES)

    def score(self, event: Event, facts: Any) -> dict[str, int]:
        """Return the evidence of an event by detector, in 1/1024 bit."""
        self.events.append(event)
        parts = np.zeros(SEQUENCE_PARTS, np.int64)
        where, usual = (self.group, facts), usual_in(self.group, facts)
        order = follow_order(self.sequence[0], event[3:5], where, usual[USUAL_ORDER], parts)
        found = {"sequence": order}
        found["first use"] = int(parts[FIRST_PART])
        of_shares = np.zeros(SHARE_PARTS, np.int64)
        for name, which, outcome in (("errors", ERROR, 1), ("denials", DENIAL, 2)):
            call = int(event.outcome == outcome), 1
            found[name] = follow_usual(self.shares[which], call, usual[which], of_shares)
        follow_loops(self.loops[0], event.operation, int(event.outcome in (1, 2)))
        how, of_loops = int(usual[USUAL_LOOPS, 0]), np.zeros(LOOP_PARTS, np.int64)
        found["loops"] = repeated_bits(self.loops[0], how, where, of_loops)
        denied = np.uint64(follow_fallback(self.fallback[0], event[3:6]))
        of_fallback = np.zeros(FALLBACK_PARTS, np.int64)
        found["fallback"] = 0
        if denied:
            found["fallback"] = fallback_bits(denied, event.operation, *where, of_fallback)
        self.most = max(self.most, *found.values())
        return found


class Learned:
    """The facts of all stretches that ended and were not suspicious."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.facts = table_of(learn_sequences([]))

    def add(self, stretch: Stretch) -> None:
        """Learn one more. Of loops each stretch is a task."""
        self.stretches.append(stretch)
        groups = np.array([each.group for each in self.stretches], np.uint64)
        sizes = np.array([len(each.events) for each in self.stretches])
        failed = [
            [sum(event.outcome == kind for event in each.events) for kind in (1, 2)]
            for each in self.stretches
        ]
        levels = np.zeros((len(groups), PLACES), np.uint8)
        for row, each in zip(levels, self.stretches, strict=True):
            end_stretch(each.loops.copy()[0], row)
        tasks = [
            BenignTask(int(each.group), [(int(one.operation), one.effect) for one in each.events])
            for each in self.stretches
        ]
        facts = [
            learn_sequences(tasks),
            learn_shares(groups, sizes, np.array(failed)),
            learn_loops(groups, levels),
        ]
        self.facts = table_of(np.concatenate(facts))


class Alarm(NamedTuple):
    """One event's evidence, and which detector gave most of it."""

    event: Event
    bits: float
    part: str
    parts: dict[str, float]


def stream(events: list[Event], threshold: float) -> list[Alarm]:
    """Score events one after another; learn what stays below a threshold."""
    learned, open_now = Learned(), dict[str, Stretch]()
    found = []
    for event in events:
        for name, stretch in list(open_now.items()):
            if event.at_ms - stretch.events[-1].at_ms > IDLE_MS or event.at_ms < (
                stretch.events[-1].at_ms
            ):
                del open_now[name]
                if stretch.most < threshold * BIT:
                    learned.add(stretch)
        stretch = open_now.setdefault(event.workload, Stretch(event.group))
        parts = {name: bits / BIT for name, bits in stretch.score(event, learned.facts).items()}
        most = max(parts, key=lambda each: parts[each])
        found.append(Alarm(event, parts[most], most, parts))
    return found


def first_seen(events: list[Event]) -> list[Event]:
    """Return the events that call an operation for the first time."""
    seen: set[int] = set()
    return [each for each in events if each.operation not in seen and not seen.add(each.operation)]


def summary(alarms: list[Event], events: list[Event]) -> dict[str, Any]:
    """Return what alarms are worth: runs found, benign events and identity-hours that cried."""
    hours = {(each.workload, each.at_ms // HOUR_MS) for each in events if not each.run}
    false = [each for each in alarms if not each.run]
    cried = {(each.workload, each.at_ms // HOUR_MS) for each in false}
    return {
        "runs_found": len({each.run for each in alarms if each.run}),
        "runs": len({each.run for each in events if each.run}),
        "benign_alarms": len(false),
        "benign_events": sum(not each.run for each in events),
        "benign_identity_hours_alarmed": len(cried),
        "benign_identity_hours": len(hours),
    }


def events_below(folder: Path) -> list[Event]:
    """Return the events below a data folder: benign ones first, both in order of time."""
    found = read(folder)
    made = []
    for each in found.events:
        label = found.labels[each.id]
        run = label.technique if label.mal else ""
        made.append(_event(each, run))
    return sorted(made, key=lambda each: (bool(each.run), each.at_ms))


def _event(request: Request, run: str) -> Event:
    operation, group = KEY.hash_all((request.operation, parent_path(request.workload)))
    return Event(
        request.at_ms,
        request.workload,
        np.uint64(group),
        np.uint64(operation),
        EFFECTS[request.effect or "change"],
        OUTCOMES[request.outcome],
        request.operation,
        run,
    )


def measure(events: list[Event]) -> dict[str, Any]:
    """Return figures, the curve, and what decided."""
    naive = summary(first_seen(events), events)
    curve: dict[int, dict[str, Any]] = {}
    at_a_tenth: int | None = None
    decided: dict[str, str] = {}
    for threshold in THRESHOLDS:
        scored = stream(events, threshold)
        alarms = [each for each in scored if each.bits >= threshold]
        curve[threshold] = summary([each.event for each in alarms], events)
        by_part: dict[str, set[str]] = defaultdict(set)
        for each in scored:
            for part, bits in each.parts.items():
                if bits >= threshold and each.event.run:
                    by_part[part].add(each.event.run)
        curve[threshold]["runs_by_part"] = {part: len(by_part[part]) for part in PARTS}
        if at_a_tenth is None and 10 * curve[threshold]["benign_alarms"] <= naive["benign_alarms"]:
            at_a_tenth = threshold
            for each in alarms:
                words = f"{each.part} {each.bits:.1f} bits at {each.event.name}"
                decided.setdefault(each.event.run or f"benign {each.event.workload}", words)
    ours = curve[at_a_tenth] if at_a_tenth is not None else {"runs_found": 0, "benign_alarms": 0}
    every = {each.run for each in events if each.run}
    figures = {
        "cloudtrail_runs_found": _figure(ours["runs_found"], naive["runs_found"]),
        "cloudtrail_benign_alarms": {
            "value": ours["benign_alarms"],
            "target": naive["benign_alarms"] / 10,
            "met": 10 * ours["benign_alarms"] <= naive["benign_alarms"],
        },
        "cloudtrail_alarms_an_identity_hour": {
            "value": _an_hour(ours["benign_alarms"], naive),
            "target": _an_hour(naive["benign_alarms"], naive) / 10,
            "met": 10 * ours["benign_alarms"] <= naive["benign_alarms"],
        },
    }
    return {
        "figures": figures,
        "threshold_bits": at_a_tenth,
        "first_seen_api": naive,
        "curve": curve,
        "decided": decided,
        "missed": sorted(every - decided.keys()),
    }


def _an_hour(alarms: int, naive: dict[str, Any]) -> float:
    """Return alarms by the benign identity-hours that there are."""
    return round(alarms / max(naive["benign_identity_hours"], 1), 3)


def _figure(value: int, target: int) -> dict[str, object]:
    return {"value": value, "target": target, "met": value >= target}


if __name__ == "__main__":
    sys.exit(
        main_of(
            lambda folder: measure(events_below(folder)),
            "Stream the CloudTrail events and score them.",
            indented,
        )
    )
