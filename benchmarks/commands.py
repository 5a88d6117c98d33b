"""What the benchmarks of a gateway put on the topic `enforcement`, and a clock to go by."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic, time_ns

import msgspec

from stream.bus import Record
from stream.events import (
    Body,
    Command,
    Heartbeat,
    Rate,
    Reason,
    Subject,
    SubjectRecord,
    Version,
    Weight,
    command_id,
    encode,
    subject_key,
)
from stream.gateway import GatewaySpec

ACTIONS = ("revoke", "throttle", "hold")
READ_AT_ONCE = 10_000


class Clock:
    """The clock of this machine."""

    def wall_ms(self) -> int:
        return time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return monotonic()


def workload_of(place: int) -> str:
    return f"spiffe://example.org/agents/fleet-{place % 97}/agent-{place}"


def record_of(place: int, now_ms: int) -> tuple[bytes, bytes]:
    """One command in force, with a reason as the shipped rules write it."""
    subject = Subject(workload=workload_of(place))
    action = ACTIONS[place % len(ACTIONS)]
    body = Body(
        subject=subject,
        action=action,
        mode="enforce",
        rule="export-burst",
        reason=Reason(
            text=f"512 requests in 10 s, limit 100: customers.export called {place} times",
            detector="limit",
            measure="requests",
            observed=512,
            expected=100,
            window_ms=10_000,
            weights=(Weight("GET /customers/{id}"),),
        ),
        clock_ms=now_ms,
        until_ms=now_ms + 3_600_000,
        policy="ab" * 16,
        rate=Rate(10, 1_000) if action == "throttle" else None,
    )
    version = Version(0, place)
    command = Command(
        id=command_id(body, version),
        body=body,
        version=version,
        partition=0,
        caused_at_ms=now_ms,
        expires_at_ms=now_ms + 3_600_000,
        offsets=(place,),
    )
    value = SubjectRecord(
        issuer="home",
        partition=0,
        subject=subject,
        version=version,
        expires_at_ms=command.expires_at_ms,
        commands=(command,),
    )
    return subject_key("home", subject), encode(value)


def heartbeat_of(records: int, digest: int) -> bytes:
    """What the owner of the one partition says of so many records."""
    beat = Heartbeat(
        partition=0,
        partitions=1,
        next_offset=0,
        version=Version(0, records),
        records=records,
        digest=f"{digest % (1 << 64):016x}",
        complete=True,
        at_ms=Clock().wall_ms(),
        every_ms=600_000,
    )
    return encode(beat)


def gateway_spec() -> GatewaySpec:
    table = {"kind": "table", "mode": "closed", "records_max": 2_000_000, "bytes_max": 1 << 32}
    return msgspec.convert({"kind": "gateway", "name": "edge", "table": table}, GatewaySpec)


def records_of(count: int, now_ms: int) -> Iterator[list[Record]]:
    """Records of so many workloads, as many at once as the log's reader hands over."""
    parts = []
    for place in range(len(ACTIONS)):
        key, value = record_of(place, now_ms)
        name = workload_of(place).encode()
        parts.append((key.split(name), value.split(name)))
    for start in range(0, count, READ_AT_ONCE):
        records = []
        for place in range(start, min(count, start + READ_AT_ONCE)):
            key, value = parts[place % len(parts)]
            name = workload_of(place).encode()
            records.append(Record(0, place, now_ms, name.join(key), name.join(value)))
        yield records
