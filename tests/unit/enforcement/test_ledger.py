"""The ledger at its edges: who gives way to whom, and what happens at the very end of a command."""

from __future__ import annotations

from typing import Any

import pytest

from stream.events import Request, Token, decode_value
from stream.identity import home_partition
from tests.models.driver import Driver
from tests.models.logs import T0_MS, Log, change_of, log_of, policy_of

AGENT = "spiffe://td/agents/a"
EVERY = {"measure": "requests", "at_most": 0, "per": "1s"}
ON_Y = EVERY | {"operations": ["tool:y"]}


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
        (("revoke", "enforce"), ("observe", "enforce"), False),
        # Eight bound tasks must not keep out what binds all of the workload.
        (("revoke", "enforce"), ("throttle", "enforce"), True),
        (("throttle", "enforce"), ("throttle", "enforce"), True),
    ],
)
def test_a_full_ledger_gives_way_to_what_is_stronger(
    there: tuple[str, str], comes: tuple[str, str], fits: bool
) -> None:
    """By mode; what binds before what does not; the whole workload before a part of it."""
    policy = policy_of(rule(*there, on="task"), rule(*comes) | {"limit": ON_Y})
    tasks = [request(each, task=f"t{each}") for each in range(8)]
    log = log_of(policy, *tasks, request(9, operation="tool:y"))
    driver = Driver(log).run(log.lines)
    assert driver.tallies["issued"] == 8 + fits
    assert driver.tallies["ledger_dropped"] == (not fits)
    assert driver.state.table.sections.head[0]["in_force"] == 8
    assert len(driver.findings) == 9, "what finds no place is found even so"
    assert ("Not in force: " in driver.findings[-1].text) == (not fits)


@pytest.mark.parametrize(
    ("there", "comes", "fits"),
    [
        ("throttle", "revoke", True),
        ("throttle", "throttle", False),
        ("revoke", "throttle", False),
    ],
)
def test_what_binds_the_workload_gives_way_by_rung(there: str, comes: str, fits: bool) -> None:
    """Where eight rules bind all of it, only a stronger command finds a place; equals stay."""
    eight = [rule(there, "enforce") for _ in range(8)]
    for on in ("workload", "task"):
        policy = policy_of(*eight, rule(comes, "enforce", on=on) | {"limit": ON_Y})
        last = request(9, operation="tool:y", task="t")
        log = log_of(policy, request(0), last)
        driver = Driver(log).run(log.lines)
        assert (driver.tallies["issued"], len(driver.findings)) == (8 + fits, 9)
        kinds = [each.command.body.subject.kind for each in driver.outgoing]
        assert kinds == ["workload"] * (8 + fits), "no part drives out the whole"


@pytest.mark.parametrize("on", ["task", "token", "operation"])
def test_a_part_that_finds_no_place_is_the_whole(on: str) -> None:
    """The ninth binds the workload, and so do all after it; what gave way binds until its end."""
    policy = policy_of({**rule("revoke", "enforce", on=on), "limit": EVERY})
    parts = [
        request(each * 1_000, task=f"t{each}", operation=f"tool:{each}", token=Token(id=f"j{each}"))
        for each in range(12)
    ]
    # Half of an hour later all goes on, at the first task: what is bound as a whole is renewed.
    log = log_of(policy, *parts, request(1_900_000, task="t0", token=Token(id="j0")))
    driver = Driver(log).run(log.lines[:12])
    bodies = [each.command.body for each in driver.outgoing]
    assert [each.subject.kind for each in bodies] == [on] * 8 + ["workload"]
    assert (bodies[-1].action, bodies[-1].mode) == ("revoke", "enforce")
    end = f"The whole workload is bound, not only this {on}: it may have no more commands"
    assert bodies[-1].reason.text.endswith(end)
    assert driver.tallies["ledger_dropped"] == 0
    entries = driver.state.table.sections.ledger[0]
    kept = sorted(entries["since_ms"][entries["kind"] > 0].tolist())
    assert kept == [T0_MS + each * 1_000 for each in range(1, 8)], "the first to end gave way"
    (held,) = driver.state.held.values()
    assert [each.body for each in held.values()] == bodies, "what was published binds"
    driver.run(log.lines[12:])
    body = driver.outgoing[-1].command.body
    assert (body.subject.kind, body.repeat, len(driver.outgoing)) == ("workload", 1, 10)
    assert body.reason.text.endswith(f"The whole workload is bound already, not only this {on}")


def test_a_rule_that_binds_the_whole_binds_no_part_besides() -> None:
    """Unless it would be more serious now: a shadow on the whole is none of what is enforced."""
    policy = policy_of(rule("revoke", "enforce", on="task"))
    log = log_of(policy, request(0), request(1, task="t"))
    for stopped, kinds in ((0, ["workload"]), (T0_MS + 1, ["workload", "task"])):
        changes = (change_of(policy, stopped_until_ms=stopped),)
        driver = Driver(log._replace(changes=changes)).run(log.lines)
        assert [each.command.body.subject.kind for each in driver.outgoing] == kinds


def test_ids_that_nobody_granted_bind_the_workload() -> None:
    """A task id for each call evades nothing; one that was granted is bound by itself."""
    policy = policy_of(rule("revoke", "enforce", on="task"), tasks="granted")
    granted = request(0, kind="grant", operation="task:grant", task="t0")
    calls = [request(1 + each, task=f"t{each}") for each in range(20)]
    log = log_of(policy, granted, *calls)
    driver = Driver(log).run(log.lines)
    bodies = [each.command.body for each in driver.outgoing]
    assert [(each.subject.kind, each.subject.task) for each in bodies] == [
        ("task", "t0"),
        ("workload", ""),
    ]
    assert bodies[1].reason.text.endswith(
        "The whole workload is bound: task t1 was not granted, or is one of too many"
    )


def test_a_flood_of_what_finds_no_place_is_said_now_and_then() -> None:
    """All of the first 64 are findings, then one of 64; all are counted, and none is a command."""
    shadows = rule("revoke", "shadow") | {"limit": ON_Y}
    policy = policy_of(*[rule("revoke", "enforce") for _ in range(8)], shadows)
    flood = [request(1 + each, operation="tool:y") for each in range(200)]
    log = log_of(policy, request(0), *flood)
    driver = Driver(log).run(log.lines)
    assert driver.tallies["ledger_dropped"] == 200
    assert len(driver.outgoing) == 8
    said = [each.at_ms - T0_MS for each in driver.findings[8:]]
    assert said == [*range(1, 65), 128, 192]
    assert {each.mode for each in driver.findings[8:]} == {"shadow"}


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
    policy = policy_of(
        rule("throttle", "enforce") | {"for": "10s"}, rule("revoke", "enforce") | {"limit": ON_Y}
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
