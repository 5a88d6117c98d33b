"""Access logs in the combined or common format, as nginx and Apache write them.

    $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent ...

What stands behind the bytes (referer, user agent, times) is not read: clients choose it freely.
The quotes of a request are trustworthy, for both servers escape what clients put inside; the
second field must be a dash, so a format with one more field in front (`vhost_combined`) is refused
and not misread.

An event's time is the log's, which is the end of the request, in whole seconds.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

import msgspec

from ..request import BYTES_MAX, TIME_MS_MAX, Outcome, Request
from .fault import Fault, FaultCode, excerpt
from .naming import address_segment, checked_trust_domain, segment_of
from .route import route_of

LINE_BYTES_MAX: Final = 131_072  # three header lines of 8 KiB, each byte escaped as four

_MONTHS: Final = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
_EPOCH_DAY: Final = dt.date(1970, 1, 1).toordinal()
_DENIED: Final = frozenset({401, 403, 407})
_UNAUTHENTICATED: Final = frozenset({401, 407})

# Whatever user a client claims, its requests are read: the whole header, each byte escaped as four.
USER_BYTES_MAX: Final = 32_768
# The request is possessive (`*+`). At each byte of a user a date is tried, of a fixed length, and
# no quote can stand in a user, so nothing is looked at twice at length.
_line: Final = re.compile(
    rb'(?P<address>[^\s"]{1,255}) - (?P<user>""|(?:[^"\\]|\\.){1,%d}?) '
    rb"\[(?P<day>\d{2})/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4})"
    rb":(?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2}) (?P<zone>[+-]\d{4})\] "
    rb'"(?P<request>(?:[^"\\]|\\.)*+)" (?P<status>\d{3}) (?P<bytes>\d{1,18}|-)(?!\S)'
    % USER_BYTES_MAX,
    re.DOTALL,
).match
_ESCAPED: Final = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_LETTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"v": b"\v", b"f": b"\f"}
_version: Final = re.compile(rb" HTTP/[0-9](?:\.[0-9])?\Z").search


class NginxSpec(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="nginx",
):
    """How access logs name workloads, and which refusals in them are ours.

    `identity`: a client is its address (`/client/...`) or the authenticated user (`/user/...`);
    lines without a user are faults for `user`, and fall back on the address otherwise. Name by
    user only where every location demands authentication: elsewhere nginx logs whatever user a
    client claims, and does not check it.
    `refused_status`: statuses with which our own gateway refuses; believed as `refused`.
    """

    trust_domain: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "local"
    identity: Literal["address", "user", "user_or_address"] = "address"
    refused_status: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=400, le=599)], ...], msgspec.Meta(max_length=8)
    ] = ()


_DEFAULT: Final = NginxSpec()


def convert_nginx(
    lines: Iterable[bytes | str], spec: NginxSpec = _DEFAULT
) -> Iterator[Request | Fault]:
    """Yield the request of each line that is not blank, or its fault, in input order.

    Errors: ConfigError for a bad trust domain, at the call; a bad line is data.
    Cost:   linear in the line; lines beyond LINE_BYTES_MAX are not read.
    """
    trust_domain = checked_trust_domain(spec.trust_domain)
    return _convert(lines, trust_domain, spec)


def outcome_of_status(status: int, refused: tuple[int, ...] = ()) -> Outcome:
    """Return what a status says; `refused` lists the statuses of our own refusals.

    A target's own 429 is a failure of the call: our refusals are never guilt, its limits are not
    ours.
    """
    if status in refused:
        return "refused"
    if status in _DENIED:
        return "denied"
    return "failed" if status >= 500 or status == 429 else "served"


def _convert(
    lines: Iterable[bytes | str], trust_domain: str, spec: NginxSpec
) -> Iterator[Request | Fault]:
    """Yield as `convert_nginx` says; apart from it, so that a bad spec fails at the call."""
    for number, given in enumerate(lines, 1):
        line = given.encode("utf-8", "surrogatepass") if isinstance(given, str) else given
        if len(line) > LINE_BYTES_MAX:
            message = f"a line of {len(line)} bytes, at most {LINE_BYTES_MAX}"
            yield Fault(line=number, code=FaultCode.TOO_LONG, message=message)
        elif line and not line.isspace():
            made = _request_of(line, trust_domain, spec)
            if isinstance(made, Request):
                yield made
            else:
                code, message = made
                yield Fault(line=number, code=code, message=message)


def _request_of(line: bytes, trust_domain: str, spec: NginxSpec) -> Request | tuple[FaultCode, str]:
    """Return the request of one line, or why there is none."""
    fields = _line(line)
    if fields is None:
        return FaultCode.MALFORMED, f"not a line of the combined log format: {excerpt(line)}"
    at_ms = _at_ms(fields)
    if at_ms is None:
        return FaultCode.BAD_TIME, f"no such time: {excerpt(line[fields.start('day') :])}"
    request_line = fields["request"]
    if request_line in (b"", b"-"):
        return FaultCode.NO_REQUEST, "the client sent no request"
    request_line = _unescaped(request_line)
    version = _version(request_line)
    method, _, target = request_line[: version.start() if version else None].partition(b" ")
    route = route_of(method.decode("ascii", "replace"), target)
    if route is None:
        return FaultCode.BAD_REQUEST, f"not a request line: {excerpt(request_line)}"
    status = int(fields["status"])
    user = b"" if fields["user"] in (b"-", b'""') else fields["user"]
    if spec.identity == "user" and not user:
        return FaultCode.NO_IDENTITY, "the line names no user"
    by_user = bool(user) and spec.identity != "address"
    if by_user:
        workload = f"spiffe://{trust_domain}/user/{segment_of(_text(user))}"
    else:
        workload = f"spiffe://{trust_domain}/client/{address_segment(_text(fields['address']))}"
    return Request(
        at_ms=at_ms,
        workload=workload,
        operation=route.operation,
        outcome=outcome_of_status(status, spec.refused_status),
        status=status,
        bytes=0 if fields["bytes"] == b"-" else min(int(fields["bytes"]), BYTES_MAX),
        resources=route.resources,
        # The log names the user whom a client claimed to be, also when the password was wrong.
        authenticated=not (by_user and status in _UNAUTHENTICATED),
    )


def _at_ms(fields: re.Match[bytes]) -> int | None:
    """Return the time of a line in Unix milliseconds, or None if no calendar has it.

    By hand, for `strptime` reads the month's name by the locale of the process.
    """
    month = _MONTHS.get(fields["month"], 0)
    try:
        day = dt.date(int(fields["year"]), month, int(fields["day"])).toordinal()
    except ValueError:
        return None
    hour, minute, second = int(fields["hour"]), int(fields["minute"]), int(fields["second"])
    zone = fields["zone"]
    zone_hour, zone_minute = int(zone[1:3]), int(zone[3:5])
    # Second 60 is a leap second, which Unix time counts as the next one.
    if hour > 23 or minute > 59 or second > 60 or zone_hour > 23 or zone_minute > 59:
        return None
    ahead_s = (zone_hour * 60 + zone_minute) * (-60 if zone[:1] == b"-" else 60)
    clock_s = hour * 3600 + minute * 60 + second
    at_ms = ((day - _EPOCH_DAY) * 86_400 + clock_s - ahead_s) * 1000
    return at_ms if 0 <= at_ms <= TIME_MS_MAX else None


def _unescaped(text: bytes) -> bytes:
    r"""Return the bytes that a server wrote as `\xHH`, `\"`, `\\` or, Apache, `\n` and friends."""

    def octet(match: re.Match[bytes]) -> bytes:
        escape = match[1]
        if len(escape) == 3:
            return bytes((int(escape[1:], 16),))
        return _LETTERS.get(escape, escape)

    return _ESCAPED.sub(octet, text) if b"\\" in text else text


def _text(raw: bytes) -> str:
    """Return bytes as text without ever making two of them equal."""
    return raw.decode("utf-8", "backslashreplace")
