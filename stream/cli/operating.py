"""Operators' acts on the topic `enforcement`: read what is in force there, merge, write, look back.

One record holds all acts on one workload, or on everything, so a new act must carry the others
along. Kafka has no compare-and-set, so after a write the log before it is read: whoever else wrote
in between wins nothing and loses nothing, for the merge is repeated on top of theirs.

The partition of a record is murmur2 of its workload mod the partitions of the topic, 0 for
everything: it never changes, whatever happens to the number of home partitions. A key in two
partitions would be two records after compaction.

Ended acts are left out of what is written, and a record without acts is a tombstone; signed it is
written as it is, since a tombstone cannot be signed, and kept until all it ended would have been
over. With keys nothing unsigned is read either: what is merged is signed. A lift reaches
back from the append time of its record, so it is not carried into a later record of other acts,
where it would cancel what came after it; workers have journalled it by then.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from stream.bus import KafkaPublisher, KafkaReader, LogReader, Publisher, Record, read_through
from stream.clock import Clock
from stream.config import Config
from stream.errors import BusUnavailable, NewerFormat
from stream.events import (
    OperatorAct,
    OperatorRecord,
    decode_value,
    encode,
    operator_key,
    split_signature,
)
from stream.identity import positive_murmur2
from stream.runtime import NO_KEYS, Keys
from stream.signing import Trust

from .doors import opened

Act = Literal["stop", "exempt", "lift"]
TRIES_MAX: Final = 5
LIFT_LASTS_MS: Final = 8 * 86_400_000  # longer than any command
_BY_LENGTH_MAX: Final = 128


class Change(NamedTuple):
    """One act to begin, or, where `lasts_ms` is 0, to end, on a workload or (empty) everything."""

    workload: str
    act: Act
    lasts_ms: int
    reason: str


class Written(NamedTuple):
    """What is in force after a change, where it stands, and whether an act of its kind was before.

    `partition` and `offset` are -1 where nothing had to be written.
    """

    acts: tuple[OperatorAct, ...]
    partition: int
    offset: int
    had_before: bool


class _Place(NamedTuple):
    topic: str
    partition: int
    key: bytes


async def perform(config: Config, change: Change, clock: Clock, keys: Keys = NO_KEYS) -> Written:
    """Make a change and wait for its acknowledgement.

    Errors: BusUnavailable; ConfigError when the topic does not exist.
    """
    async with (
        opened(KafkaReader(config.kafka)) as reader,
        opened(KafkaPublisher(config.kafka)) as publisher,
    ):
        topic = config.topics.enforcement
        return await write_change(reader, publisher, topic, change, (clock, keys))


async def write_change(
    reader: LogReader,
    publisher: Publisher,
    topic: str,
    change: Change,
    how: tuple[Clock, Keys],
) -> Written:
    """Merge a change into what is in force and write it. Errors: as `perform`."""
    clock, keys = how
    bounds = await reader.bounds(topic)
    partition = positive_murmur2(change.workload.encode()) % len(bounds) if change.workload else 0
    place = _Place(topic, partition, operator_key(change.workload))
    start, end = bounds[partition]
    held = await _last(reader, place, (start, end), keys.trust) or _nothing(change)
    for _ in range(TRIES_MAX):
        now_ms = clock.wall_ms()
        had_before = any(each.act == change.act and each.until_ms > now_ms for each in held.acts)
        if change.lasts_ms == 0 and not had_before:
            return Written(merged(held.acts, change, now_ms), -1, -1, had_before)
        record = following(held, change, now_ms)
        value = encode(record) if record.acts or keys.signer is not None else None
        if keys.signer is not None and value is not None:
            value = keys.signer.sign(place.key, value)
        offset = await (await publisher.send(topic, place.key, value, partition))
        other = await _last(reader, place, (end, offset), keys.trust)
        if other is None:
            return Written(record.acts, partition, offset, had_before)
        held, end = other, offset + 1
    raise BusUnavailable(
        f"somebody else keeps changing the acts on {change.workload or 'everything'}",
        hint="see `enforcer list`, and try again",
    )


def following(held: OperatorRecord, change: Change, now_ms: int) -> OperatorRecord:
    """Return the record after a change: later than the one before, kept as long as it matters."""
    acts = merged(held.acts, change, now_ms)
    ends = [each.until_ms for each in (*held.acts, *acts)]
    return OperatorRecord(
        workload=change.workload,
        acts=acts,
        at_ms=max(now_ms, held.at_ms + 1),
        until_ms=max([held.until_ms, *ends]),
    )


def merged(held: Sequence[OperatorAct], change: Change, now_ms: int) -> tuple[OperatorAct, ...]:
    """Return the acts in force after a change: what lasts and is not replaced, and its own."""
    kept = [
        each for each in held if each.act not in (change.act, "lift") and each.until_ms > now_ms
    ]
    if change.lasts_ms:
        kept.append(
            OperatorAct(
                act=change.act,
                reason=change.reason,
                by=operator_name(),
                at_ms=now_ms,
                until_ms=now_ms + change.lasts_ms,
            )
        )
    return tuple(kept)


def operator_name() -> str:
    """Return who acts, `user@host`; a machine without a name for its user says the number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    name = f"{user}@{socket.gethostname()}"
    return "".join(each for each in name if each.isprintable())[:_BY_LENGTH_MAX]


async def _last(
    reader: LogReader, place: _Place, between: tuple[int, int], trust: Trust | None
) -> OperatorRecord | None:
    """Return the last record of a key between two offsets, None where there is none.

    With keys it is the last that was signed, wherever it lies, and a tombstone is nothing.
    """
    found: OperatorRecord | None = None
    async for records in read_through(reader, place.topic, place.partition, between):
        for record in records:
            if record.key != place.key:
                continue
            said = _believed(record, trust)
            if trust is None:
                found = said or OperatorRecord(workload="", acts=())
            elif said is not None and (found is None or said.at_ms >= found.at_ms):
                found = said
    return found


def _believed(record: Record, trust: Trust | None) -> OperatorRecord | None:
    """Return what a record says, None where nobody obeys it.

    Errors: NewerFormat, rather than writing over what newer gateways obey.
    """
    if record.key is None or record.value is None:
        return None
    signed = split_signature(record.value)
    try:
        value = decode_value(signed.payload)
    except NewerFormat:
        raise
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, OperatorRecord):
        return None
    if trust is not None and trust.is_strict:
        is_good = trust.fault_of(record.key, record.append_ms, signed, value) is None
        return value if is_good and operator_key(value.workload) == record.key else None
    return value


def _nothing(change: Change) -> OperatorRecord:
    return OperatorRecord(workload=change.workload, acts=())
