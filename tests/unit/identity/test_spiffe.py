"""SPIFFE IDs against the specification's examples and the cases other SPIFFE libraries test."""

from __future__ import annotations

import pickle

import pytest

from stream.errors import EnforcerError
from stream.identity import (
    IdentityFault,
    InvalidIdentity,
    canonical_id,
    canonical_workload,
    describe_fault,
    names_workload,
    parent_path,
    trust_domain,
)

ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
NAME_CHARACTERS = ALNUM | frozenset(".-_")

# A workload of exactly 2048 bytes, in segments of up to 100.
LONGEST = "spiffe://test.example.org" + ("/" + "a" * 100) * 20 + "/bb"
LONGEST_DOMAIN = "d" * 255

# Text, canonical form.
WORKLOADS = [
    # The examples of the specification, 2.2.
    ("spiffe://staging.example.com/payments/mysql",) * 2,
    ("spiffe://staging.example.com/payments/web-fe",) * 2,
    ("spiffe://k8s-west.example.com/ns/staging/sa/default",) * 2,
    ("spiffe://example.com/9eebccd2-12bf-40a6-b262-65fe0487d453",) * 2,
    # Cases that go-spiffe, java-spiffe, py-spiffe and the conformance suites accept.
    ("spiffe://trustdomain/path",) * 2,
    ("spiffe://trustdomain/path1/path2",) * 2,
    ("spiffe://trustdomain/PATH1/PATH2",) * 2,
    ("spiffe://trustdomain/.path",) * 2,
    ("spiffe://trustdomain/..path",) * 2,
    ("spiffe://trustdomain/...",) * 2,
    ("spiffe://test.example.org/Path.With-Mixed_Case/a.b-c_D/..x/x..",) * 2,
    ("spiffe://td_1.example-2.org/id-2",) * 2,
    ("spiffe://192.168.1.1/id-2",) * 2,
    ("spiffe://trustdomain/a./b../c...",) * 2,
    ("spiffe://./-/_",) * 2,
    (f"spiffe://{LONGEST_DOMAIN}/a",) * 2,
    (LONGEST, LONGEST),
    # Scheme and trust domain compare without case, the path with it (2.4). go-spiffe and
    # java-spiffe refuse these; to accept and fold them is what the specification asks of readers.
    ("SPIFFE://domain.test/path/element", "spiffe://domain.test/path/element"),
    ("Spiffe://Example.COM/Payments/Web-FE", "spiffe://example.com/Payments/Web-FE"),
    ("sPiFfE://A/A", "spiffe://a/A"),
]

REFUSED = [
    ("", IdentityFault.EMPTY),
    ("192.168.2.2:6688", IdentityFault.SCHEME),
    ("http://domain.test/path/element", IdentityFault.SCHEME),
    ("https://example.com/foo", IdentityFault.SCHEME),
    ("domain.test/path/element", IdentityFault.SCHEME),
    ("s", IdentityFault.SCHEME),
    ("spiffe:", IdentityFault.SCHEME),
    ("spiffe:/", IdentityFault.SCHEME),
    ("spiffe:path/element", IdentityFault.SCHEME),
    ("spiffe:/path/element", IdentityFault.SCHEME),
    ("spiffe:/trustdomain/path", IdentityFault.SCHEME),
    (" spiffe://trustdomain/path", IdentityFault.SCHEME),
    ("\ufeffspiffe://trustdomain/path", IdentityFault.SCHEME),
    ("\u017fpiffe://trustdomain/path", IdentityFault.SCHEME),
    ("spi\ufb00e://trustdomain/path", IdentityFault.SCHEME),
    ("spiffe://", IdentityFault.TRUST_DOMAIN_MISSING),
    ("spiffe:///", IdentityFault.TRUST_DOMAIN_MISSING),
    ("spiffe:///path/element", IdentityFault.TRUST_DOMAIN_MISSING),
    ("spiffe://?query", IdentityFault.TRUST_DOMAIN_MISSING),
    ("spiffe://" + "d" * 256 + "/a", IdentityFault.TRUST_DOMAIN_TOO_LONG),
    ("spiffe://t$d/a", IdentityFault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://[::1]/foo", IdentityFault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://d\u00f6main.test/path", IdentityFault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://\u212aelvin.test/path", IdentityFault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://trust domain/path", IdentityFault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://trust\\domain/path", IdentityFault.TRUST_DOMAIN_CHARACTER),
    ("spiffe://domain.test:8080/path/element", IdentityFault.PORT),
    ("spiffe://domain.test:/path/element", IdentityFault.PORT),
    ("spiffe://user:password@test.org/path/element", IdentityFault.USER_INFO),
    ("spiffe://u@test.example.org/a", IdentityFault.USER_INFO),
    ("spiffe://@test.example.org/a", IdentityFault.USER_INFO),
    ("spiffe://%F0%9F%A4%AF/path", IdentityFault.PERCENT_ENCODING),
    ("spiffe://%62%61%64/path", IdentityFault.PERCENT_ENCODING),
    ("spiffe://trustdomain/%F0%9F%A4%AF", IdentityFault.PERCENT_ENCODING),
    ("spiffe://trustdomain/%62%61%64", IdentityFault.PERCENT_ENCODING),
    ("spiffe://domain.test/path/elem%5uent", IdentityFault.PERCENT_ENCODING),
    ("spiffe://domain.test/path/element%5", IdentityFault.PERCENT_ENCODING),
    ("spiffe://domain.test/path/element?query=1", IdentityFault.QUERY),
    ("spiffe://domain.test/path/element?#fragment-1", IdentityFault.QUERY),
    ("spiffe://domain.test?query", IdentityFault.QUERY),
    ("spiffe://domain.test/?query", IdentityFault.QUERY),
    ("spiffe://domain.test/path#fragment-1", IdentityFault.FRAGMENT),
    ("spiffe://domain.test#fragment/../", IdentityFault.FRAGMENT),
    ("spiffe://trustdomain/", IdentityFault.TRAILING_SLASH),
    ("spiffe://trustdomain/path/", IdentityFault.TRAILING_SLASH),
    ("spiffe://trustdomain/path/other/", IdentityFault.TRAILING_SLASH),
    ("spiffe://trustdomain//", IdentityFault.EMPTY_SEGMENT),
    ("spiffe://trustdomain//path", IdentityFault.EMPTY_SEGMENT),
    ("spiffe://trustdomain/path//", IdentityFault.EMPTY_SEGMENT),
    ("spiffe://test.example.org/a//b", IdentityFault.EMPTY_SEGMENT),
    ("spiffe://trustdomain/.", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/./", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/./path", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/path/./other", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/..", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/../", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/../path", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/path/..", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/path/../other", IdentityFault.DOT_SEGMENT),
    ("spiffe://trustdomain/path$", IdentityFault.PATH_CHARACTER),
    ("spiffe://trustdomain/ /", IdentityFault.PATH_CHARACTER),
    ("spiffe://test.example.org/a!b", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/pa:th/element:", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/pa@th/element", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/p!a$t&h'/(e)l*e+m,e;n=t", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/path/elem[ent", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/spiffe://domain.test/path", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/path\n", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/path\x00", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/\ud800", IdentityFault.PATH_CHARACTER),
    ("spiffe://domain.test/\uff0f", IdentityFault.PATH_CHARACTER),
    (LONGEST + "b", IdentityFault.TOO_LONG),
    ("x" * 10_000_000, IdentityFault.TOO_LONG),
    ("spiffe://trustdomain", IdentityFault.NO_PATH),
    ("SPIFFE://TrustDomain", IdentityFault.NO_PATH),
]


@pytest.mark.parametrize(("text", "canonical"), WORKLOADS)
def test_a_workload_has_one_canonical_form(text: str, canonical: str) -> None:
    """Scheme and trust domain fold to lower case, the path stays."""
    assert canonical_workload(text) == canonical
    assert canonical_id(text) == canonical
    assert names_workload(canonical)
    assert describe_fault(text) is None


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=lambda value: ascii(value)[:60])
def test_a_refused_text_is_diagnosed(text: str, why: IdentityFault) -> None:
    """A text that names no workload raises with its first fault, and says it safely."""
    with pytest.raises(InvalidIdentity) as caught:
        canonical_workload(text)
    assert caught.value.why is why
    assert describe_fault(text) == (why, caught.value.message)
    assert caught.value.message.isascii() and caught.value.message.isprintable()
    assert len(caught.value.message) < 120


def test_the_longest_id_is_2048_bytes() -> None:
    """The specification asks readers for 2048 bytes; more is refused."""
    assert len(LONGEST) == 2048
    assert canonical_workload(LONGEST) == LONGEST


@pytest.mark.parametrize("code", [code for code in range(0x180) if chr(code) not in "/?#"])
def test_each_character_is_judged_by_its_place(code: int) -> None:
    """Letters, digits, dot, dash, underscore pass; all others, also beyond ASCII, do not."""
    character = chr(code)
    for text in (f"SPIFFE://trustdomain{character}/path", f"spiffe://trustdomain/path{character}"):
        if character in NAME_CHARACTERS:
            assert canonical_workload(text).lower() == text.lower()
        else:
            with pytest.raises(InvalidIdentity):
                canonical_workload(text)


def test_a_trust_domain_is_an_id_but_no_workload() -> None:
    """The signing authority's own ID is valid, and names no workload."""
    assert canonical_id("SPIFFE://Example.org") == "spiffe://example.org"
    assert not names_workload("spiffe://example.org")
    with pytest.raises(InvalidIdentity) as caught:
        canonical_id("spiffe://example.org/")
    assert caught.value.why is IdentityFault.TRAILING_SLASH


def test_parts_of_a_canonical_id() -> None:
    """An ID knows its trust domain and its parent; a trust domain is nobody's child."""
    assert trust_domain("spiffe://td.example/a/b/c") == "td.example"
    assert trust_domain("spiffe://td.example") == "td.example"
    assert parent_path("spiffe://td/a/b/c") == "spiffe://td/a/b"
    assert parent_path("spiffe://td/a") == "spiffe://td"
    with pytest.raises(InvalidIdentity) as caught:
        parent_path("spiffe://td")
    assert caught.value.why is IdentityFault.NO_PATH


def test_a_canonical_text_is_returned_as_it_is() -> None:
    """The good path copies nothing."""
    text = f"spiffe://td/{'a' * 20}"
    assert canonical_workload(text) is text


def test_the_error_is_one_of_ours_and_survives_pickling() -> None:
    """InvalidIdentity is a ValueError and an EnforcerError, and crosses processes whole."""
    error = InvalidIdentity(IdentityFault.PORT, "a trust domain has no port")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ValueError) and isinstance(again, EnforcerError)
    assert (again.why, again.message) == (error.why, error.message)
