"""Alarms are counted live as scores say them, a context once: that is what a budget is held by."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.detectors import CONTEXT_PARTS
from stream.enforcement import SCORE
from stream.events import decode_request, encode_request
from tests.models.tasks import BILLS, T0_MS, pay_bill, task
from tests.property.test_learned import LOOK, POLICY, STEAL, Held, story, told


def counted(scores: list[bytes], payloads: list[bytes]) -> tuple[int, int]:
    """How many tasks of a story had a call that was compared, and how many of these alarmed.

    Requires: every event names a task, and no two tasks of an agent have the same name.
    """
    calls: Counter[tuple[str, str]] = Counter()
    alarms: Counter[tuple[str, str]] = Counter()
    rows = np.frombuffer(b"".join(scores), SCORE)
    for payload, row in zip(payloads, rows, strict=True):
        request = decode_request(payload)
        calls[request.workload, request.task] += int(row["is_call"])
        alarms[request.workload, request.task] += int(row["alarm"])
    compared = {each for each, count in calls.items() if count}
    return len(compared), len({each for each in compared if alarms[each]})


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 30))
def test_contexts_are_counted_as_their_scores_say(seed: int) -> None:
    """Whatever made a task alarm at whatever event of it, it is one that alarmed, and once."""
    payloads = [each for each in story(seed, (400_000,)) if decode_request(each).task]
    _, scores, _, tallies = told(payloads, [Held(0, "one", "")], None)
    if not tallies["contexts_dropped"]:
        said = tallies["contexts_compared"], tallies["contexts_alarmed"]
        assert said == counted(scores, payloads)


def denied_reads(agents: str, purpose: str) -> list[bytes]:
    """Six tasks of one agent, each of two reads that its target denies."""
    looks = [{**LOOK, "resources": (f"path:{name}",)} for name in BILLS]
    events = [
        msgspec.structs.replace(each, workload=f"spiffe://bank.example/{agents}/a")
        for k in range(6)
        for each in task(
            f"k{k}", "a", purpose, looks[2 * k : 2 * k + 2], T0_MS + 10**9 + k * 60_000
        )
    ]
    return [encode_request(each) for each in events]


def test_what_its_workload_shows_is_an_alarm_of_a_context() -> None:
    """A share of denials that no one task shows: rules fire on it, scores say it, so it counts."""
    payloads = denied_reads("agents", "pay-bill")
    bodies, scores, _, tallies = told(payloads, [Held(0, "one", "")], None)
    rows = np.frombuffer(b"".join(scores), SCORE)
    assert not rows["habits"][:, :CONTEXT_PARTS].any(), "no context shows anything by itself"
    assert any(b'"rule":"unusual"' in each for each in bodies)
    assert counted(scores, payloads) == (6, 3)
    assert (tallies["contexts_compared"], tallies["contexts_alarmed"]) == (6, 3)


def test_where_novelty_knows_nothing_contexts_are_counted() -> None:
    """In a class that nobody learned habits are judged, so contexts are compared and may alarm."""
    payloads = denied_reads("strangers", "other")
    _, scores, _, tallies = told(payloads, [Held(0, "bills", "")], None)
    assert not np.frombuffer(b"".join(scores), SCORE)["ready"].any()
    compared, alarmed = counted(scores, payloads)
    assert (compared, alarmed > 0) == (6, True)
    assert (tallies["contexts_compared"], tallies["contexts_alarmed"]) == (compared, alarmed)
    assert tallies["alarms_allowed_ppm"] == 6 * POLICY.rules[0].false_alarms_ppm


def test_a_context_is_counted_once_and_once_when_it_alarms() -> None:
    """As its score says, however many of its calls do, and whatever its workload does besides."""
    payloads = [
        encode_request(each)
        for number in range(6)
        for each in task(f"k{number}", "a", "pay-bill", pay_bill(number, *[STEAL] * (number % 3)))
    ]
    _, scores, _, tallies = told(payloads, [Held(0, "one", "")], None)
    rows = np.frombuffer(b"".join(scores), SCORE)
    assert rows["alarm"].sum() > 4
    assert counted(scores, payloads) == (6, 4)
    assert (tallies["contexts_compared"], tallies["contexts_alarmed"]) == (6, 4)
    assert tallies["alarms_allowed_ppm"] == 6 * POLICY.rules[0].false_alarms_ppm
