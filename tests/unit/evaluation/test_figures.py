"""Figures of trials: thresholds that ties do not flatter, delays, parts, plots."""

from __future__ import annotations

import sys

import pytest

from stream.errors import ConfigError
from stream.evaluation import (
    PERCENT,
    Trial,
    alarms_of,
    by_part,
    delay_plot,
    delays_of,
    early_of,
    growth_plot,
    part_named,
    roc_of,
    roc_plot,
    threshold_at,
)

BENIGN = [
    Trial([each / 10, 0.0], is_attack=False, parts={"a": [(0, 1.0)]}) for each in range(1_000)
]
ATTACKS = [
    Trial(
        [0.0, 99.05, 99.05],
        is_attack=True,
        first_mal=1,
        is_alarm=True,
        parts={"a": [(0, 0.5), (2, 5.0)]},
    ),
    Trial([0.0, 0.0, 95.05], is_attack=True, first_mal=0, parts={"b": [(1, 2.0)]}),
    Trial([99.95], is_attack=True, first_mal=None),
    Trial([], is_attack=True, first_mal=None),
]


def test_what_is_found_at_each_rate():
    """At 1 % the threshold is what ten of a thousand exceed; the found are counted exactly."""
    trials = BENIGN + ATTACKS
    points = {each.percent: each for each in roc_of(trials)}
    assert tuple(points) == PERCENT
    assert points[1.0].bits == threshold_at(trials, 1.0) == 98.9
    assert (points[1.0].found, points[5.0].found, points[0.1].found) == (0.5, 0.75, 0.25)
    assert points[1.0].low < 0.5 < points[1.0].high
    assert not points[0.1].is_beyond
    assert roc_of(BENIGN[:100] + ATTACKS)[0].is_beyond


def test_ties_never_flatter():
    """Where benign trials all have one score, an attack of the same score is not found."""
    same = [Trial([3.0], is_attack=False)] * 500 + [Trial([3.0], is_attack=True)]
    assert all(each.found == 0.0 for each in roc_of(same))


def test_delays_are_of_what_is_found_and_known():
    """By call of the first one over, before it counts as in time; without a beginning none."""
    found = delays_of(BENIGN + ATTACKS, 90.0)
    assert (found.attacks, found.calls, found.in_time) == (2, (0, 2), 0.5)
    assert found.quantiles == (0.0, 0.0, 2.0)
    assert early_of(BENIGN + ATTACKS, 1.0) == 1.0
    assert delays_of(BENIGN, 0.0).attacks == 0


def test_parts_alone_and_alarms():
    """The part that finds most stands first; alarms are counted beside their numbers."""
    parts = by_part(BENIGN + ATTACKS)
    assert list(parts) == ["a", "b"]
    at = PERCENT.index(1.0)
    assert (parts["a"][at].found, parts["b"][at].found) == (0.25, 0.25)
    late = delays_of(BENIGN + ATTACKS, 1.0, part_named("a"))
    assert (late.calls, late.in_time) == ((1,), 0.0)
    alarms = alarms_of(BENIGN + ATTACKS)
    assert alarms["attack"][:2] == (1, 4) and alarms["benign"][:2] == (0, 1_000)


def test_without_trials_there_is_nothing_to_say():
    """Nothing breaks where one side or both are missing."""
    for trials in ([], BENIGN, ATTACKS):
        assert len(roc_of(trials)) == len(PERCENT)
        assert by_part(trials) is not None
        assert alarms_of(trials)["benign"][1] in (0, 1_000)


def test_plots_are_the_same_bytes_for_the_same_figures(tmp_path):
    """SVG without dates or random ids."""
    pytest.importorskip("matplotlib", reason="plots need the extra `plots`")
    trials = BENIGN + ATTACKS
    for name in ("one", "two"):
        roc_plot(tmp_path / name / "roc.svg", roc_of(trials), by_part(trials))
        delay_plot(tmp_path / name / "delay.svg", {"5 %": delays_of(trials, 90.0)})
        growth_plot(tmp_path / name / "learning.svg", {"at 1 %": {1: 0.2, 3: 0.8}})
    for each in ("roc.svg", "delay.svg", "learning.svg"):
        data = (tmp_path / "one" / each).read_bytes()
        assert data == (tmp_path / "two" / each).read_bytes()
        assert b"<svg" in data


def test_plots_say_what_they_need(tmp_path, monkeypatch):
    """Without the library, or where nothing can be written, one clear message."""
    pytest.importorskip("matplotlib", reason="plots need the extra `plots`")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        growth_plot(tmp_path / "file" / "x.svg", {"a": {1: 0.5}})
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"stream-enforcer\[plots\]") as error:
        growth_plot(tmp_path / "x.svg", {"a": {1: 0.5}})
    assert "matplotlib" in error.value.message
