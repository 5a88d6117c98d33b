"""Whose events teach: those of workloads that proved who they are, and only what they called."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from stream.events import Request, encode_request
from stream.replay import History
from tests.models.tasks import CLASS, KEY, T0_MS, call, content, history, pay_bill, task

EVENTS = history()
HOUR_MS = 3_600_000


def told(events: Sequence[Request], cut: int = 1_000) -> History:
    """What reads events, in the order of time."""
    reader = History(KEY)
    payloads = [encode_request(each) for each in sorted(events, key=lambda each: each.at_ms)]
    for start in range(0, len(payloads), cut):
        reader.add(payloads[start : start + cut])
    return reader


def forged(event: Request, **fields: object) -> Request:
    """An event whose sender did not prove who it is."""
    return msgspec.structs.replace(event, authenticated=False, **fields)


@pytest.mark.parametrize("cut", [7, 1_000])
def test_failed_authentications_teach_nothing(cut: int) -> None:
    """However many, of whomever, for whatever: tasks, names and rates are as without them."""
    flood = [
        forged(each, workload=f"{CLASS}/forged-{number}", operation=f"tool:forged-{number}")
        for number in range(200)
        for each in task(f"f{number}", "x", "pay-bill", pay_bill(1), EVENTS[3 * number % 90].at_ms)
    ]
    known, honest = told([*EVENTS, *flood], cut), told(EVENTS)
    assert content(known.tasks()) == content(honest.tasks())
    assert (known.ended, known.names) == (honest.ended, honest.names)
    assert set(known._rates._places) == set(honest._rates._places)
    assert (known.events, known.unauthenticated) == (len(EVENTS) + len(flood), len(flood))


def test_nobody_ends_or_names_the_task_of_another() -> None:
    """A forged completion cuts no task in two, a forged call or purpose is not in it."""
    honest = list(task("t", "a", "", pay_bill(1)))
    middle = honest[1].at_ms + 1
    more = [
        forged(honest[-1], at_ms=middle),
        forged(honest[0], at_ms=honest[0].at_ms - 1, purpose="theft"),
        forged(honest[2], at_ms=middle + 1, operation="tool:steal"),
    ]
    assert content(told([*honest, *more]).tasks()) == content(told(honest).tasks())
    assert len(told(honest).tasks().tasks) == 1


def test_what_made_no_call_is_no_task() -> None:
    """Neither what was granted only, nor refused only, nor the end of what was over long ago."""
    grants = [each for each in EVENTS if each.kind == "grant"]
    assert not len(told(grants).tasks().tasks)
    idle = [each for each in EVENTS if each.kind != "request"]
    assert not len(told(idle).tasks().tasks)
    refused = [
        msgspec.structs.replace(each, outcome="refused") if each.kind == "request" else each
        for each in EVENTS
    ]
    known = told(refused)
    assert (len(known.tasks().tasks), known.ended) == (0, 0)
    late = [
        msgspec.structs.replace(each, at_ms=each.at_ms + HOUR_MS)
        if each.kind == "completion"
        else each
        for each in EVENTS
    ]
    known = told(late)
    assert content(known.tasks()) == content(told(EVENTS).tasks())
    assert known.ended == 48


def test_a_grant_says_what_calls_are_for() -> None:
    """Where only the grant names the purpose; it begins the run, so its day is the task's."""
    first, *calls, last = task("t", "a", "pay-bill", pay_bill(1))
    bare = [msgspec.structs.replace(each, purpose="") for each in calls]
    (one,) = told([first, *bare, last]).tasks().tasks
    (same,) = told([first, *calls, last]).tasks().tasks
    assert one["purpose"] == same["purpose"] == KEY.hash("pay-bill")
    assert one["run_ms"] == T0_MS


def test_a_task_of_denied_calls_only_does_nothing() -> None:
    """It is a task, since it was denied, and supports nothing that others do."""
    ask = {**call("open_vault", "path:vault", effect="read"), "outcome": "denied"}
    (one,) = told(list(task("t", "a", "pay-bill", [ask]))).tasks().tasks
    assert one["calls_count"] == 1
