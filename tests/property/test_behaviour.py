"""Learned evidence through the engine, whatever calls come: cut anywhere it is the same."""

from __future__ import annotations

import json
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.baselines import Baseline
from stream.cli.score_lines import score_lines
from stream.events import Request, encode_request
from stream.policy import default_policy
from stream.replay import Replay
from tests.models.tasks import CLASS, KEY, T0_MS, baseline, history

CALLS = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "t1", "t2"]),
    st.sampled_from(["request"] * 6 + ["grant", "completion"]),
    st.sampled_from(["tool:read_file", "tool:send_money", "tool:new"]),
    st.sampled_from(["served", "served", "failed", "denied", "refused"]),
    st.sampled_from([0, 1_000, 300_000, 3_600_000]),
)


@cache
def made() -> Baseline:
    """What a small estate teaches."""
    return baseline(history(12, agents=3))


def scored(payloads: list[bytes], cut: int) -> tuple[list[object], list[object]]:
    """Lines of evidence and findings of events in pieces of `cut`."""
    machine = Replay(default_policy(), KEY, slots_max=64)
    machine.expect(made(), "v")
    lines, findings = [], []
    for start in range(0, len(payloads), cut):
        result, _, scores = machine.score(payloads[start : start + cut])
        lines += [json.loads(each) for each in score_lines(scores)]
        findings += result.findings
    return lines, findings


@settings(max_examples=25, deadline=None)
@given(st.lists(CALLS, max_size=40), st.integers(1, 9))
def test_batch_boundaries_change_nothing(calls: list[tuple[str, ...]], cut: int) -> None:
    """Evidence, alarms, parts, readiness and findings do not depend on how events are cut."""
    at_ms, payloads = T0_MS, []
    for place, (agent, task, kind, operation, outcome, gap_ms) in enumerate(calls):
        at_ms += int(gap_ms)
        event = Request(
            at_ms=at_ms,
            workload=f"{CLASS}/{agent}",
            operation=operation,
            kind=kind,
            outcome=outcome,
            task=task,
            id=str(place),
        )
        payloads.append(encode_request(event))
    assert scored(payloads, cut) == scored(payloads, 1_000)
