"""A baseline as the loop takes it; and none, which costs nothing.

Partitions may be under different versions for a moment, so there is one of these for each version
that some partition is under (`engine.State`); all share the one table of learned contexts.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from stream.baselines import NEVER, Baseline, no_view, threshold_of
from stream.detectors import NOT_READY
from stream.errors import ConfigError
from stream.kernel import HashKey
from stream.policy import Policy
from stream.profiles import GRANT, LEARNED, VALUE, Batch, LearnedTable, version_number

from .anomaly import DEFAULT_PPM, LISTED, SCORE, Learning

POLICIES_MAX: Final = 64  # whose thresholds are kept


class Expectation:
    """What tasks are compared with: a baseline and its version, or nothing.

    Making one takes as long as a baseline is large, and touches nothing that a loop reads: so it
    may be made in another thread. Errors: ConfigError when it was learned under another hash key.
    """

    def __init__(
        self, baseline: Baseline | None = None, version: str = "", key: HashKey | None = None
    ) -> None:
        self.baseline, self.version, self.key, self.shed = baseline, version, key, ""
        self._learning = _no_learning()
        self._thresholds: dict[str, Any] = {}
        if baseline is None or key is None:
            return
        if baseline.facts.key_id != key.id:
            raise ConfigError(
                f"the baseline was learned under hash key {baseline.facts.key_id}, and"
                f" {key.id} is in use: its hashes say nothing here",
                hint="learn it again with this key, or give the key it was learned with",
            )
        view = baseline.view()
        # What bytes were read into cannot be written, and for that kernels would be compiled anew.
        view = view._replace(groups=view.groups.copy(), places=view.places.copy())
        self._learning = self._learning._replace(
            facts=np.array([1, version_number(version)], np.int64), expected=view
        )

    @classmethod
    def without(cls, version: str, shed: str) -> Expectation:
        """Return what holds where a version is in force and nothing is compared, by a mode."""
        expectation = cls(version=version)
        expectation.shed = shed
        return expectation

    def thresholds(self, policy: Policy) -> Any:
        """Return the evidence that each rule's budget allows, by mode; the last row is no rule's.

        A mode whose usual evidence nobody measured never alarms.
        """
        if policy.hash not in self._thresholds:
            if len(self._thresholds) >= POLICIES_MAX:
                self._thresholds.clear()
            self._thresholds[policy.hash] = self._allowed(policy)
        return self._thresholds[policy.hash]

    def _allowed(self, policy: Policy) -> Any:
        tails = self.baseline.facts.tails if self.baseline is not None else ()
        out = np.full((len(policy.rules) + 1, NOT_READY + 1), NEVER, np.int64)
        budgets = [each.false_alarms_ppm for each in policy.rules] + [DEFAULT_PPM]
        for row, ppm in enumerate(budgets):
            for mode, tail in enumerate(tails if ppm else ()):
                out[row, mode] = threshold_of(tail, ppm / 1e6)
        return out

    def learning(
        self, batch: Batch, key: HashKey, policy: Policy, learned: LearnedTable, scores: Any
    ) -> Learning:
        """Return what the loop takes for a batch; see `Learning`. Mutates: learned."""
        if self.baseline is None:
            return self._learning
        learned.reserve(len(batch.events))
        return self._learning._replace(
            values=batch.values,
            tokens=batch.tokens,
            listed=_listed_by(batch, key),
            records=learned.records,
            free=(learned.places, learned.free),
            thresholds=self.thresholds(policy),
            scores=scores,
        )


@cache
def _no_learning() -> Learning:
    """Return what the loop takes while no baseline is in force."""
    return Learning(
        np.zeros(2, np.int64),
        no_view(),
        np.zeros(0, VALUE),
        np.zeros(0, np.uint64),
        np.zeros(0, LISTED),
        np.zeros(1, LEARNED),
        (np.zeros(1, np.int32), np.zeros(1, np.int64)),
        np.full((1, NOT_READY + 1), NEVER, np.int64),
        np.zeros(0, SCORE),
    )


NOTHING_EXPECTED: Final = Expectation()


def _listed_by(batch: Batch, key: HashKey) -> Any:
    """Return what the grants of a batch list as `scopes`, by event: [n] of LISTED."""
    places, hashes = [], []
    for place in np.flatnonzero(batch.events["kind"] == GRANT).tolist():
        scopes = batch.request(place).scopes
        places += [place] * len(scopes)
        hashes += key.hash_all(scopes) if scopes else []
    out = np.zeros(len(places), LISTED)
    out["event"], out["operation"] = places, hashes
    return out
