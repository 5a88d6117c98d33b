"""The ledger at its edges: who gives way to whom, and what happens at the very end of a command."""

from __future__ import annotations

from typing import Any

import pytest

from stream.events import Request, decode_value
from stream.identity import home_partition
from tests.models.driver import Driver
from tests.models.logs import T0_MS, Log, change_of, log_of, policy_of

AGENT = "spiffe://td/agents/a"
EVERY = {"measure": "requests", "at_most": 0, "per": "1s"}


def request(at_ms: int, **fields: Any) -> Request:
    """A request so many milliseconds after the beginning."""
    return Request(T0_MS + at_ms, **({"workload": AGENT, "operation": "tool:x"} | fields))


def rule(action: str, mode: str, **fields: Any) -> dict[str, Any]:
    """A rule that every call of `tool:x` breaks."""
    limit = EVERY | {"operations": ["tool:x"]}
    drawn = {"limit": limit, "action": action, "mode": mode, "for": "1h", **fields}
    return drawn | ({"rate": "1/s"} if action == "throttle" else {})


@pytest.mark.parametrize(
    ("there", "comes", "fits"),
    [
        (("revoke", "shadow"), ("throttle", "enforce"), True),
        (("throttle", "shadow"), ("revoke", "shadow"), True),
        (("observe", "enforce"), ("throttle", "enforce"), True),
        (("throttle", "enforce"), ("revoke", "shadow"), False),
        (("revoke", "enforce"), ("throttle", "enforce"), False),
        (("throttle", "enforce"), ("throttle", "enforce"), False),
    ],
)
def test_a_full_ledger_gives_way_to_what_is_stronger(
    there: tuple[str, str], comes: tuple[str, str], fits: bool
) -> None:
    """What is enforced before what is in shadow, then by rung; of equals the first stays."""
    on_y = EVERY | {"operations": ["tool:y"]}
    policy = policy_of(rule(*there, on="task"), rule(*comes) | {"limit": on_y})
    tasks = [request(each, task=f"t{each}") for each in range(8)]
    log = log_of(policy, *tasks, request(9, operation="tool:y"))
    driver = Driver(log).run(log.lines)
    assert driver.tallies["issued"] == 8 + fits
    assert driver.tallies["ledger_dropped"] == (not fits)
    assert driver.state.table.sections.head[0]["in_force"] == 8


def test_at_its_very_end_a_command_is_over() -> None:
    """A breach just before renews; one at that very moment is a new command, counted from one."""
    policy = policy_of(rule("revoke", "enforce") | {"for": "10s"})
    log = log_of(policy, request(0), request(9_999), request(19_999))
    driver = Driver(log).run(log.lines)
    assert [driver.tallies[each] for each in ("issued", "renewed", "released")] == [2, 1, 0]
    log = log_of(policy, request(0), request(10_000))
    driver = Driver(log).run(log.lines)
    assert [driver.tallies[each] for each in ("issued", "renewed")] == [2, 0]
    assert [each.command.body.repeat for each in driver.outgoing] == [0, 0]


def test_what_has_ended_is_in_no_record() -> None:
    """A record carries what lasts beyond its moment, not what ends at it."""
    on_y = EVERY | {"operations": ["tool:y"]}
    policy = policy_of(
        rule("throttle", "enforce") | {"for": "10s"}, rule("revoke", "enforce") | {"limit": on_y}
    )
    for at_ms, count in ((9_999, 2), (10_000, 1)):
        log = log_of(policy, request(0), request(at_ms, operation="tool:y"))
        last = Driver(log).run(log.lines).outgoing[-1]
        assert len(decode_value(last.value).commands) == count


def test_a_stop_is_for_its_partition() -> None:
    """Conditions of one partition say nothing about another."""
    policy = policy_of(rule("revoke", "enforce"))
    names = {home_partition(each.encode(), 2): each for each in (AGENT, f"{AGENT}2", f"{AGENT}3")}
    assert names.keys() == {0, 1}
    for stopped in (0, 1):
        changes = [
            change_of(policy, each, stopped_until_ms=(T0_MS + 5) * (each == stopped))
            for each in (0, 1)
        ]
        lines = [
            log_of(policy, request(0, workload=name)).lines[0]._replace(partition=partition)
            for partition, name in names.items()
        ]
        driver = Driver(Log(2, tuple(lines), tuple(changes))).run(lines)
        modes = {each.partition: each.command.body.mode for each in driver.outgoing}
        assert modes == {stopped: "shadow", 1 - stopped: "enforce"}


def test_the_beginning_of_time_is_a_time() -> None:
    """A row whose first event lies there is idle when its time has come, like any other."""
    day_ms = 86_400_000
    policy = policy_of(idle="25h")
    log = log_of(policy, *[Request(each, AGENT, "tool:x") for each in (0, 0, 2 * day_ms)])
    driver = Driver(log).run(log.lines)
    assert driver.tallies["restarted"] == 1
