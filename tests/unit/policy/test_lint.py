"""What is legal and probably not meant."""

from __future__ import annotations

import time

import pytest

from stream.identity import compile_operation_pattern, compile_workload_pattern
from stream.policy import Remark, lint_policy, load_policy, read_policy
from stream.policy.lint import covers

CLASS = "name: x\nclasses:\n"
RULE = """\
name: x
rules:
  - name: r
    limit: {measure: requests, at_most: 100, per: 10s}
    action: throttle
    rate: 5/s
"""
SEQUENCE = """\
name: x
rules:
  - name: r
    forbid: {first: ["tool:a"], then: ["tool:b"], within: 5m}
    action: revoke
"""
LIMIT_2 = "  - name: s\n    limit: {measure: requests, at_most: 200, per: 10s}\n"
OF_A = """\
rules:
  - name: r
    limit: {measure: denials, at_most: 1, per: 10s}
    action: observe
"""


def remarks(text: str) -> list[Remark]:
    """The remarks on a policy in a file."""
    policy, document = read_policy(text, "p.yaml")
    return lint_policy(policy, document.line_of)


# text, then code, line and path of each remark
ODD = [
    (RULE, []),
    (SEQUENCE, []),
    (
        CLASS
        + "  - {name: a, workloads: ['spiffe://td/a/**']}\n"
        + "  - {name: b, workloads: ['spiffe://td/a/b', 'spiffe://td/a/c-*']}\n"
        + OF_A,
        [("class-unreachable", 4, "$.classes[1]")],
    ),
    (
        CLASS
        + "  - {name: a, workloads: ['spiffe://td/a/*']}\n"
        + "  - {name: b, workloads: ['spiffe://td/b', 'spiffe://td/a/*']}\n"
        + OF_A,
        [("pattern-shadowed", 4, "$.classes[1].workloads[1]")],
    ),
    (
        CLASS + "  - {name: a, workloads: ['spiffe://td/a']}\n" + OF_A + "    classes: [other]\n",
        [("class-without-rules", 3, "$.classes[0]")],
    ),
    (
        CLASS + "  - {name: a, workloads: ['spiffe://td/a']}\n" + OF_A + "    classes: [a]\n",
        [("others-without-rules", 4, "$.rules")],
    ),
    (
        CLASS + "  - {name: a, workloads: ['spiffe://*/**']}\n" + OF_A + "    classes: [a]\n",
        [],
    ),
    (
        CLASS
        + "  - {name: a, workloads: ['spiffe://*/**']}\n"
        + "  - {name: b, workloads: ['spiffe://td/b']}\n"
        + OF_A
        + "    classes: [b]\n",
        [
            ("class-without-rules", 3, "$.classes[0]"),
            ("class-unreachable", 4, "$.classes[1]"),
            ("rule-unreachable", 9, "$.rules[0].classes"),
        ],
    ),
    (
        CLASS + "  - {name: a, workloads: ['spiffe://*/**']}\n" + OF_A + "    classes: [other]\n",
        [
            ("class-without-rules", 3, "$.classes[0]"),
            ("rule-unreachable", 8, "$.rules[0].classes"),
        ],
    ),
    (
        CLASS
        + "  - {name: a, workloads: ['spiffe://*/**']}\n"
        + OF_A
        + "    classes: [a, other]\n",
        [],
    ),
    ("name: x\n", [("no-rules", 1, "$.rules")]),
    (RULE + "    mode: off\n", [("no-rules", 2, "$.rules"), ("rule-off", 7, "$.rules[0].mode")]),
    (
        RULE.replace("5/s", "11/s"),
        [("throttle-above-limit", 6, "$.rules[0].rate")],
    ),
    (RULE.replace("5/s", "10/s"), []),
    (RULE + "    for: 9s\n", [("shorter-than-window", 7, "$.rules[0].for")]),
    (RULE + "    for: 10s\n", []),
    (
        RULE + "exemptions:\n  - {workloads: ['spiffe://*/**'], note: n}\n",
        [("exempts-all", 8, "$.exemptions[0].workloads[0]")],
    ),
    (
        CLASS
        + "  - {name: a, workloads: ['spiffe://td/a/*', 'spiffe://td/b']}\n"
        + OF_A
        + "exemptions:\n  - {workloads: ['spiffe://td/**'], note: n}\n",
        [("exempts-class", 9, "$.exemptions[0]")],
    ),
    (
        CLASS
        + "  - {name: a, workloads: ['spiffe://td/a/*', 'spiffe://td/b']}\n"
        + OF_A
        + "exemptions:\n  - {workloads: ['spiffe://td/a/*'], note: n}\n"
        + "  - {workloads: ['spiffe://td/b', 'spiffe://td/c'], note: n}\n"
        + "  - {workloads: ['spiffe://td/**'], note: n}\n",
        [("exempts-class", 10, "$.exemptions[1]")],
    ),
    (
        CLASS
        + "  - {name: a, workloads: ['spiffe://td/a/*', 'spiffe://td/b']}\n"
        + OF_A
        + "exemptions:\n  - {workloads: ['spiffe://td/a/*'], note: n}\n"
        + "  - {workloads: ['spiffe://td/c'], note: n}\n",
        [],
    ),
    (SEQUENCE + "    mode: enforce\n", [("revoke-without-note", 3, "$.rules[0]")]),
    (SEQUENCE + "    mode: enforce\n    note: why\n", []),
    (SEQUENCE + "    mode: enforce\n    on: task\n", []),
    (SEQUENCE.replace("tool:b", "tool:a"), [("first-is-then", 4, "$.rules[0].forbid")]),
    (
        RULE.replace("per:", "operations: ['*'], per:"),
        [("pattern-of-all", 4, "$.rules[0].limit.operations")],
    ),
    (
        SEQUENCE.replace('"tool:a"', '"tool:a", "*"'),
        [("pattern-of-all", 4, "$.rules[0].forbid.first")],
    ),
    (SEQUENCE.replace('"tool:a"', '"*"'), []),
    (
        SEQUENCE.replace('"tool:a"', '"tool:a", "GET /x?id=*"'),
        [("pattern-of-nothing", 4, "$.rules[0].forbid.first[1]")],
    ),
    (
        SEQUENCE.replace("tool:b", "POST /a//b"),
        [("pattern-of-nothing", 4, "$.rules[0].forbid.then[0]")],
    ),
    (
        SEQUENCE.replace("tool:b", "DELTE /a"),
        [("pattern-of-nothing", 4, "$.rules[0].forbid.then[0]")],
    ),
    (SEQUENCE.replace("tool:b", "PROPFIND /a"), []),
    (RULE + LIMIT_2 + "    action: observe\n", [("rule-behind", 7, "$.rules[1]")]),
    (RULE + LIMIT_2 + "    action: throttle\n    rate: 5/s\n", [("rule-behind", 7, "$.rules[1]")]),
    (RULE + LIMIT_2 + "    action: throttle\n    rate: 1/s\n", []),
    (RULE + LIMIT_2 + "    action: revoke\n", []),
    (RULE + LIMIT_2 + "    action: observe\n    mode: enforce\n", []),
    (
        RULE + RULE[len("name: x\nrules:\n") :].replace("name: r", "name: s"),
        [("rule-behind", 7, "$.rules[1]")],
    ),
]


@pytest.mark.parametrize(("text", "expected"), ODD)
def test_what_is_odd_is_remarked_on(text: str, expected: list[tuple[str, int, str]]) -> None:
    """Each oddity has its code, its line and its path, and what is near it has none."""
    found = remarks(text)
    assert [(each.code, each.line, each.path) for each in found] == expected
    assert all(each.text and each.hint for each in found)


@pytest.mark.parametrize(
    ("at_most", "per", "hint"),
    [
        (100, "10s", "choose at most 100/10s"),
        (0, "1s", "no rate is as low: `action: revoke`"),
        (5_000_000, "10s", "choose at most 1000000/2s"),
        (3_000_001, "10s", "choose at most 750000/2s500ms"),
        (10**9 - 1, "1d", "choose at most 999999/1m26s400ms"),
    ],
)
def test_a_rate_that_is_suggested_is_one(at_most: int, per: str, hint: str) -> None:
    """A rate can hold it, and who takes the hint hears nothing more."""
    text = RULE.replace("at_most: 100, per: 10s", f"at_most: {at_most}, per: {per}")
    (found,) = remarks(text.replace("5/s", "1000000/1ms") + "    for: 1d\n")
    assert (found.code, found.hint) == ("throttle-above-limit", hint)
    if "/" in hint:
        assert remarks(text.replace("5/s", hint.rpartition(" ")[2]) + "    for: 1d\n") == []


@pytest.mark.parametrize(("count", "depth"), [(240, 190), (599, 20)])
def test_long_patterns_keep_nobody_waiting(count: int, depth: int) -> None:
    """Patterns that are slow to compare are not, where there are many; the same one is found."""
    path = "/a" * depth
    texts = [f"spiffe://td{'' if each % 2 else '/**'}{path}/{each}" for each in range(count)]
    texts.append(texts[0])
    classes = "".join(
        f"  - {{name: c{start}, workloads: {texts[start : start + 60]}}}\n"
        for start in range(0, len(texts), 60)
    )
    policy = load_policy(CLASS + classes + OF_A, "p.yaml")
    began_s = time.process_time()
    found = lint_policy(policy)
    assert time.process_time() - began_s < 5
    shadowed = {each.code for each in found}
    assert shadowed & {"pattern-shadowed", "class-unreachable"}


def test_without_a_file_there_are_no_lines() -> None:
    """A policy from the journal can be looked at too."""
    found = lint_policy(load_policy("name: x\n", "journal"))
    assert [(each.code, each.line) for each in found] == [("no-rules", None)]


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("spiffe://*/**", "spiffe://td/a", True),
        ("spiffe://*/**", "spiffe://*/a/**", True),
        ("spiffe://td/**", "spiffe://*/**", False),
        ("spiffe://td/a/**", "spiffe://td/a/b/**", True),
        ("spiffe://td/a/b/**", "spiffe://td/a/**", False),
        ("spiffe://td/*/b", "spiffe://td/a/b", True),
        ("spiffe://td/*/b", "spiffe://td/a*/b", True),
        ("spiffe://td/a*/b", "spiffe://td/*/b", False),
        ("spiffe://td/*/*", "spiffe://td/**", False),
        ("spiffe://td/**/b", "spiffe://td/a/**/b", True),
        ("spiffe://td/a/**/b", "spiffe://td/a/**", False),
        ("spiffe://td/a", "spiffe://td/a", True),
    ],
)
def test_a_workload_pattern_covers_another_only_if_it_matches_all(
    outer: str, inner: str, expected: bool
) -> None:
    """Stars of the inner pattern are matched by stars of the outer one, or it does not cover."""
    assert covers(compile_workload_pattern(outer), compile_workload_pattern(inner)) is expected


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("*", "GET /x", True),
        ("*", "tool:*", True),
        ("tool:*", "*", False),
        ("tool:*", "tool:a_*", True),
        ("tool:a*", "tool:*a", False),
        ("* /**", "GET /x/**", True),
        ("GET /**", "* /x", False),
        ("GET /x/*", "GET /x/**", False),
        ("GET *", "GET /x/**", True),
        ("GET *", "GET {authority}", True),
        ("* *", "GET *", True),
        ("GET /**", "GET *", False),
        ("* {authority}", "CONNECT *", False),
        ("* *", "tool:x *", False),
    ],
)
def test_an_operation_pattern_covers_another_only_if_it_matches_all(
    outer: str, inner: str, expected: bool
) -> None:
    """The same for operations."""
    assert covers(compile_operation_pattern(outer), compile_operation_pattern(inner)) is expected
