"""A slow model of learned contexts: what a context has shown lies with it, and goes with it.

What a call's evidence is under a baseline is the product's own formula: that is not what is judged
here, but that crashes, takeovers, eviction, versions and shedding change nothing of it. So there
are no tables, no places and nothing stored: a context that begins has shown nothing, one that is
under another version than before begins anew, and while nothing is compared nothing is shown. So it
is with habits, of contexts and of workloads; those of workloads outlive versions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from stream.baselines import CALLS_MAX, CHANGE, IDLE_MS, READ, asked_of, threshold_of
from stream.detectors import (
    CONTEXT_HABITS,
    CONTEXT_PARTS,
    HABIT_NAMES,
    HABITS,
    MODES,
    NOT_READY,
    PART_NAMES,
    SHARE,
    mode_of,
    score_call,
)
from stream.enforcement import Expectation, follow_habits, rarity_at
from stream.events import Request, Weight
from stream.identity import canonical_workload, parent_path
from stream.kernel import HashKey
from stream.policy import Rule
from stream.profiles import LEARNED, Arrival, Batch, Decoder, version_number

AGAINST = ("operation", "identifier", "entity", "detail", "found", "deeds", "ungranted")
Weights = tuple[Weight, ...]


class Weighed(NamedTuple):
    """What was allowed, what weighed most, and whether the brake made a shadow of it."""

    allowed: int
    weights: Weights
    braked: bool = False


LOCAL = np.dtype([("habits", np.int32), ("peers", np.uint64)], align=True)
Seen = tuple[Batch, int]
"""An event as it is decoded, and its effect where it is a call that counts, else -1."""


def seen_as(expected: Expectation, value: bytes, *, is_call: bool, is_change: bool) -> Seen:
    """An event as evidence sees it."""
    arrival = Arrival("model", 0, [0], [0], [value])
    batch, _ = Decoder(key_of(expected), 1, with_values=True).decode([arrival])
    return batch, (CHANGE if is_change else READ) if is_call else -1


class LearnedModel:
    """What one context has shown under the version it was last compared with."""

    def __init__(self) -> None:
        self.record, self.habits = np.zeros(1, LEARNED), np.zeros(1, CONTEXT_HABITS)
        self.version = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> LearnedModel:
        """Another one, of the same."""
        other = copy.copy(self)
        other.record, other.habits = self.record.copy(), self.habits.copy()
        return other

    def tobytes(self) -> bytes:
        """The record and its habits, nothing where nothing was ever compared."""
        return self.record.tobytes() + self.habits.tobytes() if self.version else b""

    def declare(
        self, expected: Expectation, names: tuple[str, str], clock_ms: int, request: Request
    ) -> None:
        """An event of a workload's task came under a version: of what purpose the context is."""
        workload, task = names
        key, state = key_of(expected), self.record[0]
        idle_ms = clock_ms - int(state["used_ms"])
        purpose = key.hash(request.purpose) if request.purpose else 0
        is_other = purpose and state["purpose"] and purpose != state["purpose"]
        is_over = state["calls"] >= CALLS_MAX or idle_ms > IDLE_MS or is_other
        is_over = state["used_ms"] > 0 and is_over
        if self.version != expected.version or (is_over and not task):
            self.version = expected.version
            self.record, self.habits = np.zeros(1, LEARNED), np.zeros(1, CONTEXT_HABITS)
            state = self.record[0]
            state["workload"] = key.hash(canonical_workload(workload))
            state["task"] = key.hash(task) if task else 0
            state["baseline"] = version_number(self.version)
            state["group"] = key.hash(parent_path(workload))
        state["used_ms"] = clock_ms
        if purpose and (not state["purpose"] or not task):
            state["purpose"] = purpose
        if state["calls"] == 0:
            state["mode"] = mode_of(view_of(expected), state)

    @property
    def calls(self) -> int:
        """How many calls the context has had."""
        return int(self.record[0]["calls"])

    def alarms(self, expected: Expectation, ppm: int, rarity: int) -> bool:
        """Whether the context shows more than so many false alarms allow, for the first time.

        `rarity` is that of the rarest part now, of the workload too. Before its first call it is
        only noted: a context without calls is compared with nothing.
        """
        state, noted = self.record[0], self.habits[0]["fallback"]
        mode, habit = int(state["mode"]), max(int(state["habit"]), rarity)
        is_novel = mode != NOT_READY and state["bits_max"] > allowed_by(expected, ppm, mode)
        if (is_novel or habit > rarity_at(ppm / 1e6 / SHARE)) and noted["spare"] == 0:
            noted["spare"] = 1
        if self.calls == 0 or noted["spare"] != 1:
            return False
        noted["spare"] = 2
        return True

    def score(self, expected: Expectation, seen: Seen) -> tuple[int, int | None, Weights]:
        """The bits of a call, in which mode, None where nothing is known, and what weighed most."""
        batch, effect = seen
        state, of = self.record[0], (batch.values, batch.tokens)
        score_call(batch.events[0], effect, of, view_of(expected), state)
        mode = int(state["mode"])
        weights = _weights(batch, PART_NAMES, state["parts"].tolist(), AGAINST)
        return int(state["bits"]), None if mode == NOT_READY else mode, weights


class HabitsModel:
    """How a workload makes its calls, as far as it was compared."""

    def __init__(self) -> None:
        self.record, self.is_followed = np.zeros(1, HABITS), False

    def __deepcopy__(self, memo: dict[int, Any]) -> HabitsModel:
        """Another one, of the same."""
        other = copy.copy(self)
        other.record = self.record.copy()
        return other

    def tobytes(self) -> bytes:
        """The record, nothing where nothing was ever compared."""
        return self.record.tobytes() if self.is_followed else b""

    def follow(
        self, expected: Expectation, seen: Seen, at: tuple[str, int, int], context: LearnedModel
    ) -> tuple[int, Weights]:
        """The rarity of the rarest part after an event, and the bits of each part.

        `at` is the workload, its row's clock, and how many requests the row has had.
        """
        workload, clock_ms, requests = at
        batch, effect = seen
        local = np.zeros(1, LOCAL)
        local["peers"] = key_of(expected).hash(parent_path(workload))
        local["habits"] = int(self.is_followed)
        habits = expected.habits._replace(
            contexts=context.habits,
            workloads=self.record,
            free=(np.zeros(1, np.int32), np.ones(1, np.int64)),
        )
        asked = np.uint64(asked_of(batch.events[0], batch.values))
        view = view_of(expected)
        given = 0, effect, (view.entries, view.groups), (asked, batch.values), requests
        follow_habits(batch.events[0], clock_ms, local[0], given, habits)
        self.is_followed = True
        bits, rarity = habits.shown.tolist()
        state = context.record[0]
        state["habit"] = max(int(state["habit"]), *rarity[:CONTEXT_PARTS])
        return max(rarity), _weights(batch, HABIT_NAMES, bits, HABIT_NAMES)


def _weights(batch: Batch, names: Sequence[str], bits: list[int], shown: Sequence[str]) -> Weights:
    parts, operation = dict(zip(names, bits, strict=True)), batch.request(0).operation
    most = [each for each in sorted(shown, key=lambda each: -parts[each]) if parts[each]]
    return tuple(Weight(f"{operation} {each}", parts[each]) for each in most)


def rarity_allowed(rule: Rule) -> int:
    """The rarity that a rule's false alarms allow."""
    return rarity_at(rule.false_alarms_ppm / 1e6 / SHARE)


def allowed_by(expected: Expectation, ppm: int, mode: int) -> int:
    """The evidence that so many false alarms allow."""
    assert expected.facts is not None, MODES[mode]
    return int(threshold_of(expected.facts.tails[mode], ppm / 1e6))


@cache
def view_of(expected: Expectation) -> Any:
    """The arrays of a baseline."""
    assert expected.facts is not None, "a version that nobody has is shed"
    return expected.view


def key_of(expected: Expectation) -> HashKey:
    """The key that a baseline was learned under."""
    assert expected.key is not None, "nothing is compared with nothing"
    return expected.key
