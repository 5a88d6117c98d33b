"""The level of a series: the formulas, whatever the scale, the time and the process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.detectors import (
    AMOUNTS,
    BITS,
    BITS_MAX,
    COUNTED,
    LEVEL,
    LEVEL_PARTS,
    MEASURED,
    REPORTED,
    SUDDEN,
    counted,
    is_warm,
    peek_level,
    score_level,
)
from tests.models.level import LevelModel

INTERVAL_MS = 300_000
DAY_MS = 86_400_000

seeds = st.integers(0, 1 << 30)
hostile = st.one_of(
    st.floats(-1e30, 1e30),
    st.sampled_from([0.0, -0.0, 1.0, 5e-324, 1e-61, 1e-300, 2.0**62, 2.0**99, -(2.0**99)]),
)


def values_of(seed: int, kind: int, points: int) -> list[float]:
    """Values as workloads make them: bursty counts, or amounts with a heavy tail."""
    chance = np.random.default_rng(seed)
    if kind == COUNTED:
        mean = chance.choice([0.5, 5.0, 50.0, 5000.0])
        drawn = chance.negative_binomial(2, 2 / (2 + mean), points)
        return [counted(int(each)) for each in drawn]
    scale = 1e5 if kind == AMOUNTS else chance.choice([1e-6, 1.0, 1e9])
    wide = chance.choice([0.1, 1.0, 2.0])
    return (chance.lognormal(0.0, wide, points) * scale).tolist()


def scored(
    values: list[float], kind: int, start_ms: int = 0, state: np.ndarray | None = None
) -> np.ndarray:
    """The parts of each value. Shapes: [point, part]; state [1] of LEVEL, mutated if given."""
    state = np.zeros(1, LEVEL) if state is None else state
    parts = np.zeros((len(values), LEVEL_PARTS), np.int64)
    for place, value in enumerate(values):
        bits = score_level(state[0], value, start_ms + place * INTERVAL_MS, kind, parts[place])
        assert bits == parts[place][REPORTED]
    return parts


@pytest.mark.parametrize("kind", [COUNTED, MEASURED, AMOUNTS])
@given(seeds)
def test_integers_are_as_good_as_floats(kind: int, seed: int) -> None:
    """98 % of parts are those of the formulas within 0.5 %: counts may just meet a threshold."""
    values = values_of(seed, kind, 400)
    found = scored(values, kind)[:, :4] / 1024
    model = LevelModel(kind)
    expected = np.array([model.score(each, at * INTERVAL_MS) for at, each in enumerate(values)])
    apart = np.abs(found - expected) > 0.005 * (1.0 + expected)
    assert apart.sum() <= 0.02 * apart.size


@given(seeds, st.integers(-20, 20))
def test_scale_does_not_matter(seed: int, power: int) -> None:
    """Scaled by 4^n, every bit of evidence of measured values is the same."""
    values = values_of(seed, MEASURED, 250)
    scaled = [value * 4.0**power for value in values]
    assert np.array_equal(scored(values, MEASURED), scored(scaled, MEASURED))


@given(seeds, st.sampled_from([0.1, 3.0, 1e5]), st.sampled_from([-1e3, 7.0, 1e4]))
def test_scale_and_offset_hardly_matter(seed: int, factor: float, offset: float) -> None:
    """Scaled and moved by anything, they are the same but for rounding."""
    values = (np.array(values_of(seed, COUNTED, 250)) + 1.0).tolist()
    moved = [(value + offset) * factor for value in values]
    one, other = scored(values, MEASURED), scored(moved, MEASURED)
    apart = np.abs(one - other)[:, SUDDEN] > 0.01 * (1024 + one[:, SUDDEN])
    assert apart.sum() <= 2


@pytest.mark.parametrize("kind", [COUNTED, MEASURED, AMOUNTS])
@given(seeds, st.integers(1, 30_000))
def test_days_do_not_matter(kind: int, seed: int, days: int) -> None:
    """Moved by whole days, all evidence is the same."""
    values = values_of(seed, kind, 250)
    assert np.array_equal(scored(values, kind), scored(values, kind, days * DAY_MS))


@pytest.mark.parametrize("kind", [COUNTED, MEASURED, AMOUNTS])
@given(seeds, st.integers(0, 250))
def test_a_stored_series_goes_on(kind: int, seed: int, cut: int) -> None:
    """Wherever it is stored, a restored series has the same future."""
    values = values_of(seed, kind, 250)
    state = np.zeros(1, LEVEL)
    before = scored(values[:cut], kind, state=state)
    restored = np.frombuffer(state.tobytes(), LEVEL).copy()
    after = scored(values[cut:], kind, cut * INTERVAL_MS, restored)
    assert np.array_equal(np.concatenate([before, after]), scored(values, kind))


@pytest.mark.parametrize("kind", [COUNTED, MEASURED, AMOUNTS])
@given(st.lists(hostile, min_size=1, max_size=40), seeds)
def test_no_value_breaks_it(kind: int, values: list[float], seed: int) -> None:
    """Whatever comes, evidence is within its bounds, and so is all that is kept."""
    state = np.zeros(1, LEVEL)
    scored(values_of(seed, kind, 110), kind, state=state)
    parts = scored(values, kind, 200 * INTERVAL_MS, state)
    assert (parts >= 0).all() and (parts <= 4 * BITS_MAX).all()
    assert (parts[:, REPORTED] <= parts[:, BITS]).all()
    assert (parts[:, BITS] == parts[:, :4].sum(axis=1)).all()
    series = state[0]
    assert series["lowest"] <= series["highest"]
    assert series["spread"] >= 0 and (series["spreads"] >= 0).all()
    assert max(map(abs, map(int, series["profile"]))) < 1 << 31
    assert series["unit"] % 2 == 0


@given(seeds, st.floats(0.0, 1e6))
def test_a_look_learns_nothing(seed: int, value: float) -> None:
    """Looked at while open, a series stays as it is, and cries only what it will at the close."""
    state = np.zeros(1, LEVEL)
    scored(values_of(seed, COUNTED, 150), COUNTED, state=state)
    assert is_warm(state[0])
    parts, later = np.zeros(LEVEL_PARTS, np.int64), np.zeros(LEVEL_PARTS, np.int64)
    before = state.copy()
    peek_level(state[0], value, 150 * INTERVAL_MS, COUNTED, parts)
    for name in ("level", "profile", "tails", "unit", "points", "drift", "sustained"):
        assert np.array_equal(state[name], before[name])
    score_level(state[0], value, 150 * INTERVAL_MS, COUNTED, later)
    if parts[BITS]:
        # A value far away makes the unit coarser before it is judged and learned.
        assert np.abs(parts - later).max() <= 8 + 0.05 * later[BITS]


@pytest.mark.parametrize("kind", [COUNTED, MEASURED, AMOUNTS])
@given(st.lists(hostile, min_size=1, max_size=100))
def test_cold_is_not_zero_evidence(kind: int, values: list[float]) -> None:
    """Up to 100 points a series says nothing, and says that it does."""
    state = np.zeros(1, LEVEL)
    assert not scored(values, kind, state=state).any()
    assert not is_warm(state[0])
