"""A slow model of learned contexts: what a context has shown lies with it, and goes with it.

What a call's evidence is under a baseline is the product's own formula: that is not what is judged
here, but that crashes, takeovers, eviction, versions and shedding change nothing of it. So there
are no tables, no places and nothing stored: a context that begins has shown nothing, one that is
under another version than before begins anew, and while nothing is compared nothing is shown.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np

from stream.baselines import CHANGE, READ, threshold_of
from stream.detectors import MODES, NOT_READY, PART_NAMES, mode_of, score_call
from stream.enforcement import Expectation
from stream.events import Request, Weight
from stream.identity import canonical_workload, parent_path
from stream.kernel import HashKey
from stream.profiles import LEARNED, Arrival, Decoder, version_number

AGAINST = ("operation", "identifier", "entity", "detail", "found", "deeds", "ungranted")
Weighed = tuple[int, tuple[Weight, ...]]
"""What was allowed, and what weighed most."""


class LearnedModel:
    """What one context has shown under the version it was last compared with."""

    def __init__(self) -> None:
        self.record = np.zeros(1, LEARNED)
        self.version = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> LearnedModel:
        """Another one, of the same."""
        other = copy.copy(self)
        other.record = self.record.copy()
        return other

    def tobytes(self) -> bytes:
        """The record, nothing where nothing was ever compared."""
        return self.record.tobytes() if self.version else b""

    def declare(self, expected: Expectation, workload: str, task: str, request: Request) -> None:
        """An event came under a version: of what purpose the context is."""
        key, state = key_of(expected), self.record[0]
        if self.version != expected.version:
            self.version, self.record = expected.version, np.zeros(1, LEARNED)
            state = self.record[0]
            state["workload"] = key.hash(canonical_workload(workload))
            state["task"] = key.hash(task) if task else 0
            state["baseline"] = version_number(self.version)
            state["group"] = key.hash(parent_path(workload))
        if request.purpose and (not state["purpose"] or not task):
            state["purpose"] = key.hash(request.purpose)
        if state["calls"] == 0:
            state["mode"] = mode_of(view_of(expected), state)

    def score(
        self, expected: Expectation, value: bytes, *, is_change: bool
    ) -> tuple[int, int | None, tuple[Weight, ...]]:
        """The bits of a call, in which mode, None where nothing is known, and what weighed most."""
        arrival = Arrival("model", 0, [0], [0], [value])
        batch, _ = Decoder(key_of(expected), 1, with_values=True).decode([arrival])
        state, of = self.record[0], (batch.values, batch.tokens)
        effect = CHANGE if is_change else READ
        score_call(batch.events[0], effect, of, view_of(expected), state)
        mode = int(state["mode"])
        parts = dict(zip(PART_NAMES, state["parts"].tolist(), strict=True))
        names = [each for each in sorted(AGAINST, key=lambda each: -parts[each]) if parts[each]]
        operation = batch.request(0).operation
        weights = tuple(Weight(f"{operation} {each}", parts[each]) for each in names)
        return int(state["bits"]), None if mode == NOT_READY else mode, weights


def allowed_by(expected: Expectation, ppm: int, mode: int) -> int:
    """The evidence that so many false alarms allow."""
    assert expected.baseline is not None, MODES[mode]
    return int(threshold_of(expected.baseline.facts.tails[mode], ppm / 1e6))


@cache
def view_of(expected: Expectation) -> Any:
    """The arrays of a baseline."""
    assert expected.baseline is not None, "a version that nobody has is shed"
    return expected.baseline.view()


def key_of(expected: Expectation) -> HashKey:
    """The key that a baseline was learned under."""
    assert expected.key is not None, "nothing is compared with nothing"
    return expected.key
