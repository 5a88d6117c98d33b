"""Dead letters as the verb sees them: found, filtered, tried again once.

An event counts once whatever happens to its letter. Trying a letter again appends the event and a
marker of the letter in one transaction, under one name for the whole installation: a second
operator ends the first, a crash leaves both or neither, and whoever starts reads every marker
before writing anything. A letter may be there twice (a worker that died wrote it again): both have
one origin, and so one marker.

Where the topic has lost its oldest records, a letter whose record came before what is left may have
been tried by somebody whose marker is gone. That one is refused.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from stream.bus import LogReader, Record, Sending, TogetherPublisher, read_through
from stream.clock import Clock
from stream.errors import ConfigError, NewerFormat
from stream.events import (
    MSGPACK_FIRST,
    DeadLetter,
    Origin,
    RetryMarker,
    decode_letter,
    decode_request,
    encode_marker,
    fault_of,
    marker_key,
    origin_of_marker,
)
from stream.identity import InvalidIdentity, canonical_workload, home_partition

READ_AT_ONCE: Final = 500  # a letter has up to 22 KiB
GROUP_MAX: Final = 200
MARKERS_MAX: Final = 1_000_000
SEEN_MAX: Final = 1_000_000  # beyond it a letter that was written twice may be shown twice
State = Literal["new", "retried"]
Outcome = Literal[
    "retried", "already retried", "cut", "not an event", "foreign topic", "too old", "unreadable"
]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant: all that pass every filter that is given."""

    origins: frozenset[Origin] = frozenset()
    codes: frozenset[str] = frozenset()
    topic: str = ""
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    workload: str = ""
    state: State | None = None

    def takes(self, each: Found) -> bool:
        """Tell whether a letter passes."""
        letter = each.letter
        return (
            (not self.origins or letter.origin in self.origins)
            and (not self.codes or letter.code in self.codes)
            and self.topic in ("", letter.topic)
            and self.partition in (None, letter.partition)
            and (self.first_offset is None or letter.offset >= self.first_offset)
            and (self.last_offset is None or letter.offset <= self.last_offset)
            and (self.since_ms is None or each.at_ms >= self.since_ms)
            and (self.until_ms is None or each.at_ms < self.until_ms)
            and self.state in (None, each.state)
            and (not self.workload or self.workload in workload_of(letter))
        )


class Found(NamedTuple):
    """One letter, where it stands, when its record came, and whether it was tried again.

    `is_sure` is false where a marker of it may have been deleted.
    """

    letter: DeadLetter
    partition: int
    offset: int
    at_ms: int
    state: State
    is_sure: bool


class Markers(msgspec.Struct):
    """What the topic says of letters that were tried again, and what it still holds.

    `oldest_ms`: the append time of the oldest record by partition, 0 where nothing was deleted.
    """

    retried: set[Origin] = msgspec.field(default_factory=set)
    oldest_ms: dict[int, int] = msgspec.field(default_factory=dict)
    ends: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)
    unreadable: Counter[str] = msgspec.field(default_factory=Counter)


class Tried(NamedTuple):
    """What became of one letter, and where its event is if it was sent."""

    origin: Origin
    outcome: Outcome
    message: str = ""
    partition: int = -1
    offset: int = -1


class _Named(msgspec.Struct):
    """All that is looked for in a payload that is no event."""

    workload: str = ""


_json = msgspec.json.Decoder(_Named)
_msgpack = msgspec.msgpack.Decoder(_Named)


def retry_name(topic: str) -> str:
    """Return the one name under which dead letters of a topic are retried."""
    return f"{topic}.retry"


def workload_of(letter: DeadLetter) -> str:
    """Return the workload that a letter names, as it was written; empty where none can be read."""
    try:
        raw = letter.payload()
        return (_msgpack if raw[:1] and raw[0] in MSGPACK_FIRST else _json).decode(raw).workload
    except (ValueError, RecursionError):
        return ""


async def read_markers(reader: LogReader, topic: str) -> Markers:
    """Return which letters were tried again, as far as the topic says so now.

    Errors: BusUnavailable; ConfigError when the topic does not exist, or has too many markers.
    """
    markers = Markers()
    bounds = await reader.bounds(topic)
    markers.ends = {partition: (each.start, each.end) for partition, each in bounds.items()}
    for partition, (start, _) in markers.ends.items():
        oldest_ms = 0
        async for record in _records(reader, topic, partition, markers.ends[partition]):
            oldest_ms = oldest_ms or record.append_ms
            origin = origin_of_marker(record.key) if record.key is not None else None
            if origin is not None:
                markers.retried.add(origin)
        markers.oldest_ms[partition] = oldest_ms if start else 0
        if len(markers.retried) > MARKERS_MAX:
            raise ConfigError(
                f"topic {topic} marks more than {MARKERS_MAX:,} letters as retried",
                hint="let its retention pass, or lower it",
            )
    return markers


async def find(
    reader: LogReader, topic: str, markers: Markers, choice: Choice
) -> AsyncIterator[Found]:
    """Yield the letters that a choice takes, partition by partition, each origin once.

    What is no letter is counted in `markers.unreadable`. Errors: as `read_markers`.
    """
    for partition, span in sorted(markers.ends.items()):
        seen: set[Origin] = set()
        async for record in _records(reader, topic, partition, span):
            if record.key is not None:
                continue
            found = _found(record, markers)
            if found is None or not choice.takes(found) or found.letter.origin in seen:
                continue
            if len(seen) >= SEEN_MAX:
                seen.clear()
            seen.add(found.letter.origin)
            yield found


def _found(record: Record, markers: Markers) -> Found | None:
    try:
        letter = decode_letter(record.value or b"")
    except NewerFormat:
        markers.unreadable["newer"] += 1
        return None
    except (ValueError, RecursionError):
        markers.unreadable["malformed"] += 1
        return None
    oldest_ms = markers.oldest_ms.get(record.partition, 0)
    return Found(
        letter,
        record.partition,
        record.offset,
        letter.at_ms or record.append_ms,
        "retried" if letter.origin in markers.retried else "new",
        letter.at_ms >= oldest_ms,
    )


async def newest(found: AsyncIterator[Found], limit: int) -> tuple[list[Found], int]:
    """Return the last so many letters by time, and how many there were."""
    kept: deque[Found] = deque(maxlen=limit)
    by_partition: list[Found] = []
    count, partition = 0, -1
    async for each in found:
        if each.partition != partition:
            by_partition = _last(by_partition, kept, limit)
            kept.clear()
            partition = each.partition
        kept.append(each)
        count += 1
    return _last(by_partition, kept, limit), count


def _last(before: list[Found], more: Iterable[Found], limit: int) -> list[Found]:
    return sorted([*before, *more], key=lambda each: (each.at_ms, each.letter.origin))[-limit:]


async def _records(
    reader: LogReader, topic: str, partition: int, span: tuple[int, int]
) -> AsyncIterator[Record]:
    async for records in read_through(reader, topic, partition, span, READ_AT_ONCE):
        for record in records:
            yield record


class Target(NamedTuple):
    """Where events go: the topic of requests (and its zones), its partitions, and who sends."""

    requests: str
    partitions: dict[str, int]
    dead_letters: str
    by: str


def judged(found: Found, target: Target, *, as_is: bool) -> Tried | Sending:
    """Return the event to send for a letter, or why it is not to be sent."""
    letter, origin = found.letter, found.letter.origin
    if found.state == "retried":
        return Tried(origin, "already retried")
    if not found.is_sure:
        return Tried(origin, "too old", "an earlier retry of it may have been forgotten")
    if letter.topic not in target.partitions:
        return Tried(origin, "foreign topic", f"it did not come from {target.requests}")
    if letter.truncated:
        said = f"only the first bytes of {letter.raw_bytes:,} were kept"
        return Tried(origin, "cut", said)
    try:
        raw = letter.payload()
    except ValueError as error:
        return Tried(origin, "unreadable", str(error))
    count = target.partitions[letter.topic]
    try:
        name = canonical_workload(decode_request(raw).workload)
    except (ValueError, RecursionError, InvalidIdentity) as error:
        if not as_is:
            return Tried(origin, "not an event", _why(raw, error))
        return Sending(letter.topic, letter.partition % count, None, raw)
    key = name.encode()
    return Sending(letter.topic, home_partition(key, count), key, raw)


def _why(raw: bytes, error: Exception) -> str:
    if isinstance(error, InvalidIdentity):
        return error.message
    assert isinstance(error, ValueError | RecursionError)
    return fault_of(raw, error)[1]


class Retrier:
    """Tries letters again in groups.

    Requires: a started `publisher`, and markers that were read after it had started.
    """

    def __init__(
        self, publisher: TogetherPublisher, markers: Markers, target: Target, clock: Clock
    ) -> None:
        self._publisher = publisher
        self._markers = markers
        self._target = target
        self._clock = clock

    async def retry(self, group: Sequence[Found], *, as_is: bool) -> list[Tried]:
        """Send the events of some letters and mark them, all or none; return what became of each.

        Errors: OwnershipLost, BusUnavailable, ConfigError, as the publisher.
        """
        done: list[Tried] = []
        sent: list[tuple[Found, Sending]] = []
        for before in group:
            is_marked = before.letter.origin in self._markers.retried
            each = before._replace(state="retried") if is_marked else before
            what = judged(each, self._target, as_is=as_is)
            if isinstance(what, Tried):
                done.append(what)
            else:
                self._markers.retried.add(each.letter.origin)
                sent.append((each, what))
        if not sent:
            return done
        sendings = [event for _, event in sent] + [self._marker(*each, as_is) for each in sent]
        offsets = await self._publisher.send_all(sendings)
        return done + [
            Tried(each.letter.origin, "retried", "", event.partition, offset)
            for (each, event), offset in zip(sent, offsets[: len(sent)], strict=True)
        ]

    def _marker(self, found: Found, event: Sending, as_is: bool) -> Sending:  # noqa: FBT001
        marker = RetryMarker(
            by=self._target.by,
            at_ms=self._clock.wall_ms(),
            to_partition=event.partition,
            as_is=as_is and event.key is None,
        )
        key = marker_key(found.letter.origin)
        value = encode_marker(marker)
        return Sending(self._target.dead_letters, found.partition, key, value)
