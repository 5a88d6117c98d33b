"""Commands as a gateway applies them, compiled once from a record so that a check only compares.

Everything here may be forged: what a record claims is bounded before it is believed, and a record
with one impossible command is refused whole, so that what is held is always what was published.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from stream.events import (
    COMMANDS_MAX,
    TIME_MS_MAX,
    Command,
    Rate,
    Subject,
    SubjectRecord,
    Version,
)
from stream.identity import InvalidIdentity, canonical_workload

from .bucket import Bucket, bucket_of
from .verdict import Cause

PARTITIONS_MAX: Final = 10_000
REASON_LENGTH_MAX: Final = 1_000
RULE_LENGTH_MAX: Final = 128
ID_LENGTH_MAX: Final = 64
BINDINGS_MAX: Final = COMMANDS_MAX
"""Commands of one record that are applied; a check must not take long because a record is long."""

PERMITS_MAX: Final = 10**9
PER_MS_MAX: Final = 366 * 24 * 3_600_000
GATEWAYS_MAX: Final = 10_000
INT64_MAX: Final = (1 << 63) - 1

THROTTLE: Final = 1
HOLD: Final = 2
REVOKE: Final = 3
RANKS: Final = {"throttle": THROTTLE, "hold": HOLD, "revoke": REVOKE}
"""The rungs that bind; `observe` and `release` bind nothing."""


class Binding(msgspec.Struct, gc=False):
    """One command that throttles, holds or revokes, in force or in shadow until it expires.

    Units: Unix milliseconds by the broker's clock. `bucket` is there exactly for a throttle.
    """

    rank: int
    expires_at_ms: int
    is_shadow: bool
    bucket: Bucket | None
    cause: Cause
    caused_at_ms: int
    issuer: str


def bindings_of(record: SubjectRecord) -> tuple[Binding, ...]:
    """Return what binds in a record, strongest first; of too many commands the weakest do not.

    Requires: `is_sound(record)`.
    """
    bindings = [
        _binding(command, record.issuer)
        for command in record.commands
        if command.body.action in RANKS
    ]
    return tuple(sorted(bindings, key=_strength)[:BINDINGS_MAX])


def replaced(
    held: tuple[Binding, ...], issuer: str, bindings: tuple[Binding, ...]
) -> tuple[Binding, ...]:
    """Return what binds one subject after one issuer's record of it changed, strongest first."""
    others = tuple(binding for binding in held if binding.issuer != issuer)
    return tuple(sorted(others + bindings, key=_strength)) if others else bindings


def inherit_buckets(bindings: tuple[Binding, ...], earlier: tuple[Binding, ...]) -> None:
    """Carry each throttle's level over from the earlier throttle of the same issuer and rule.

    Mutates: the buckets of `bindings`.
    """
    for binding in bindings:
        if binding.bucket is None:
            continue
        for old in earlier:
            if old.bucket is not None and _same_rule(binding, old):
                binding.bucket.inherit(old.bucket)
                break


def is_sound(record: SubjectRecord) -> bool:
    """Tell whether a record claims nothing impossible."""
    return (
        0 <= record.partition < PARTITIONS_MAX
        and 0 <= record.expires_at_ms <= TIME_MS_MAX
        and 0 <= record.epoch <= INT64_MAX
        and _is_version(record.version)
        and is_subject(record.subject, is_estate=record.issuer != "home")
        and all(_is_command(command, record.subject) for command in record.commands)
    )


def is_subject(subject: Subject, *, is_estate: bool) -> bool:
    """Tell whether a subject names one thing: a canonical workload, or one thing of it.

    Estate-wide, without a workload, only a task or a token can be bound, and never by `home`:
    a home partition binds its own workload only, so nobody can be framed (DESIGN 3.15).
    """
    parts = bool(subject.task) + (subject.token is not None) + bool(subject.operation)
    if parts > 1:
        return False
    if not subject.workload:
        return is_estate and parts == 1 and not subject.operation
    try:
        return canonical_workload(subject.workload) == subject.workload
    except InvalidIdentity:
        return False


def _binding(command: Command, issuer: str) -> Binding:
    body = command.body
    is_throttle = body.action == "throttle"
    return Binding(
        rank=RANKS[body.action],
        expires_at_ms=command.expires_at_ms,
        is_shadow=body.mode == "shadow",
        bucket=bucket_of(body.rate) if is_throttle and body.rate else None,
        cause=Cause(
            action=sys.intern(body.action),
            # Few rules, many records: one text for each rule.
            rule=sys.intern(body.rule[:RULE_LENGTH_MAX]),
            reason=body.reason.text[:REASON_LENGTH_MAX],
            command=command.id[:ID_LENGTH_MAX],
        ),
        caused_at_ms=command.caused_at_ms,
        issuer=issuer,
    )


def _strength(binding: Binding) -> tuple[bool, int, int]:
    """Return what sorts the strongest first: in force before in shadow, by rung, by expiry."""
    return binding.is_shadow, -binding.rank, -binding.expires_at_ms


def _same_rule(one: Binding, other: Binding) -> bool:
    return (one.issuer, one.cause.rule, one.is_shadow) == (
        other.issuer,
        other.cause.rule,
        other.is_shadow,
    )


def _is_command(command: Command, subject: Subject) -> bool:
    body = command.body
    return (
        body.subject == subject
        and 0 <= command.expires_at_ms <= TIME_MS_MAX
        and 0 <= command.caused_at_ms <= TIME_MS_MAX
        and (body.action != "throttle" or _is_rate(body.rate))
    )


def _is_rate(rate: Rate | None) -> bool:
    return (
        rate is not None
        and 0 <= rate.permits <= PERMITS_MAX
        and 0 < rate.per_ms <= PER_MS_MAX
        and 0 < rate.gateways <= GATEWAYS_MAX
    )


def _is_version(version: Version) -> bool:
    return (
        0 <= version.era <= INT64_MAX
        and 0 <= version.offset <= INT64_MAX
        and 0 <= version.ordinal <= INT64_MAX
    )
