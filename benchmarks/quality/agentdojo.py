"""AgentDojo: what LLM agents did at tasks, with and without injected instructions.

    python -m benchmarks.quality.agentdojo --out events.jsonl.gz --labels labels.jsonl

One run is one task: a grant, a request for each tool call, a completion. A workload is one agent in
one suite, its purpose the user's task. The data have no times but a run's length, so a workload's
runs follow one another in the file's order, GAP_MS apart, and the turns of a run are spread evenly
over its length; calls of one turn were made at once and share a time. Runs in which the attacker's
task was given as the user's own (`injection_as_user`) are left out.

Task and event ids are hashes of the run's id, whose text says whether the run was attacked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Final, Literal

import msgspec

from benchmarks.quality import Labelled, main, read_lines
from stream.events import OPERATION_LENGTH_MAX, Kind, Request
from stream.events.convert import effect_by_verb, resources_of, segment_of

FILE: Final = "agentdojo/dev.jsonl.gz"
TRUST_DOMAIN: Final = "agentdojo.example"
START_MS: Final = 1_717_200_000_000  # 2024-06-01T00:00:00Z
GAP_MS: Final = 60_000
PURPOSE_LENGTH_MAX: Final = 256

# A list was recorded as its JSON text; a long one is cut, and ends in how long it was.
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)

RunKind = Literal["benign", "attack_success", "attack_failed", "injection_as_user"]


class Call(msgspec.Struct, frozen=True):
    """One tool call; `mal` is 1 if it served the injection, `ok` None if no answer was kept."""

    turn: int
    tool: str
    args: dict[str, object]
    result_size: int | None = None
    ok: int | None = None
    mal: int = 0


class Run(msgspec.Struct, frozen=True):
    """One run as recorded; `first_mal` and `exposed_at` are positions in `calls`."""

    sid: str
    suite: str
    pipeline: str
    model: str
    user_task_id: str
    kind: RunKind
    duration_s: float
    calls: list[Call]
    first_mal: int | None = None
    exposed_at: int | None = None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an event: its run, its call (-1 for grant and completion), its guilt."""

    sid: str
    task: str
    model: str
    kind: RunKind
    call: int
    mal: int
    first_mal: int | None
    exposed_at: int | None


def read_runs(folder: Path) -> list[Run]:
    """Return the runs below a data folder in the file's order, without `injection_as_user`."""
    decoder = msgspec.json.Decoder(Run)
    runs = (decoder.decode(line) for line in read_lines(folder / FILE))
    return [run for run in runs if run.kind != "injection_as_user"]


def events_of(runs: Iterable[Run]) -> Labelled[Label]:
    """Return the events of runs in order of time, and a label for each."""
    events: list[Request] = []
    labels: dict[str, Label] = {}
    next_ms: dict[str, int] = defaultdict(lambda: START_MS)
    for run in runs:
        workload = workload_of(run)
        task = task_of(run)
        for call, event in _events_of_run(run, task, next_ms[workload]):
            events.append(event)
            labels[event.id] = Label(
                sid=run.sid,
                task=task,
                model=run.model,
                kind=run.kind,
                call=call,
                mal=run.calls[call].mal if call >= 0 else 0,
                first_mal=run.first_mal,
                exposed_at=run.exposed_at,
            )
        next_ms[workload] = events[-1].at_ms + GAP_MS
    # Stable: what happened at one time stays in the order in which it happened.
    events.sort(key=attrgetter("at_ms"))
    return Labelled(events, labels)


def read(folder: Path) -> Labelled[Label]:
    """Return all events and labels below a data folder."""
    return events_of(read_runs(folder))


def read_events(folder: Path) -> Iterator[Request]:
    """Yield all events below a data folder, in order of time."""
    yield from read(folder).events


def workload_of(run: Run) -> str:
    """Return the workload that made a run; the suite is its class."""
    return f"spiffe://{TRUST_DOMAIN}/{segment_of(run.suite)}/{segment_of(run.pipeline)}"


def task_of(run: Run) -> str:
    """Return the task id of a run, which tells nothing about it."""
    return f"run-{hashlib.blake2b(run.sid.encode(), digest_size=8).hexdigest()}"


def marks_of(found: Labelled[Label]) -> Iterator[dict[str, str]]:
    """Yield what `enforcer evaluate` is told of each run; attacks that failed have no label."""
    marked = set()
    for label in found.labels.values():
        if label.task in marked or label.kind == "attack_failed":
            continue
        marked.add(label.task)
        if label.kind == "benign":
            yield {"task": label.task, "label": "benign"}
        else:
            first = "" if label.first_mal is None else f"{label.task}/{label.first_mal}"
            yield {"task": label.task, "label": "attack", "first": first}


def _events_of_run(run: Run, task: str, start_ms: int) -> Iterator[tuple[int, Request]]:
    """Yield (call, event) for a run: grant, calls, completion; call is -1 for what is none."""
    length_ms = round(run.duration_s * 1000)
    steps = max((call.turn for call in run.calls), default=-1) + 2
    yield -1, _event(run, task, start_ms, "grant")
    for place, call in enumerate(run.calls):
        request = Request(
            at_ms=start_ms + length_ms * (call.turn + 1) // steps,
            workload=workload_of(run),
            operation=f"tool:{call.tool}"[:OPERATION_LENGTH_MAX],
            effect=effect_by_verb(call.tool),
            outcome="served" if call.ok == 1 else "failed",
            bytes=call.result_size or 0,
            purpose=_purpose_of(run),
            task=task,
            resources=resources_of({name: _listed(arg) for name, arg in call.args.items()}),
            id=f"{task}/{place}",
        )
        yield place, request
    yield -1, _event(run, task, start_ms + length_ms, "completion")


def _event(run: Run, task: str, at_ms: int, kind: Kind) -> Request:
    """Return the grant or completion of a run's task."""
    return Request(
        at_ms=at_ms,
        workload=workload_of(run),
        operation=f"task:{kind}",
        kind=kind,
        purpose=_purpose_of(run),
        task=task,
        id=f"{task}/{kind}",
    )


def _purpose_of(run: Run) -> str:
    """Return the declared purpose of a run: the user's task within its suite."""
    return f"{run.suite}/{run.user_task_id}"[:PURPOSE_LENGTH_MAX]


def _listed(argument: object) -> object:
    """Return an argument that was recorded as the text of a list as that list."""
    if not isinstance(argument, str) or not argument.startswith("["):
        return argument
    try:
        return json.loads(argument)
    except (ValueError, RecursionError):
        return [_unquoted(match[0]) for match in _QUOTED.finditer(argument)] or argument


def _unquoted(text: str) -> object:
    """Return a JSON string's value, or what stands between its quotes if it is none."""
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return text[1:-1]


if __name__ == "__main__":
    main(read, "Write the recorded AgentDojo runs as events.", marks_of)
