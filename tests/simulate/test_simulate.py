"""The simulator: the same seed is the same run, laws hold, and bugs are found."""

import asyncio
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bugs import BUGS, planted
from benchmarks.simulation import check_plant
from stream.simulate import Plan, Process, VirtualLoop, plan_of, simulate
from stream.simulate import loop as loop_module
from stream.simulate.estate import Estate
from stream.simulate.story import run

SEEDS = Path(__file__).with_name("seeds.txt")


RECENT = 2  # Every change tells seeds' stories anew, so that old ones are as good as any.


def kept() -> list[Any]:
    """The seeds that once broke a law, each with what it was; all but the last few take long."""
    lines = [each.partition("#")[0].strip() for each in SEEDS.read_text().splitlines()]
    seeds = [int(each) for each in lines if each]
    old = len(seeds) - RECENT
    return [*(pytest.param(each, marks=pytest.mark.soak) for each in seeds[:old]), *seeds[old:]]


@pytest.mark.parametrize("seed", kept())
def test_a_seed_that_broke_a_law_breaks_none(seed: int) -> None:
    """What was found once stays mended."""
    assert simulate(seed).violations == []


def test_the_same_seed_is_the_same_run_in_another_process() -> None:
    """Steps, calls, faults and records are equal, whatever the hash seed and the addresses are."""
    code = "import sys; from stream.simulate import simulate; print(simulate(int(sys.argv[1])))"
    for seed in (5,):
        runs = {
            subprocess.run(
                [sys.executable, "-c", code, str(seed)],
                env={**os.environ, "PYTHONHASHSEED": chance},
                capture_output=True,
                check=True,
                timeout=100,
            ).stdout
            for chance in ("0", "7")
        }
        assert runs == {f"{simulate(seed)}\n".encode()}


@pytest.mark.parametrize(
    "name", ["acts-ignored", pytest.param("second-hop", marks=pytest.mark.soak)]
)
def test_a_deliberate_bug_is_found(name: str) -> None:
    """The auditor sees what is there to see; `benchmarks.simulation` plants them all."""
    bug = next(each for each in BUGS if each.name == name)
    with planted(bug):
        found = next(filter(None, (simulate(seed).violations for seed in range(200))))
        check_plant(name, found[0])


def test_plans_differ_and_repeat() -> None:
    """A seed is a plan, and most plans differ."""
    plans: list[Plan] = [plan_of(seed) for seed in range(50)]
    assert plans == [plan_of(seed) for seed in range(50)]
    assert len(set(plans)) == 50


def test_time_is_virtual_and_processes_die_at_once() -> None:
    """An hour costs nothing; a dead process runs no `finally`, a frozen one goes on later."""
    said: list[tuple[str, float]] = []

    async def worker(name: str) -> None:
        try:
            while True:
                await asyncio.sleep(1_000)
                said.append((name, asyncio.get_running_loop().time()))
        finally:
            said.append((name, -1.0))

    async def story() -> None:
        dead, frozen = Process("dead"), Process("frozen")
        tasks = [loop.spawn(dead, worker("dead")), loop.spawn(frozen, worker("frozen"))]
        await asyncio.sleep(1_500)
        dead.is_dead = True
        frozen.freeze()
        await asyncio.sleep(2_000)
        frozen.thaw(loop)
        await asyncio.sleep(1)
        assert not any(each.done() for each in tasks)

    loop = VirtualLoop()
    loop.run(story())
    assert said == [("dead", 1_000.0), ("frozen", 1_000.0), ("frozen", 3_500.0)]
    loop.end()


def test_a_run_that_does_not_end_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """As is one in which nothing can happen any more; neither ends the whole campaign."""
    monkeypatch.setattr(loop_module, "STEPS_MAX", 10_000)

    async def endless(_: Estate) -> list[str]:
        for _ in itertools.count():
            await asyncio.sleep(0)
        return []

    async def deadlock(_: Estate) -> list[str]:
        await asyncio.Event().wait()
        return []

    assert run(plan_of(1), tell=endless).violations == ["the simulation does not end"]
    found = run(plan_of(1), tell=deadlock).violations
    assert found == ["the simulation waits for nothing: a deadlock"]
