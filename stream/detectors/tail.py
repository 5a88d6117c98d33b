"""How surprising a number is among those of its own past: its upper tail, in bits.

A running quantile (97 %) by stochastic steps, and above it a generalised Pareto distribution whose
shape and scale follow from the running mean and mean square of the excesses (method of moments):

    Q = max(q, q0), E = y - Q, M = max(m, m0) + Q/1000, xi = clip((1 - m^2 / (m2 - m^2)) / 2, 0, .5)
    bits = 5.06 + log2(1 + xi E / (M (1 - xi))) / xi           (E / M log2 e where xi is about 0)

5.06 is -log2 of 3 %. Floors q0 and m0 keep a past without any spread from making all else a
certainty. The state is integers: thresholds and excesses in units of the caller's, which scales
them so that a typical y is about 2^22; what is beyond 2^31 saturates.

Source: Pickands, Statistical inference using extreme order statistics, Annals of Statistics 1975;
Hosking, Wallis, Parameter and quantile estimation for the generalized Pareto distribution,
Technometrics 1987; the quantile by Robbins, Monro, 1951, its step by the mean distance.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import routine

from .bits import log2_of, nearest

TAIL: Final = np.dtype(
    [
        ("square", np.int64),  # mean square of excesses
        ("threshold", np.int32),  # the running quantile
        ("distance", np.int32),  # mean distance from it
        ("excess", np.int32),  # mean excess over it
        ("exceeded", np.int32),  # how often it was exceeded; saturates at EXCEEDED_MAX
    ],
    align=True,
)
I32_MAX: Final = (1 << 31) - 1
SQUARE_MAX: Final = 1 << 62
EXCEEDED_MAX: Final = 1000
QUANTILE: Final = 0.97
QUANTILE_BITS: Final = 5.0588936890535685  # -log2(1 - QUANTILE)
LEARNING: Final = 0.002  # the least weight of a new point
LOG2_E: Final = 1.4426950408889634
SHAPE_MAX: Final = 0.5


@routine
def tail_bits(tail: Any, value: float, floors: tuple[float, float]) -> float:
    """Return the surprise of a value in bits; 0 up to the threshold.

    Units: value and floors = (threshold, mean excess) in units of the state.
    """
    threshold = max(float(tail["threshold"]), floors[0])
    if value <= threshold:
        return 0.0
    mean = float(tail["excess"])
    variance = float(tail["square"]) - mean * mean
    shape = 0.0
    if variance > 0.0:
        shape = min(SHAPE_MAX, max(0.0, 0.5 * (1.0 - mean * mean / variance)))
    scale = max(1.0, max(mean, floors[1]) + 0.001 * threshold)
    ratio = (value - threshold) / scale
    if shape < 0.001:
        return QUANTILE_BITS + LOG2_E * ratio
    return QUANTILE_BITS + log2_of(1.0 + shape * ratio / (1.0 - shape)) / shape


@routine
def learn_tail(tail: Any, value: float, points: int) -> None:
    """Learn one more value, the one after `points` others. Mutates: tail."""
    threshold = float(tail["threshold"])
    if points == 0:
        tail["threshold"] = nearest(value, I32_MAX)
        return
    weight = max(LEARNING, 1.0 / (points + 1))
    distance = float(tail["distance"])
    distance += weight * (abs(value - threshold) - distance)
    tail["distance"] = nearest(distance, I32_MAX)
    step = 2.0 * weight * distance
    if value > threshold:
        exceeded = int(tail["exceeded"]) + 1
        share = min(1.0, max(LEARNING / (1.0 - QUANTILE), 1.0 / (exceeded + 1)))
        mean, square, excess = float(tail["excess"]), float(tail["square"]), value - threshold
        tail["excess"] = nearest(mean + share * (excess - mean), I32_MAX)
        tail["square"] = nearest(square + share * (excess * excess - square), SQUARE_MAX)
        tail["exceeded"] = min(exceeded, EXCEEDED_MAX)
        threshold += QUANTILE * step
    else:
        threshold -= (1.0 - QUANTILE) * step
    tail["threshold"] = nearest(threshold, I32_MAX)


@routine
def rescale_tail(tail: Any, halvings: int) -> None:
    """Let the unit of a tail's values be 2^halvings times as large (or small). Mutates: tail."""
    for _ in range(abs(halvings)):
        if halvings > 0:
            tail["threshold"] = (int(tail["threshold"]) + 1) >> 1
            tail["distance"] = (int(tail["distance"]) + 1) >> 1
            tail["excess"] = (int(tail["excess"]) + 1) >> 1
            tail["square"] = (int(tail["square"]) + 2) >> 2
        else:
            tail["threshold"] = min(2 * int(tail["threshold"]), I32_MAX)
            tail["distance"] = min(2 * int(tail["distance"]), I32_MAX)
            tail["excess"] = min(2 * int(tail["excess"]), I32_MAX)
            tail["square"] = 4 * min(int(tail["square"]), SQUARE_MAX // 4)
