"""Operators' acts on the topic `enforcement`: read what is in force there, merge, write, look back.

One record holds all acts on one workload, or on everything, so a new act must carry the others
along. Kafka has no compare-and-set, so after a write the log before it is read: whoever else wrote
in between wins nothing and loses nothing, for the merge is repeated on top of theirs.

The partition of a record is murmur2 of its workload mod the partitions of the topic, 0 for
everything: it never changes, whatever happens to the number of home partitions. A key in two
partitions would be two records after compaction.

Ended acts are left out of what is written, and a record without acts is a tombstone. A lift reaches
back from the append time of its record, so it is not carried into a later record of other acts,
where it would cancel what came after it; workers have journalled it by then.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from stream.bus import KafkaPublisher, KafkaReader, LogReader, Publisher
from stream.clock import Clock
from stream.config import Config
from stream.errors import BusUnavailable, NewerFormat
from stream.events import OperatorAct, OperatorRecord, decode_value, encode, operator_key
from stream.identity import positive_murmur2

from .doors import opened

Act = Literal["stop", "exempt", "lift"]
READ_OFFSETS: Final = 10_000
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


async def perform(config: Config, change: Change, clock: Clock) -> Written:
    """Make a change and wait for its acknowledgement.

    Errors: BusUnavailable; ConfigError when the topic does not exist.
    """
    async with (
        opened(KafkaReader(config.kafka)) as reader,
        opened(KafkaPublisher(config.kafka)) as publisher,
    ):
        return await write_change(reader, publisher, config.topics.enforcement, change, clock)


async def write_change(
    reader: LogReader, publisher: Publisher, topic: str, change: Change, clock: Clock
) -> Written:
    """Merge a change into what is in force and write it. Errors: as `perform`."""
    bounds = await reader.bounds(topic)
    partition = positive_murmur2(change.workload.encode()) % len(bounds) if change.workload else 0
    place = _Place(topic, partition, operator_key(change.workload))
    start, end = bounds[partition]
    held = await _last(reader, place, start, end) or ()
    for _ in range(TRIES_MAX):
        now_ms = clock.wall_ms()
        had_before = any(each.act == change.act and each.until_ms > now_ms for each in held)
        if change.lasts_ms == 0 and not had_before:
            return Written(merged(held, change, now_ms), -1, -1, had_before)
        acts = merged(held, change, now_ms)
        record = OperatorRecord(workload=change.workload, acts=acts)
        value = encode(record) if acts else None
        offset = await (await publisher.send(topic, place.key, value, partition))
        other = await _last(reader, place, end, offset)
        if other is None:
            return Written(acts, partition, offset, had_before)
        held, end = other, offset + 1
    raise BusUnavailable(
        f"somebody else keeps changing the acts on {change.workload or 'everything'}",
        hint="see `enforcer list`, and try again",
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
    reader: LogReader, place: _Place, start: int, end: int
) -> tuple[OperatorAct, ...] | None:
    """Return the acts of the last record of a key in [start, end), None where there is none."""
    found: tuple[OperatorAct, ...] | None = None
    for first in range(start, end, READ_OFFSETS):
        last = min(end, first + READ_OFFSETS)
        for record in await reader.read(place.topic, place.partition, first, last):
            if record.key == place.key:
                found = _acts(record.value)
    return found


def _acts(value: bytes | None) -> tuple[OperatorAct, ...]:
    """Return the acts of a record; one that cannot be read, which nobody obeys, has none.

    Errors: NewerFormat, rather than writing over what newer gateways obey.
    """
    try:
        decoded = decode_value(value) if value is not None else None
    except NewerFormat:
        raise
    except (ValueError, RecursionError):
        return ()
    return decoded.acts if isinstance(decoded, OperatorRecord) else ()
