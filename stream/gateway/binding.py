"""Commands as a gateway applies them, compiled once from a record so that a check only compares.

Everything here may be forged: what a record claims is bounded before it is believed, and a record
with one impossible command is refused whole, so that what is held is always what was published.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Final

import msgspec

from stream.events import (
    COMMANDS_MAX,
    TIME_MS_MAX,
    Command,
    Rate,
    Subject,
    SubjectRecord,
    decode_value,
)
from stream.identity import InvalidIdentity, canonical_workload

from .bucket import Bucket, bucket_of
from .verdict import ALLOW, STATUS_THROTTLE, Cause, Verdict

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

MINUTE_MS: Final = 60_000
MINUTES_MAX: Final = 4_096

THROTTLE: Final = 1
HOLD: Final = 2
REVOKE: Final = 3
RANKS: Final = {"throttle": THROTTLE, "hold": HOLD, "revoke": REVOKE}
"""The rungs that bind; `observe` and `release` bind nothing."""


class _Hot(msgspec.Struct, gc=False):
    """What every check of a bound workload reads: first in memory, so on one line of the cache.

    `sure_until_ms` is the end rounded down to MINUTE_MS: one number for all that end in the same
    minute, so one that is in the cache, where that of the end itself would be read from memory.
    """

    action: str
    sure_until_ms: int
    expires_at_ms: int


class Binding(_Hot, gc=False):
    """One command that throttles, holds or revokes, in force or in shadow until it expires.

    Units: Unix milliseconds by the broker's clock. `bucket` is there exactly for a throttle.
    `record` is what it was read from, and `place` its place there: the rest of it is read again
    when somebody asks (`told`), so that a million commands cost neither its time nor its memory.
    """

    rank: int
    is_shadow: bool
    bucket: Bucket | None
    caused_at_ms: int
    rule: str
    issuer: str
    record: bytes
    place: int
    known: Cause | None = None

    @property
    def told(self) -> Cause:
        """Return what a verdict on this rests on.

        Mutates: self, which keeps it.
        Cost:    the first time, one decoding of the record.
        """
        if self.known is None:
            self.known = _cause_of(self.record, self.place)
        return self.known


class Denial(Binding, gc=False):
    """A hold or a revoke in force: what a check sees by the type alone."""


class Throttle(Binding, gc=False):
    """A throttle in force, likewise."""

    def verdict(self, now_ms: int) -> Verdict:
        """Return what it says of one request, which it then counts.

        Requires: it binds now. Mutates: the bucket.
        """
        assert self.bucket is not None, "a throttle has a bucket"
        wait_ms = self.bucket.admit(now_ms)
        if not wait_ms:
            return ALLOW
        # What expires is waited for no longer.
        left_ms = self.expires_at_ms - now_ms
        wait_ms = wait_ms if wait_ms < left_ms else left_ms
        return Verdict("throttle", STATUS_THROTTLE, self, 0, wait_ms)


def bindings_of(record: SubjectRecord, payload: bytes) -> tuple[Binding, ...]:
    """Return what binds in a record, strongest first; of too many commands the weakest do not.

    Requires: `is_sound(record)`, and that it was decoded from `payload`.
    """
    if len(record.commands) == 1:
        command = record.commands[0]
        is_binding = command.body.action in RANKS
        return (_binding(command, record, payload, 0),) if is_binding else ()
    bindings = [
        _binding(command, record, payload, place)
        for place, command in enumerate(record.commands)
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
    version = record.version
    if not (
        0 <= record.partition < PARTITIONS_MAX
        and 0 <= record.expires_at_ms <= TIME_MS_MAX
        and 0 <= record.epoch <= INT64_MAX
        and 0 <= version.era <= INT64_MAX
        and 0 <= version.offset <= INT64_MAX
        and 0 <= version.ordinal <= INT64_MAX
        and is_subject(record.subject, is_estate=record.issuer != "home")
    ):
        return False
    # Most records hold one command: a generator would cost more than the test.
    for command in record.commands:  # noqa: SIM110
        if not _is_command(command, record.subject):
            return False
    return True


def is_subject(subject: Subject, *, is_estate: bool) -> bool:
    """Tell whether a subject names one thing: a canonical workload, or one thing of it.

    Estate-wide, without a workload, only a task or a token can be bound, and never by `home`:
    a home partition binds its own workload only, so nobody can be framed (DESIGN 3.15).
    """
    workload = subject.workload
    parts = bool(subject.task) + (subject.token is not None) + bool(subject.operation)
    if parts > 1:
        return False
    if not workload:
        return is_estate and parts == 1 and not subject.operation
    try:
        return canonical_workload(workload) == workload
    except InvalidIdentity:
        return False


def _binding(command: Command, record: SubjectRecord, payload: bytes, place: int) -> Binding:
    body = command.body
    action = body.action
    is_shadow = body.mode == "shadow"
    rank = RANKS[action]
    # One number for the end of the command and of its record, where they are equal.
    expires_at_ms = record.expires_at_ms
    if command.expires_at_ms != expires_at_ms:
        expires_at_ms = command.expires_at_ms
    kind = Binding if is_shadow else Denial if rank >= HOLD else Throttle
    return kind(
        sys.intern(action),
        _minute_of(expires_at_ms // MINUTE_MS),
        expires_at_ms,
        rank,
        is_shadow,
        bucket_of(body.rate) if rank == THROTTLE and body.rate else None,
        command.caused_at_ms,
        # Few rules, many records: one text for each rule.
        sys.intern(body.rule[:RULE_LENGTH_MAX]),
        record.issuer,
        payload,
        place,
    )


@lru_cache(maxsize=MINUTES_MAX)
def _minute_of(minutes: int) -> int:
    """Return when a minute begins: the same object each time, in Unix milliseconds."""
    return minutes * MINUTE_MS


def _cause_of(payload: bytes, place: int) -> Cause:
    """Return what a verdict on a command says, read from the record that holds it."""
    record = decode_value(payload)
    assert isinstance(record, SubjectRecord), "the record was read before"
    command = record.commands[place]
    body = command.body
    return Cause(
        action=sys.intern(body.action),
        rule=sys.intern(body.rule[:RULE_LENGTH_MAX]),
        reason=body.reason.text[:REASON_LENGTH_MAX],
        command=command.id[:ID_LENGTH_MAX],
    )


def _strength(binding: Binding) -> tuple[bool, int, int]:
    """Return what sorts the strongest first: in force before in shadow, by rung, by expiry."""
    return binding.is_shadow, -binding.rank, -binding.expires_at_ms


def _same_rule(one: Binding, other: Binding) -> bool:
    return (one.issuer, one.rule, one.is_shadow) == (other.issuer, other.rule, other.is_shadow)


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
