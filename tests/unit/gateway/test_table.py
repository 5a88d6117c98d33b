"""What binds whom: subjects, rungs, expiry, shadow, throttles, operators' acts."""

from typing import Any

import pytest

from stream.events import OperatorAct, Rate, Subject, TokenRef, encode
from stream.gateway import ALLOW
from tests.models.owner import (
    AGENT,
    NOW_MS,
    OTHER,
    act,
    command,
    operator_record,
    revoked,
    subject_record,
    throttled,
)
from tests.unit.gateway.shelf import Shelf

TOKEN = TokenRef("https://issuer.example.org", "7f3a")


def test_nothing_in_force_is_one_shared_verdict(shelf: Shelf) -> None:
    """Who is bound by nothing gets the same object each time."""
    assert shelf.table.check(NOW_MS, AGENT, "GET /x") is ALLOW
    shelf.put(revoked(OTHER))
    assert shelf.table.check(NOW_MS, AGENT, "GET /x") is ALLOW


def test_verdict_says_why(shelf: Shelf) -> None:
    """A denial names rule, reason, command, and how long it lasts."""
    shelf.put(revoked(rule="export-burst", text="512 requests in 10 s", expires_at_ms=NOW_MS + 9))
    verdict = shelf.table.check(NOW_MS, AGENT, "GET /x")
    assert (verdict.decision, verdict.status, verdict.action) == ("deny", 403, "revoke")
    assert (verdict.rule, verdict.reason) == ("export-burst", "512 requests in 10 s")
    assert verdict.retry_after_ms == 9
    assert verdict.command == next(shelf.table.in_force(NOW_MS)).id


@pytest.mark.parametrize(
    ("subject", "bound", "free"),
    [
        (Subject(workload=AGENT), {"workload": AGENT}, {"workload": OTHER}),
        (Subject(workload=AGENT, task="t"), {"task": "t"}, {"task": "u"}),
        (Subject(workload=AGENT, token=TOKEN), {"token": TOKEN}, {"token": TokenRef("i", "j")}),
        (Subject(workload=AGENT, operation="POST /y"), {"operation": "POST /y"}, {}),
        (Subject(workload=AGENT, task="t"), {"task": "t"}, {"task": "t", "workload": OTHER}),
    ],
)
def test_command_binds_its_subject_only(
    shelf: Shelf, subject: Subject, bound: dict[str, Any], free: dict[str, Any]
) -> None:
    """A workload, or one task, token or operation of it: nothing beside."""
    assert shelf.put(subject_record(subject, command(subject))) == "applied"
    assert shelf.decision(**bound) == "deny"
    assert shelf.decision(**free) == "allow"


def test_the_strongest_speaks(shelf: Shelf) -> None:
    """Revoke before hold before throttle, across levels and issuers."""
    whole, task = Subject(workload=AGENT), Subject(workload=AGENT, task="t")
    rate = Rate(0, 1_000)
    shelf.put(subject_record(whole, command(whole, "throttle", rate=rate)))
    assert shelf.table.check(NOW_MS, AGENT, "GET /x", "t").action == "throttle"
    shelf.put(subject_record(task, command(task, "hold")))
    assert shelf.table.check(NOW_MS, AGENT, "GET /x", "t").action == "hold"
    shelf.put(subject_record(whole, command(whole, "revoke"), issuer="subjects"))
    assert shelf.table.check(NOW_MS, AGENT, "GET /x", "t").action == "revoke"


def test_expiry_is_exact(shelf: Shelf) -> None:
    """A command binds until its millisecond, then no more."""
    shelf.put(revoked(expires_at_ms=NOW_MS + 50))
    assert shelf.decision(now_ms=NOW_MS + 49) == "deny"
    assert shelf.decision(now_ms=NOW_MS + 50) == "allow"


def test_each_of_several_commands_ends_at_its_time(shelf: Shelf) -> None:
    """Of two commands on one workload each binds until its own millisecond."""
    subject = Subject(workload=AGENT)
    hold = command(subject, "hold", rule="another", expires_at_ms=NOW_MS + 80)
    revoke = command(subject, expires_at_ms=NOW_MS + 50)
    shelf.put(subject_record(subject, hold, revoke))
    actions = [shelf.table.check(NOW_MS + at, AGENT, "GET /x").action for at in (49, 50, 79, 80)]
    assert actions == ["revoke", "hold", "hold", ""]


@pytest.mark.parametrize("action", ["observe", "release"])
def test_observe_and_release_bind_nothing(shelf: Shelf, action: str) -> None:
    """They are said, held for the digest, and bind nobody."""
    shelf.put(revoked())
    subject = Subject(workload=AGENT)
    shelf.put(subject_record(subject, command(subject, action, offset=2)))
    assert shelf.table.check(NOW_MS, AGENT, "GET /x") is ALLOW
    assert len(shelf.table) == 1


def test_shadow_is_told_and_not_applied(shelf: Shelf) -> None:
    """A command in shadow lets the request pass and says what it would have said."""
    shelf.put(revoked(mode="shadow"))
    verdict = shelf.table.check(NOW_MS, AGENT, "GET /x")
    assert verdict.is_allowed
    assert [each.decision for each in verdict.shadow] == ["deny"]
    shelf.put(throttled(OTHER, mode="shadow", rate=Rate(1, 1_000)))
    assert shelf.table.check(NOW_MS, OTHER, "GET /x") is ALLOW
    again = shelf.table.check(NOW_MS, OTHER, "GET /x")
    assert again.is_allowed
    assert [each.decision for each in again.shadow] == ["throttle"]


def test_throttle_lets_its_share_pass_and_tells_the_wait() -> None:
    """Two a second over two gateways: one now, the next in a second."""
    shelf = Shelf()
    shelf.put(throttled(rate=Rate(2, 1_000, gateways=2)))
    assert shelf.decision() == "allow"
    refused = shelf.table.check(NOW_MS, AGENT, "GET /x")
    assert (refused.decision, refused.status, refused.retry_after_ms) == ("throttle", 429, 1_000)
    assert shelf.decision(now_ms=NOW_MS + 1_000) == "allow"


def test_two_throttles_both_count(shelf: Shelf) -> None:
    """A request passes only if every throttle lets it, and then takes a permit of each."""
    whole, one = Subject(workload=AGENT), Subject(workload=AGENT, operation="GET /x")
    shelf.put(subject_record(whole, command(whole, "throttle", rate=Rate(3, 1_000))))
    shelf.put(subject_record(one, command(one, "throttle", rate=Rate(1, 1_000))))
    assert [shelf.decision(operation="GET /x") for _ in range(3)] == ["allow", *2 * ["throttle"]]
    assert [shelf.decision(operation="GET /y") for _ in range(3)] == [*2 * ["allow"], "throttle"]


def test_renewal_keeps_the_bucket(shelf: Shelf) -> None:
    """A throttle renewed by the same rule gives no new burst; another rule's starts full."""
    shelf.put(throttled(rate=Rate(2, 1_000)))
    assert [shelf.decision() for _ in range(3)] == ["allow", "allow", "throttle"]
    shelf.put(throttled(rate=Rate(2, 1_000), offset=2))
    assert shelf.decision() == "throttle"
    shelf.put(throttled(rate=Rate(2, 1_000), offset=3, rule="another"))
    assert shelf.decision() == "allow"


def test_a_table_read_again_keeps_the_buckets(shelf: Shelf) -> None:
    """What replaces a table goes on with its buckets."""
    shelf.put(throttled(rate=Rate(1, 1_000)))
    assert shelf.decision() == "allow"
    other = Shelf()
    other.put(throttled(rate=Rate(1, 1_000)))
    other.table.inherit(shelf.table)
    assert other.decision() == "throttle"


def test_stop_and_exempt_outrank_everything(shelf: Shelf) -> None:
    """A stop frees everybody, an exemption one workload, both until their time."""
    shelf.put(revoked())
    shelf.put(revoked(OTHER))
    shelf.put(operator_record(AGENT, act("exempt", NOW_MS + 10)))
    assert (shelf.decision(AGENT), shelf.decision(OTHER)) == ("allow", "deny")
    assert "exempt by ada" in shelf.table.check(NOW_MS, AGENT, "GET /x").reason
    shelf.put(operator_record("", act("stop", NOW_MS + 20)))
    assert shelf.decision(OTHER) == "allow"
    assert "stopped by ada: an exercise" in shelf.table.check(NOW_MS, OTHER, "GET /x").reason
    assert shelf.decision(AGENT, now_ms=NOW_MS + 20) == "deny"
    assert shelf.decision(OTHER, now_ms=NOW_MS + 20) == "deny"


def test_start_ends_a_stop(shelf: Shelf) -> None:
    """A later record without the act, or a tombstone, ends it at once."""
    shelf.put(revoked())
    stop = operator_record("", act("stop"))
    for end in (operator_record(""), (stop[0], None)):
        shelf.put(stop)
        assert shelf.decision() == "allow"
        shelf.put(end)
        assert shelf.decision() == "deny"


def test_lift_cancels_what_was_caused_before(shelf: Shelf) -> None:
    """Commands older than the lift's append time are cancelled; later ones bind."""
    shelf.put(revoked(caused_at_ms=NOW_MS - 1))
    shelf.put(operator_record(AGENT, act("lift", 0)), append_ms=NOW_MS)
    assert shelf.decision() == "allow"
    assert list(shelf.table.in_force(NOW_MS)) == []
    shelf.put(revoked(caused_at_ms=NOW_MS, offset=2))
    assert shelf.decision() == "deny"


def test_lift_of_everything_cancels_everywhere(shelf: Shelf) -> None:
    """A lift without a workload cancels what was caused before it, on every workload."""
    for workload in (AGENT, OTHER):
        shelf.put(revoked(workload, caused_at_ms=NOW_MS - 1))
    shelf.put(operator_record("", act("lift", 0)))
    assert [shelf.decision(workload) for workload in (AGENT, OTHER)] == ["allow", "allow"]
    shelf.put(revoked(OTHER, offset=2))
    assert [shelf.decision(workload) for workload in (AGENT, OTHER)] == ["allow", "deny"]


def test_of_several_acts_the_longest_counts(shelf: Shelf) -> None:
    """Two stops of different length end with the longer, in whatever order they stand."""
    shelf.put(revoked())
    for order in (1, -1):
        acts = [act("stop", NOW_MS + 10), act("stop", NOW_MS + 20)][::order]
        shelf.put(operator_record("", *acts))
        ends = [shelf.decision(now_ms=NOW_MS + at) for at in (19, 20)]
        assert ends == ["allow", "deny"]


def test_estate_wide_commands_bind_everybody(shelf: Shelf) -> None:
    """A token or task of any workload can be bound by `subjects`, and by nobody's home."""
    subject = Subject(workload="", token=TOKEN)
    assert shelf.put(subject_record(subject, command(subject))) == "malformed"
    pair = subject_record(subject, command(subject), issuer="subjects")
    assert shelf.put(pair) == "applied"
    assert shelf.decision(OTHER, token=TOKEN) == "deny"
    assert shelf.decision(OTHER) == "allow"
    shelf.put((pair[0], None))
    assert shelf.decision(OTHER, token=TOKEN) == "allow"


def test_operators_acts_are_listed() -> None:
    """What operators have in force can be read back."""
    shelf = Shelf()
    shelf.put(operator_record(AGENT, act("exempt")))
    (record,) = shelf.table.operators()
    assert record.workload == AGENT
    assert record.acts == (
        OperatorAct(
            act="exempt", reason="an exercise", by="ada", at_ms=NOW_MS, until_ms=NOW_MS + 600_000
        ),
    )


def test_in_force_yields_the_commands_as_published(shelf: Shelf) -> None:
    """What is listed is the whole command, byte for byte what the worker wrote."""
    subject = Subject(workload=AGENT)
    published = command(subject)
    shelf.put(subject_record(subject, published))
    (listed,) = shelf.table.in_force(NOW_MS)
    assert encode(listed) == encode(published)
    assert list(shelf.table.in_force(NOW_MS + 300_000)) == []
