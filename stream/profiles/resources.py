"""What the resources of an event say: names, normalised values, their tokens, a shape each.

This file defines it, in plain Python; the kernel in `resource_scan` reads ASCII, and a
differential test holds that it gives the same. A resource is `name:value`, up to the first colon;
without one, the name is empty.

Normalised is a value that is case-folded and stripped of white space at its ends, then of
`https://` or `http://`, then of `www.`, then of each `/` at its end unless nothing else is left. A
number is then written without plus, needless zeros and minus of nought, exactly, not rounded: an
amount that differs in a cent is another. What is empty then names no object and is left out.

Tokens are the runs of letters and digits, the first TOKENS_MAX; where there are none, the value is
its only token. Words are what white space parts. The shape of a value is the first that fits of:

1. DETAIL: a number: digits with at most one sign before, and one point with digits on both sides;
   DIGITS_MAX digits on a side, but without a point at most PLAIN_DIGITS_MAX in all, since more
   (accounts, phones, ids) are no amount. Or a date or time: `2024-05-16`, `16.05.2024`, `5/16/2024`
   with or without a time behind a space or T; `10:20`, `T10:20:30.5+02:00`.
2. DETAIL: more than WORDS_MAX words.
3. IDENTIFIER: it has `@`; or no white space and either `.` or `/`, or a digit and at least
   LONG characters.
4. ENTITY.

Inside values of several words identifiers are looked for: runs of letters, digits and `._@+-`,
without those marks at their ends, that have `@` (mail), or, without a leading `www.`, are labels
parted by points of which the last begins with a letter and has two or more (domain, file), or
are four of up to three digits (IPv4), or look like an IBAN. They follow the others as FOUND, under
the name they were found in, each once, the first FOUND_MAX of an event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from stream.events import RESOURCES_MAX

ENTITY, IDENTIFIER, DETAIL, FOUND = 0, 1, 2, 3
TOKENS_MAX: Final = 24
FOUND_MAX: Final = 8
WORDS_MAX: Final = 4
LONG: Final = 8
DIGITS_MAX: Final = 15
PLAIN_DIGITS_MAX: Final = 7
IBAN_MIN, IBAN_MAX = 15, 34
# What one event comes to at most.
EVENT_VALUES_MAX: Final = RESOURCES_MAX + FOUND_MAX
EVENT_TOKENS_MAX: Final = EVENT_VALUES_MAX * TOKENS_MAX

VALUE: Final = np.dtype(
    [
        ("name", np.uint64),
        ("value", np.uint64),
        ("tokens_from", np.int32),
        ("tokens_count", np.int32),
        ("shape", np.uint8),
    ],
    align=True,
)

_tokens = re.compile(r"[^\W_]+").findall
_spans = re.compile(r"[\w.@+-]+").findall
_MARKS: Final = "._@+-"
_number = re.compile(r"([+-]?)([0-9]{1,15})(?:\.([0-9]{1,15}))?").fullmatch
_TIME: Final = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:z|[+-][0-9]{2}:?[0-9]{2})?"
_DAY: Final = r"(?:[0-9]{4}([-/.])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/.])[0-9]{1,2}\2[0-9]{4})"
_moment = re.compile(rf"{_DAY}(?:[ t]{_TIME})?|t?{_TIME}").fullmatch
_address = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}").fullmatch
_iban = re.compile(rf"[a-z]{{2}}[0-9]{{2}}[a-z0-9]{{{IBAN_MIN - 4},{IBAN_MAX - 4}}}").fullmatch


class Told(NamedTuple):
    """One value, in words; `name`, `value` and each token are hashed under the key."""

    name: str
    value: str
    shape: int
    tokens: tuple[str, ...]


def told_by(resources: Sequence[str]) -> list[Told]:
    """Return what the resources of one event say, the FOUND ones last."""
    told, found = [], dict[tuple[str, str], Told]()
    for each in resources[:RESOURCES_MAX]:
        name, colon, raw = each.partition(":")
        if not colon:
            name, raw = "", each
        value = normalised(raw)
        if not value:
            continue
        words = value.split()
        told.append(Told(name, value, _shape_of(value, len(words)), _tokens_of(value)))
        for one in identifiers_in(value) if len(words) > 1 else ():
            if len(found) < FOUND_MAX:
                found.setdefault((name, one), Told(name, one, FOUND, _tokens_of(one)))
    return [*told, *found.values()]


def normalised(raw: str) -> str:
    """Return a value in the form that is compared; see above."""
    text = raw.casefold().strip()
    for scheme in ("https://", "http://"):
        if text.startswith(scheme):
            text = text.removeprefix(scheme)
            break
    text = text.removeprefix("www.")
    text = text.rstrip("/") or text[:1]
    number = _number(text)
    if number is None or not _is_amount(number):
        return text
    sign, whole, fraction = number[1], number[2].lstrip("0"), (number[3] or "").rstrip("0")
    exact = (whole or "0") + (f".{fraction}" if fraction else "")
    return f"-{exact}" if sign == "-" and exact != "0" else exact


def identifiers_in(text: str) -> list[str]:
    """Return what may be an identifier in a normalised text, in its order, repeats included."""
    found = []
    for span in _spans(text):
        one = span.strip(_MARKS)
        if "@" not in one:
            one = one.removeprefix("www.")
            if not _is_named(one):
                continue
        found.append(one)
    return found


def _is_named(span: str) -> bool:
    """Tell whether a span without `@` is a domain, a file, an address or an IBAN."""
    labels = span.split(".")
    if len(labels) == 1:
        return _iban(span) is not None
    last = labels[-1]
    is_domain = all(labels) and len(last) > 1 and last[0].isalpha()
    return is_domain or _address(span) is not None


def _is_amount(number: re.Match[str]) -> bool:
    return number[3] is not None or len(number[2]) <= PLAIN_DIGITS_MAX


def _shape_of(value: str, words: int) -> int:
    number = _number(value)
    if (number is not None and _is_amount(number)) or _moment(value) or words > WORDS_MAX:
        return DETAIL
    if "@" in value:
        return IDENTIFIER
    if words > 1:
        return ENTITY
    is_path = "." in value or "/" in value
    is_code = len(value) >= LONG and any(map(str.isdigit, value))
    return IDENTIFIER if is_path or is_code else ENTITY


def _tokens_of(value: str) -> tuple[str, ...]:
    return tuple(_tokens(value)[:TOKENS_MAX]) or (value,)
