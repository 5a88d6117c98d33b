"""What owners owe besides what events cause: operators' acts in force, ended records erased.

Nothing in a log of events says that these are missing, so they are asked of an estate at rest.
Clocks may have stepped: what is certain is so by all of them, and what is doubtful is not asked.
"""

from __future__ import annotations

from stream.events import (
    Conditions,
    OperatorRecord,
    SubjectRecord,
    decode_value,
)
from stream.identity import home_partition

from .estate import Estate

SHOWN = 5
DOUBT_MS = 5_000


def audit_acts(estate: Estate, partition: int, conditions: Conditions) -> list[str]:
    """What operators said last holds in the partition that it concerns, and nothing else does."""
    said = [each for each in _last_acts(estate) if _concerns(each, partition, conditions)]
    exempted = {
        (each.workload, act.until_ms) for each in said for act in each.acts if act.act == "exempt"
    }
    stops = [
        act.until_ms
        for each in said
        for act in each.acts
        if act.act == "stop" and not each.workload
    ]
    latest_ms = max(_clocks(estate)) + DOUBT_MS
    held = {(each.workload, each.until_ms) for each in conditions.exemptions}
    lacking = sorted(each for each in exempted - held if each[0] and each[1] > latest_ms)
    broken = [f"{name} is not exempt until {until_ms}" for name, until_ms in lacking]
    broken += [f"{name} is exempt, and nobody says so" for name, _ in sorted(held - exempted)]
    stopped_ms = max(stops, default=0)
    if stopped_ms > latest_ms and conditions.stopped_until_ms != stopped_ms:
        broken.append(f"it is not stopped until {stopped_ms}")
    if conditions.stopped_until_ms not in (0, *stops):
        broken.append(f"it is stopped until {conditions.stopped_until_ms}, and nobody says so")
    return broken[:SHOWN]


def audit_ended(estate: Estate) -> list[str]:
    """No record lies on the topic that ended long ago."""
    before_ms = min(_clocks(estate)) - estate.spec.tombstone_after_ms - DOUBT_MS
    last = {each.key: each for each in estate.log.of(estate.topics.enforcement)}
    broken = []
    for key, record in last.items():
        if record.value is None or not (key or b"").startswith(b'["home",'):
            continue
        value = decode_value(record.value)
        if isinstance(value, SubjectRecord) and value.expires_at_ms < before_ms:
            broken.append(f"{key!r} ended at {value.expires_at_ms}, and was not erased")
    return broken[:SHOWN]


def _last_acts(estate: Estate) -> list[OperatorRecord]:
    found: dict[bytes, OperatorRecord] = {}
    for record in estate.log.of(estate.topics.enforcement):
        key = record.key or b""
        if not key.startswith(b'["operator",'):
            continue
        if record.value is None:
            found.pop(key, None)
            continue
        value = decode_value(record.value)
        assert isinstance(value, OperatorRecord), "stories write none else"
        found[key] = value
    return list(found.values())


def _concerns(said: OperatorRecord, partition: int, conditions: Conditions) -> bool:
    counts = conditions.counts
    if not said.workload or not counts:
        return True
    return home_partition(said.workload.encode(), counts[-1]) == partition


def _clocks(estate: Estate) -> list[int]:
    return [estate.broker_clock.wall_ms(), *(each.clock.wall_ms() for each in estate.members)]
