"""Policies nobody would write: whatever is in a text, it is a policy or a PolicyError."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import stream.policy
from stream.errors import PolicyError
from stream.events import POLICY_BYTES_MAX
from stream.identity import compile_operation_pattern, compile_workload_pattern
from stream.policy import (
    Policy,
    duration_ms,
    lint_policy,
    load_policy,
    quantity,
    rate,
    read_policy,
    spell_duration,
)
from stream.policy.lint import covers
from stream.profiles import Layout

DEFAULT = (Path(stream.policy.__file__).parent / "default.yaml").read_text()

names = st.sampled_from(["a", "b", "flood", "x.y-z_0"])
workload_patterns = st.sampled_from(
    ["spiffe://td/a", "spiffe://td/**", "spiffe://*/a/*", "spiffe://TD/b/**/c", "spiffe://*/**"]
)
operation_patterns = st.sampled_from(
    [
        "*",
        "tool:*",
        "tool:send_*",
        "tool:read",
        "GET /x",
        "* /**",
        "POST /a/*/b",
        "GET /x/**",
        "GET *",
    ]
)
durations = st.sampled_from(["1s", "10s", "5m", "1h", "24h", "1m30s"])
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def mostly(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what belongs there, and now and then something that does not."""
    return st.integers(0, 300).flatmap(lambda roll: junk if roll == 150 else values)


def settings_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw settings: those whose name ends with `_` are required, the others may be left out."""
    required = {key[:-1]: mostly(value) for key, value in fields.items() if key.endswith("_")}
    rest = {key: mostly(value) for key, value in fields.items() if not key.endswith("_")}
    return st.fixed_dictionaries(required, optional=rest)


limits = settings_of(
    measure_=st.sampled_from(["requests", "errors", "denials", "bytes", "cost"]),
    at_most_=st.one_of(st.integers(0, 10**9), st.sampled_from(["5", "20k", "1GiB"])),
    per_=durations,
    operations=st.lists(operation_patterns, min_size=1, max_size=3),
    effect=st.sampled_from(["read", "change"]),
)
forbids = settings_of(
    first_=st.lists(operation_patterns, min_size=1, max_size=3),
    then_=st.lists(operation_patterns, min_size=1, max_size=3),
    within_=durations,
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a rule, most often one that could be meant."""
    drawn = draw(
        settings_of(
            name_=st.text("abcdefgh", min_size=1, max_size=8),
            action_=st.sampled_from(["observe", "throttle", "revoke"]),
            on=st.sampled_from(["workload", "task", "token", "operation"]),
            mode=st.sampled_from(["off", "shadow", "enforce"]),
            note=st.text(min_size=1, max_size=20),
            controls=st.lists(st.text(min_size=1, max_size=5), max_size=2),
            classes=st.lists(st.one_of(names, st.just("other")), max_size=2),
        )
    )
    kind = draw(st.sampled_from(["limit", "forbid"]))
    drawn[kind] = draw(limits if kind == "limit" else forbids)
    if drawn["action"] == "throttle":
        drawn["on"] = draw(st.sampled_from(["workload", "task", "operation"]))
        drawn["rate"] = draw(mostly(st.sampled_from(["5/s", "1/10s", "300/5m"])))
    return drawn


policies = settings_of(
    name_=names,
    tasks=st.sampled_from(["vouched", "granted"]),
    idle=st.sampled_from(["30h", "8d"]),
    skew=st.sampled_from(["0s", "5s"]),
    classes_=st.tuples(
        *(
            settings_of(
                name_=st.just(name),
                workloads_=st.lists(workload_patterns, min_size=1, max_size=3),
            )
            for name in ["a", "b", "flood", "x.y-z_0"]
        )
    ).map(list),
    rules_=st.lists(rules(), min_size=1, max_size=5, unique_by=lambda each: repr(each["name"])),
    exemptions=st.lists(
        settings_of(workloads_=st.lists(workload_patterns, min_size=1, max_size=3), note_=names),
        max_size=2,
    ),
)
texts = policies.map(lambda drawn: yaml.safe_dump(drawn, allow_unicode=True, sort_keys=False))


def policy_of(text: str) -> Policy | None:
    """The policy of a text, or None where it is refused as it should be."""
    message = ""
    try:
        policy, document = read_policy(text, "f.yaml")
    except PolicyError as error:
        message = str(error)
    if message:
        place = re.match(r"f\.yaml:(\d+): .+ - at \$", message, re.DOTALL)
        assert place is not None, message
        # Line ends as YAML counts them are among those of splitlines.
        assert 1 <= int(place[1]) <= len(text.splitlines()) + 1, message
        return None
    for remark in lint_policy(policy, document.line_of):
        assert remark.text
        assert remark.line is not None
    return policy


@given(texts)
def test_any_settings_are_a_policy_or_are_refused(text: str) -> None:
    """Mixed with junk anywhere; and what is accepted comes back from its canonical text."""
    policy = policy_of(text)
    if policy is not None:
        again = load_policy(policy.text, "journal")
        assert (again.text, again.hash) == (policy.text, policy.hash)
        assert again.layout == policy.layout


@given(texts, texts)
def test_tables_say_the_same_in_any_layout_that_has_all(text: str, other: str) -> None:
    """Bound to its own layout or to one with another policy's places first, only places differ."""
    policy, before = policy_of(text), policy_of(other)
    if policy is None or before is None:
        return
    layout = before.layout.union(policy.layout)
    own, wide = policy.bind(policy.layout), policy.bind(layout)
    for mine, theirs in zip(own, wide, strict=True):
        has_place = mine.dtype.names is not None and "place" in mine.dtype.names
        rest = [each for each in mine.dtype.names or () if each != "place"]
        assert (mine[rest] == theirs[rest]).all() if has_place else (mine == theirs).all()
    for ours, row in zip(own.pairs, wide.pairs, strict=True):
        assert ids_of(policy.layout, ours)[ours["place"]] == ids_of(layout, row)[row["place"]]
    for ours, row in zip(own.forbids, wide.forbids, strict=True):
        assert policy.layout.forbids[ours["place"]] == layout.forbids[row["place"]]


def ids_of(layout: Layout, pair: Any) -> tuple[int, ...]:
    """The ids by place of the windows that a row of PAIR is among."""
    return layout.sums if pair["is_sum"] else layout.counts


@given(texts)
def test_each_class_is_bound_to_the_rules_about_it(text: str) -> None:
    """The ranges of a class are what a walk over the file finds."""
    policy = policy_of(text)
    if policy is None:
        return
    tables = policy.bind(policy.layout)
    for index, row in enumerate(tables.classes):
        name = policy.class_name(index)
        spec = [
            (number, each)
            for number, each in enumerate(policy.spec.rules)
            if each.mode != "off" and (not each.classes or name in each.classes)
        ]
        limits_here = tables.limits[row["limits_start"] : row["limits_end"]]
        forbids_here = tables.forbids[row["forbids_start"] : row["forbids_end"]]
        pairs_here = tables.class_pairs[row["pairs_start"] : row["pairs_end"]].tolist()
        assert limits_here["index"].tolist() == [n for n, each in spec if each.limit]
        assert forbids_here["index"].tolist() == [n for n, each in spec if each.forbid]
        needed = {*limits_here["pair"].tolist(), *limits_here["demand"].tolist()} - {-1}
        assert sorted(pairs_here) == sorted(needed)


@given(texts, st.sampled_from(["tool:send_mail", "GET /x", "POST /a/1/b", "odd"]))
def test_sets_of_an_operation_are_those_with_a_pattern_for_it(text: str, operation: str) -> None:
    """The bit mask is what each pattern says by itself."""
    policy = policy_of(text)
    if policy is None:
        return
    for spec, rule in zip(policy.spec.rules, policy.rules, strict=True):
        if spec.forbid:
            wanted = [spec.forbid.first, spec.forbid.then]
            for patterns, index in zip(wanted, (rule.first, rule.then), strict=True):
                matches = any(compile_operation_pattern(p).matches(operation) for p in patterns)
                assert policy.sets_of(operation, "read") >> index & 1 == matches


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Draw a piece of the default policy with a few characters changed, often tricky ones."""
    start = draw(st.integers(0, len(DEFAULT) - 1))
    size = draw(st.integers(0, 1_500))
    text = draw(st.sampled_from(["name: x\nrules:\n", ""])) + DEFAULT[start : start + size]
    tricky = st.one_of(
        st.sampled_from(list("-:?*&!|>'\"%@`{}[],#~\\\t\n \r\x85\u2028\ufeff\x00")),
        st.sampled_from(["- ", ": ", "\n  ", "<<: ", "--- ", "... ", "!!", "&a ", "*a", '"\\U']),
        st.characters(),
    )
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 3))
        text = text[:at] + draw(tricky) + text[at + cut :]
    return text


@given(st.one_of(damaged(), st.text(max_size=200)))
def test_any_text_is_a_policy_or_is_refused(text: str) -> None:
    """Nothing but PolicyError comes out, and it names a line of the text."""
    policy_of(text)


FULL = POLICY_BYTES_MAX
SLOW = {
    "brackets": "[" * FULL,
    "braces": "{" * FULL,
    "items": "name: [" + "a," * (FULL // 2 - 4),
    "dashes": "- " * (FULL // 2),
    "questions": "? " * (FULL // 2),
    "colons": "a: " * (FULL // 3),
    "line ends": "\n" * FULL,
    "comments": "#\n" * (FULL // 2),
    "anchors": "&a " * (FULL // 3),
    "words": "a " * (FULL // 2),
    "lines of words": "a\n" * (FULL // 2),
    "escapes": '"' + "\\\n" * (FULL // 2 - 1),
    "literal": "|\n" + " \n" * (FULL // 2 - 1),
    "folded": ">\n" + " a\n\n" * (FULL // 4 - 1),
    "keys": "".join(f"a{n}: 1\n" for n in range(FULL // 10)),
    "aliases": "- &a b\n" + "- *a\n" * (FULL // 5 - 2),
    "directives": "%a\n" * (FULL // 3),
    "digits": "%YAML " + "9" * (FULL - 6),
    "json": '{"name":"' + "x" * (FULL - 9),
    "deep json": '{"name":' + "[" * (FULL - 8),
    "stars": "name: x\nclasses:\n- name: a\n  workloads:\n"
    + "".join(f"  - spiffe://*/*{n}*{n}*/**/{n}\n" for n in range(64)),
}


@pytest.mark.parametrize("shape", SLOW)
def test_no_text_takes_long(shape: str) -> None:
    """The worst text of the largest size costs seconds, not minutes."""
    began_s = time.process_time()
    policy_of(SLOW[shape])
    assert time.process_time() - began_s < 20


@given(st.integers(0, 400 * 86_400_000))
def test_a_spelled_duration_reads_back(span_ms: int) -> None:
    """Spelling is the inverse of reading."""
    assert duration_ms(spell_duration(span_ms)) == span_ms


@given(st.text("0123456789smhdkMGiBT/ .-", max_size=40))
def test_units_are_numbers_or_are_refused(text: str) -> None:
    """Any text is a number in bounds, or a PolicyError."""
    for read in (duration_ms, quantity, rate):
        try:
            value = read(text)
        except PolicyError:
            continue
        assert isinstance(value, int) is (read is not rate)


pieces = st.lists(st.sampled_from(["a", "b", "*", "a*", "*b", "**"]), min_size=1, max_size=4)
paths = pieces.map("/".join).filter(lambda path: "**/**" not in path)
plain_paths = st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=5).map("/".join)


@given(paths, paths, st.lists(plain_paths, max_size=30))
def test_what_covers_matches_all_that_is_covered(
    outer: str, inner: str, names_of: list[str]
) -> None:
    """`covers` promises: no name that the inner pattern matches is missed by the outer one."""
    wide = compile_workload_pattern(f"spiffe://td/{outer}")
    narrow = compile_workload_pattern(f"spiffe://td/{inner}")
    if covers(wide, narrow):
        for name in names_of:
            full = f"spiffe://td/{name}"
            assert wide.matches(full) or not narrow.matches(full)
