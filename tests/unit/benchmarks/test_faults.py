"""What the benchmark of faults makes of scenarios that end well, badly, or not at all."""

from __future__ import annotations

import json

import pytest

from benchmarks import faults
from benchmarks.faults import SCENARIOS, Scenario, main
from tests.faults.story import Result, Unseen

GOOD = Result("good", {"first": 1.5, "second": 4.0}, 0, 0, True, 7, 100, {})
ENDS = {
    "good": GOOD,
    "late": GOOD._replace(recovery_s={"only": 31.0}),
    "lossy": GOOD._replace(lost=2, rows_equal=False),
    "idle": GOOD._replace(commands=0),
    "unseen": Unseen("not after 90 s: everything applied"),
}


def played(scenario: Scenario, *, is_short: bool) -> Result:
    """What the scenario of this name comes to."""
    end = ENDS[scenario.name]
    if isinstance(end, Result):
        return end
    raise end


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the benchmark as a command; returns exit code and figures."""
    made = tuple(Scenario(name, 1, 30, lambda *_: GOOD) for name in ENDS)
    monkeypatch.setattr(faults, "SCENARIOS", made)
    monkeypatch.setattr(faults, "play", played)

    def command(*args):
        monkeypatch.setattr("sys.argv", ["faults", "--json", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, json.loads(capsys.readouterr().out or "{}").get("figures")

    return command


def test_each_scenario_has_its_figures(run):
    """One that fails costs its own figure, and the others are played even so."""
    code, figures = run()
    missed = {name for name, each in figures.items() if not each["met"]}
    assert code == 1
    assert missed == {
        "late_recovery_s",
        "lossy_lost_or_wrong",
        "idle_lost_or_wrong",
        "unseen_lost_or_wrong",
    }
    assert figures["good_lost_or_wrong"] == {"value": 0, "target": 0, "met": True}
    assert figures["good_recovery_s"] == {"value": 4.0, "target": 30, "met": True}
    assert figures["lossy_lost_or_wrong"]["value"] == 3
    assert "everything applied" in figures["unseen_lost_or_wrong"]["value"]


def test_some_may_be_chosen(run):
    """By name; an unknown one is a usage error."""
    assert run("good")[0] == 0
    assert run("good", "late")[1].keys() == {
        f"{name}_{figure}"
        for name in ("good", "late")
        for figure in ("lost_or_wrong", "recovery_s")
    }
    assert run("nothing")[0] == 2


def test_each_has_a_name_of_its_own():
    """Figures are told apart by it."""
    names = [each.name for each in SCENARIOS]
    assert len(set(names)) == len(names) >= 20
