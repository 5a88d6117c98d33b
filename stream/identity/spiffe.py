"""SPIFFE IDs: the one written form of each, and what is wrong with a text that is none.

A workload is named by `spiffe://trust-domain/path`. Scheme and trust domain compare without case,
so the *canonical* form writes them in lower case; the path is kept as it is. Everything behind the
door (partition key, row key, policy, commands) holds canonical texts and compares them as strings:
one workload then has one key, one home, one row.

A trust domain without a path is a valid SPIFFE ID too, but it names no workload:
`canonical_id` accepts it, `canonical_workload` does not, `names_workload` tells them apart.

Validation is one regular expression; it only says yes or no. Why a text was refused is worked out
afterwards, by code written to be read, so the good path pays nothing for good messages.

Source: SPIFFE-ID specification, sections 2.1 (trust domain), 2.2 (path), 2.3 (length) and
2.4 (case).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from stream.errors import EnforcerError

ID_BYTES_MAX: Final = 2048
TRUST_DOMAIN_BYTES_MAX: Final = 255

_SCHEME: Final = "spiffe://"

# The repeats of single characters are possessive (`++`): no two of them can share a character,
# so giving back could never help and the cost stays linear in the text. The look-behinds refuse
# the segments `.` and `..`. No flags: under IGNORECASE the long s U+017F would pass for an `s`.
_PATH: Final = r"(?:/[A-Za-z0-9._-]++(?<!/\.)(?<!/\.\.))"
_is_canonical_workload: Final = re.compile(
    rf"spiffe://[a-z0-9._-]{{1,{TRUST_DOMAIN_BYTES_MAX}}}{_PATH}+"
).fullmatch
_is_id: Final = re.compile(
    rf"[Ss][Pp][Ii][Ff][Ff][Ee]://[A-Za-z0-9._-]{{1,{TRUST_DOMAIN_BYTES_MAX}}}{_PATH}*"
).fullmatch
_first_foreign: Final = re.compile(r"[^A-Za-z0-9._-]").search


class IdentityFault(StrEnum):
    """Why a text names no workload; the values are stable, for metrics and dead letters."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    SCHEME = "scheme"
    TRUST_DOMAIN_MISSING = "trust_domain_missing"
    TRUST_DOMAIN_TOO_LONG = "trust_domain_too_long"
    TRUST_DOMAIN_CHARACTER = "trust_domain_character"
    USER_INFO = "user_info"
    PORT = "port"
    PATH_CHARACTER = "path_character"
    PERCENT_ENCODING = "percent_encoding"
    QUERY = "query"
    FRAGMENT = "fragment"
    EMPTY_SEGMENT = "empty_segment"
    DOT_SEGMENT = "dot_segment"
    TRAILING_SLASH = "trailing_slash"
    NO_PATH = "no_path"
    CHAIN_TOO_DEEP = "chain_too_deep"


_NO_PATH: Final = (IdentityFault.NO_PATH, "a trust domain without a path names no workload")
# Characters that are a mistake of their own, not just foreign to the place.
_PERCENT: Final = (IdentityFault.PERCENT_ENCODING, "percent-encoding is not allowed")
_TRUST_DOMAIN_MISTAKES: Final = {
    "%": _PERCENT,
    ":": (IdentityFault.PORT, "a trust domain has no port"),
    "": (
        IdentityFault.TRUST_DOMAIN_CHARACTER,
        "a trust domain has only letters, digits, dots, dashes and underscores",
    ),
}
_PATH_MISTAKES: Final = {
    "%": _PERCENT,
    "?": (IdentityFault.QUERY, "a query is not allowed"),
    "#": (IdentityFault.FRAGMENT, "a fragment is not allowed"),
    "": (
        IdentityFault.PATH_CHARACTER,
        "a path segment has only letters, digits, dots, dashes and underscores",
    ),
}


class InvalidIdentity(EnforcerError, ValueError):
    """A text names no workload; `why` is for programs, the message for people.

    The message quotes at most one character of the text, escaped, so it is safe to log.
    """

    def __init__(self, why: IdentityFault, message: str) -> None:
        super().__init__(message)
        self.why = why

    def __reduce__(self) -> tuple[type[InvalidIdentity], tuple[IdentityFault, str]]:
        """Let the error cross a process boundary, which its two arguments would prevent."""
        return type(self), (self.why, self.message)


def canonical_workload(text: str) -> str:
    """Return the canonical form of a SPIFFE ID that names a workload.

    Errors: InvalidIdentity, also for a trust domain without a path.
    Cost:   one regular expression, linear; a text that is canonical already is not copied.
    Source: SPIFFE-ID 2.1 to 2.4.
    """
    if len(text) <= ID_BYTES_MAX and _is_canonical_workload(text):
        return text
    canonical = canonical_id(text)
    if not names_workload(canonical):
        raise InvalidIdentity(*_NO_PATH)
    return canonical


def canonical_id(text: str) -> str:
    """Return the canonical form of any SPIFFE ID, a trust domain without a path included.

    Errors: InvalidIdentity.
    """
    if len(text) > ID_BYTES_MAX or not _is_id(text):
        fault = describe_fault(text)
        assert fault is not None, "what the pattern refuses has a fault"
        raise InvalidIdentity(*fault)
    path_at = text.find("/", len(_SCHEME))
    if path_at < 0:
        return text.lower()
    return text[:path_at].lower() + text[path_at:]


def names_workload(canonical: str) -> bool:
    """Tell whether a canonical SPIFFE ID has a path, and so names a workload.

    Requires: `canonical` as `canonical_id` returns it.
    """
    return "/" in canonical[len(_SCHEME) :]


def trust_domain(canonical: str) -> str:
    """Return the trust domain of a canonical SPIFFE ID, without scheme.

    Requires: `canonical` as `canonical_id` or `canonical_workload` returns it.
    """
    return canonical[len(_SCHEME) :].partition("/")[0]


def parent_path(canonical: str) -> str:
    """Return the SPIFFE ID one segment up: `spiffe://td/a` for `spiffe://td/a/b`.

    The parent of a workload of one segment is its trust domain, which itself has no parent.

    Requires: `canonical` as `canonical_id` or `canonical_workload` returns it.
    Errors:   InvalidIdentity (`no_path`) for a trust domain.
    """
    if not names_workload(canonical):
        raise InvalidIdentity(*_NO_PATH)
    return canonical.rpartition("/")[0]


def describe_fault(text: str) -> tuple[IdentityFault, str] | None:
    """Return the first fault of a text, read from the left, or None if it names a workload.

    Cost: linear in the text up to its bound; a longer text is refused by its length alone.
    """
    if not text:
        return IdentityFault.EMPTY, "the identity is empty"
    if len(text) > ID_BYTES_MAX:
        return IdentityFault.TOO_LONG, f"{len(text)} characters, at most {ID_BYTES_MAX}"
    if text[: len(_SCHEME)].lower() != _SCHEME:
        return IdentityFault.SCHEME, f"an identity starts with {_SCHEME}"
    authority = re.split(r"[/?#]", text[len(_SCHEME) :], maxsplit=1)[0]
    fault = _trust_domain_fault(authority)
    if fault is not None:
        return fault
    path_at = len(_SCHEME) + len(authority)
    return _path_fault(text, path_at) if path_at < len(text) else _NO_PATH


def _trust_domain_fault(authority: str) -> tuple[IdentityFault, str] | None:
    """Return what keeps the part between `spiffe://` and the path from being a trust domain."""
    if not authority:
        return IdentityFault.TRUST_DOMAIN_MISSING, "the trust domain is missing"
    if "@" in authority:
        return IdentityFault.USER_INFO, "user information is not allowed"
    fault = _foreign_character(authority, len(_SCHEME), _TRUST_DOMAIN_MISTAKES)
    if fault is None and len(authority) > TRUST_DOMAIN_BYTES_MAX:
        message = f"a trust domain of {len(authority)} bytes, at most {TRUST_DOMAIN_BYTES_MAX}"
        return IdentityFault.TRUST_DOMAIN_TOO_LONG, message
    return fault


def _path_fault(text: str, path_at: int) -> tuple[IdentityFault, str] | None:
    """Return the first fault of what follows the trust domain, segment by segment.

    Requires: `text[path_at]` is `/`, `?` or `#`.
    """
    if text[path_at] != "/":
        return _foreign_character(text[path_at], path_at, _PATH_MISTAKES)
    offset = path_at + 1
    for segment in text[offset:].split("/"):
        if not segment and offset == len(text):
            return IdentityFault.TRAILING_SLASH, "the path ends in a slash"
        if not segment:
            return IdentityFault.EMPTY_SEGMENT, f"the path has an empty segment at offset {offset}"
        if segment in (".", ".."):
            message = f"the path has a relative segment {segment!r} at offset {offset}"
            return IdentityFault.DOT_SEGMENT, message
        fault = _foreign_character(segment, offset, _PATH_MISTAKES)
        if fault is not None:
            return fault
        offset += len(segment) + 1
    return None


def _foreign_character(
    part: str, offset: int, mistakes: dict[str, tuple[IdentityFault, str]]
) -> tuple[IdentityFault, str] | None:
    """Return the fault of the first character that no name may have, or None.

    `mistakes` says what a character means at this place; its entry "" is for all others.
    """
    foreign = _first_foreign(part)
    if foreign is None:
        return None
    why, reason = mistakes.get(foreign[0], mistakes[""])
    return why, f"{reason}: {foreign[0]!a} at offset {offset + foreign.start()}"
