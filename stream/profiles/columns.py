"""The fields of many requests, a list each: what is moved into a batch at once.

Most requests name few fields and leave the others as they are by default. They are read as `Brief`,
which takes half as long as a whole `Request`; where one of an arrival names more, or is none, all
of them are read as what they may be. What either says of a payload is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from stream.events import PAYLOAD_BYTES_MAX, Brief, Request, Token, decode_brief


class Columns(NamedTuple):
    """The fields of many requests, a list each; None where all have the default."""

    at_ms: list[int]
    workload: list[str]
    operation: list[str]
    outcome: list[str] | None
    bytes: list[int] | None
    purpose: list[str] | None = None
    task: list[str] | None = None
    token: list[Token | None] | None = None
    kind: list[str] | None = None
    effect: list[str] | None = None
    cost: list[int] | None = None
    counts: list[int] | None = None
    authenticated: list[bool] | None = None


def briefs_of(payloads: Sequence[bytes | None]) -> list[Brief] | None:
    """Return the requests in payloads that name few fields; None where one does not, or is none."""
    try:
        if max(map(len, payloads)) > PAYLOAD_BYTES_MAX:  # type: ignore[arg-type]
            return None
        return [decode_brief(payload) for payload in payloads]  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return None


def brief_columns(requests: list[Brief]) -> Columns:
    """Return such requests field by field."""
    return Columns(
        [each.at_ms for each in requests],
        [each.workload for each in requests],
        [each.operation for each in requests],
        _unless([each.outcome for each in requests], "served"),
        [each.bytes for each in requests],
    )


def columns_of(requests: list[Request]) -> Columns:
    """Return requests field by field: a list each costs a third of tuples and zip."""
    return Columns(
        [each.at_ms for each in requests],
        [each.workload for each in requests],
        [each.operation for each in requests],
        _unless([each.outcome for each in requests], "served"),
        _unless([each.bytes for each in requests], 0),
        _unless([each.purpose for each in requests], ""),
        _unless([each.task for each in requests], ""),
        _unless([each.token for each in requests], None),
        _unless([each.kind for each in requests], "request"),
        _unless([each.effect for each in requests], ""),
        _unless([each.cost for each in requests], 0),
        _unless([each.count for each in requests], 1),
        _unless([each.authenticated for each in requests], True),
    )


def _unless(column: list[Any], default: object) -> list[Any] | None:
    """Return a column, or None where all of it is the default."""
    return None if column.count(default) == len(column) else column
