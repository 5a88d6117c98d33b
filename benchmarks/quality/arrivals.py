"""The budget on real arrivals: web clients, learned from one half of the time, replayed the other.

    python -m benchmarks.quality.arrivals [--data FOLDER] [--json]

Nobody attacks in these data, so whatever alarms is a false alarm. A task is what a client does
without a pause of half an hour, as the product has it; the default budget is 0.5 % of tasks. Prints
{"figures": {name: {"value", "target", "met"}}, "parts": what alarms were of}.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.quality import indented, main_of
from benchmarks.quality.weblogs import read_events
from stream.baselines import IDLE_MS, promote
from stream.cli.score_lines import score_lines
from stream.detectors import JUDGES
from stream.events import Request, encode_request
from stream.kernel import HashKey
from stream.policy import default_policy
from stream.replay import History, Replay, batches

KEY: Final = HashKey(b"no secret at all")
BUDGET_PERCENT: Final = 0.5
MOST: Final = 1.5  # times the budget


def alarmed(learned: Sequence[Request], asked: Sequence[Request]) -> tuple[int, Counter[str]]:
    """Return how many tasks there are, and the part that had most bits in each that alarms."""
    history = History(KEY)
    for part in batches(map(encode_request, learned)):
        history.add(part)
    machine = Replay(default_policy(), KEY, slots_max=20_000)
    machine.expect(promote(history.tasks(), KEY.id, JUDGES, history.names), "benchmark")
    lines: list[dict[str, Any]] = []
    for part in batches(map(encode_request, asked)):
        lines += map(json.loads, score_lines(machine.score(part)[2]))
    last: dict[str, int] = {}
    numbers: Counter[str] = Counter()
    found: dict[tuple[str, int], str] = {}
    for event, line in zip(asked, lines, strict=True):
        who = event.workload
        if who not in last or event.at_ms - last[who] > IDLE_MS:
            numbers[who] += 1
        last[who] = event.at_ms
        if line["alarm"]:
            parts = line.get("parts", {})
            most = max(parts, key=lambda each: parts[each], default="held")
            found.setdefault((who, numbers[who]), most)
    return numbers.total(), Counter(found.values())


def measure(folder: Path) -> dict[str, Any]:
    """Return figures, and what alarms were of."""
    events = sorted(read_events(folder), key=lambda each: each.at_ms)
    first, second = events[: len(events) // 2], events[len(events) // 2 :]
    figures, parts = {}, {}
    for name, learned, asked in (("later", first, second), ("earlier", second, first)):
        tasks, found = alarmed(learned, asked)
        percent = 100 * found.total() / tasks
        figures[f"arrivals_{name}_alarm_percent"] = {
            "value": round(percent, 2),
            "target": BUDGET_PERCENT * MOST,
            "met": percent <= BUDGET_PERCENT * MOST,
        }
        parts[name] = {"tasks": tasks, **found}
    return {"figures": figures, "parts": parts}


if __name__ == "__main__":
    sys.exit(main_of(measure, "Measure false alarms on real arrivals.", indented))
