"""What a worker publishes on the topic `enforcement`: slow obvious values for gateways' tests."""

from typing import Any

from stream.bus import Record
from stream.events import (
    Body,
    Command,
    Heartbeat,
    Issuer,
    OperatorAct,
    OperatorRecord,
    Rate,
    Reason,
    Subject,
    SubjectRecord,
    Version,
    command_id,
    encode,
    heartbeat_key,
    operator_key,
    record_hash,
    subject_key,
)

NOW_MS = 1_700_000_000_000
AGENT = "spiffe://example.org/agents/a"
OTHER = "spiffe://example.org/agents/b"
Pair = tuple[bytes, bytes | None]


def command(subject: Subject, action: str = "revoke", **changes: Any) -> Command:
    """A command on a subject, for five minutes from NOW_MS unless told otherwise.

    `offset`, `rule`, `mode`, `rate`, `text`, `caused_at_ms`, `expires_at_ms` may be changed.
    """
    at_ms = changes.get("caused_at_ms", NOW_MS)
    rate = changes.get("rate", Rate(2, 1_000) if action == "throttle" else None)
    body = Body(
        subject=subject,
        action=action,
        mode=changes.get("mode", "enforce"),
        rule=changes.get("rule", "export-burst"),
        reason=Reason(
            text=changes.get("text", "512 requests in 10 s, limit 100"), detector="limit"
        ),
        clock_ms=at_ms,
        until_ms=at_ms + 300_000,
        policy="f" * 32,
        rate=rate,
    )
    version = Version(changes.get("era", 0), changes.get("offset", 1))
    return Command(
        id=command_id(body, version),
        body=body,
        version=version,
        partition=0,
        caused_at_ms=at_ms,
        expires_at_ms=changes.get("expires_at_ms", at_ms + 300_000),
        offsets=(version.offset,),
    )


def subject_record(
    subject: Subject,
    *commands: Command,
    issuer: Issuer = "home",
    partition: int = 0,
    **changes: Any,
) -> tuple[bytes, bytes]:
    """Key and value of all that an issuer has in force on a subject.

    `version` and `epoch` may be changed.
    """
    versions = [each.version for each in commands]
    record = SubjectRecord(
        issuer=issuer,
        partition=partition,
        subject=subject,
        version=changes.get("version", max(versions, default=Version(0, 1))),
        expires_at_ms=max((each.expires_at_ms for each in commands), default=NOW_MS),
        commands=commands,
        epoch=changes.get("epoch", 0),
    )
    return subject_key(issuer, subject), encode(record)


def revoked(workload: str = AGENT, **changes: Any) -> tuple[bytes, bytes]:
    """Key and value of a record that revokes a workload."""
    subject = Subject(workload=workload)
    return subject_record(subject, command(subject, **changes))


def throttled(workload: str = AGENT, **changes: Any) -> tuple[bytes, bytes]:
    """Key and value of a record that throttles a workload."""
    subject = Subject(workload=workload)
    return subject_record(subject, command(subject, "throttle", **changes))


def operator_record(workload: str, *acts: OperatorAct) -> tuple[bytes, bytes]:
    """Key and value of what operators have in force on a workload, or on everything."""
    return operator_key(workload), encode(OperatorRecord(workload=workload, acts=acts))


def act(what: Any, until_ms: int = NOW_MS + 600_000) -> OperatorAct:
    """One act of an operator called Ada."""
    return OperatorAct(act=what, reason="an exercise", by="ada", at_ms=NOW_MS, until_ms=until_ms)


class Owner:
    """The owner of one home partition: what it has published, and what its heartbeat says of it."""

    def __init__(self, partition: int = 0, partitions: int = 1, epoch: int = 0) -> None:
        self.partition = partition
        self.epoch = epoch
        self.partitions = partitions
        self.published: dict[bytes, bytes] = {}
        self.version = Version(0, 0)

    def put(self, subject: Subject, *commands: Command) -> tuple[bytes, bytes]:
        """Publish all that is in force on a subject."""
        key, value = subject_record(subject, *commands, partition=self.partition, epoch=self.epoch)
        self.published[key] = value
        self.version = max([self.version, *(each.version for each in commands)])
        return key, value

    def drop(self, key: bytes) -> Pair:
        """Publish a tombstone."""
        self.published.pop(key, None)
        return key, None

    def heartbeat(self, at_ms: int = NOW_MS, **changes: Any) -> tuple[bytes, bytes]:
        """Say what is published; any field may be changed."""
        total = sum(record_hash(key, value) for key, value in self.published.items()) % (1 << 64)
        fields = {
            "partition": self.partition,
            "partitions": self.partitions,
            "next_offset": 0,
            "version": self.version,
            "records": len(self.published),
            "digest": f"{total:016x}",
            "complete": True,
            "at_ms": at_ms,
            "every_ms": 1_000,
            "epoch": self.epoch,
        }
        return heartbeat_key(self.partition), encode(Heartbeat(**(fields | changes)))


class Topic:
    """A topic in memory that only counts offsets: pairs become records."""

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}

    def record(self, pair: Pair, partition: int = 0, append_ms: int = NOW_MS) -> Record:
        """The next record of a partition."""
        offset = self.ends.get(partition, 0)
        self.ends[partition] = offset + 1
        return Record(partition, offset, append_ms, *pair)
