"""Names that others gave, made fit for a segment of a SPIFFE path.

Two different names never share a segment: whoever could pick a name that looks like another's
would be profiled, and get the other enforced, under it. What changes on the way is marked by a
hash of the whole name, and a name that only looks so marked gets a hash of its own.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Final

from stream.errors import ConfigError
from stream.identity import InvalidIdentity, canonical_id, names_workload

SEGMENT_LENGTH_MAX: Final = 128
_MARK_LENGTH: Final = 17  # a dash and 16 hex digits

_is_plain: Final = re.compile(r"[A-Za-z0-9._-]+").fullmatch
_looks_marked: Final = re.compile(r".*-[0-9a-f]{16}").fullmatch
_foreign: Final = re.compile(r"[^A-Za-z0-9._-]+")


def segment_of(name: str, length_max: int = SEGMENT_LENGTH_MAX) -> str:
    """Return the path segment for a name: the name itself where it is fit, else name and hash.

    Requires: length_max > 32, and the same for all names that must not be mistaken.
    Cost:     linear in the name.
    """
    is_short = len(name) <= length_max and name not in (".", "..")
    if is_short and _is_plain(name) and not _looks_marked(name):
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    start = name[: length_max - _MARK_LENGTH]
    readable = _foreign.sub("-", start).strip(".-") or "name"
    return f"{readable}-{digest}"


def address_segment(text: str) -> str:
    """Return the path segment for a network address, or for whatever stands in its place.

    An IPv6 address is written one way, colons as dashes; an IPv4 address mapped into IPv6, as a
    socket that serves both reports it, is that IPv4 address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return segment_of(text)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    # A zone (`fe80::1%eth0`) is free text, so it goes the way of free text.
    return segment_of(text) if address.scope_id else address.compressed.replace(":", "-")


def checked_trust_domain(text: str) -> str:
    """Return a trust domain in canonical form.

    Errors: ConfigError, for it comes from the operator.
    """
    try:
        canonical = canonical_id(f"spiffe://{text}")
    except InvalidIdentity as fault:
        message = f"trust domain {text!a}: {fault.message}"
        raise ConfigError(message, hint="write it like example.org") from fault
    if names_workload(canonical):
        message = f"trust domain {text!a}: it has a path"
        raise ConfigError(message, hint="write it like example.org")
    return canonical.removeprefix("spiffe://")
