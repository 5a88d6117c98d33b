"""The demo's agents and its policy, in virtual time: the bad one is caught, nobody else is."""

import heapq
import itertools
from collections.abc import Iterator
from importlib import resources

import pytest

from stream.cli.fleet import Agent, Step, bad_one, fleet, harvest, work
from stream.events import Command, Request, encode_request
from stream.kernel import HashKey, is_compiled
from stream.policy import lint_policy, read_policy
from stream.replay import Replay

TEXT = (resources.files("stream.cli") / "demo.yaml").read_text("utf-8")
POLICY, DOCUMENT = read_policy(TEXT, "demo.yaml")
BEGAN_MS = 1_700_000_000_000
# Kernels as plain Python are a hundred times slower.
SEEDS = range(8 if is_compiled() else 2)
CALM_S = 300 if is_compiled() else 15


def calls(seed: int, span_s: float, bad_after_s: float) -> Iterator[tuple[float, Agent, Step]]:
    """All calls of the fleet in order of time, none of which takes any."""
    agents = fleet()
    bad = bad_one(agents, seed)
    waiting: list[tuple[float, int, Agent, Iterator[Step], Step]] = []
    number = itertools.count()

    def push(at_s: float, agent: Agent, steps: Iterator[Step]) -> None:
        step = next(steps)
        heapq.heappush(waiting, (at_s + step.pause_s, next(number), agent, steps, step))

    for agent in agents:
        push(0.0, agent, work(agent, seed))
    turned = False
    while waiting[0][0] < span_s:
        at_s, _, agent, steps, step = heapq.heappop(waiting)
        yield at_s, agent, step
        if agent is bad and not turned and at_s >= bad_after_s:
            steps, turned = harvest(agent, seed), True
        push(at_s, agent, steps)


def commands(seed: int, span_s: float, bad_after_s: float) -> list[Command]:
    """What the workers would command if every call were served."""
    payloads = (
        encode_request(
            Request(
                BEGAN_MS + round(at_s * 1_000), agent.workload, step.call.operation,
                effect="read" if step.call.effect == "read" else "change",
                bytes=step.bytes, task=step.task,
            )
        )
        for at_s, agent, step in calls(seed, span_s, bad_after_s)
    )  # fmt: skip
    machine = Replay(POLICY, HashKey(b"a key for a demo"), 1, 200)
    return [each.command for result, _ in machine.run(payloads) for each in result.outgoing]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bad_agent_is_throttled_then_revoked(seed: int) -> None:
    """Whatever the seed, both rules fire on the bad agent, soon, and on nobody else."""
    bad = bad_one(fleet(), seed)
    found = commands(seed, 12, 6)
    assert {each.body.subject.workload for each in found} == {bad.workload}
    first = {each.body.action: each for each in reversed(found)}
    assert {"throttle", "revoke"} <= first.keys()
    turned_ms = BEGAN_MS + 6_000
    assert 0 < first["throttle"].caused_at_ms - turned_ms < 3_000
    assert 0 < first["revoke"].caused_at_ms - turned_ms < 4_000


@pytest.mark.parametrize("seed", SEEDS)
def test_agents_that_work_are_left_alone(seed: int) -> None:
    """Minutes of benign work, for any seed, break no rule, not even one in shadow."""
    assert commands(seed, CALM_S, 1_000_000) == []


def test_the_fleet_is_a_function_of_its_seed() -> None:
    """One seed gives one story; others give others, and not always the same agent."""

    def told(seed: int) -> list[tuple[float, str, str]]:
        return [(at_s, agent.name, step.task) for at_s, agent, step in calls(seed, 5, 2)]

    assert told(1) == told(1) != told(2)
    assert len({bad_one(fleet(), seed).name for seed in range(30)}) > 5
    assert len({each.workload for each in fleet()}) == len(fleet()) == 40


def test_the_policy_is_one_to_learn_from() -> None:
    """The demo's policy has no remarks, and rules of each kind."""
    assert lint_policy(POLICY, DOCUMENT.line_of) == []
    assert {(each.detector, each.spec.mode) for each in POLICY.rules} >= {
        ("limit", "enforce"),
        ("limit", "shadow"),
        ("forbid", "enforce"),
    }
