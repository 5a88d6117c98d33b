"""Forbidden sequences against brute force: each call compared with every call before it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events import Request
from tests.models.driver import Driver
from tests.models.logs import T0_MS, log_of, policy_of
from tests.models.sequences import Call, matches

AGENT = "spiffe://td/agents/a"
FIRST, THEN, BOTH, OTHER = "tool:read_mail", "tool:send_mail", "tool:x", "GET /a"
SPANS = {"1ms": 1, "100ms": 100, "1s": 1_000, "1m": 60_000}
RENEWALS = 16
SECOND = 1_000

calls = st.tuples(
    st.sampled_from([0, 0, 1, 2, 99, 100, 101, 999, 1_000, 1_001, 59_000, 61_000]),
    st.sampled_from([FIRST, THEN, BOTH, OTHER]),
    st.sampled_from(["", "", "t1", "t2"]),
    st.sampled_from(["request"] * 8 + ["completion"]),
    st.sampled_from(["served", "served", "failed", "denied"]),
)


def rule(within: str, **fields: Any) -> dict[str, Any]:
    """A rule that only tells."""
    forbid = {"first": [FIRST, BOTH], "then": [THEN, BOTH], "within": within}
    return {"forbid": forbid, "action": "observe", "on": "task", "for": "1s", **fields}


def expected_of(requests: list[Request], within_ms: int) -> list[tuple[int, str]]:
    """When each match is told: the first in a task, then a sixteenth of a second later or more.

    What is told of the whole workload, by an event without a task, is told for each of its tasks
    that has nothing of its own in force.
    """
    seen, runs, told = [], {}, []
    last: dict[str, int] = {}

    def is_live(task: str) -> bool:
        return task in last and clock_ms < last[task] + SECOND

    for each in requests:
        if each.kind == "completion":
            runs[each.task] = runs.get(each.task, 0) + 1
        first, then = each.operation in {FIRST, BOTH}, each.operation in {THEN, BOTH}
        run = runs.get(each.task, 0) if each.task else 0
        is_call = each.kind == "request"
        seen.append(
            Call(each.task, run, each.at_ms, first and is_call, then and is_call, each.outcome)
        )
    clock_ms = 0
    for each, matched in zip(requests, matches(seen, within_ms), strict=True):
        clock_ms = max(clock_ms, each.at_ms)
        subject = "" if is_live("") and not is_live(each.task) else each.task
        since_ms = last.get(subject)
        if matched and (since_ms is None or RENEWALS * (clock_ms - since_ms) >= SECOND):
            told.append((each.at_ms, each.task))
            last[subject] = clock_ms
    return told


@pytest.mark.parametrize("within", SPANS)
@given(drawn=st.lists(calls, max_size=60))
def test_events_in_order_match_as_brute_force_does(within: str, drawn: list[Any]) -> None:
    """Any earlier `first` of the context within the span matches, unless it was denied."""
    at_ms, requests = T0_MS, []
    for gap, operation, task, kind, outcome in drawn:
        at_ms += gap
        requests.append(Request(at_ms, AGENT, operation, kind=kind, outcome=outcome, task=task))
    log = log_of(policy_of(rule(within)), *requests)
    found = [(each.at_ms, each.task) for each in Driver(log).run(log.lines).findings]
    assert found == expected_of(requests, SPANS[within])


late = st.tuples(
    st.sampled_from([-1_500, -1_000, -200, -100, -1, 0, 1, 63, 100, 1_000, 1_500]),
    st.sampled_from([FIRST, THEN, OTHER]),
    st.sampled_from(["served", "served", "denied"]),
)


@given(st.lists(late, max_size=40))
def test_late_events_match_the_latest_first(drawn: list[Any]) -> None:
    """Out of order a match is never invented, and one with the latest `first` never missed."""
    at_ms, requests = T0_MS, []
    for gap, operation, outcome in drawn:
        at_ms = max(0, at_ms + gap)
        requests.append(Request(at_ms, AGENT, operation, outcome=outcome))
    within_ms, latest_ms, clock_ms, last_ms = 1_000, None, 0, None
    expected = []
    for each in requests:
        clock_ms = max(clock_ms, each.at_ms)
        if each.operation == THEN and latest_ms is not None:
            is_near = abs(each.at_ms - latest_ms) <= within_ms
            if is_near and (last_ms is None or RENEWALS * (clock_ms - last_ms) >= SECOND):
                expected.append((each.at_ms, abs(each.at_ms - latest_ms)))
                last_ms = clock_ms
        if each.operation == FIRST and each.outcome != "denied":
            latest_ms = max(latest_ms or 0, each.at_ms)
    log = log_of(policy_of(rule("1s")), *requests)
    found = [(each.at_ms, each.observed) for each in Driver(log).run(log.lines).findings]
    assert found == expected
    brute = expected_of(requests, within_ms)
    assert bool(found) <= bool(brute)


def test_a_refusal_of_ours_is_neither_first_nor_then() -> None:
    """While something is enforced, what we refused begins no sequence and ends none."""
    limit = {
        "limit": {"measure": "requests", "at_most": 0, "per": "1s"},
        "action": "revoke",
        "for": "1h",
        "mode": "enforce",
    }
    events = [
        (OTHER, "served", "t0"),
        (FIRST, "refused", "t1"),
        (THEN, "served", "t1"),
        (FIRST, "served", "t2"),
        (THEN, "refused", "t2"),
        (THEN, "served", "t2"),
    ]
    requests = [
        Request(T0_MS + 100 * place, AGENT, operation, outcome=outcome, task=task)
        for place, (operation, outcome, task) in enumerate(events)
    ]
    log = log_of(policy_of(limit, rule("1m")), *requests)
    findings = Driver(log).run(log.lines).findings
    found = [each.at_ms - T0_MS for each in findings if each.detector == "forbid"]
    assert found == [500]
