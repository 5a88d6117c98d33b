"""`simulate --sweep`: scenarios with their n-th I/O failing, for every n and in every way."""

from __future__ import annotations

import msgspec

from stream.errors import ConfigError
from stream.simulate import (
    HOWS,
    SCENARIOS,
    Broken,
    Fault,
    Scenario,
    broken_of,
    faults_of,
    operations_of,
    scenario_of,
    swept,
)

from .failure import NOT_SO
from .screen import Screen

EVERYTHING = "all"


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario came to: its calls of doors, how many runs, and those that broke a law."""

    scenario: str
    operations: int
    runs: int
    violations: list[dict[str, object]]


def sweep(screen: Screen, name: str, every: int) -> int:
    """Sweep one scenario, or all; each `every`-th fault. Return the exit code."""
    found = []
    for scenario in _named(name):
        operations = operations_of(scenario)
        faults = list(faults_of(operations))[::every]
        broken: list[Broken] = []
        with screen.progress(f"sweep {scenario.name}", len(faults)) as at:
            for place, one in enumerate(broken_of(scenario, operations, faults)):
                at(place + 1)
                if one is not None:
                    broken.append(one)
                    screen.note(f"{scenario.name} {one.at} {one.how} ({one.operation}): {one.law}")
        shown = [each._asdict() for each in broken]
        found.append(
            Swept(
                scenario=scenario.name,
                operations=len(operations),
                runs=len(faults),
                violations=shown,
            )
        )
    rows = [(each.scenario, each.operations, each.runs, len(each.violations)) for each in found]
    screen.table("", ("scenario", "operations", "runs", "violations"), rows)
    screen.emit({"every": every, "scenarios": [msgspec.to_builtins(each) for each in found]})
    return NOT_SO if any(each.violations for each in found) else 0


def sweep_one(screen: Screen, name: str, fail_at: int, how: str) -> int:
    """Run one scenario with one call failing, and tell of it. Return the exit code."""
    (scenario, *others) = _named(name)
    if others:
        raise ConfigError("--fail-at needs one scenario", hint="--sweep SCENARIO --fail-at N")
    operations = operations_of(scenario)
    if fail_at > len(operations):
        raise ConfigError(
            f"{scenario.name} has {len(operations)} operations, and no {fail_at}",
            hint=f"--fail-at is one of 1 to {len(operations)}",
        )
    operation = operations[fail_at - 1]
    if how not in operation.hows:
        raise ConfigError(
            f"{operation.what} cannot fail in the way {how}",
            hint="--how is one of " + ", ".join(operation.hows),
        )
    outcome = swept(scenario, Fault(fail_at, how))
    facts = [
        ("scenario", scenario.what),
        ("operation", f"{fail_at} of {len(operations)}: {operation.what} by {operation.who}"),
        (how, HOWS[how]),
        ("records", f"{outcome.events:,} of requests, {outcome.commands:,} of enforcement"),
    ]
    screen.facts(scenario.name, facts)
    for law in outcome.violations:
        screen.line(law, "red")
    if not outcome.violations:
        screen.line("no law is broken", "green")
    screen.emit(
        {
            "scenario": scenario.name,
            "operation": operation.what,
            "fail_at": fail_at,
            "how": how,
            "violations": outcome.violations,
        }
    )
    return NOT_SO if outcome.violations else 0


def _named(name: str) -> tuple[Scenario, ...]:
    if name == EVERYTHING:
        return SCENARIOS
    scenario = scenario_of(name)
    if scenario is None:
        known = ", ".join(each.name for each in SCENARIOS)
        raise ConfigError(f"there is no scenario {name}", hint=f"known are {known}")
    return (scenario,)
