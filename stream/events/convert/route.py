"""A request line's method and target, turned into an operation and the objects it touches.

The operation is `METHOD /route/template`. Paths are compared the way servers route them: written
in normal form first (RFC 3986, section 6.2.2: unreserved characters decoded, the rest encoded in
upper case, dot segments removed; nginx's `merge_slashes`), so that `/%61dmin//x/../` is `/admin/`
and nobody looks new, or hides, by spelling. Then what varies from call to call becomes `{id}`, and
what is too deep or too long `{rest}`. The normal form is printable ASCII without braces or spaces,
so no path can look like a template, or like two words.

The query string is dropped: it holds secrets and free text, and never chooses the route.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ..request import OPERATION_LENGTH_MAX
from .resources import resource

METHOD_LENGTH_MAX: Final = 24
OTHER_METHOD: Final = "OTHER"
"""What stands for a method that is none of the usual kind: backends may serve it all the same."""
DEPTH_MAX: Final = 12
SEGMENT_LENGTH_MAX: Final = 64
_REST: Final = "/{rest}"
_TEMPLATE_LENGTH_MAX: Final = OPERATION_LENGTH_MAX - METHOD_LENGTH_MAX - 1

_is_method: Final = re.compile(rf"(?=.{{1,{METHOD_LENGTH_MAX}}}\Z)[A-Z]+(?:-[A-Z]+)*").fullmatch
_is_token: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+").fullmatch
_absolute: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]{0,15}://([^/?#]*)(.*)", re.DOTALL).fullmatch
_ESCAPE_OR_FOREIGN: Final = re.compile(
    rb"%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~!$&'()*+,;=:@/]", re.DOTALL
)
_UNRESERVED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
_is_extension: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,4}").fullmatch
_is_varying: Final = re.compile(
    r"[0-9]+(?:[-_.,:][0-9]+)*"  # numbers, dates, versions
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    r"|(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{8,}"
    r"|(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}"  # ULIDs, keys and the like: long, unbroken, mixed
    r"|[^@]+(?:@|%40)[^@]+"
).fullmatch


class Route(NamedTuple):
    """What was called, and on which concrete objects."""

    operation: str
    resources: tuple[str, ...]


def route_of(method: str, target: bytes) -> Route | None:
    """Return the route of a request line, or None where it is none.

    Origin, absolute, authority (CONNECT) and asterisk form are understood; an authority named in
    the target is a resource of its own, for a call to a foreign host is a different object. Clients
    choose the method: one that is long or odd is OTHER_METHOD, and never a way to go unseen.

    Cost:   linear in method and target.
    Source: RFC 9110, section 5.6.2; RFC 9112, section 3.2; RFC 3986, sections 5.2.4 and 6.2.2.
    """
    if not _is_method(method):
        if not _is_token(method):
            return None
        method = OTHER_METHOD
    if method == "CONNECT":
        authority = _normal(target)
        return Route("CONNECT {authority}", _named("authority", authority)) if authority else None
    if target == b"*":
        return Route(f"{method} *", ())
    authority, raw_path = "", target
    if not target.startswith(b"/"):
        parts = _absolute(target)
        if parts is None:
            return None
        authority, raw_path = _normal(parts[1]), parts[2]
    path = _without_dots(_normal(re.split(rb"[?#]", raw_path, maxsplit=1)[0]))
    named = (*_named("path", path), *_named("authority", authority))
    return Route(f"{method} {_template(path)}", named)


def _named(name: str, value: str) -> tuple[str, ...]:
    """Return the resource of a name as nought or one."""
    text = resource(name, value)
    return () if text is None else (text,)


def _normal(raw: bytes) -> str:
    """Return a path or authority with one spelling for each octet that it stands for."""

    def spell(match: re.Match[bytes]) -> bytes:
        text = match[0]
        octet = int(text[1:], 16) if len(text) > 1 else text[0]
        return bytes((octet,)) if octet in _UNRESERVED else b"%%%02X" % octet

    return _ESCAPE_OR_FOREIGN.sub(spell, raw).decode("ascii")


def _without_dots(path: str) -> str:
    """Return a path without empty, `.` and `..` segments; it starts with a slash."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    ends_open = segments[-1] in ("", ".", "..") and bool(kept)
    return "/" + "/".join(kept) + ("/" if ends_open else "")


def _template(path: str) -> str:
    """Return the route template of a path in normal form: at most _TEMPLATE_LENGTH_MAX long."""
    template = ""
    for depth, segment in enumerate(path.split("/")[1:]):
        piece = f"/{_segment_template(segment)}"
        if depth == DEPTH_MAX or len(template) + len(piece) > _TEMPLATE_LENGTH_MAX - len(_REST):
            return template + _REST
        template += piece
    return template


def _segment_template(segment: str) -> str:
    """Return `{id}` for a segment that varies from call to call, else the segment.

    Parameters of a segment (`;jsessionid=...`, RFC 3986 section 3.3) go; an extension stays.
    """
    name = segment.partition(";")[0]
    if len(name) > SEGMENT_LENGTH_MAX or _is_varying(name):
        return "{id}"
    stem, dot, extension = name.rpartition(".")
    if dot and _is_extension(extension) and _is_varying(stem):
        return f"{{id}}.{extension}"
    return name
