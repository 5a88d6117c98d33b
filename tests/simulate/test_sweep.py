"""Sweeps: every call of a door can fail in every way, and the auditor would see what broke."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from benchmarks.bugs import BUGS, planted
from stream.cli import main
from stream.simulate import (
    HOWS,
    SCENARIOS,
    Fault,
    Scenario,
    faults_of,
    operations_of,
    scenario_of,
    swept,
)

NAMES = [each.name for each in SCENARIOS]
RUNS_SHORT = 2
UNDISTURBED = Fault(0, "")


def named(name: str) -> Scenario:
    scenario = scenario_of(name)
    assert scenario is not None
    return scenario


@pytest.mark.parametrize("name", NAMES)
def test_some_calls_of_each_scenario_fail_and_no_law_breaks(name: str) -> None:
    """A thin sweep, spread over the scenario and the ways; `make sim` runs all of it."""
    scenario = named(name)
    faults = list(faults_of(operations_of(scenario)))
    every = len(faults) // RUNS_SHORT
    start = NAMES.index(name) % every
    for fault in faults[start::every]:
        assert swept(scenario, fault).violations == [], fault


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_every_call_of_each_scenario_fails_and_no_law_breaks(name: str) -> None:
    """The whole sweep of a scenario."""
    scenario = named(name)
    for fault in faults_of(operations_of(scenario)):
        assert swept(scenario, fault).violations == [], fault


@pytest.mark.parametrize(
    ("name", "what", "how"),
    [
        ("forged", "bounds of requests", "kill"),
        ("forged", "bounds of requests", "kill_late"),
        ("promoted", "bounds of baselines", "refuse"),
    ],
)
def test_what_a_whole_sweep_found_stays_mended(name: str, what: str, how: str) -> None:
    """An heir reads a forgery behind its own record; a look at the library fails very late."""
    scenario = named(name)
    operations = operations_of(scenario)
    faults = [each for each in faults_of(operations) if each.how == how]
    found = [each for each in faults if operations[each.at - 1].what == what]
    assert found
    for fault in found:
        assert swept(scenario, fault).violations == [], fault


def test_every_way_of_failing_comes_to_pass() -> None:
    """Each way is possible somewhere, and happens where it is asked for."""
    scenario = named("steady")
    operations = operations_of(scenario)
    assert {how for each in operations for how in each.hows} == set(HOWS)
    at = next(n for n, each in enumerate(operations) if "kill_late" in each.hows) + 1
    outcome = swept(scenario, Fault(at, "kill_late"))
    assert outcome.faults == {"kill_late": 1}
    assert outcome == swept(scenario, Fault(at, "kill_late"))


def test_a_zombie_s_commands_of_old_conditions_bind_nobody() -> None:
    """A worker that walks on, and knows nothing of an exemption, revokes at no gateway."""
    scenario = named("outdated")
    assert swept(scenario, UNDISTURBED).violations == []
    with planted(next(each for each in BUGS if each.name == "zombies-believed")):
        laws = swept(scenario, UNDISTURBED).violations
    assert any("deny revoke" in law for law in laws)


def test_a_sweep_finds_a_bug() -> None:
    """A save behind a failed call is met by failing a call; undisturbed nothing shows."""
    scenario = named("operator")
    faults = list(faults_of(operations_of(scenario)))[::60]
    with planted(next(each for each in BUGS if each.name == "saved-after-failure")):
        assert swept(scenario, UNDISTURBED).violations == []
        assert any(swept(scenario, fault).violations for fault in faults)


Run = Callable[..., Result]


@pytest.fixture
def enforcer() -> Run:
    """Calls `enforcer simulate` in this process."""
    return lambda *args: CliRunner().invoke(main, ["simulate", *args])


def test_the_command_sweeps_and_runs_one_fault_again(enforcer: Run) -> None:
    """A table for a person, JSON for a program, and one run of a sweep by its number and way."""
    shown = enforcer("--sweep", "letters", "--every", "200")
    assert (shown.exit_code, shown.stdout.split()[:4]) == (
        0,
        ["scenario", "operations", "runs", "violations"],
    )
    found = json.loads(enforcer("--sweep", "letters", "--every", "300", "--json").stdout)
    (letters,) = found["scenarios"]
    assert (letters["scenario"], letters["violations"]) == ("letters", [])
    at = str(letters["operations"] // 2)
    one = json.loads(
        enforcer("--sweep", "letters", "--fail-at", at, "--how", "kill", "--json").stdout
    )
    assert (one["fail_at"], one["how"], one["violations"]) == (int(at), "kill", [])


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--seed", "1", "--sweep"),
        ("--sweep", "nothing"),
        ("--sweep", "letters", "--fail-at", "100000"),
        ("--sweep", "all", "--fail-at", "1"),
    ],
)
def test_what_cannot_be_run_is_said(enforcer: Run, args: tuple[str, ...]) -> None:
    """A wrong question is the caller's to mend, and the hint says how."""
    result = enforcer(*args)
    assert result.exit_code == 78
    assert "hint: " in result.stderr
