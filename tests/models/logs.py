"""Logs as tests draw them: records of partitions, and what is journalled between them.

Times are drawn as gaps and offsets of a few kinds rather than as numbers, so that windows, graces
and spans are met on both sides of their edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from stream.events import Conditions, Exemption, Lift, Request, encode_request
from stream.identity import canonical_workload, home_partition
from stream.policy import Policy, PolicySpec, compile_policy
from stream.simulate.model import Change, Line

T0_MS = 1_700_000_000_000
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000


class Log(NamedTuple):
    """Lines of several partitions in one order of arrival, and what was journalled."""

    partitions: int
    lines: tuple[Line, ...]
    changes: tuple[Change, ...]


def policy_of(*rules: dict[str, Any], **settings: Any) -> Policy:
    """A policy of these rules; each may leave out its name."""
    named = [{"name": f"rule-{place}", **rule} for place, rule in enumerate(rules)]
    value = {"name": "drawn", "rules": named, **settings}
    return compile_policy(msgspec.convert(value, PolicySpec))


def change_of(policy: Policy, partition: int = 0, from_offset: int = 0, **fields: Any) -> Change:
    """Conditions under a policy; `stopped_until_ms`, `lifts` and the like may be given."""
    conditions = Conditions(
        **{
            "nonce": "n",
            "era": 0,
            "from_offset": from_offset,
            "policy_hash": policy.hash,
            "policy_text": policy.text,
            **fields,
        }
    )
    return Change(partition, conditions, policy)


def log_of(policy: Policy, *requests: Request) -> Log:
    """A log of one partition under one policy, appended at the times of its events."""
    lines = [
        Line(0, offset, each.at_ms, encode_request(each)) for offset, each in enumerate(requests)
    ]
    return Log(1, tuple(lines), (change_of(policy),))


WORKLOADS = [
    *["spiffe://td/agents/a"] * 5,
    *["spiffe://td/agents/b", "SPIFFE://TD/batch/c"] * 2,
    "spiffe://td/d",
    "spiffe://td/exempt/e",
]
OPERATIONS = ["tool:read_mail", "tool:send_mail", "GET /a", "POST /a/b", "tool:x"]
TASKS = ["", "", "t1", "t2", "t3"]
MANY_TASKS = ["", *(f"t{each}" for each in range(10))]
TOKENS = [None, None, {"issuer": "i", "id": "1"}, {"id": "2"}]
OUTCOMES = [*["served"] * 6, "failed", "denied", "refused", "refused"]
PATTERNS = [["tool:read_*"], ["tool:send_*"], ["GET /**", "POST /a/*"], ["*"], ["tool:*"]]
SPANS = ["1s", "1001ms", "7s", "10s", "1m", "24h"]
DENSE = [0, 0, 1, 10, 59, 63, 100]
MIXED = [*[0, 1, 63, 100, 500, 999] * 4, 3 * SECOND, 10 * SECOND, 70 * SECOND]
SPARSE = [*MIXED * 2, HOUR, 3 * HOUR, DAY, 26 * HOUR, 9 * DAY]
SKEWS = [*[0] * 24, -1, -60, -900, -9 * SECOND, -2 * HOUR, -2 * DAY, 3, 4 * SECOND, HOUR]
RARELY = [
    *[{}] * 22,
    {"kind": "grant"},
    {"kind": "grant", "task": "t1"},
    {"kind": "completion"},
    {"kind": "tick"},
    {"kind": "tick"},
    {"effect": "read"},
    {"effect": "change"},
    {"count": 4, "bytes": 3, "cost": 2},
    {"bytes": 7, "cost": 11},
    {"count": 10**6, "bytes": 1 << 44, "cost": 10**15},
    {"authenticated": False},
]
EVENT_BYTES = 8
TIMES = [range(each) for each in (0, 1, 2, 3)]

LIMITED = ["requests", "requests", "errors", "denials", "bytes", "cost"]
AT_MOST = [0, 1, 2, 3, 4, 5, 5, 10]
WITHIN = ["1ms", "100ms", "1s", "10s", "1m", "24h"]
DURATIONS = ["1s", "10s", "1m", "1m", "2h"]
CLASSES = [
    {"name": "agents", "workloads": ["spiffe://td/agents/*"]},
    {"name": "batch", "workloads": ["spiffe://td/batch/**", "spiffe://td/agents/b"]},
]
EXEMPTIONS = [{"workloads": ["spiffe://td/exempt/*"], "note": "drawn"}]
POLICY_BYTES, CHANGES_BYTES = 90, 24


class Digits:
    """Drawn bytes, each of which decides one thing: much cheaper than a strategy for each."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def choose(self, options: Sequence[Any]) -> Any:
        """One of the options; the first when all bytes are used up."""
        return options[next(self._data, 0) % len(options)]


def rule_of(digits: Digits) -> dict[str, Any]:
    """A rule that compiles."""
    action = digits.choose(["observe", "throttle", "revoke", "revoke"])
    on = ["workload", "task", "operation", *([] if action == "throttle" else ["token", "token"])]
    rule = {
        "action": action,
        "on": digits.choose(on),
        "for": digits.choose(DURATIONS),
        "mode": digits.choose(["enforce", "enforce", "enforce", "shadow", "off"]),
        "classes": digits.choose([[], [], [], ["agents"], ["batch", "other"]]),
        "controls": digits.choose([[], ["OWASP ASI02"]]),
    }
    if action == "throttle":
        rule["rate"] = "5/s"
    if digits.choose(["limit", "limit", "forbid"]) == "forbid":
        names = [("first", PATTERNS), ("then", PATTERNS), ("within", WITHIN)]
        rule["forbid"] = {name: digits.choose(options) for name, options in names}
        return rule
    limit = {"measure": LIMITED, "at_most": AT_MOST, "per": SPANS}
    rule["limit"] = {name: digits.choose(options) for name, options in limit.items()}
    if rule["limit"]["measure"] in {"bytes", "cost"} and rule["limit"]["at_most"] > 5:
        rule["limit"]["at_most"] = 2 * 10**15
    rule["limit"] |= digits.choose([{}, {}, {}, {"effect": "read"}, {"effect": "change"}])
    operations = digits.choose([None, None, *PATTERNS])
    if operations:
        rule["limit"]["operations"] = operations
    return rule


def drawn_policy(digits: Digits) -> Policy:
    """A policy of one to six rules."""
    return policy_of(
        *(rule_of(digits) for _ in range(digits.choose(range(1, 7)))),
        tasks=digits.choose(["vouched", "vouched", "granted"]),
        idle=digits.choose(["8d", "25h"]),
        skew=digits.choose(["5s", "0s"]),
        classes=CLASSES,
        exemptions=EXEMPTIONS,
    )


policies = st.binary(min_size=POLICY_BYTES, max_size=POLICY_BYTES).map(
    lambda data: drawn_policy(Digits(data))
)


def request_of(digits: bytes, tasks: list[str]) -> dict[str, Any]:
    """What a request says, but for its time: one byte chooses each field."""
    fields = [WORKLOADS, OPERATIONS, OUTCOMES, tasks, TOKENS, RARELY]
    chosen = [field[digit % len(field)] for digit, field in zip(digits, fields, strict=True)]
    names = ["workload", "operation", "outcome", "task", "token"]
    return dict(zip(names, chosen[:-1], strict=True)) | chosen[-1]


def changes_of(data: bytes, partition: int, length: int) -> list[Change]:
    """What is journalled for a partition: first a policy, later whatever operators do."""
    edges = POLICY_BYTES, 2 * POLICY_BYTES
    known = [drawn_policy(Digits(data[: edges[0]])), drawn_policy(Digits(data[slice(*edges)]))]
    digits = Digits(data[edges[1] :])
    drawn = [change_of(known[0], partition)]
    lifts: tuple[Lift, ...] = ()
    for offset in sorted({digits.choose(range(1, length + 1)) for _ in digits.choose(TIMES)}):
        fields: dict[str, Any] = {}
        what = digits.choose(["policy", "policy", "stop", "exempt", "lift", "forget"])
        at_ms = digits.choose([T0_MS, T0_MS + 5 * SECOND, T0_MS + HOUR, T0_MS + 9 * DAY])
        workload = canonical_workload(digits.choose(WORKLOADS))
        if what == "stop":
            fields["stopped_until_ms"] = at_ms
        elif what == "exempt":
            fields["exemptions"] = (Exemption(workload=workload, until_ms=at_ms, reason="r"),)
        elif what == "forget":
            fields["forgotten_before_ms"], lifts = at_ms, ()
        elif what == "lift":
            lifts = (*lifts, Lift(workload, offset, at_ms))
        policy = digits.choose(known) if what == "policy" else drawn[-1].policy
        drawn.append(change_of(policy, partition, offset, lifts=lifts, **fields))
    return drawn


@st.composite
def logs(
    draw: st.DrawFn, partitions: int = 1, length: int = 120, tasks: list[str] | None = None
) -> Log:
    """Draw a log with all that can happen in it, at one of three paces."""
    gaps = draw(st.sampled_from([DENSE, MIXED, SPARSE]))
    if tasks is None:
        tasks = draw(st.sampled_from([TASKS, MANY_TASKS]))
    count = draw(st.integers(1, length)) * EVENT_BYTES
    data = draw(st.binary(min_size=count, max_size=count))
    append_ms, ends, lines = T0_MS, [0] * partitions, []
    for start in range(0, count, EVENT_BYTES):
        gap, skew, *rest = data[start : start + EVENT_BYTES]
        append_ms += gaps[gap % len(gaps)]
        fields = request_of(bytes(rest), tasks)
        at_ms = append_ms + SKEWS[skew % len(SKEWS)]
        partition = home_partition(canonical_workload(fields["workload"]).encode(), partitions)
        value = msgspec.json.encode({"at_ms": at_ms, **fields})
        lines.append(Line(partition, ends[partition], append_ms, value))
        ends[partition] += 1
    size = 2 * POLICY_BYTES + CHANGES_BYTES
    journalled = []
    for partition in range(partitions):
        journal = draw(st.binary(min_size=size, max_size=size))
        journalled += changes_of(journal, partition, max(1, ends[partition]))
    return Log(partitions, tuple(lines), tuple(journalled))


def moved(log: Log, shift_ms: int) -> Log:
    """The same log at another time."""
    lines = []
    for line in log.lines:
        value = msgspec.json.decode(line.value)
        value["at_ms"] += shift_ms
        lines.append(
            line._replace(append_ms=line.append_ms + shift_ms, value=msgspec.json.encode(value))
        )
    journalled = []
    for change in log.changes:
        old = change.conditions
        conditions = msgspec.structs.replace(
            old,
            stopped_until_ms=old.stopped_until_ms and old.stopped_until_ms + shift_ms,
            forgotten_before_ms=old.forgotten_before_ms and old.forgotten_before_ms + shift_ms,
            exemptions=tuple(
                msgspec.structs.replace(each, until_ms=each.until_ms + shift_ms)
                for each in old.exemptions
            ),
        )
        journalled.append(change._replace(conditions=conditions))
    return Log(log.partitions, tuple(lines), tuple(journalled))
