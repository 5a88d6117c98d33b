"""What a person reads: the sentences of reasons, word by word, whatever an attacker puts there."""

from __future__ import annotations

from typing import Any

import pytest

from stream.enforcement import printable
from stream.events import RECORD_BYTES_MAX, Reason, Request, Token, Weight, encode
from stream.profiles.rowformat import ROW_BYTES_MAX
from tests.models.driver import Driver
from tests.models.logs import T0_MS, change_of, log_of, policy_of

AGENT = "spiffe://td/agents/a"


def reasons_of(rules: list[dict[str, Any]], *requests: Request) -> list[Reason]:
    """The reasons of what is published."""
    log = log_of(policy_of(*rules), *requests)
    return [each.command.body.reason for each in Driver(log).run(log.lines).outgoing]


def calls(*operations: str, gap_ms: int = 100, **fields: Any) -> list[Request]:
    """Calls of one agent, one after another."""
    return [
        Request(T0_MS + gap_ms * place, AGENT, operation, **fields)
        for place, operation in enumerate(operations)
    ]


LIMIT = {"action": "revoke", "for": "1h", "mode": "enforce"}


def test_a_limit_says_how_much_in_what_time() -> None:
    """Observed, window, allowed, by how much, and the operation that was one too many."""
    rule = LIMIT | {
        "limit": {"measure": "requests", "at_most": 2, "per": "1m30s"},
        "controls": ["OWASP ASI02"],
    }
    assert reasons_of([rule], *calls("tool:x", "GET /a", "tool:y")) == [
        Reason(
            text="3 requests in 1m30s where at most 2 are allowed (150 % of it); "
            "the last was tool:y",
            detector="limit",
            measure="requests",
            observed=3,
            expected=2,
            window_ms=90_000,
            weights=(Weight("tool:y"),),
            otherwise="2 or fewer requests in any 1m30s would not have fired",
            controls=("OWASP ASI02",),
        )
    ]


@pytest.mark.parametrize(
    ("limit", "fields", "words"),
    [
        (
            {"measure": "bytes", "at_most": 100, "effect": "read"},
            {"bytes": 101},
            "101 read response bytes in 10s where at most 100 are allowed (101 % of it)",
        ),
        (
            {"measure": "cost", "at_most": 0, "operations": ["GET /**", "tool:x"]},
            {"cost": 7},
            "7 micro-units of cost of GET /**, tool:x in 10s where at most 0 are allowed (none is)",
        ),
        (
            {"measure": "errors", "at_most": 1},
            {"outcome": "failed", "count": 5},
            "5 errors in 10s where at most 1 are allowed (500 % of it)",
        ),
        (
            {"measure": "denials", "at_most": 1},
            {"outcome": "denied", "count": 2},
            "2 denials in 10s where at most 1 are allowed (200 % of it)",
        ),
    ],
)
def test_a_limit_names_what_it_counts(
    limit: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    """The measure in words, and the operations and effect it is about."""
    rule = LIMIT | {"limit": {"per": "10s", **limit}, "note": "Look at this."}
    (reason,) = reasons_of([rule], *calls("GET /a", **fields))
    assert reason.text == f"{words}; the last was GET /a. Look at this."


@pytest.mark.parametrize(
    ("task", "where"), [("", "this workload"), ("t-1", "task t-1"), ("a\nb", "task a\\nb")]
)
def test_a_sequence_says_what_followed_what(task: str, where: str) -> None:
    """The call, the time since the first one, the rule's first operations, and whose sequence."""
    forbid = {"first": ["tool:read_*", "GET /**"], "then": ["tool:send_*"], "within": "10m"}
    rule = LIMIT | {"forbid": forbid, "on": "task"}
    (reason,) = reasons_of([rule], *calls("GET /a", "tool:send_mail", gap_ms=61_500, task=task))
    assert reason == Reason(
        text=f"tool:send_mail came 1m1s500ms after a call of tool:read_*, GET /** in {where}; "
        "that sequence is forbidden within 10m",
        detector="forbid",
        measure="span_ms",
        observed=61_500,
        expected=600_000,
        window_ms=600_000,
        weights=(Weight("tool:send_mail"),),
        otherwise="the same call more than 10m after the last tool:read_*, GET /** "
        "would not have fired",
    )


def test_a_release_says_what_became_of_the_demand() -> None:
    """Of the rule's measure and window, compared with 80 % of the limit."""
    rule = LIMIT | {"limit": {"measure": "requests", "at_most": 5, "per": "10s"}}
    requests = [*calls(*["tool:x"] * 6), Request(T0_MS + 30_000, AGENT, "tool:y")]
    _, reason = reasons_of([rule], *requests)
    assert reason.text == "demand fell to 1 requests in 10s, under 80 % of 5"
    assert (reason.observed, reason.expected, reason.weights, reason.otherwise) == (1, 5, (), "")


@pytest.mark.parametrize(
    "before",
    [
        {"limit": {"measure": "requests", "at_most": 5, "per": "10s"}},
        {"forbid": {"first": ["tool:*"], "then": ["tool:*"], "within": "1m"}},
    ],
)
def test_a_release_is_by_the_limit_in_force(before: dict[str, Any]) -> None:
    """Where an operator raised the limit, or made another of the rule: what it counts since."""
    raised = LIMIT | {"limit": {"measure": "requests", "at_most": 50, "per": "20s"}}
    log = log_of(policy_of(LIMIT | before), *calls(*["tool:x"] * 7))
    log = log._replace(changes=(*log.changes, change_of(policy_of(raised), from_offset=6)))
    last = Driver(log).run(log.lines).outgoing[-1].command.body
    assert (last.action, last.reason.detector, last.reason.expected) == ("release", "limit", 50)
    assert last.reason.text == "demand fell to 1 requests in 20s, under 80 % of 50"
    assert last.reason.window_ms == 20_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tool:x", "tool:x"),
        ("ä €", "ä €"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("x" * 160, "x" * 160),
        ("x" * 161, "x" * 157 + "..."),
        ("\n" * 256, ("\\n" * 128)[:157] + "..."),
    ],
)
def test_what_an_attacker_chose_is_fit_for_a_sentence(text: str, shown: str) -> None:
    """No control characters, nothing that turns the direction of writing, and never long."""
    assert printable(text) == shown


def test_long_lists_of_patterns_are_cut_short() -> None:
    """A rule may list 64 long patterns; a sentence names the first and says how many more."""
    many = [f"tool:{'x' * 90}{each:02}" for each in range(64)]
    rule = LIMIT | {"limit": {"measure": "cost", "at_most": 0, "per": "10s", "operations": many}}
    (reason,) = reasons_of([rule], *calls(many[0], cost=1))
    assert f"cost of {many[0]} and 63 more in 10s" in reason.text
    one = ["tool:" + "x" * 200 + "*"]
    rule = LIMIT | {"forbid": {"first": one, "then": one, "within": "1m"}}
    (reason,) = reasons_of([rule], *calls(one[0] + "1", one[0] + "2"))
    assert len(reason.text) < 450


def test_the_longest_commands_fit_where_they_are_kept() -> None:
    """Sixteen commands, everything in them as long as it may be: a row and a record hold them."""
    note = {"note": "n" * 512, "controls": [f"{each:064}" for each in range(16)]}
    shadow = {"limit": {"measure": "requests", "at_most": 0, "per": "24h"}, **note}
    rules = [
        {**shadow, "action": "revoke", "on": "token", "for": "2h"},
        {**shadow, "action": "revoke", "on": "token", "for": "2h", "mode": "enforce"},
    ]
    rules[1]["limit"] = {"measure": "requests", "at_most": 8, "per": "24h"}
    workload = "spiffe://td/" + "w" * (2_048 - len("spiffe://td/"))
    requests = [
        Request(
            T0_MS + each,
            workload,
            f"{each:02}" + "\x01" * 254,
            task="\x01" * 256,
            token=Token(issuer="\x01" * 256, id=f"{each:02}" + "\x01" * 254),
        )
        for each in range(20)
    ]
    log = log_of(policy_of(*rules), *requests)
    driver = Driver(log).run(log.lines)
    # Eight tokens in shadow and eight enforced, and of each then the workload: there is no room.
    assert [each.command.body.subject.kind for each in driver.outgoing].count("token") == 16
    assert len(driver.outgoing) == 18
    assert [len(each) for each in driver.state.held.values()] == [16]
    longest = max(len(encode(each.command)) for each in driver.outgoing)
    assert longest > 8_000
    assert 16 * longest < RECORD_BYTES_MAX
    assert 16 * longest + 16_384 < ROW_BYTES_MAX
    before = driver.rows()
    driver.evict()
    driver.run([log.lines[-1]])
    assert driver.rows() == before
