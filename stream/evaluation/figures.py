"""Figures of scored trials: what share of attacks passes a threshold that few benign ones pass.

A trial's score is the most evidence of any of its calls. The threshold at a rate of false positives
is the score that this share of benign trials exceeds, so that ties never flatter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from stream.baselines import exact_interval

PERCENT: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Rates of false positives at which is said what was found."""


Peaks = Sequence[tuple[int, float]]
"""Where a part passed all that it had before: (call, bits), both rising."""


class Trial(NamedTuple):
    """One task as scored: evidence after each call, what is known of it, the peaks of each part.

    Units: bits. `first_mal` is the call from which on it was an attack, None where nobody knows.
    """

    evidence: Sequence[float]
    is_attack: bool
    first_mal: int | None = None
    is_alarm: bool = False
    parts: Mapping[str, Peaks] = {}


class Point(NamedTuple):
    """At one rate of false positives: the threshold, and the share of attacks over it.

    `low` and `high` hold the true share nine times of ten. `is_beyond`: fewer benign trials than
    one would pass, so the threshold is the highest of them.
    """

    percent: float
    bits: float
    found: float
    low: float
    high: float
    is_beyond: bool


class Delays(NamedTuple):
    """How many calls after the first malicious one an attack was found; before it is negative."""

    attacks: int
    in_time: float
    quantiles: tuple[float, float, float]
    calls: tuple[int, ...]


Score = Callable[[Trial], Peaks]


def peaks_of(trial: Trial) -> Peaks:
    """Return where the evidence of all parts together passed all before; none for 0."""
    peaks: list[tuple[int, float]] = []
    for call, bits in enumerate(trial.evidence):
        if bits > (peaks[-1][1] if peaks else 0.0):
            peaks.append((call, bits))
    return peaks


def most_of(peaks: Peaks) -> float:
    """Return the highest of peaks; 0 for none."""
    return peaks[-1][1] if peaks else 0.0


def threshold_at(trials: Sequence[Trial], percent: float, score: Score = peaks_of) -> float:
    """Return the score that so many percent of benign trials exceed."""
    benign = sorted((most_of(score(each)) for each in trials if not each.is_attack), reverse=True)
    return benign[int(percent / 100 * len(benign))] if benign else 0.0


def roc_of(trials: Sequence[Trial], score: Score = peaks_of) -> list[Point]:
    """Return what is found at each rate of PERCENT."""
    benign = sorted((most_of(score(each)) for each in trials if not each.is_attack), reverse=True)
    attacks = np.array([most_of(score(each)) for each in trials if each.is_attack])
    points = []
    for percent in PERCENT:
        bits = benign[int(percent / 100 * len(benign))] if benign else 0.0
        over = int((attacks > bits).sum())
        found = over / len(attacks) if len(attacks) else 0.0
        is_beyond = percent / 100 * len(benign) < 1
        points.append(Point(percent, bits, found, *exact_interval(over, len(attacks)), is_beyond))
    return points


def by_part(trials: Sequence[Trial]) -> dict[str, list[Point]]:
    """Return what each part finds alone, those that find most at 1 % first."""
    names = sorted({name for each in trials for name in each.parts})
    found = {name: roc_of(trials, part_named(name)) for name in names}
    at = PERCENT.index(1.0)
    return dict(sorted(found.items(), key=lambda each: (-each[1][at].found, each[0])))


def part_named(name: str) -> Score:
    """Return what takes the peaks of one part of a trial."""
    return partial(_part, name)


def _part(name: str, trial: Trial) -> Peaks:
    return trial.parts.get(name, ())


def delays_of(trials: Sequence[Trial], bits: float, score: Score = peaks_of) -> Delays:
    """Return the delays of attacks found over a threshold, of those whose beginning is known."""
    calls = []
    for each in trials:
        peaks = score(each)
        if each.is_attack and each.first_mal is not None and most_of(peaks) > bits:
            first = next(call for call, one in peaks if one > bits)
            calls.append(first - each.first_mal)
    if not calls:
        return Delays(0, 0.0, (0.0, 0.0, 0.0), ())
    low, middle, high = np.quantile(calls, [0.1, 0.5, 0.9], method="inverted_cdf").tolist()
    in_time = sum(each <= 0 for each in calls) / len(calls)
    return Delays(len(calls), in_time, (low, middle, high), tuple(sorted(calls)))


def early_of(trials: Sequence[Trial], percent: float) -> float:
    """Return the share of what is found at a rate that is at or before the first malicious call."""
    return delays_of(trials, threshold_at(trials, percent)).in_time


def alarms_of(trials: Sequence[Trial]) -> dict[str, tuple[int, int, float, float]]:
    """Return of benign trials and attacks: how many alarmed, of how many, within which rates."""
    out = {}
    for name, is_attack in (("benign", False), ("attack", True)):
        raised = [each.is_alarm for each in trials if each.is_attack == is_attack]
        out[name] = (sum(raised), len(raised), *exact_interval(sum(raised), len(raised)))
    return out
