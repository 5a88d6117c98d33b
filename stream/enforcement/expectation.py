"""A baseline as the loop takes it; and none, which costs nothing.

Partitions may be under different versions for a moment, so there is one of these for each version
that some partition is under (`engine.State`); all share the tables of learned contexts and habits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from stream.baselines import BIT, NEVER, Baseline, Facts, View, no_view, share_of, threshold_of
from stream.detectors import NOT_READY, SHARE, STEPS, USUAL, USUALS, tails_of, usual_in
from stream.errors import ConfigError
from stream.kernel import HashKey
from stream.policy import Policy, Rule
from stream.profiles import GRANT, LEARNED, VALUE, Batch, ProfileTable, version_number

from .anomaly import BUDGET, HABIT, LISTED, SCORE, Learning
from .brake import new_brakes
from .habits import Habits, no_habits

DEFAULT_PPM: Final = 5_000  # of tasks: what `alarm` means where no rule says otherwise
RARE: Final = 0.012  # of tasks, at most: what habits are to count for beside novelty
POLICIES_MAX: Final = 64  # whose thresholds are kept


class Expectation:
    """What tasks are compared with: a baseline and its version, or nothing.

    Making one takes as long as a baseline is large, and touches nothing that a loop reads: so it
    may be made in another thread, which rests by `between`, called now and then. Of the baseline
    its facts are kept and what kernels search, not the entries that this was made of: that would be
    twice the memory.
    Errors: ConfigError when it was learned under another hash key.
    """

    def __init__(
        self,
        baseline: Baseline | None = None,
        version: str = "",
        key: HashKey | None = None,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        self.facts: Facts | None = None
        self.version, self.key, self.shed = version, key, ""
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
        self.facts = baseline.facts
        view = baseline.view(between)
        self._learning = self._learning._replace(
            facts=np.array([1, version_number(version)], np.int64),
            expected=view,
            habits=_calibrated(no_habits(NOT_READY + 1), baseline.facts)._replace(
                usual=_usual(view)
            ),
        )

    @classmethod
    def without(cls, version: str, shed: str) -> Expectation:
        """Return what holds where a version is in force and nothing is compared, by a mode."""
        expectation = cls(version=version)
        expectation.shed = shed
        return expectation

    @property
    def view(self) -> View:
        """Return the arrays that kernels search."""
        return self._learning.expected

    @property
    def nbytes(self) -> int:
        """Return the bytes of these arrays."""
        return sum(each.nbytes for each in self.view)

    @property
    def habits(self) -> Habits:
        """Return how habits are judged; of nobody yet."""
        return self._learning.habits

    def thresholds(self, policy: Policy) -> Any:
        """Return the evidence that each rule's budget allows, by mode; the last row is no rule's.

        A mode whose usual evidence nobody measured never alarms. HABIT and BUDGET are behind the
        modes.
        """
        if policy.hash not in self._thresholds:
            if len(self._thresholds) >= POLICIES_MAX:
                self._thresholds.clear()
            self._thresholds[policy.hash] = self._allowed(policy)
        return self._thresholds[policy.hash]

    def _allowed(self, policy: Policy) -> Any:
        facts = self.facts or Facts(key_id=0, tasks=0)
        tails = facts.tails
        out = np.full((len(policy.rules) + 1, BUDGET + 1), NEVER, np.int64)
        budgets = [_ppm_of(each, facts) for each in policy.rules] + [DEFAULT_PPM]
        for row, ppm in enumerate(budgets):
            out[row, BUDGET] = round(ppm)
            if ppm:
                out[row, HABIT] = rarity_at(ppm / 1e6 / SHARE)
            for mode, tail in enumerate(tails if ppm else ()):
                out[row, mode] = threshold_of(tail, ppm / 1e6)
        return out

    def learning(
        self, batch: Batch, key: HashKey, policy: Policy, table: ProfileTable, scores: Any
    ) -> Learning:
        """Return what the loop takes for a batch, with brakes that hold nobody; see `Learning`.

        Mutates: table (has room).
        """
        if self.facts is None:
            return self._learning
        learned, habits = table.learned, table.habits
        learned.reserve(len(batch.events))
        habits.reserve(len(batch.events))
        return self._learning._replace(
            values=batch.values,
            tokens=batch.tokens,
            listed=_listed_by(batch, key),
            records=learned.records,
            free=(learned.places, learned.free),
            thresholds=self.thresholds(policy),
            scores=scores,
            habits=self.habits._replace(
                contexts=learned.arrays[1],
                workloads=habits.records,
                free=(habits.places, habits.free),
            ),
        )


def _ppm_of(rule: Rule, facts: Facts) -> float:
    """Return the millionths of tasks that a rule's budget allows in error, 0 for none."""
    count, per_ms = rule.false_alarms_each
    return share_of(facts, count, per_ms) * 1e6 if count else rule.false_alarms_ppm


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
        np.full((1, BUDGET + 1), NEVER, np.int64),
        np.zeros(0, SCORE),
        no_habits(NOT_READY + 1),
        new_brakes(1),
    )


def rarity_at(rate: float) -> int:
    """Return how rare something is that so many tasks show, in 1/1024 bit."""
    return round(-math.log2(rate) * BIT)


def _calibrated(habits: Habits, facts: Facts) -> Habits:
    """Return habits with the scales of a baseline; asserted ones where it measured none.

    Where novelty was measured, what habits are worth beside it is what novelty has as rarely: as
    it was seen, and from the default budget on a bit more each time that it is half as rare. What
    more tasks show is worth nothing: there novelty tells attacks apart, and habits do not.
    """
    scales, worths = np.zeros_like(habits.scales), np.zeros_like(habits.worths)
    for part, tail in enumerate(tails_of(facts.habits)):
        for step in range(STEPS):
            bits = threshold_of(tail, 0.5 ** (step + 1))
            scales[part, step] = max(bits, scales[part, step - 1] + 1 if step else 1)
    worths[:] = (np.arange(STEPS) + 1) * BIT
    budget = DEFAULT_PPM / 1e6
    for mode, tail in enumerate(facts.tails):
        if tail.tasks:
            for step in range(STEPS):
                rate = SHARE * 0.5 ** (step + 1)
                worth = threshold_of(tail, max(rate, budget)) if rate <= RARE else 0
                beyond = max(0, rarity_at(rate) - rarity_at(budget))
                worths[mode, step] = worth + beyond
    return habits._replace(scales=scales, worths=worths)


def _usual(view: View) -> Any:
    """Return what is usual in each class, and room for one that is none; see `Habits`."""
    usual = [usual_in(group, view.entries) for group in view.groups["group"]]
    return np.array([*usual, np.zeros((USUALS, USUAL))], np.int64)


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


NOTHING_EXPECTED: Final = Expectation()
