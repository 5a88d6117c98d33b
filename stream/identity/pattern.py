"""Patterns of the policy file: which workloads, and which operations, a rule is about.

    spiffe://example.org/agents/*/billing    one segment is free
    spiffe://*/agents/invoice-*              in any trust domain
    spiffe://example.org/**                  every workload of a trust domain
    POST /v1/export/*                        one method, one free segment
    * /admin/**                              any method, `/admin` and everything below it
    POST *                                   one method, whatever it is sent to
    CONNECT {authority}                      what has no route: tunnels, as proxies log them
    tool:send_*                              tools by name
    *                                        every operation

In a path, of a workload or of a route, `*` stands for any run of characters but `/`, also none,
and `**`, which is a whole segment, for any number of segments, also none. In a tool's name, where
`/` means nothing, `*` stands for any run of characters. All else stands for itself, with case; a
literal `*` is matched by `*` only.

Not everything that follows a method is a route: `OPTIONS *` asks about a whole server, and CONNECT
names an authority. `POST /**` is every route of a method; `POST *` is also what is no route. In
place of a route no other pattern stands than `*` alone, and `{authority}`, which is itself.

A trust domain is written out, or is `*`: it is a root of trust and its name has no hierarchy, so
`*.example.org` would promise what SPIFFE does not keep (SPIFFE-ID 2.1).

The operator writes patterns, but anybody writes what they are matched with. A pattern becomes one
regular expression in which each part between two stars is taken where it first fits and never
reconsidered (atomic groups). Where only stars stand between the parts, the first fit leaves most
room for the rest, so no match is lost; and the cost is at worst the product of both lengths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Final

from stream.errors import EnforcerError

from .spiffe import ID_BYTES_MAX, InvalidIdentity, canonical_workload

WORKLOAD_PATTERN_LENGTH_MAX: Final = ID_BYTES_MAX
OPERATION_PATTERN_LENGTH_MAX: Final = 256

_SCHEME: Final = "spiffe://"
_TOOL: Final = "tool:"
_is_method: Final = re.compile(r"[A-Z][A-Z0-9_-]*").fullmatch

# What `*` runs over: in a segment, and in the name of a tool (line ends too: nothing slips by).
_IN_SEGMENT: Final = "[^/]"
_IN_TOOL: Final = r"[\s\S]"
# A method of any kind, but never the `tool:` of a tool whose name looks like a route.
_ANY_METHOD: Final = "[^ /:]+"
# What stands in place of a route, and its expression.
_NO_ROUTE: Final = {"*": f"{_IN_TOOL}*", "{authority}": re.escape("{authority}")}


class InvalidPattern(EnforcerError, ValueError):
    """A pattern of a policy could match nothing, or not what its author seems to mean."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; two are equal if they are written the same."""

    text: str
    _regex: re.Pattern[str] = field(repr=False, compare=False)

    def matches(self, name: str) -> bool:
        """Tell whether the pattern is about this workload or operation.

        Requires: a workload is canonical; an operation may be any text.
        Cost:     O(len(text) * len(name)) at worst; as a rule well below a microsecond.
        """
        return self._regex.fullmatch(name) is not None


def compile_workload_pattern(text: str) -> Pattern:
    """Return the pattern written as `spiffe://trust-domain/path`, its text in canonical form.

    Errors: InvalidPattern.
    """
    _check_text("workload", text, WORKLOAD_PATTERN_LENGTH_MAX)
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise _invalid("workload", text, f"it starts with {_SCHEME}")
    domain, slash, path = text[len(_SCHEME) :].partition("/")
    if "*" in domain and domain != "*":
        hint = "list the trust domains, one pattern each"
        raise _invalid("workload", text, "a trust domain is written out or is *", hint=hint)
    # With a letter for each star it has to be a workload, else it could never match one.
    try:
        canonical_workload(text.replace("*", "x"))
    except InvalidIdentity as fault:
        hint = "" if slash else f"{text}/** is every workload of that trust domain"
        raise _invalid("workload", text, fault.message, hint=hint) from fault
    segments = path.split("/")
    _check_double_stars("workload", text, segments)
    domain = domain.lower()
    domain_regex = f"{_IN_SEGMENT}+" if domain == "*" else re.escape(domain)
    regex = re.compile(_SCHEME + domain_regex + _path_regex(segments))
    return Pattern(f"{_SCHEME}{domain}/{path}", regex)


def compile_operation_pattern(text: str) -> Pattern:
    """Return the pattern written as `METHOD /route`, as `tool:name`, or as `*` for all of them.

    In place of the route `*` is any target, and `{authority}` that of a tunnel.

    Errors: InvalidPattern.
    """
    _check_text("operation", text, OPERATION_PATTERN_LENGTH_MAX)
    if text == "*":
        return Pattern(text, re.compile(f"{_IN_TOOL}*"))
    if text.startswith(_TOOL):
        name = text.removeprefix(_TOOL)
        if not name or "**" in name:
            raise _invalid("operation", text, "a tool's name is letters and single *")
        return Pattern(text, re.compile(_TOOL + _name_regex(name, _IN_TOOL)))
    method, _, route = text.partition(" ")
    if route not in _NO_ROUTE and (not route.startswith("/") or " " in route):
        hint = "METHOD * is every target, METHOD {authority} a tunnel"
        raise _invalid("operation", text, "it is METHOD /route, tool:name or *", hint=hint)
    if method != "*" and not _is_method(method):
        hint = f"{method.upper()} {route}" if _is_method(method.upper()) else ""
        raise _invalid("operation", text, "a method is written out in capitals or is *", hint=hint)
    method_regex = _ANY_METHOD if method == "*" else re.escape(method)
    if route in _NO_ROUTE:
        return Pattern(text, re.compile(f"{method_regex} {_NO_ROUTE[route]}"))
    segments = route[1:].split("/")
    _check_double_stars("operation", text, segments)
    return Pattern(text, re.compile(f"{method_regex} {_path_regex(segments)}"))


def _invalid(kind: str, text: str, reason: str, *, hint: str = "") -> InvalidPattern:
    """Return the error that names the pattern and what is wrong with it."""
    return InvalidPattern(f"{kind} pattern {text!r}: {reason}", hint=hint)


def _check_text(kind: str, text: str, length_max: int) -> None:
    """Refuse what is no pattern of any kind: empty, too long, or with characters nobody sees."""
    if not text:
        raise InvalidPattern(f"{kind} pattern: it is empty")
    if len(text) > length_max:
        reason = f"it has {len(text)} characters, at most {length_max} are allowed"
        raise InvalidPattern(f"{kind} pattern: {reason}")
    if not text.isprintable() or text != text.strip():
        raise _invalid(kind, text, "it has spaces around it, or invisible characters")


def _check_double_stars(kind: str, text: str, segments: list[str]) -> None:
    """Refuse `**` as a part of a segment, and next to another one, where it adds nothing."""
    if any("**" in segment and segment != "**" for segment in segments):
        raise _invalid(kind, text, "** is a segment of its own; within a segment write *")
    if ("**", "**") in pairwise(segments):
        raise _invalid(kind, text, "** next to ** says nothing more; write it once")


def _path_regex(segments: list[str]) -> str:
    """Return the expression for `/` and each segment, where `**` is any number of segments.

    Requires: no two `**` in a row.
    """
    runs = [
        (is_skip, "".join(f"/{_name_regex(segment, _IN_SEGMENT)}" for segment in run))
        for is_skip, run in groupby(segments, key="**".__eq__)
    ]
    skip = f"(?:/{_IN_SEGMENT}*+)*"
    regex = ""
    for position, (is_skip, run_regex) in enumerate(runs):
        is_last = position == len(runs) - 1
        if is_skip:
            regex += skip if is_last else ""
        elif position == 0:
            regex += run_regex
        elif is_last:
            # Only here the first fit may be the wrong one, for the run has to end the path.
            regex += f"{skip}?{run_regex}"
        else:
            regex += f"(?>{skip}?{run_regex})"
    return regex


def _name_regex(name: str, character: str) -> str:
    """Return the expression for one name, where `*` is any run of `character`; it takes all of it.

    Requires: `character` is a class that everything up to the end of the name belongs to.
    """
    first, *middle = name.split("*")
    end = f"(?!{character})"
    if not middle:
        return re.escape(first) + end
    last = middle.pop()
    found = "".join(f"(?>{character}*?{re.escape(part)})" for part in middle if part)
    # The last part fits in one place only, the end of the name.
    rest = f"{character}*{re.escape(last)}{end}" if last else f"{character}*+"
    return re.escape(first) + found + rest
