"""Task contexts: tasks side by side do not mix, few are kept, and inventing ids hides nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events import Request
from stream.policy import Policy
from stream.simulate.model.contexts import TASKS, ContextModel, ContextsModel
from tests.models.driver import KEY, Driver
from tests.models.logs import OPERATIONS, T0_MS, Log, log_of, policy_of

AGENT = "spiffe://td/agents/a"
RULE = {
    "forbid": {"first": ["tool:read_*", "GET /**"], "then": ["tool:send_*"], "within": "10s"},
    "action": "revoke",
    "on": "task",
    "for": "1s",
}
POLICIES = {tasks: policy_of(RULE, tasks=tasks) for tasks in ("vouched", "granted")}

moments = st.tuples(
    st.sampled_from([-200, 0, 1, 70, 900, 4_000]),
    st.sampled_from(OPERATIONS),
    st.integers(0, 11),
    st.sampled_from(["request"] * 6 + ["grant", "completion"]),
    st.sampled_from(["served", "served", "denied", "refused"]),
)
Moment = tuple[int, str, int, Any, Any]


def requests_of(moments: list[Moment], tasks: int) -> list[Request]:
    """Requests of one agent in so many tasks; task 0 is none."""
    at_ms, requests = T0_MS, []
    for gap, operation, task, kind, outcome in moments:
        at_ms += gap
        name = f"t{task % (tasks + 1)}" if task % (tasks + 1) else ""
        requests.append(
            Request(at_ms, AGENT, operation, kind=kind, outcome=outcome, task=name, count=1)
        )
    return requests


def run_all(policy: Policy, requests: list[Request]) -> Driver:
    """A worker that has seen these requests."""
    log: Log = log_of(policy, *requests)
    return Driver(log).run(log.lines)


def contexts_of(driver: Driver) -> dict[int, tuple[int, int, list[int]]]:
    """The contexts of the only row, by the hash of their task."""
    sections = driver.state.table.sections
    return {
        int(each["task"]): (each["events"], each["granted"], each["recent"].tolist())
        for place, each in enumerate(sections.contexts[0])
        if each["task"] or not place
    }


def shown(context: ContextModel) -> tuple[int, int, list[int]]:
    """A context of the model as rows hold it."""
    recent = KEY.hash_all(context.recent)
    return context.events, int(context.is_granted), recent + [0] * (3 - len(recent))


@pytest.mark.parametrize("tasks", POLICIES)
@given(drawn=st.lists(moments, min_size=1, max_size=80))
def test_contexts_are_those_of_the_model(tasks: str, drawn: list[Moment]) -> None:
    """Opened, found, dropped when least recently used, closed: as lists searched anew would do."""
    requests = requests_of(drawn, 11)
    driver, model, clock_ms = run_all(POLICIES[tasks], requests), ContextsModel(), 0
    for request in requests:
        clock_ms = max(clock_ms, request.at_ms)
        context = model.of(request.kind, request.task, clock_ms, is_vouched=tasks == "vouched")
        if request.kind == "request":  # nothing is in force, so a refusal is not believed
            context.remember(request.operation, clock_ms)
    expected = {KEY.hash(each.task) if each.task else 0: shown(each) for each in model.all()}
    assert contexts_of(driver) == expected
    head = driver.state.table.sections.head[0]
    assert head["contexts_dropped"] == driver.tallies["contexts_dropped"] == model.dropped
    assert head["tasks"] == len(expected) - 1 <= TASKS


@given(st.lists(moments, min_size=1, max_size=60))
def test_tasks_side_by_side_do_not_mix(drawn: list[Moment]) -> None:
    """With tasks that all fit, each comes out as if the agent had done nothing else."""
    requests = requests_of([(abs(gap), *rest) for gap, *rest in drawn], TASKS)
    together = run_all(POLICIES["vouched"], requests)
    for task in {each.task for each in requests}:
        mine = [each for each in requests if each.task == task]
        alone = run_all(POLICIES["vouched"], mine)
        key = KEY.hash(task) if task else 0
        assert contexts_of(alone).get(key) == contexts_of(together).get(key)
        texts = [each.text for each in together.findings if each.task == task]
        assert texts == [each.text for each in alone.findings]


@given(st.lists(moments, min_size=1, max_size=60))
def test_ids_that_nobody_granted_share_the_workloads_context(drawn: list[Moment]) -> None:
    """Where tasks must be granted, an id invented for each request hides no sequence, and no one.

    Whatever a rule is `on`, what follows is what would without ids.
    """
    requests = [each for each in requests_of(drawn, 11) if each.kind == "request"]
    bare = [Request(each.at_ms, AGENT, each.operation, outcome=each.outcome) for each in requests]
    for policy in (policy_of({**RULE, "on": "workload"}, tasks="granted"), POLICIES["granted"]):
        invented, plain = run_all(policy, requests), run_all(policy, bare)
        assert [each.observed for each in invented.findings] == [
            each.observed for each in plain.findings
        ]
        bound = [[each.command.body.subject for each in one.outgoing] for one in (invented, plain)]
        assert bound[0] == bound[1], "an id that is never used again is nothing to bind"
