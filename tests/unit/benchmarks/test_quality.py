"""All rows of the quality benchmark: on a small folder of ours each path, on real data the bars."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import VARIABLE, ablation, behaviours, novelty, soak
from benchmarks.quality.__main__ import main
from benchmarks.quality.rows import TARGETS, Rows, shown
from stream.kernel import is_compiled
from tests.models import recorded

# All rows one after another: a shared machine may take long.
pytestmark = pytest.mark.timeout(400)
compiled = pytest.mark.skipif(not is_compiled(), reason="kernels as plain Python take minutes")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A small folder in the form of the real one."""
    return recorded.write(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def data(small) -> novelty.Data:
    """Its AgentDojo runs."""
    return novelty.load(small)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the benchmark as a command; returns exit code, stdout and stderr."""

    def command(*args, folder=None):
        monkeypatch.setattr("sys.argv", ["quality", *map(str, args)])
        if folder is None:
            monkeypatch.delenv(VARIABLE, raising=False)
        else:
            monkeypatch.setenv(VARIABLE, str(folder))
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return command


@compiled
def test_every_row_has_figures_and_targets(run, small, tmp_path):
    """One object with a figure for each row of what must be reached; plots beside it."""
    code, out, _ = run("--json", "--events", 3_000, "--svg", tmp_path / "svg", folder=small)
    result = json.loads(out)
    figures = result["figures"]
    assert result["cloudtrail"]["decided"].keys() | set(result["cloudtrail"]["missed"]) >= {
        "aws.t0",
        "aws.t1",
    }
    assert code == (0 if all(each["met"] for each in figures.values()) else 1)
    for name, (at_1, at_5) in TARGETS.items():
        assert figures[f"{name} found at 1%"]["target"] == at_1
        assert figures[f"{name} found at 5%"]["target"] == at_5
    # What is stolen here is stolen plainly.
    assert figures["declared found at 5%"]["value"] == 100.0
    assert figures["declared early at 1%"]["value"] == 100.0
    for name in (
        "budget 0.5%",
        "budget alarm",
        "nab_standard",
        "nab_standard_moved_lowest",
        "cloudtrail_runs_found",
        "cloudtrail_alarms_an_identity_hour",
        "habits loops alone found at 1%",
        "soak false alarms, % of tasks",
        "slow boil, 2 % a day: first report, day, latest of 4",
    ):
        assert {"value", "met"} <= figures[name].keys(), name
    assert "ns_a_point" not in figures
    assert figures["soak events"]["value"] >= 3_000
    assert {each.name for each in (tmp_path / "svg").iterdir()} == {"roc.svg", "learning.svg"}


@compiled
@pytest.mark.parametrize("name", ["agentdojo", "cloudtrail"])
def test_what_adapters_write_the_verbs_read(name, small, tmp_path):
    """Events and marks of an adapter go through `baseline learn` and `evaluate` as they are."""
    events, marks, out = (str(tmp_path / each) for each in ("e.jsonl.gz", "m.jsonl", "b"))
    adapter = [sys.executable, "-m", f"benchmarks.quality.{name}", "--data", str(small)]
    subprocess.run([*adapter, "--out", events, "--marks", marks], check=True, capture_output=True)
    enforcer = [sys.executable, "-m", "stream.cli"]
    subprocess.run(
        [*enforcer, "baseline", "learn", events, "--out", out], check=True, capture_output=True
    )
    done = subprocess.run(
        [*enforcer, "evaluate", events, "--labels", marks, "--baseline", out, "--json"],
        check=True,
        capture_output=True,
    )
    found = json.loads(done.stdout)
    # Three models with four attacks and 24 benign runs each; two identities, one of them attacks.
    expected = (72, 12) if name == "agentdojo" else (1, 1)
    assert (found["benign"], found["attacks"]) == expected


def test_what_is_asked_wrongly_is_told(run, small):
    """Rows are listed; unknown ones, and rows whose data are not there, are usage errors."""
    code, out, _ = run("--list", folder=small)
    assert code == 0 and set(novelty.NAMES) < set(out.split())
    code, _, told = run("--only", "nothing", folder=small)
    assert (code, "no such row: nothing" in told) == (2, True)
    for args in (("--json",), ("--only", "declared"), ("--ablation",)):
        code, _, told = run(*args)
        assert (code, VARIABLE in told) == (2, True)


@compiled
def test_behaviours_are_caught_without_any_data(run):
    """Bursts, loops, storms, fallbacks, a slow boil, a new version, poisoning: all as promised."""
    code, out, _ = run("--only", "behaviours", "--json")
    figures = json.loads(out)["figures"]
    assert [name for name, each in figures.items() if not each["met"]] == []
    assert code == 0
    assert figures["10 of 1,000 workloads poison: tasks set aside"]["value"] > 0


def test_behaviours_can_fail():
    """A burst that is none is not caught, a call that is not repeated has no bits."""
    assert behaviours.loop(1, is_failed=False) == 0.0
    if is_compiled():
        assert behaviours.bursts(1)[0] < 4


@compiled
def test_the_ablation_with_all_parts_on_is_the_engine(run, small, data, tmp_path):
    """Put together anew it is what the set `declared` has; each part has a row."""
    code, out, _ = run("--ablation", "--json", "--svg", tmp_path / "svg", folder=small)
    found = json.loads(out)["ablation"]
    assert code == 0 and (tmp_path / "svg" / "ablation.svg").exists()
    declared = novelty.sets(data)["declared"]()
    assert found["all"] == declared["found"]
    assert found["off"].keys() == set(ablation.PARTS)
    assert not set(ablation.FOR_THE_CALL) & found["alone"].keys()
    assert "size of results" in run("--ablation", folder=small)[1]


def test_a_part_that_is_off_weighs_nothing():
    """Of a change with a new address: what the address adds is its weight of its bits."""
    parts = [0, 2_048, 0, 0, 0, 0, 0, 1, 100, 0]
    one = ablation.Call(parts, 1, 500, 0)
    every = ablation.weighed(one, ablation.PARTS)
    without = ablation.weighed(one, [each for each in ablation.PARTS if each != "identifier"])
    assert every - without == ablation.WEIGHTS["identifier"][1] * 2_048 // 100
    assert ablation.weighed(one, ["size of results"]) == 500
    assert ablation.weighed(one, ["known", "errors"]) == -3 * 1_024 - 100


def test_soaked_tasks_come_in_order_and_whole(small, data):
    """As many events as asked, in order of time, each task with all of its run's events."""
    runs = [each for each in data.runs if not each.is_attack]
    gaps = soak.gaps_ms(small)
    stream = list(soak.stream_of(runs, gaps, 500, random.Random(1)))
    assert 500 <= len(stream) <= 506
    events = [json.loads(payload) for _, payload in stream]
    times = [each["at_ms"] for each in events]
    assert times == sorted(times)
    of_task: dict[str, int] = {}
    for each in events:
        of_task[each["task"]] = of_task.get(each["task"], 0) + 1
    assert set(of_task.values()) == {5}
    assert len({number for number, _ in stream}) == len(of_task)
    # Bursts stay bursts: many begin at once, and there are pauses.
    starts = np.diff(sorted(each["at_ms"] for each in events if each.get("kind") == "grant"))
    assert (starts < 2_000).mean() > 0.5 and starts.max() > 20_000


@compiled
def test_the_soak_counts_tasks_that_alarm(data):
    """Of benign runs none here; of attacks each, once a task."""
    baseline = novelty.baseline_of(
        data, [i for i, each in enumerate(data.runs) if not each.is_attack]
    )
    for is_attack, share in ((False, 0.0), (True, 1.0)):
        runs = [each for each in data.runs if each.is_attack == is_attack]
        stream = soak.stream_of(runs, [1_000, 2_000], 300, random.Random(2))
        alarmed, tasks, events = soak.alarms_of(baseline, stream)
        assert alarmed == share * tasks and events >= 300


def test_a_budget_is_met_from_a_third_to_one_and_a_half():
    """Its figure shows both bounds, for each share and for the alarm."""
    found = {
        "1.0%": {"actual_percent": 1.6, "found_percent": 90.0},
        "alarm": {"declared_percent": 0.5, "actual_percent": 0.6, "found_percent": 80.0},
    }
    figures = shown("budget", found)
    assert (figures["budget 1.0%"]["met"], figures["budget alarm"]["met"]) == (False, True)
    assert figures["budget alarm"]["target"] == [0.167, 0.75]


@compiled
def test_real_data_reach_what_was_asked(data_folder):
    """With a declared purpose, on recorded runs: each figure of the row is met."""
    figures = Rows(data_folder).all()["declared"]()
    assert [each for each in figures.items() if not each[1]["met"]] == []


@compiled
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["declared_no_size", "undeclared", "curve_3", "budget"])
def test_more_of_real_data(name, data_folder):
    """On recorded runs each figure of the row is met; the long rows are the benchmark's."""
    figures = Rows(data_folder).all()[name]()
    assert [each for each in figures.items() if not each[1]["met"]] == []


@compiled
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_benign_soak_stays_within_its_budget(data_folder):
    """The short form; the long one is `--only soak --events 10000000`."""
    figures = Rows(data_folder, 30_000).all()["soak"]()
    assert figures["soak false alarms, % of tasks"]["met"], figures
    assert figures["soak events"]["value"] >= 30_000
