"""The life of a command, event by event, as an operator would tell it."""

from __future__ import annotations

from typing import Any

import pytest

from stream.enforcement import Outgoing
from stream.events import Exemption, Lift, Request, Token, decode_value, encode_request
from stream.policy import Policy
from tests.models.driver import KEY, Driver
from tests.models.logs import DAY, T0_MS, Change, Line, Log, change_of, policy_of

AGENT = "spiffe://td/agents/a"
SECOND, HOUR = 1_000, 3_600_000
LIMIT = {"measure": "requests", "at_most": 2, "per": "10s"}
THROTTLE = {"limit": LIMIT, "action": "throttle", "rate": "1/s", "for": "1m", "mode": "enforce"}
REVOKE = {"limit": LIMIT, "action": "revoke", "for": "1m", "mode": "enforce"}


def request(at_ms: int, **fields: Any) -> Request:
    """A request so many milliseconds after the beginning."""
    return Request(T0_MS + at_ms, **({"workload": AGENT, "operation": "tool:x"} | fields))


def log_of(changes: list[Change], *requests: Request) -> Log:
    """A log of one partition, appended at the times of its events or later."""
    lines, append_ms = [], 0
    for offset, each in enumerate(requests):
        append_ms = max(append_ms, each.at_ms)
        lines.append(Line(0, offset, append_ms, encode_request(each)))
    return Log(1, tuple(lines), tuple(changes))


def run(policy: Policy, *requests: Request) -> Driver:
    """A worker under one policy that has seen these requests."""
    log = log_of([change_of(policy)], *requests)
    return Driver(log).run(log.lines)


def told(outgoing: list[Outgoing]) -> list[tuple[Any, ...]]:
    """What each command is, at which offset, until when, and how often it was repeated."""
    bodies = [(each.offset, each.command.body) for each in outgoing]
    return [(at, body.action, body.until_ms - T0_MS, body.repeat) for at, body in bodies]


def test_a_limit_is_issued_renewed_and_released() -> None:
    """At the third of two; again after half its time while demand is over; gone under 80 %."""
    driver = run(
        policy_of(THROTTLE),
        *[request(each) for each in (0, 10, 20, 30)],
        *[request(4 * SECOND * each, outcome="refused") for each in range(1, 9)],
        request(50 * SECOND),
        request(51 * SECOND),
    )
    assert told(driver.outgoing) == [
        (2, "throttle", 60_020, 0),
        (11, "throttle", 92_000, 1),
        (12, "release", 110_000, 0),
    ]


def test_after_a_release_refusals_are_still_believed() -> None:
    """Gateways hear of it later: what they refuse meanwhile is no guilt, so nothing flaps."""
    lag = [request(20_000 + each, outcome="refused") for each in range(1, 9)]
    driver = run(policy_of(THROTTLE), request(0, count=3), request(20_000), *lag)
    assert [each[1] for each in told(driver.outgoing)] == ["throttle", "release"]
    assert driver.tallies["refused_disbelieved"] == 0
    driver = run(policy_of(THROTTLE), request(0, count=3), request(20_000), request(30_000))
    assert driver.state.table.sections.head[0]["in_force"] == 0


def test_expiry_says_nothing() -> None:
    """A command of a workload that went quiet ends by itself; the next breach is a new one."""
    requests = [request(each) for each in (0, 1, 2)] + [request(HOUR + each) for each in (0, 1, 2)]
    driver = run(policy_of(THROTTLE), *requests)
    assert [each[:2] for each in told(driver.outgoing)] == [(2, "throttle"), (5, "throttle")]


def test_a_refusal_of_ours_is_demand_and_no_guilt() -> None:
    """Refused calls renew a throttle; they are no requests, so they cannot begin one."""
    policy = policy_of({**THROTTLE, "for": "10s"})
    requests = [request(0, count=3), *[request(5_000 + each, outcome="refused") for each in (0, 1)]]
    driver = run(policy, *requests)
    assert told(driver.outgoing) == [(0, "throttle", 10_000, 0), (1, "throttle", 15_000, 1)]
    assert driver.outgoing[-1].command.body.reason.observed == 3


@pytest.mark.parametrize(("after_ms", "disbelieved"), [(9_999, 0), (10_000, 1)])
def test_a_refusal_is_believed_for_a_grace(after_ms: int, disbelieved: int) -> None:
    """Ten seconds longer than the command, while gateways may not have let go; then it counts."""
    policy = policy_of({**THROTTLE, "for": "1s"})
    driver = run(policy, request(0, count=3), request(1_000 + after_ms, outcome="refused"))
    assert driver.tallies["refused"] == 1
    assert driver.tallies["refused_disbelieved"] == disbelieved
    last = run(policy, request(0, outcome="refused", count=3))
    assert told(last.outgoing) == [(0, "throttle", 1_000, 0)]


def test_a_revoked_token_stays_revoked() -> None:
    """Demand that falls releases a workload, never a token."""
    token = Token(issuer="i", id="1")
    quiet = request(40 * SECOND, token=token)
    for on, actions in (("token", ["revoke"]), ("workload", ["revoke", "release"])):
        driver = run(policy_of({**REVOKE, "on": on}), request(0, token=token, count=3), quiet)
        assert [each[1] for each in told(driver.outgoing)] == actions


@pytest.mark.parametrize(
    ("on", "fields", "subject"),
    [
        ("task", {"task": "t"}, {"task": "t"}),
        ("token", {"token": Token(issuer="i", id="1")}, {"token": {"issuer": "i", "id": "1"}}),
        ("operation", {}, {"operation": "tool:x"}),
        ("task", {}, {}),
        ("token", {}, {}),
        ("workload", {"task": "t"}, {}),
    ],
)
def test_what_the_event_does_not_name_is_bound_whole(
    on: str, fields: dict[str, Any], subject: dict[str, Any]
) -> None:
    """A rule on task or token falls back to the workload where the event names none."""
    driver = run(policy_of({**REVOKE, "on": on}), request(0, count=3, **fields))
    found = decode_value(driver.outgoing[0].value).subject
    expected = {"workload": AGENT} | subject
    assert {name: each for name, each in to_plain(found).items() if each} == expected


def to_plain(subject: Any) -> dict[str, Any]:
    """A subject as a dict."""
    import msgspec

    return msgspec.to_builtins(subject)


def test_an_exempt_workload_is_seen_and_left_alone() -> None:
    """By policy for ever, by an operator until a time of its row's clock; findings say so."""
    exemptions = [{"workloads": [AGENT], "note": "agreed"}]
    driver = run(policy_of(REVOKE, exemptions=exemptions), request(0, count=3))
    assert (driver.outgoing, [each.mode for each in driver.findings]) == ([], ["exempt"])
    act = (Exemption(workload=AGENT, until_ms=T0_MS + 5_000, reason="r"),)
    log = log_of(
        [change_of(policy_of(REVOKE), exemptions=act)],
        *[request(each, count=3) for each in (0, 4_999, 5_000)],
        request(6_000, workload="spiffe://td/b", count=3),
    )
    driver = Driver(log).run(log.lines)
    assert [each.mode for each in driver.findings] == ["exempt", "enforce", "enforce"]
    assert [each.offset for each in driver.outgoing] == [2, 3]


def test_while_stopped_everything_is_in_shadow() -> None:
    """A stop turns enforcement into telling, until its time by the row's clock, and no longer."""
    forbid = {"first": ["tool:y"], "then": ["tool:x"], "within": "1m"}
    policy = policy_of(REVOKE, {"forbid": forbid, "action": "revoke", "mode": "enforce"})
    log = log_of(
        [change_of(policy, stopped_until_ms=T0_MS + 5_000)],
        request(0, operation="tool:y"),
        *[request(each, count=3) for each in (1, 4_999, 5_000, 5_001)],
    )
    driver = Driver(log).run(log.lines)
    modes = [(each.offset, each.command.body.mode) for each in driver.outgoing]
    assert modes == [(1, "shadow"), (1, "shadow"), (3, "enforce"), (3, "enforce")]


def test_a_lift_releases_all_that_is_in_force() -> None:
    """At the workload's next event, once, and for that workload only."""
    policy = policy_of(REVOKE, {**THROTTLE, "on": "operation"})
    lifts = (Lift(AGENT, 2, T0_MS + 5_000),)
    other = "spiffe://td/b"
    log = log_of(
        [change_of(policy), change_of(policy, from_offset=2, lifts=lifts)],
        request(0, count=3),
        request(1, count=3, workload=other),
        request(30_000),
        request(30_001),
        request(30_002, workload=other),
    )
    driver = Driver(log).run(log.lines)
    mine = [each for each in driver.outgoing if each.offset in (0, 2, 3)]
    assert [each[:2] for each in told(mine)] == [
        (0, "revoke"),
        (0, "throttle"),
        (2, "release"),
        (2, "release"),
    ]
    texts = [each.command.body.reason.text for each in mine[2:]]
    assert texts == ["lifted by an operator"] * 2
    assert [each.command.version.ordinal for each in mine] == [0, 1, 0, 1]


def test_a_failed_authentication_counts_against_nobody() -> None:
    """It changes no row, makes none, and is counted by itself."""
    driver = run(policy_of(REVOKE), request(0, count=5, authenticated=False))
    assert len(driver.state.table) == 0
    assert (driver.findings, driver.tallies["unauthenticated"]) == ([], 1)


def test_times_too_late_and_in_the_future_are_counted() -> None:
    """The future ends a declared skew beyond append time; what no window holds is late."""
    policy = policy_of({**REVOKE, "limit": {**LIMIT, "at_most": 9}}, skew="5s")
    lines = [request(0), request(-11 * SECOND), request(HOUR), request(5_001)]
    log = log_of([change_of(policy)], *lines)
    log = log._replace(lines=tuple(each._replace(append_ms=T0_MS) for each in log.lines))
    driver = Driver(log).run(log.lines)
    assert (driver.tallies["late"], driver.tallies["future"]) == (1, 2)
    assert driver.state.table.sections.head[0]["clock_ms"] == T0_MS + 5_000


def test_a_forgotten_row_holds_nothing_any_more() -> None:
    """What was in force on it is in no later record, as if the row had been deleted."""
    policy = policy_of({**REVOKE, "for": "2h"}, {**THROTTLE, "limit": {**LIMIT, "at_most": 9}})
    log = log_of(
        [
            change_of(policy),
            change_of(policy, from_offset=1, forgotten_before_ms=T0_MS + DAY),
        ],
        request(0, count=10),
        request(HOUR, count=3),
    )
    driver = Driver(log).run(log.lines)
    assert [len(decode_value(each.value).commands) for each in driver.outgoing] == [1, 2, 1]
    assert driver.tallies["restarted"] == 1


def test_more_decisions_than_fit_are_still_all_made() -> None:
    """A batch whose decisions fill the loop's output is continued where it stopped."""
    rules = [{**THROTTLE, "limit": {**LIMIT, "at_most": 0}, "for": "1s"} for _ in range(8)]
    requests = [request(SECOND * each) for each in range(1_050)]
    log = log_of([change_of(policy_of(*rules))], *requests)
    whole, cut = Driver(log).run(log.lines), Driver(log).run(log.lines, range(0, 1_050, 100))
    assert len(whole.outgoing) == 8 * 1_050
    assert whole.outgoing == cut.outgoing
    assert whole.rows() == cut.rows()


def test_a_row_is_unsaved_from_its_first_new_event() -> None:
    """The checkpoint must reach back to there, however many events follow."""
    log = log_of([change_of(policy_of())], *[request(each) for each in range(5)])
    driver = Driver(log).run(log.lines[:2])
    local = driver.state.table.sections.local
    assert local[0]["unsaved_from"] == 1
    driver.save()
    assert local[0]["unsaved_from"] == 0
    driver.run(log.lines[1:2])
    assert local[0]["unsaved_from"] == 0, "a duplicate changes nothing"
    driver.run(log.lines[2:])
    assert local[0]["unsaved_from"] == 3
    assert KEY.hash(AGENT) == int(driver.state.table.sections.head[0]["workload"])
