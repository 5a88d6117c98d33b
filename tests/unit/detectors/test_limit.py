"""Limits: what an event adds, what belongs, and when demand is low enough to let go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.detectors import amount_of, belongs, count_windows, demand_of, is_under, total_of
from stream.policy import Policy
from stream.profiles import (
    BYTES,
    COMPLETION,
    COST,
    DENIALS,
    DENIED,
    ERRORS,
    EVENT,
    FAILED,
    GRANT,
    REFUSED,
    REFUSED_REQUESTS,
    REQUEST,
    REQUESTS,
    SERVED,
)
from stream.profiles.table import ProfileTable
from tests.models.logs import policy_of

MEASURES = [REQUESTS, ERRORS, DENIALS, REFUSED_REQUESTS, BYTES, COST]


def event_of(kind: int = REQUEST, outcome: int = SERVED) -> np.void:
    """An event that stands for 3 requests, 50 bytes and 700 micro-units."""
    event = np.zeros(1, EVENT)[0]
    event["count"], event["bytes"], event["cost"] = 3, 50, 700
    event["kind"], event["outcome"] = kind, outcome
    return event


@pytest.mark.parametrize(
    ("outcome", "refused", "amounts"),
    [
        (SERVED, 0, [3, 0, 0, 0, 50, 700]),
        (FAILED, 0, [3, 3, 0, 0, 50, 700]),
        (DENIED, 0, [3, 0, 3, 0, 50, 700]),
        (REFUSED, 0, [3, 0, 0, 0, 50, 700]),
        (REFUSED, 1, [0, 0, 0, 3, 0, 0]),
    ],
)
def test_an_event_adds_what_it_stands_for(outcome: int, refused: int, amounts: list[int]) -> None:
    """Requests, errors, denials by count, bytes and cost as they are; a believed refusal none."""
    event = event_of(outcome=outcome)
    assert [amount_of(measure, event, refused) for measure in MEASURES] == amounts


@pytest.mark.parametrize("kind", [GRANT, COMPLETION])
def test_grants_and_completions_add_nothing(kind: int) -> None:
    """They are no requests."""
    event = event_of(kind)
    assert [amount_of(measure, event, 0) for measure in MEASURES] == [0] * 6


def test_sets_are_bits() -> None:
    """Set 0 is the lowest bit, set 62 the highest in use, and -1 holds every operation."""
    sets = np.uint64(1 << 62 | 1)
    assert [number for number in range(63) if belongs(number, sets)] == [0, 62]
    assert belongs(-1, np.uint64(0))


@given(
    st.one_of(st.integers(0, 1_000), st.integers(0, 9 * 10**18)),
    st.one_of(st.integers(0, 1_000), st.integers(0, 4 * 10**17)),
)
def test_under_is_less_than_eighty_percent(demand: int, at_most: int) -> None:
    """Exactly, for all that a window can hold and a limit can allow: no product overflows."""
    assert is_under(demand, at_most) == (100 * demand < 80 * at_most)


def limit_of(**fields: object) -> Policy:
    """A policy with one limit."""
    rule = {"limit": {"measure": "requests", "at_most": 5, "per": "10s"}, "action": "revoke"}
    return policy_of(rule | fields)


@pytest.mark.parametrize(("action", "demand"), [("revoke", 6), ("observe", 3)])
def test_demand_is_served_and_refused(action: str, demand: int) -> None:
    """Only for requests, and where there is a command whose refusals could hide the demand."""
    policy = limit_of(action=action)
    table, tables = ProfileTable(policy.layout, 1), policy.bind(policy.layout)
    table.admit(1, "w", 0, 0)
    for refused in (0, 1):
        event = event_of(outcome=REFUSED if refused else SERVED)
        times = (0, 1_000, 1_000, 1_000)
        assert not count_windows(table.sections, tables, event, times, (np.uint64(0), refused))
    assert total_of(table.sections, 0, tables.pairs[tables.limits[0]["pair"]]) == 3
    assert demand_of(table.sections, 0, tables, tables.limits[0]) == demand


def test_only_what_belongs_is_counted() -> None:
    """A window of a set of operations leaves the others out, and none of them is late."""
    limit = {"measure": "bytes", "at_most": 5, "per": "1s", "operations": ["tool:x"]}
    policy = limit_of(limit=limit)
    table, tables = ProfileTable(policy.layout, 1), policy.bind(policy.layout)
    table.admit(1, "w", 0, 0)
    times = (0, 90_000, 90_000, 1_000)
    other, mine = np.uint64(0), np.uint64(1)
    assert not count_windows(table.sections, tables, event_of(), times, (other, 0))
    assert count_windows(table.sections, tables, event_of(), times, (mine, 0))
    assert total_of(table.sections, 0, tables.pairs[0]) == 0
    times = (0, 90_000, 90_000, 90_000)
    assert not count_windows(table.sections, tables, event_of(), times, (mine, 0))
    assert total_of(table.sections, 0, tables.pairs[0]) == 50
