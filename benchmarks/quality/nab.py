"""The Numenta Anomaly Benchmark: 58 labelled series, online, one setting for all of them.

    python -m benchmarks.quality.nab [--data FOLDER] [--json]

Each file is one series of MEASURED values, a row of it the value of one interval, scored by the
kernel that the product runs. Nothing is taken from a file beforehand: neither its range nor its
length nor its period. The whole corpus is scored again with all times shifted (other points then
share an hour of the day), and with all values scaled. The rules are in nab_rules.py; they give
the published results of a detector that is easy to write down (tests/unit/benchmarks).

Prints {"figures": {name: {"value", "target", "met"}}, "alarms": ...}: how often, outside labelled
windows, a series reports so many bits, by series and day. That table is the calibration of bits.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from benchmarks.quality import main_of, read_lines
from benchmarks.quality.nab_rules import NONE, PROFILES, Score, Truth, score, truth_of
from stream.detectors import BIT, LEVEL, LEVEL_PARTS, MEASURED, score_level
from stream.kernel import kernel

FILE: Final = "nab/series.jsonl.gz"
TARGETS: Final = {"standard": 72.0, "reward_low_FP_rate": None, "reward_low_FN_rate": None}
MOVED_TARGET: Final = 70.0
SHIFTS_H: Final = (3.7, 7.3, 11.0, 15.6, 19.9)
FACTORS: Final = (1e-6, 7.3, 1e9)
BITS: Final = (8, 10, 12, 15, 18, 22, 26, 30)
DAY_MS: Final = 86_400_000


class Row(msgspec.Struct, frozen=True):
    """One file as recorded."""

    file: str
    t: list[str]
    v: list[float]
    anomaly_windows: list[list[str]]


class Series(NamedTuple):
    """One file. Shapes: times_ms, values [point]."""

    name: str
    times_ms: np.ndarray
    values: np.ndarray
    truth: Truth


def read(folder: Path) -> list[Series]:
    """Return the series below a data folder."""
    decoder = msgspec.json.Decoder(Row)
    found = []
    for row in map(decoder.decode, read_lines(folder / FILE)):
        times = [dt.datetime.fromisoformat(each).replace(tzinfo=dt.UTC) for each in row.t]
        times_ms = np.array([round(each.timestamp() * 1000) for each in times], np.int64)
        truth = truth_of(row.t, row.anomaly_windows)
        found.append(Series(row.file, times_ms, np.array(row.v), truth))
    return found


@kernel
def score_all(series: Any, times_ms: Any, values: Any, kind: int, out: Any) -> None:
    """Score values one after another. Mutates: series, out = (reported bits, parts)."""
    for place in range(len(values)):
        out[0][place] = score_level(series, values[place], times_ms[place], kind, out[1])


def bits_of(times_ms: np.ndarray, values: np.ndarray, kind: int = MEASURED) -> np.ndarray:
    """Return what a series reports of each value, in 1/1024 bit, from an empty state on."""
    state = np.zeros(1, LEVEL)
    out = np.zeros(len(values), np.int64)
    # Some files step back in time, and a row's clock never does.
    ordered = np.maximum.accumulate(times_ms)
    score_all(state[0], ordered, values, kind, (out, np.zeros(LEVEL_PARTS, np.int64)))
    return out


def score_corpus(
    corpus: Sequence[Series], shift_ms: int = 0, factor: float = 1.0
) -> dict[str, Score]:
    """Return the score by application profile, with all times shifted and values scaled."""
    bits = [bits_of(each.times_ms + shift_ms, each.values * factor) for each in corpus]
    truths = [each.truth for each in corpus]
    return {name: score(bits, truths, profile) for name, profile in PROFILES.items()}


def alarms_of(corpus: Sequence[Series]) -> dict[int, float]:
    """Return false alarms a series and day at some bits, outside windows and probation."""
    days = 0.0
    alarms = dict.fromkeys(BITS, 0)
    for each in corpus:
        bits = bits_of(each.times_ms, each.values)
        outside = each.truth.window == NONE
        outside[: each.truth.probation] = False
        # A gap in a file is no time in which it could have cried.
        steps = np.clip(np.diff(each.times_ms, append=each.times_ms[-1]), 0, DAY_MS // 24)
        days += float(steps[outside].sum()) / DAY_MS
        for threshold in BITS:
            alarms[threshold] += int((bits[outside] >= threshold * BIT).sum())
    return {threshold: count / days for threshold, count in alarms.items()}


def figure(value: float, target: float | None = None) -> dict[str, object]:
    """One figure."""
    met = target is None or value >= target
    return {"value": round(value, 2), "target": target, "met": met}


def measure(corpus: Sequence[Series]) -> dict[str, Any]:
    """Return all figures and the table of alarms."""
    figures: dict[str, dict[str, object]] = {}
    for name, found in score_corpus(corpus).items():
        figures[f"nab_{name}"] = figure(found.normalised, TARGETS[name])
    shifted = [score_corpus(corpus, round(hours * 3_600_000)) for hours in SHIFTS_H]
    scaled = [score_corpus(corpus, factor=factor) for factor in FACTORS]
    lowest = min(each["standard"].normalised for each in shifted + scaled)
    figures["nab_standard_moved_lowest"] = figure(lowest, MOVED_TARGET)
    mean = float(np.mean([each["standard"].normalised for each in shifted]))
    figures["nab_standard_shifted_mean"] = figure(mean)
    for half in (0, 1):
        part = score_corpus(corpus[half::2])["standard"].normalised
        figures[f"nab_standard_half_{half}"] = figure(part)
    started = perf_counter()
    for each in corpus:
        bits_of(each.times_ms, each.values)
    points = sum(len(each.values) for each in corpus)
    figures["ns_a_point"] = figure((perf_counter() - started) * 1e9 / points)
    figures["bytes_a_series"] = figure(LEVEL.itemsize)
    return {"figures": figures, "alarms": alarms_of(corpus)}


def show(found: dict[str, Any]) -> None:
    """Print the figures and the table of alarms for a person."""
    for name, each in found["figures"].items():
        print(f"{name:32} {each['value']:10} target {each['target']}")
    for threshold, rate in found["alarms"].items():
        print(f"{threshold:3} bits: {rate:.4f} false alarms a series and day")


if __name__ == "__main__":
    sys.exit(
        main_of(lambda folder: measure(read(folder)), "Score the Numenta Anomaly Benchmark.", show)
    )
