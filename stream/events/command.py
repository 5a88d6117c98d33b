"""What a worker tells the gateways: body, envelope, and the record that carries them.

A command is a *body*, a function of the partition's log and its journal and so the same live and
from a file, and an *envelope*, which says where and when in this log it was caused. Both are
encoded with fixed field order, so equal values are equal bytes. The Kafka record of a subject
holds all that one issuer has in force there (DESIGN 3.15); its key is a JSON array, so that no
text in an identity or a task can make one key look like another.
"""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import Annotated, Final, Literal

import msgspec

from .format import decode_known
from .signature import Signature

FORMAT: Final = 1
RECORD_BYTES_MAX: Final = 262_144
COMMANDS_MAX: Final = 16

Action = Literal["observe", "throttle", "hold", "revoke", "release"]
Mode = Literal["shadow", "enforce"]
Issuer = Literal["home", "subjects", "operator"]
SubjectKind = Literal["workload", "task", "token", "operation"]
ACTIONS: Final[tuple[Action, ...]] = ("observe", "throttle", "hold", "revoke", "release")
SUBJECT_KINDS: Final[tuple[SubjectKind, ...]] = ("workload", "task", "token", "operation")


class TokenRef(msgspec.Struct, frozen=True):
    """A credential by issuer and id (`jti`)."""

    issuer: str
    id: str


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom a command binds: a workload, or one task, token or operation of that workload."""

    workload: str
    task: str = ""
    token: TokenRef | None = None
    operation: str = ""

    @property
    def kind(self) -> SubjectKind:
        """Return which of the four kinds this subject is."""
        if self.task:
            return "task"
        if self.token is not None:
            return "token"
        return "operation" if self.operation else "workload"


class Rate(msgspec.Struct, frozen=True):
    """A throttle's rate for the whole estate: `permits` requests every `per_ms`.

    Each of `gateways` gateways that share the traffic evenly enforces that part of it.
    """

    permits: int
    per_ms: int
    gateways: int = 1


class Weight(msgspec.Struct, frozen=True):
    """One operation that weighs in the evidence; `bits` in 1/1024 bit, 0 where exact."""

    operation: str
    bits: int = 0


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why, for a person (`text`, `otherwise`) and for a machine (the rest).

    `observed` and `expected` are in the unit of `measure`; `window_ms` is the span they cover;
    `otherwise` says what would not have fired; `controls` are the control ids of the rule.
    `braked`: it would be enforced, had the brake not held its workload's class.
    """

    text: str
    detector: str
    measure: str = ""
    observed: int = 0
    expected: int = 0
    window_ms: int = 0
    weights: tuple[Weight, ...] = ()
    otherwise: str = ""
    controls: tuple[str, ...] = ()
    braked: bool = False


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is commanded and why; holds nothing that differs between live and replay.

    Units: `clock_ms` the row's clock at the cause, `until_ms` = clock + duration.
    `policy`, `baseline`: hashes of the versions in force (baseline empty while there is none).
    """

    subject: Subject
    action: Action
    mode: Mode
    rule: str
    reason: Reason
    clock_ms: int
    until_ms: int
    policy: str
    rate: Rate | None = None
    baseline: str = ""
    repeat: int = 0


class Version(msgspec.Struct, frozen=True, order=True):
    """The place of the cause in the partition's log; later causes have greater versions."""

    era: int
    offset: int
    ordinal: int = 0


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A body in its envelope.

    Units: `caused_at_ms` the broker's append time of the causing event; `expires_at_ms` =
    caused_at_ms + duration, so replaying old data enforces nothing today.
    """

    id: str
    body: Body
    version: Version
    partition: int
    caused_at_ms: int
    expires_at_ms: int
    offsets: tuple[int, ...] = ()


class SubjectRecord(msgspec.Struct, frozen=True, kw_only=True, tag="commands", tag_field="type"):
    """The value of one enforcement record: all that the issuer has in force on the subject.

    `epoch` is that of the owner who published it, 0 where none says: whoever heard of a later
    owner believes nothing that an earlier one still writes.
    """

    format: int = FORMAT
    issuer: Issuer
    partition: int
    subject: Subject
    version: Version
    expires_at_ms: int
    commands: tuple[Command, ...]
    epoch: int = 0
    signature: Signature | msgspec.UnsetType = msgspec.UNSET


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat", tag_field="type"):
    """What the owner of a home partition says of itself, on the same log as its commands.

    `next_offset` is the progress, `records` and `digest` (hex of a sum of 64-bit hashes mod 2^64)
    describe the records published and not tombstoned; `complete` is false while an owner is
    still replaying what an earlier one had published, and then proves nothing. `epoch` is the
    owner's.
    """

    format: int = FORMAT
    partition: int
    partitions: int
    next_offset: int
    version: Version
    records: int
    digest: str
    complete: bool
    at_ms: int
    every_ms: int
    epoch: int = 0
    signature: Signature | msgspec.UnsetType = msgspec.UNSET


class OperatorAct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act of a person: what, why, by whom, and until when (Unix ms; 0 only for a lift)."""

    act: Literal["stop", "exempt", "lift"]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    by: Annotated[str, msgspec.Meta(max_length=128)]
    at_ms: int
    until_ms: int = 0


class OperatorRecord(msgspec.Struct, frozen=True, kw_only=True, tag="operator", tag_field="type"):
    """All that operators have in force: on one workload, or (`workload` empty) on everything.

    `at_ms` orders the records of one key, each later than the one before; `until_ms` is when all
    acts of this record and of those before it are over: until then it must be kept, even without
    acts, or an older one could come back.
    """

    format: int = FORMAT
    workload: str
    acts: tuple[OperatorAct, ...]
    at_ms: int = 0
    until_ms: int = 0
    signature: Signature | msgspec.UnsetType = msgspec.UNSET


EnforcementValue = SubjectRecord | Heartbeat | OperatorRecord
TYPES: Final = ("commands", "heartbeat", "operator")

_NO_EPOCH: Final = b',"epoch":0}'
_encoder = msgspec.json.Encoder()
_value_decoder: msgspec.json.Decoder[EnforcementValue] = msgspec.json.Decoder(EnforcementValue)


def encode(value: EnforcementValue | Command | Body) -> bytes:
    """Return the one JSON encoding of a value: fixed field order, no white space."""
    return _encoder.encode(value)


def decode_value(data: bytes) -> EnforcementValue:
    """Return the value of an enforcement record.

    Errors: NewerFormat; other ValueErrors (msgspec.DecodeError and UnicodeDecodeError are ones) or
            RecursionError.
    """
    if len(data) > RECORD_BYTES_MAX:
        raise ValueError(f"record of {len(data)} bytes, at most {RECORD_BYTES_MAX}")
    return decode_known(_value_decoder, data, FORMAT, "an enforcement record", TYPES)


def with_epoch(value: bytes, epoch: int) -> bytes:
    """Return the encoding of a subject record as the owner of an epoch publishes it.

    Requires: what was decided, so of nobody's epoch yet, and not signed.
    """
    assert value.endswith(_NO_EPOCH), "the epoch is the last member of a record"
    return b'%b,"epoch":%d}' % (value[: -len(_NO_EPOCH)], epoch)


def subject_key(issuer: Issuer, subject: Subject) -> bytes:
    """Return the record key of (issuer, subject)."""
    kind = subject.kind
    parts: list[str] = [issuer, subject.workload, kind]
    if kind == "task":
        parts.append(subject.task)
    elif subject.token is not None:
        parts += [subject.token.issuer, subject.token.id]
    elif kind == "operation":
        parts.append(subject.operation)
    return _encoder.encode(parts)


def heartbeat_key(partition: int) -> bytes:
    """Return the record key of a home partition's heartbeat."""
    return _encoder.encode(["heartbeat", partition])


def operator_key(workload: str) -> bytes:
    """Return the record key of the operators' acts on a workload, or on everything (empty)."""
    return _encoder.encode(["operator", workload])


def command_id(body: Body, version: Version) -> str:
    """Return the id of a command: 128 bits of SHA-256 over body and version, in hex.

    A cause that is processed again gives the same id, so repeats change nothing.
    """
    digest = sha256(_encoder.encode(body) + _encoder.encode(version))
    return digest.hexdigest()[:32]


def record_hash(key: bytes, value: bytes) -> int:
    """Return the 64-bit hash of one enforcement record; heartbeats sum them mod 2^64.

    Requires: `value` is the payload: who signed a record, and under which key, is not counted.
    """
    text = b"".join((len(key).to_bytes(4, "little"), key, value))
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
