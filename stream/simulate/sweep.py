"""Fault sweeps: each scenario with its n-th I/O failing, for every n and in every way.

Undisturbed a scenario tells how many calls of doors there are and what can happen to each; then it
is run once for each of them, and the auditor judges what came of it (SQLite's way: "How SQLite Is
Tested", I/O error testing). A process that dies is started again as a supervisor would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from stream.bus import MemoryTopics

from .chance import GatePlan
from .estate import Estate, Member
from .gate import Gate
from .learned import with_promotions
from .loop import Process
from .network import Operation
from .rest import at_rest
from .scenarios import SCENARIOS, Scenario, Stage, plan_for
from .story import Outcome, judged, run

RESTART_S: Final = 3.0
FROZEN_S: Final = 9.0
UNAWARE_S: Final = 0.5


class Fault(NamedTuple):
    """The n-th call of a scenario (from 1), and how it fails."""

    at: int
    how: str


class Broken(NamedTuple):
    """A run of a sweep that broke a law: which, what failed in it, and the first law."""

    scenario: str
    at: int
    how: str
    operation: str
    law: str


def operations_of(scenario: Scenario) -> list[Operation]:
    """Return the calls of a scenario that nothing disturbs.

    Requires: it breaks no law then; AssertionError says which it does.
    """
    found: list[Operation] = []

    def prepare(estate: Estate) -> None:
        estate.network.operations = found

    outcome = _run(scenario, prepare)
    assert not outcome.violations, (scenario.name, outcome.violations)
    return found


def faults_of(operations: list[Operation]) -> Iterator[Fault]:
    """Return every way in which every call can fail."""
    for place, operation in enumerate(operations):
        for how in operation.hows:
            yield Fault(place + 1, how)


def swept(scenario: Scenario, fault: Fault) -> Outcome:
    """Run a scenario with one call failing; the same fault gives the same run."""

    def prepare(estate: Estate) -> None:
        estate.network.fail_at, estate.network.how = fault

    return _run(scenario, prepare)


def broken_of(
    scenario: Scenario, operations: list[Operation], faults: Iterable[Fault]
) -> Iterator[Broken | None]:
    """Run a scenario with each of the faults; yield for each what broke a law, or None."""
    for fault in faults:
        violations = swept(scenario, fault).violations
        if violations:
            operation = operations[fault.at - 1]
            said = f"{operation.what} by {operation.who}"
            yield Broken(scenario.name, *fault, said, violations[0])
        else:
            yield None


def scenario_of(name: str) -> Scenario | None:
    """Return the scenario of a name, None where there is none."""
    return next((each for each in SCENARIOS if each.name == name), None)


def _run(scenario: Scenario, prepare: Callable[[Estate], None]) -> Outcome:
    def ready(estate: Estate) -> None:
        estate.network.fate = _fate_of(estate)
        if scenario.has_baselines:
            with_promotions(estate)
        if scenario.slots:
            estate.spec = msgspec.structs.replace(estate.spec, slots_max=scenario.slots)
        prepare(estate)

    async def tell(estate: Estate) -> list[str]:
        await MemoryTopics(estate.log).ensure(estate.topics.specs())
        for member in estate.members[: scenario.started]:
            member.start()
        if scenario.has_gateway:
            estate.open_gate(GatePlan("last", frozenset(), 0.0), estate.network).start()
        await scenario.told(Stage(estate))
        violations = await at_rest(estate)
        return violations + await judged(estate)

    return run(plan_for(scenario), ready, tell)


def _fate_of(estate: Estate) -> Callable[[str, Process], None]:
    """Return what lets a member die and be started again, or stand still and go on."""

    def fate(how: str, process: Process) -> None:
        everyone: list[Member | Gate] = [*estate.members, *estate.gates]
        one = next(each for each in everyone if each.process is process)
        if how != "freeze":
            one.kill()
            _again(estate, one)
        elif isinstance(one, Member):
            one.freeze(FROZEN_S, UNAWARE_S, lambda held: held.thaw(estate.loop))
        else:
            one.freeze(FROZEN_S)

    return fate


def _again(estate: Estate, one: Member | Gate) -> None:
    """Start a process again in a while, unless somebody does before."""
    process = one.process

    def again() -> None:
        if one.process is process:
            one.start()

    estate.loop.run_in(estate.network.process, lambda: estate.loop.call_later(RESTART_S, again))
