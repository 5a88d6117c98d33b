"""What a reason says of how calls were made: with whose it was compared, and how that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.baselines import table_of
from stream.detectors import (
    ASSERTED,
    CLASS,
    CONTEXT_HABITS,
    CONTEXT_PARTS,
    DETAILS,
    HABIT_NAMES,
    POOLED,
    UNREADY,
    BenignTask,
    follow_context,
    learn_sequences,
    usual_in,
)
from stream.enforcement import NOTHING_EXPECTED
from stream.enforcement.decision import DECISION
from stream.enforcement.habit_reason import habit_reason
from stream.events import Request
from stream.profiles import EVENT, REQUEST
from tests.models.tasks import T0_MS

OTHERS = ", and of its own class nothing was learned"
NOTHING = ", where nothing was learned to compare it with"
SAID = ", as is asserted where nothing was learned"
PLACES = {"first_use": 5, "sequence": 2, "loops": 3, "fallback": 1, "error_share": 1}


def text_of(name: str, how: int) -> str:
    """The sentence of a part, without what it says of how often."""
    decision = np.zeros(1, DECISION)[0]
    decision["habit"] = HABIT_NAMES.index(name)
    decision["details"][PLACES[name]] = how
    decision["details"][1] = how if PLACES[name] == 1 else 1
    request = Request(T0_MS, "spiffe://td/a", "tool:x")
    return habit_reason(decision, request, NOTHING_EXPECTED).text.partition(" (")[0]


@pytest.mark.parametrize(
    ("name", "how", "text"),
    [
        ("first_use", CLASS, "no task of its class was seen to call it"),
        ("first_use", POOLED, "no task of other classes was seen to call it" + OTHERS),
        ("first_use", UNREADY, "no task was seen to call it" + NOTHING),
        ("sequence", CLASS, "calls in an order that tasks of its class do not have"),
        ("sequence", POOLED, "calls in an order that tasks of other classes do not have" + OTHERS),
        ("sequence", UNREADY, "calls in an order that tasks do not have" + NOTHING),
        ("fallback", CLASS, "a change right after another operation was denied"),
        (
            "fallback",
            POOLED,
            "a change right after another operation was denied, rare by what other classes do"
            + OTHERS,
        ),
        ("fallback", ASSERTED, "a change right after another operation was denied" + SAID),
        ("loops", ASSERTED, "the same call 1 times in a row" + SAID),
        ("error_share", CLASS, "far more of the calls fail than of its class's"),
        ("error_share", POOLED, "far more of the calls fail than of other classes'" + OTHERS),
        ("error_share", ASSERTED, "far more of the calls fail than is usual" + SAID),
    ],
)
def test_a_reason_says_how_it_is_known(name: str, how: int, text: str) -> None:
    """Of its class, of others, asserted, or not at all."""
    assert text_of(name, how) == f"tool:x: {text}"


LEARNED = table_of(learn_sequences([BenignTask(7, [(number, 0) for number in range(11, 18)])] * 60))


@pytest.mark.parametrize(
    ("group", "facts", "how"),
    [(7, LEARNED, CLASS), (8, LEARNED, POOLED), (8, table_of(LEARNED[:0]), UNREADY)],
)
def test_the_kernel_says_how_a_first_use_is_known(group: int, facts: Any, how: int) -> None:
    """Where the reason looks for it, beside how the order is known."""
    bits = np.zeros(CONTEXT_PARTS, np.int64)
    details = np.full((CONTEXT_PARTS, DETAILS), -1, np.int64)
    event = np.zeros(1, EVENT)[0]
    event["operation"], event["kind"] = 99, REQUEST
    known = np.uint64(group), facts, np.uint64(0), usual_in(np.uint64(group), facts)
    follow_context(np.zeros(1, CONTEXT_HABITS)[0], event, 1, known, (bits, details))
    names = HABIT_NAMES[:CONTEXT_PARTS]
    for name in ("first_use", "sequence"):
        assert details[names.index(name), PLACES[name]] == how
    assert bool(bits[names.index("first_use")]) == (how != UNREADY)
