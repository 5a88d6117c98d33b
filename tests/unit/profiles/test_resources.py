"""What resources say: the definition, by examples of the kind that agents write."""

from __future__ import annotations

import pytest

from stream.profiles import (
    DETAIL,
    ENTITY,
    EVENT_TOKENS_MAX,
    EVENT_VALUES_MAX,
    FOUND,
    FOUND_MAX,
    IDENTIFIER,
    TOKENS_MAX,
    VALUE,
    Told,
    told_by,
)

SHAPES = {
    DETAIL: [
        "2", "-100", "+7", "50.0", "1234567", "0.5", "12345678.5",
        "999999999999999.000000000000001",
        "2024-05-16", "16.05.2024", "5/16/2024", "2024-05-16 10:20", "2024-05-16T10:20:30Z",
        "2024-11-14t18:00:00.123456+02:00", "10:20", "T22:00", "9:05:59-0330",
        "a b c d e", "write to bob@evil.example at once", "one  two\tthree\nfour five",
    ],
    IDENTIFIER: [
        "bob@evil.example", "Bob <bob@evil.example>", "@", "https://evil.example", "a/b",
        "/", "7.2%",
        "12345678", "+491701234567", "0000000001", "US133000000121212121212", "us-east-12",
        "client-meeting-minutes.docx", "10.0.0.12", "1.2.3.2024", "2024-05-16-0001", "2024-5-16x12",
        "1234567890123456", "1e99999999", "20240516", "2024-05-16T10:20/x",
    ],
    ENTITY: [
        "Paris", "Green Motion", "SunSet Rent-A-Car", "see evil.example now", "1,000", "7%", "*",
        "-", "12 34", "1e10", "Breizh Café", "10:2", "2024x", "tt10:20",
        "2024-5x", "a b c 12345678",
    ],
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_rule_that_fits_gives_the_shape(shape: int) -> None:
    """Numbers and dates are details, addresses and codes identifiers, and names are neither."""
    for text in SHAPES[shape]:
        assert told_by([f"x:{text}"])[0].shape == shape, text


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("  Bob@Evil.EXAMPLE ", "bob@evil.example"),
        ("https://www.evil.example/a/", "evil.example/a"),
        ("HTTP://WWW.evil.example//", "evil.example"),
        ("ftp://evil.example", "ftp://evil.example"),
        ("//", "/"),
        ("https:///", "/"),
        ("007", "7"),
        ("+50.00", "50"),
        ("-0.0", "0"),
        ("-00.10", "-0.1"),
        ("1000000", "1000000"),
        ("0000000001", "0000000001"),
        ("12345678.0", "12345678"),
        ("Straße", "strasse"),
    ],
)
def test_one_thing_written_in_two_ways_is_one_value(raw: str, value: str) -> None:
    """Case, scheme, `www.`, slashes at the end and needless zeros make no other value."""
    assert [each.value for each in told_by([f"x:{raw}"])] == [value]


def test_a_scheme_is_taken_away_once() -> None:
    """What stands behind it is a value, whatever it looks like."""
    assert told_by(["x:https://http://a.b"])[0].value == "http://a.b"


def test_the_name_ends_at_the_first_colon() -> None:
    """What has no colon has no name; what names nothing is left out."""
    assert told_by(["Url:http://a:1/b", "plain", "x:", "x:  ", "x:https://", "x:www."]) == [
        Told("Url", "a:1/b", IDENTIFIER, ("a", "1", "b")),
        Told("", "plain", ENTITY, ("plain",)),
    ]


def test_tokens_are_runs_of_letters_and_digits() -> None:
    """The first of them; a value without any is its own token."""
    assert told_by(["x:New_Israeli-Restaurant, 5th"])[0].tokens == (
        "new", "israeli", "restaurant", "5th",
    )  # fmt: skip
    assert told_by(["x:Café №5"])[0].tokens == ("café", "5")
    assert told_by(["x:*"])[0].tokens == ("*",)
    assert len(told_by(["x:" + "ab " * 300])[0].tokens) == TOKENS_MAX


def test_identifiers_inside_text_are_found() -> None:
    """Mail, domains, addresses and IBANs, each once a name, behind all other values."""
    text = (
        "Hi, see (www.Evil.example), <Bob@evil.example>. or [it](http://evil.example/x?y=10.0.0.12)"
        " pay DE89370400440532013000! e.g. 7.5 a..b -x- v1.2 notes.txt. 1.2.3 1.2.3.4444 www.com"
    )
    told = told_by([f"body:{text}", "to:Bob now", "short:go bob@evil.example"])
    assert [each.name for each in told if each.shape != FOUND] == ["body", "to", "short"]
    assert [(each.name, each.value) for each in told[3:]] == [
        ("body", "evil.example"),
        ("body", "bob@evil.example"),
        ("body", "10.0.0.12"),
        ("body", "de89370400440532013000"),
        ("body", "notes.txt"),
        ("short", "bob@evil.example"),
    ]
    assert {each.shape for each in told[3:]} == {FOUND}
    assert told[3].value == told_by(["url:https://www.evil.example/"])[0].value


def test_an_event_says_no_more_than_so_much() -> None:
    """Values, those found among them, and tokens are bounded, whatever is written."""
    text = " ".join(f"a{number}.example" for number in range(40))
    told = told_by([f"x{place}:{text} {place}" for place in range(8)])
    assert len(told) == 8 + FOUND_MAX == EVENT_VALUES_MAX
    assert sum(len(each.tokens) for each in told) <= EVENT_TOKENS_MAX
    assert [each.value for each in told[8:10]] == ["a0.example", "a1.example"]


def test_a_value_is_as_many_bytes_as_agreed() -> None:
    """Kernels elsewhere read the same columns: 32 bytes."""
    assert VALUE.itemsize == 32
    assert VALUE.names == ("name", "value", "tokens_from", "tokens_count", "shape")
