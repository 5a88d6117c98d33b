"""Patterns for workloads and operations: what they match, refuse, and cost."""

from __future__ import annotations

import time

import pytest

from stream.errors import EnforcerError
from stream.events.convert import route_of
from stream.identity import (
    InvalidPattern,
    Pattern,
    compile_operation_pattern,
    compile_workload_pattern,
)

WORKLOADS = [
    ("spiffe://td/a", "spiffe://td/a", True),
    ("spiffe://td/a", "spiffe://td/a/b", False),
    ("spiffe://td/a", "spiffe://td/ab", False),
    ("spiffe://td/a", "spiffe://td/A", False),
    ("SPIFFE://TD/a", "spiffe://td/a", True),
    ("spiffe://td.x/a", "spiffe://tdyx/a", False),
    ("spiffe://td/*", "spiffe://td/a", True),
    ("spiffe://td/*", "spiffe://td/a/b", False),
    ("spiffe://td/agent-*", "spiffe://td/agent-7", True),
    ("spiffe://td/agent-*", "spiffe://td/agent-", True),
    ("spiffe://td/agent-*", "spiffe://td/agent-7/x", False),
    ("spiffe://td/a*a", "spiffe://td/a", False),
    ("spiffe://td/a*a", "spiffe://td/aa", True),
    ("spiffe://td/*b*b", "spiffe://td/abcb", True),
    ("spiffe://td/*ab", "spiffe://td/aab", True),
    ("spiffe://td/*b", "spiffe://td/b/a", False),
    ("spiffe://td/*/x", "spiffe://td/a/x", True),
    ("spiffe://td/*/x", "spiffe://td/a/b/x", False),
    ("spiffe://td/**", "spiffe://td/a", True),
    ("spiffe://td/**", "spiffe://td/a/b/c", True),
    ("spiffe://td/**", "spiffe://tda/b", False),
    ("spiffe://td/agents/**", "spiffe://td/agents", True),
    ("spiffe://td/agents/**", "spiffe://td/agents/a/b", True),
    ("spiffe://td/agents/**", "spiffe://td/agents-old/a", False),
    ("spiffe://td/**/x", "spiffe://td/x", True),
    ("spiffe://td/**/x", "spiffe://td/a/b/x", True),
    ("spiffe://td/**/x", "spiffe://td/a/bx", False),
    ("spiffe://td/**/x", "spiffe://td/x/x", True),
    ("spiffe://td/**/x/y", "spiffe://td/x/y/x/y", True),
    ("spiffe://td/**/x/y", "spiffe://td/x/y/x", False),
    ("spiffe://td/a*.b*.c", "spiffe://td/a.b.c", True),
    ("spiffe://td/a*.b*.c", "spiffe://td/a-b.c", False),
    ("spiffe://td/a*.b*.c", "spiffe://td/a.b-c", False),
    ("spiffe://td/**/a/**/b", "spiffe://td/ab/a/b", True),
    ("spiffe://td/**/a/**/b", "spiffe://td/ab/b", False),
    ("spiffe://td/**/a/b", "spiffe://td/a/a/b", True),
    ("spiffe://td/**/a/b/**/c", "spiffe://td/a/x/a/b/c", True),
    ("spiffe://*/a", "spiffe://td/a", True),
    ("spiffe://*/a", "spiffe://other.example/a", True),
    ("spiffe://*/a", "spiffe://td/x/a", False),
    ("spiffe://*/**", "spiffe://td/x/a", True),
]

OPERATIONS = [
    ("*", "GET /", True),
    ("*", "tool:send_mail", True),
    ("*", "line\nend", True),
    ("tool:*", "tool:a/b:c", True),
    ("tool:*", "GET /tool:x", False),
    ("tool:send_*", "tool:send_mail", True),
    ("tool:send_*", "tool:send_", True),
    ("tool:send_*", "tool:send_\n", True),
    ("tool:send_*", "tool:resend_mail", False),
    ("tool:send_*", "tool:Send_mail", False),
    ("tool:*_file", "tool:fs/read_file", True),
    ("tool:*_file", "tool:read_file2", False),
    ("tool:*_file", "tool:read_file\n", False),
    ("tool:a(*[b*{1}", "tool:a(x[b{1}", True),
    ("tool:a(*[b*{1}", "tool:a(x[b1", False),
    ("tool:Send Mail", "tool:Send Mail", True),
    ("POST /v1/export/*", "POST /v1/export/csv", True),
    ("POST /v1/export/*", "POST /v1/export/", True),
    ("POST /v1/export/*", "POST /v1/export", False),
    ("POST /v1/export/*", "POST /v1/export/csv/all", False),
    ("POST /v1/export/*", "GET /v1/export/csv", False),
    ("GET /v1/users/{id}", "GET /v1/users/{id}", True),
    ("GET /v1/users/{id}", "GET /v1/users/7", False),
    ("GET /a.c", "GET /abc", False),
    ("GET /", "GET /", True),
    ("GET /", "GET /a", False),
    ("GET /**", "GET /", True),
    ("GET /**", "GET /a/", True),
    ("GET /a", "GET /a/", False),
    ("* /admin/**", "DELETE /admin", True),
    ("* /admin/**", "M-SEARCH /admin/users/7", True),
    ("* /admin/**", "DELETE /administrators", False),
    ("* /admin/**", "GET /v1/admin/users", False),
    ("* /admin/**", "tool:x /admin/users", False),
    ("* /**/admin/*", "GET /v1/admin/x\n", True),
    ("POST /pkg.Service/*", "POST /pkg.Service/Method", True),
    ("CONNECT {authority}", "CONNECT {authority}", True),
    ("CONNECT {authority}", "CONNECT /a", False),
    ("* {authority}", "CONNECT {authority}", True),
    ("* {authority}", "tool:x {authority}", False),
    ("CONNECT *", "CONNECT {authority}", True),
    ("OPTIONS *", "OPTIONS *", True),
    ("OPTIONS *", "OPTIONS /a/b", True),
    ("OPTIONS *", "OPTIONS-X *", False),
    ("OPTIONS *", "GET *", False),
    ("POST *", "POST a line\nend", True),
    ("* *", "OPTIONS *", True),
    ("* *", "GET /a/b", True),
    ("* *", "tool:x *", False),
    ("* *", "tool:x", False),
    ("* /**", "CONNECT {authority}", False),
    ("* /**", "OPTIONS *", False),
]

BAD_WORKLOADS = [
    ("", "it is empty"),
    ("*", "it starts with spiffe://"),
    ("http://td/a", "it starts with spiffe://"),
    ("spiffe://td", "names no workload"),
    ("spiffe://*", "names no workload"),
    ("spiffe://td/", "ends in a slash"),
    ("spiffe:///a", "the trust domain is missing"),
    ("spiffe://*.example.org/a", "a trust domain is written out or is"),
    ("spiffe://**/a", "a trust domain is written out or is"),
    ("spiffe://td:80/a", "no port"),
    ("spiffe://td/a//b", "empty segment"),
    ("spiffe://td/a/../b", "relative segment"),
    ("spiffe://td/a?*", "query"),
    ("spiffe://td/{a,b}", "path segment has only"),
    ("spiffe://td/a**", "a segment of its own"),
    ("spiffe://td/***", "a segment of its own"),
    ("spiffe://td/**/**", "write it once"),
    (" spiffe://td/a", "spaces around it"),
    ("spiffe://td/" + "a" * 2048, "2060 characters"),
]

BAD_OPERATIONS = [
    ("", "it is empty"),
    ("**", "METHOD /route"),
    ("GET", "METHOD /route"),
    ("GET v1", "METHOD /route"),
    ("GET **", "METHOD /route"),
    ("GET a*", "METHOD /route"),
    ("GET {rest}", "METHOD /route"),
    ("CONNECT {authority}*", "METHOD /route"),
    (" *", "spaces around it"),
    ("tool *", "hint: TOOL *"),
    ("get *", "hint: GET *"),
    ("/v1/*", "METHOD /route"),
    ("GET /a /b", "METHOD /route"),
    ("get /v1", "hint: GET /v1"),
    ("G* /v1", "a method is written out"),
    ("GET,POST /v1", "a method is written out"),
    ("GET /a**", "a segment of its own"),
    ("GET /**/**/a", "write it once"),
    ("tool:", "a tool's name"),
    ("tool:a**b", "a tool's name"),
    ("tool:a\u200b*", "invisible characters"),
    ("tool:a\n", "invisible characters"),
    ("GET /a ", "spaces around it"),
    ("tool:" + "a" * 252, "257 characters"),
]


@pytest.mark.parametrize(("pattern", "workload", "expected"), WORKLOADS)
def test_a_workload_pattern_matches_by_segments(
    pattern: str, workload: str, expected: bool
) -> None:
    """`*` stays within a segment, `**` takes whole ones, all else stands for itself."""
    assert compile_workload_pattern(pattern).matches(workload) is expected


@pytest.mark.parametrize(("pattern", "operation", "expected"), OPERATIONS)
def test_an_operation_pattern_matches_routes_by_segments_and_tools_by_name(
    pattern: str, operation: str, expected: bool
) -> None:
    """Routes follow the rules of paths; in a tool's name `*` takes anything."""
    assert compile_operation_pattern(pattern).matches(operation) is expected


@pytest.mark.parametrize(("pattern", "reason"), BAD_WORKLOADS)
def test_a_workload_pattern_that_could_not_match_is_refused(pattern: str, reason: str) -> None:
    """A mistake is named when the policy is read, not found when nothing matches."""
    with pytest.raises(InvalidPattern, match=r"^workload pattern") as caught:
        compile_workload_pattern(pattern)
    assert reason in str(caught.value)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, EnforcerError)


@pytest.mark.parametrize(("pattern", "reason"), BAD_OPERATIONS)
def test_an_operation_pattern_that_could_not_match_is_refused(pattern: str, reason: str) -> None:
    """A mistake is named when the policy is read, not found when nothing matches."""
    with pytest.raises(InvalidPattern, match=r"^operation pattern") as caught:
        compile_operation_pattern(pattern)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", b"/a/42"),
        ("GET", b"http://a.example/"),
        ("OPTIONS", b"*"),
        ("odd", b"*"),
        ("CONNECT", b"mail.example:25"),
    ],
)
def test_what_converters_write_can_be_named(method: str, target: bytes) -> None:
    """The operation of each kind of request line is a pattern, and one of its method has it."""
    route = route_of(method, target)
    assert route is not None
    named = route.operation.partition(" ")[0]
    for text in (route.operation, f"{named} *", "* *", "*"):
        assert compile_operation_pattern(text).matches(route.operation), text


def test_a_pattern_is_a_value() -> None:
    """Patterns written the same are equal, and a workload pattern is written canonically."""
    pattern = compile_workload_pattern("SPIFFE://TD/A/*")
    assert pattern.text == "spiffe://td/A/*"
    assert pattern == compile_workload_pattern("spiffe://td/A/*")
    assert len({pattern, compile_workload_pattern("spiffe://td/A/*")}) == 1
    assert repr(pattern) == "Pattern(text='spiffe://td/A/*')"


def hostile_cases() -> list[tuple[Pattern, str]]:
    """Return patterns of many stars or repeated parts, with the longest names that almost match."""
    one_segment = "spiffe://td/" + "a" * 2036
    many_segments = "spiffe://td" + "/a" * 1018
    workloads = [
        ("/" + "*a" * 1000 + "*b", one_segment),
        ("/*" + "a" * 1000 + "b*b", one_segment),
        ("/*" + "a" * 1000 + "b", one_segment),
        ("/*a*" + "a" * 500 + "b*" + "a" * 500 + "c", one_segment),
        ("/**/a" * 400 + "/b", many_segments),
        ("/**" + "/a" * 900 + "/b", many_segments),
        ("/**" + "/a" * 900 + "/b/**/c", many_segments),
        ("/**" + "/*a*" * 400 + "/b/**/*", many_segments),
        ("/**/*" * 400 + "/b", many_segments),
        ("/**/*a*a*b/**/*a*b", one_segment),
    ]
    cases = [(compile_workload_pattern("spiffe://td" + path), name) for path, name in workloads]
    tool = compile_operation_pattern("tool:" + "*a" * 120 + "*b")
    route = compile_operation_pattern("* " + "/**/*a*" * 30 + "/b")
    return [*cases, (tool, "tool:" + "a" * 20_000), (route, "GET " + "/aaa" * 5_000)]


def cost_s(pattern: Pattern, name: str) -> float:
    """Return the CPU seconds of one match, the best of five."""
    best_s = float("inf")
    for _ in range(5):
        started_s = time.process_time()
        pattern.matches(name)
        best_s = min(best_s, time.process_time() - started_s)
    return best_s


@pytest.mark.parametrize("case", range(12))
def test_no_name_makes_matching_slow(case: int) -> None:
    """The worst patterns against the worst names cost milliseconds, not the age of the universe.

    Measured at up to 10 ms on an AMD EPYC.
    """
    pattern, name = hostile_cases()[case]
    assert not pattern.matches(name)
    assert cost_s(pattern, name) < 0.5


@pytest.mark.parametrize(
    ("path", "unit"), [("/*{}b*b", "a"), ("/**{}/b", "/a"), ("/**{}/b/**/c", "/a")]
)
def test_cost_grows_with_the_product_of_lengths(path: str, unit: str) -> None:
    """Four times the pattern and the name cost about 16 times as much; 64 would be a cube."""
    costs_s = []
    for length in (500, 2000):
        half = length // 2 // len(unit)
        pattern = compile_workload_pattern("spiffe://td" + path.format(unit * half))
        costs_s.append(cost_s(pattern, "spiffe://td/x" + unit * half * 2))
    assert costs_s[1] < 48 * costs_s[0]
