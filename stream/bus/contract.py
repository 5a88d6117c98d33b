"""What the product needs of a log: a group member, an ordered publisher, a reader, topics.

Kafka's own words, without Kafka's types: partitions and offsets are integers, times Unix
milliseconds, keys and values bytes. Doors raise only `BusUnavailable` (retryable), `OwnershipLost`
(the group gave the partition away) and `ConfigError` (a topic is not what it must be).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from typing import Annotated, NamedTuple, Protocol

import msgspec


class Record(NamedTuple):
    """One record of a log; `append_ms` is the broker's append time where the topic has it."""

    partition: int
    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None


class Chunk(NamedTuple):
    """Consecutive records of one partition as columns, so that no object per record is needed.

    Shapes: the three columns have one entry per record, at least one; offsets rise strictly, with
            gaps where the log has them (compaction, transaction markers, aborted records). Columns
            may be arrays over the bytes that came: take `int()` of an entry that is kept.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    append_ms: Sequence[int]
    values: Sequence[bytes | None]


class Bounds(NamedTuple):
    """The first offset a log still holds, and the first one that cannot be read yet.

    `end` is what the next record will get, unless a producer's transaction is open: then it is the
    first record of that transaction, since only what is committed is read.
    """

    start: int
    end: int


class Committed(NamedTuple):
    """What the group was told last of a partition: the next offset, and the note beside it."""

    offset: int
    note: str


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic must be: created so if missing, refused with a clear message if otherwise.

    `retention_ms` and `record_bytes_max` are the least it must have, `replicas` too. `outlives`
    names another topic whose actual retention this one must reach as well, however long it is.
    One that `may_grow` may also have a multiple of its partitions.
    """

    name: str
    partitions: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    compacted: bool = False
    append_time: bool = True
    retention_ms: int = 7 * 24 * 3_600_000
    record_bytes_max: int = 1_048_576
    replicas: int = 1
    outlives: str = ""
    may_grow: bool = False


class TopicState(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic is; `id` is the broker's id of it, new when the topic is made anew.

    `id` is empty where the broker is too old to have one (before Kafka 2.8). Where we may not look
    at its settings, `config` is empty and `is_config_hidden`.
    """

    name: str
    id: str
    partitions: int
    replicas: int
    config: dict[str, str]
    is_config_hidden: bool = False


class Listener(Protocol):
    """Who is told when partitions join and leave; the source awaits both calls.

    Calls come one after another, from a task of the source's own, so a call may wait for the task
    that fetches (`fetch` returns at once when partitions are being taken), but not for `stop`.
    What a call raises, the next `fetch` raises.
    """

    async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Take the partitions and return the offset to start each from; no record comes before.

        None comes at all of a partition that is left out, until it is offered again.
        """
        ...

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Let the partitions go; no record of them comes from here on.

        After the return another member may have them, and may have had them before the call if
        this one was thought dead: whoever writes for a partition needs a fence of its own.
        """
        ...


class EventSource(Protocol):
    """One member of the consumer group over the topic of requests.

    The group decides who reads a partition, never from where: that is the listener's answer. A
    partition whose log no longer holds the position (retention passed it, the log was cut or made
    anew) is taken away and given again, so that the one place that checks bounds decides.
    """

    async def start(self, listener: Listener) -> None:
        """Connect and begin to join the group; the listener hears of partitions from here on.

        Errors: ConfigError when the topic does not exist.
        """
        ...

    async def fetch(self, records_max: int, wait_s: float) -> list[Chunk]:
        """Return what has come, at most `records_max` records, waiting at most `wait_s`.

        Partitions share `records_max` fairly. It may return nothing before `wait_s` is over, and
        does when the group begins to give or take. Cancelling it loses no record.
        """
        ...

    def offer(self, partition: int) -> None:
        """Take a partition from the listener and give it again, if it is still ours.

        For a listener that left it out, and could take it now.
        """
        ...

    async def commit(self, next_offsets: Mapping[int, int], note: str = "") -> None:
        """Tell the group how far we are; failure is not an error, and is logged.

        Partitions that are not ours any more are left out, and a member that the group has given
        up is not heard. For requests only lag tools look at it; `note` is kept beside each offset.
        """
        ...

    async def committed(self, partitions: Sequence[int]) -> dict[int, Committed]:
        """Return what the group was told last, of the partitions of which it was told anything."""
        ...

    async def bounds(self, partitions: Sequence[int]) -> dict[int, Bounds]:
        """Return what the log holds of each partition."""
        ...

    async def partition_count(self) -> int:
        """Return the number of partitions of the topic."""
        ...

    async def stop(self) -> None:
        """Leave the group; the listener hears of the partitions lost by it before they are."""
        ...


class Publisher(Protocol):
    """One idempotent producer: records of one partition are appended in the order sent.

    What waits is bounded: `send` waits when the partition's buffer is full.
    """

    async def start(self) -> None:
        """Connect."""
        ...

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        """Queue a record; the awaitable gives its offset once every replica in sync has it.

        Without `partition` the key's murmur2 decides, as Kafka's own clients do. The awaitable may
        be awaited late, more than once, or never.

        Requires: a key or a partition; a key or a value.
        Errors:   BusUnavailable says that nobody knows: the record may still be appended, and
                  records behind it too, unless the publisher was told that none may follow a lost
                  one. Send it again, under an id that makes repeats harmless.
                  ConfigError: topic or partition do not exist, the record is too large, or the
                  broker does not let us write.
        """
        ...

    async def flush(self) -> None:
        """Wait until everything queued is acknowledged or failed."""
        ...

    async def stop(self) -> None:
        """Flush for some seconds at most, and disconnect; `flush` first if all must arrive."""
        ...


class Sending(NamedTuple):
    """One record to append, and where."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes


class TogetherPublisher(Protocol):
    """Appends groups of records, each group all or none, as the one writer of its name.

    What it appends is read only when all of the group can be.
    """

    async def start(self) -> None:
        """Connect, and end every earlier writer of the same name.

        What those wrote before can be read from here on; what they begin now is refused.
        """
        ...

    async def send_all(self, sendings: Sequence[Sending]) -> list[int]:
        """Append all of these records or none; return their offsets once they can be read.

        Errors: OwnershipLost when a newer writer of the name has started: nothing was written.
                BusUnavailable says that nobody knows whether all or none is there: start anew and
                read. ConfigError: topic or partition do not exist, or a record is too large. After
                an error only `stop` may follow.
        """
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class LogReader(Protocol):
    """Reads logs outside any group: the journal, the enforcement topic, a range of requests."""

    async def start(self) -> None:
        """Connect."""
        ...

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return what the log holds of each partition of a topic.

        Errors: ConfigError when the topic does not exist.
        """
        ...

    async def read(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
        """Return the records in [start, end) that the log holds now, in order; waits for none."""
        ...

    async def read_some(
        self, topic: str, partition: int, start: int, end: int, records_max: int
    ) -> tuple[list[Record], int]:
        """Return the first records of what `read` returns, and the offset to go on from.

        At most `records_max`; that offset is `end` when nothing is left. What compaction left of
        a wide range costs what is there, not how wide it is.

        Requires: start < end; records_max >= 1.
        """
        ...

    def follow(
        self, topic: str, starts: Mapping[int, int], wait_s: float = 0.5
    ) -> AsyncGenerator[list[Record], None]:
        """Yield what comes from `starts` (partition -> offset) on, until the reader stops.

        An empty list is yielded when nothing came for `wait_s`, so that a follower can look up. A
        start that the log has passed means the first offset it still holds. Close what is not
        followed to the end: `async with aclosing(reader.follow(...))`.

        Errors: BusUnavailable also when a position is beyond the log's end or was lost on the way
                (the log was made anew): read the bounds again and begin afresh.
        """
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class TopicAdmin(Protocol):
    """Makes sure that topics are what they must be."""

    async def start(self) -> None:
        """Connect."""
        ...

    async def ensure(self, specs: Sequence[TopicSpec]) -> list[TopicState]:
        """Create what is missing; return all states in the order of `specs`.

        Settings that we may not look at are taken for right, and that is logged.

        Errors: ConfigError names the topic, the setting, what it is and what it must be.
        """
        ...

    async def describe(self, names: Sequence[str]) -> list[TopicState]:
        """Return the states of the topics that exist."""
        ...

    async def grow(self, name: str, partitions: int) -> None:
        """Let a topic have so many partitions, more than it has; records stay where they are.

        Returns once every new partition has a leader. A repeat changes nothing.
        Errors: ConfigError when the topic does not exist, has more, or we may not change it.
        """
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...
