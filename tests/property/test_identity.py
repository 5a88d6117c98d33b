"""Identities against slow models, and the laws of the canonical form."""

from __future__ import annotations

import string

from aiokafka.partitioner import murmur2
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stream.identity import (
    InvalidIdentity,
    InvalidPattern,
    Pattern,
    Territory,
    canonical_actors,
    canonical_id,
    canonical_workload,
    compile_operation_pattern,
    compile_workload_pattern,
    describe_fault,
    home_partition,
    names_workload,
    parent_path,
    positive_murmur2,
    trust_domain,
)
from stream.simulate.model.pattern import model_operation_matches, model_workload_matches
from tests.models.spiffe import model_canonical_id, model_canonical_workload

NAME_CHARACTERS = string.ascii_letters + string.digits + ".-_"

domains = st.text(NAME_CHARACTERS, min_size=1, max_size=255)
segments = st.text(NAME_CHARACTERS, min_size=1, max_size=20).filter(
    lambda segment: segment not in (".", "..")
)
schemes = st.sampled_from(["spiffe://", "SPIFFE://", "sPiffE://"])
ids = st.builds(
    lambda scheme, domain, path: scheme + "/".join([domain, *path]),
    schemes,
    domains,
    st.lists(segments, max_size=8),
)
workloads = ids.filter(lambda text: text.count("/") > 2)


@st.composite
def almost_ids(draw: st.DrawFn) -> str:
    """Draw a SPIFFE ID with a few characters replaced, inserted or cut off, often at its ends."""
    text = draw(ids)
    tricky = st.one_of(st.sampled_from("/.%?#@: \n*K\u212a\u017f\u0130aZ"), st.characters())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.one_of(st.sampled_from([0, len(text)]), st.integers(0, len(text))))
        cut = draw(st.integers(0, 2))
        text = text[:at] + draw(st.text(tricky, max_size=2)) + text[at + cut :]
    return text


any_text = st.one_of(
    st.text(),
    st.text("spife:/SPIFE.x%@", max_size=40),
    almost_ids(),
    st.builds(lambda text, times: text + "/abcdefg" * times, ids, st.integers(200, 270)),
)


def workload_or_none(text: str) -> str | None:
    """Return the canonical workload, or None where it is refused."""
    try:
        return canonical_workload(text)
    except InvalidIdentity:
        return None


@given(any_text)
def test_the_fast_check_is_the_slow_model(text: str) -> None:
    """The regular expression accepts what a reader of single characters accepts, and so written."""
    assert workload_or_none(text) == model_canonical_workload(text)
    assert (describe_fault(text) is None) == (model_canonical_workload(text) is not None)
    try:
        assert canonical_id(text) == model_canonical_id(text)
    except InvalidIdentity:
        assert model_canonical_id(text) is None


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(any_text)
def test_what_is_accepted_is_canonical_for_ever(text: str) -> None:
    """The canonical form is accepted, stays as it is, is ASCII and at most 2048 bytes."""
    canonical = workload_or_none(text)
    assume(canonical is not None)
    assert canonical is not None
    assert canonical_workload(canonical) is canonical
    assert canonical_id(canonical) == canonical
    assert canonical.isascii() and len(canonical.encode()) <= 2048
    assert len(canonical) == len(text)
    assert trust_domain(canonical) == trust_domain(canonical).lower()


@given(workloads)
def test_case_matters_in_the_path_only(text: str) -> None:
    """IDs whose scheme and trust domain differ in case are one workload."""
    path_at = text.index("/", len("spiffe://"))
    upper = text[:path_at].upper() + text[path_at:]
    lower = text[:path_at].lower() + text[path_at:]
    assert canonical_workload(upper) == canonical_workload(lower) == canonical_workload(text)
    assert canonical_workload(text).endswith(text[path_at:])


@given(ids)
def test_parents_lead_to_the_trust_domain(text: str) -> None:
    """Each parent is canonical, one segment shorter, in the same trust domain."""
    canonical = canonical_id(text)
    domain = trust_domain(canonical)
    steps = canonical.count("/") - 2
    for _ in range(steps):
        parent = parent_path(canonical)
        assert canonical.startswith(parent + "/") and canonical_id(parent) == parent
        assert trust_domain(parent) == domain
        canonical = parent
    assert canonical == f"spiffe://{domain}" and not names_workload(canonical)


@given(st.lists(workloads, max_size=16))
def test_a_canonical_chain_stays_as_it_is(actors: list[str]) -> None:
    """Validating a chain twice changes nothing."""
    canonical = canonical_actors(actors)
    assert canonical_actors(canonical) == canonical


@given(st.binary(max_size=300), st.integers(1, 10_000))
def test_the_hash_is_that_of_the_python_client(key: bytes, partitions: int) -> None:
    """Gateways on aiokafka and this code agree on every key's home."""
    assert positive_murmur2(key) == murmur2(key) & 0x7FFFFFFF
    assert home_partition(key, partitions) == (murmur2(key) & 0x7FFFFFFF) % partitions


# A small alphabet, so that patterns and names meet.
small_names = st.text("ab.", min_size=1, max_size=5).filter(lambda name: name.strip("."))
globs = st.text("ab.*", min_size=1, max_size=6).filter(
    lambda glob: "**" not in glob and glob not in (".", "..")
)
tool_globs = st.text("ab.*(/", min_size=1, max_size=8).filter(lambda glob: "**" not in glob)


@st.composite
def path_patterns(draw: st.DrawFn) -> str:
    """Draw segments with `**` between some of them, never two in a row."""
    parts = draw(st.lists(st.one_of(globs, st.just("**")), min_size=1, max_size=6))
    return "/".join(
        part for at, part in enumerate(parts) if part != "**" or at == 0 or parts[at - 1] != "**"
    )


def filled(draw: st.DrawFn, glob: str) -> str:
    """Return a name that a glob matches, or nearly: each star filled, perhaps a part repeated."""
    name = "".join(draw(st.text("ab.", max_size=3)) if part == "*" else part for part in glob)
    return name * draw(st.sampled_from([1, 1, 1, 2])) or "a"


@st.composite
def paths_near(draw: st.DrawFn, pattern: str) -> list[str]:
    """Draw the segments of a path that a pattern matches, or nearly."""
    names: list[str] = []
    for segment in pattern.split("/"):
        if segment == "**":
            names += draw(st.lists(small_names, max_size=2))
        else:
            names += [filled(draw, segment)] * draw(st.sampled_from([1, 1, 1, 1, 2]))
    return names or ["a"]


@given(st.data(), st.sampled_from(["*", "a", "b"]), path_patterns())
def test_workload_patterns_are_the_slow_model(data: st.DataObject, domain: str, path: str) -> None:
    """Taking the first fit loses no match that trying every fit would find."""
    pattern = f"spiffe://{domain}/{path}"
    workload = "/".join(["spiffe:/", "a", *data.draw(paths_near(path))])
    compiled = compile_workload_pattern(pattern)
    assert compiled.text == pattern
    assert compiled.matches(workload) == model_workload_matches(pattern, workload)


@given(st.data(), st.sampled_from(["*", "GET"]), path_patterns())
def test_route_patterns_are_the_slow_model(data: st.DataObject, method: str, path: str) -> None:
    """Routes are matched by segments, odd characters and empty segments included."""
    odd_routes = st.text("ab/\n*.(", max_size=8).map(lambda route: route.split("/"))
    route = "/".join(data.draw(st.one_of(paths_near(path), odd_routes)))
    operation = data.draw(st.sampled_from([f"GET /{route}", f"PUT /{route}", f"tool:x /{route}"]))
    pattern = f"{method} /{path}"
    matched = compile_operation_pattern(pattern).matches(operation)
    assert matched == model_operation_matches(pattern, operation)


@given(st.data(), tool_globs)
def test_tool_patterns_are_the_slow_model(data: st.DataObject, glob: str) -> None:
    """In the name of a tool a star takes anything, slashes and line ends included."""
    name = "".join(
        data.draw(st.text("ab./\n", max_size=3)) if part == "*" else part for part in glob
    )
    operation = f"tool:{name}{data.draw(st.sampled_from(['', '', 'a', '/']))}"
    pattern = f"tool:{glob}"
    matched = compile_operation_pattern(pattern).matches(operation)
    assert matched == model_operation_matches(pattern, operation)


def compiled_or_none(text: str) -> Pattern | None:
    """Return the compiled operation pattern, or None where it is refused."""
    try:
        return compile_operation_pattern(text)
    except InvalidPattern:
        return None


@given(st.text("ab*/:G T", max_size=12), st.text(max_size=20))
def test_any_operation_pattern_compiles_or_is_refused(text: str, operation: str) -> None:
    """No text breaks the compiler: it is refused, or is a pattern that any text can meet."""
    compiled = compiled_or_none(text)
    assert compiled is None or compiled.matches(operation) in (True, False)
    assert compiled is None or compiled.text == text


@given(workloads)
def test_a_workload_is_a_pattern_of_itself(text: str) -> None:
    """Names without stars are patterns that match just themselves."""
    canonical = canonical_workload(text)
    compiled = compile_workload_pattern(text)
    assert compiled.text == canonical and compiled.matches(canonical)
    assert not compiled.matches(canonical + "x") and not compiled.matches(canonical + "/x")


# Few letters, so that prefixes meet, and names that begin alike.
short_paths = st.lists(st.sampled_from(["a", "ab", "b", "a.b"]), max_size=4)
short_ids = st.builds(
    lambda domain, path: "/".join([f"spiffe://{domain}", *path]),
    st.sampled_from(["td", "td.example", "t"]),
    short_paths,
)


@given(st.lists(short_ids, min_size=1, max_size=3), short_ids.filter(lambda each: "/" in each[9:]))
def test_a_territory_is_whole_segments_under_its_prefixes(prefixes: list[str], name: str) -> None:
    """What is admitted has all segments of some prefix first, the trust domain being one of them.

    However prefix and name are written: scheme and trust domain compare without case.
    """
    segments = name[9:].split("/")
    expected = any(
        segments[: len(each)] == each for each in (prefix[9:].split("/") for prefix in prefixes)
    )
    assert Territory(prefixes).admits(name) == expected
    shouted = [each[:9].upper() + each[9:].replace("td", "TD") for each in prefixes]
    assert Territory(shouted).admits(name) == expected
