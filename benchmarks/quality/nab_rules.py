"""The scoring rules of the Numenta Anomaly Benchmark, from their published description.

A detector gives each point a score; one threshold, the same for all files, makes detections of
them. A labelled window earns what its earliest detection earns, by a sigmoid that favours the
window's beginning; a missed window costs a false negative, a detection outside costs a false
positive by its distance behind the window before it. The first 15 % of a file (at most 750 points)
are probation and count for nothing. The threshold is the one that earns most over the corpus; the
sum is normalised so that 0 is a detector that says nothing and 100 one that is perfect.

Source: Lavin, Ahmad, Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly
Benchmark, ICMLA 2015, section III, and Numenta's NAB white paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

PROBATION: Final = 0.15
PROBATION_POINTS: Final = 5000  # beyond so many a file's probation does not grow
NONE: Final = -1  # the window of a point that is in none


class Profile(NamedTuple):
    """What an application gains and loses."""

    hit: float
    miss: float
    false_alarm: float


PROFILES: Final = {
    "standard": Profile(1.0, 1.0, 0.11),
    "reward_low_FP_rate": Profile(1.0, 1.0, 0.22),
    "reward_low_FN_rate": Profile(1.0, 2.0, 0.11),
}


class Truth(NamedTuple):
    """A file's labels: the window of each point, and where windows begin and end.

    Shapes: window [point], NONE outside; spans [window]: first and last point, both inside.
    """

    window: np.ndarray
    spans: list[tuple[int, int]]

    @property
    def probation(self) -> int:
        """How many of the first points count for nothing."""
        return math.floor(PROBATION * min(len(self.window), PROBATION_POINTS))


def truth_of(times: Sequence[str], windows: Sequence[Sequence[str]]) -> Truth:
    """Return the labels of a file whose windows are given by times, both ends inside."""
    seconds = [each.partition(".")[0] for each in times]
    spans = [
        (seconds.index(start.partition(".")[0]), seconds.index(end.partition(".")[0]))
        for start, end in windows
    ]
    window = np.full(len(times), NONE)
    for number, (start, end) in enumerate(spans):
        window[start : end + 1] = number
    return Truth(window, spans)


def sigmoid(place: np.ndarray) -> np.ndarray:
    """Return what a detection earns at a place: -1 is a window's beginning, 0 its end."""
    return np.where(place > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(place, 3.0))) - 1.0)


def worth(truth: Truth, profile: Profile) -> np.ndarray:
    """Return what a detection at each point of a file is worth, before windows take their best."""
    points = np.arange(len(truth.window))
    out = np.full(len(points), -profile.false_alarm)
    best = float(sigmoid(np.array(-1.0)))
    ends = [start for start, _ in truth.spans[1:]] + [len(points)]
    for (start, end), until in zip(truth.spans, ends, strict=False):
        width = end - start + 1
        inside = points[start : end + 1]
        out[inside] = sigmoid((inside - end - 1) / width) * profile.hit / best
        behind = points[end + 1 : until]
        out[behind] = sigmoid((behind - end) / max(1, width - 1)) * profile.false_alarm
    return out


class Score(NamedTuple):
    """What the best threshold earns, and the threshold; `raw` by file at that threshold."""

    normalised: float
    threshold: float
    raw: float
    detections: int


def score(scores: Sequence[np.ndarray], truths: Sequence[Truth], profile: Profile) -> Score:
    """Return the normalised score of a corpus at the threshold that earns most.

    Shapes: scores, truths [file]; scores[file] [point], higher is more anomalous.
    """
    values, worths, windows, seen = [], [], [], 0
    scorable = 0
    for each, truth in zip(scores, truths, strict=True):
        keep = slice(truth.probation, None)
        values.append(np.asarray(each, float)[keep])
        worths.append(worth(truth, profile)[keep])
        window = truth.window[keep]
        windows.append(np.where(window == NONE, NONE, window + seen))
        scorable += len(np.unique(window[window != NONE]))
        seen += len(truth.spans)
    total, threshold, count = _sweep(
        np.concatenate(values), np.concatenate(worths), np.concatenate(windows), profile.miss
    )
    silent, perfect = -profile.miss * scorable, profile.hit * seen
    raw = total + silent
    return Score(100.0 * (raw - silent) / (perfect - silent), threshold, raw, count)


def _sweep(
    values: np.ndarray, worths: np.ndarray, windows: np.ndarray, miss: float
) -> tuple[float, float, int]:
    """Return the most that a threshold earns above saying nothing, that threshold, detections."""
    order = np.argsort(-values, kind="stable")
    gain = np.where(windows[order] == NONE, worths[order], 0.0)
    best: dict[int, float] = {}
    for place in np.flatnonzero(windows[order] != NONE).tolist():
        window = int(windows[order[place]])
        earned = float(worths[order[place]])
        before = best.get(window, -miss)
        if earned > before:
            gain[place] = earned - before
            best[window] = earned
    earned_at = np.cumsum(gain)
    ranked = values[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    candidates = np.flatnonzero(last)
    chosen = candidates[np.argmax(earned_at[candidates])] if len(candidates) else 0
    if not len(candidates) or earned_at[chosen] <= 0.0:
        return 0.0, math.inf, 0
    return float(earned_at[chosen]), float(ranked[chosen]), int(chosen) + 1
