"""One home partition while this worker owns it: fence, progress, journal, what is still owed."""

from __future__ import annotations

import asyncio
import bisect
import zlib
from collections import Counter, deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from stream.events import Conditions, Version, log_number
from stream.profiles import Arrival
from stream.store import Fence

from .heard import Heard
from .published import Published
from .recent import Recent

SENT_KEPT: Final = 1_024


class Asked(NamedTuple):
    """Conditions on their way to the journal, for an offset not yet reached.

    `done` is set once they are acknowledged, or were given up.
    """

    conditions: Conditions
    done: asyncio.Event


class Foreign(NamedTuple):
    """What another wrote under a key of ours: where, its hash, and the place it claims.

    `hash` and `place` are None for a tombstone; a place orders records as gateways order them: era,
    home, offset, ordinal. `is_ahead`: ours, written behind it, claims less, so that gateways hold
    on to it.
    """

    offset: int
    hash: int | None
    place: tuple[int, ...] | None
    is_ahead: bool = False


@dataclass(slots=True)
class Owned:
    """The state of one owned partition; a new object for each time it is taken.

    `position` is the next offset to apply, `replay_until` the log's end when the partition was
    taken: until then an earlier owner may have been, so nothing new is journalled and heartbeats
    prove nothing.
    `began_in` are the named modes of this takeover.
    `owner_offset` is the journal offset of the entry that says that we took it; up to
    `journal_read` the journal was read, which shows no other owner after us.
    `journalled_ms` is the time of the entry in force, negative where it was written just now.
    `held_since` are the offsets from which conditions held, with their journal offsets.
    `coming` are journalled conditions with their journal offsets, for offsets not yet reached;
    `asked` are such as are not known to be journalled: no event from there on is applied before.
    Where none has come so far by `coming_by_s`, of the process's time, they hold from where it is.
    `later` are the offsets, not yet reached, for which anything was ever journalled, in order.
    `outputs` are records sent and not yet known to be acknowledged;
    `sent` has the last record of each key until the topic is read past it, `foreign` what others
    wrote under our keys (see `repair`); `compared_to` lies behind the last record compared.
    `signatures` are those of the records sent, where keys are set.
    `counts` are the numbers of partitions there have been, the last one being in force here.
    An heir would begin at `saved_from`, which is where this owner began until it has stored.
    `is_unproven`: the last record applied is to be read again, see `returning`.
    `names` wait to be stored, `named` were handed to the store, at most NAMES_MAX.
    `domains`: how many rows of each trust domain are stored, as the store said last; `fresh`: how
    many there are in memory that never were. `enforced`: what the brake counts. `clock_ms`: when
    the latest record was appended; `called_ms`: the latest that is more than ticks.
    """

    partition: int
    nonce: str
    epoch: int
    number: int
    position: int
    replay_until: int
    topic_id: str
    conditions: Conditions
    journal_offset: int
    published: Published
    coming: deque[tuple[int, Conditions]]
    version: Version
    owner_offset: int = -1
    journal_read: int = 0
    journalled_ms: int = 0
    held_since: list[tuple[int, int]] = field(default_factory=list)
    began_in: tuple[str, ...] = ()
    heard: Heard = field(default_factory=partial(Heard, ()))
    saved_position: int = -1
    saved_from: int = -1
    clock_ms: int = 0
    called_ms: int = 0
    check: int = 0
    check_offset: int = -1
    names: dict[int, str] = field(default_factory=dict)
    named: set[int] = field(default_factory=set)
    outputs: list[Awaitable[int]] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    forget: list[int] = field(default_factory=list)
    sent: dict[bytes, asyncio.Task[int]] = field(default_factory=dict)
    foreign: dict[bytes, Foreign] = field(default_factory=dict)
    signatures: dict[bytes, bytes] = field(default_factory=dict)
    is_read_back: bool = False
    compared_to: int = 0
    is_unproven: bool = False
    counts: tuple[int, ...] = ()
    domains: dict[int, int] = field(default_factory=dict)
    fresh: Counter[int] = field(default_factory=Counter)
    enforced: Recent = field(default_factory=Recent)
    asked: Asked | None = None
    coming_by_s: float = 0.0
    later: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold(self.journal_offset, self.conditions)
        self.saved_from = self.position
        self.later = [each.from_offset for _, each in self.coming]

    saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def fence(self) -> Fence:
        """Return what this owner knows of its last write."""
        return Fence(self.nonce, self.epoch, self.number)

    @property
    def count(self) -> int:
        """Return by how many partitions homes are told here."""
        return self.counts[-1]

    @property
    def journal_end(self) -> int:
        """Return the journal offset behind all that we know of it."""
        coming = (offset for offset, _ in self.coming)
        return max(self.owner_offset, self.journal_offset, *coming) + 1

    @property
    def log(self) -> int:
        """Return the number of this partition's log as a source of what is forwarded."""
        return log_number(self.topic_id, self.conditions.log_era)

    def is_home_of(self, workload: int) -> bool:
        """Tell whether a workload, by its murmur2, lives here."""
        return workload % self.count == self.partition

    @property
    def is_settled(self) -> bool:
        """Tell whether everything an earlier owner may have applied is applied."""
        return self.position >= self.replay_until and not self.is_following

    @property
    def is_following(self) -> bool:
        """Tell whether conditions are still to come that an earlier owner may have applied by."""
        return bool(self.coming) and self.coming[0][1].from_offset <= self.replay_until

    def passed(self, offset: int) -> None:
        """Forget what was sent to the enforcement topic and has been read back."""
        if len(self.sent) > SENT_KEPT:
            for key in [each for each, sent in self.sent.items() if _is_before(sent, offset)]:
                del self.sent[key]

    def hold(self, journal_offset: int, conditions: Conditions) -> None:
        """Have conditions in force from their offset on. Mutates: self."""
        self.journal_offset, self.conditions = journal_offset, conditions
        self.held_since.append((conditions.from_offset, journal_offset))

    def journal_from(self, next_offset: int) -> int:
        """Return the journal offset from which an owner must read that begins at an offset.

        That of the entry in force there: not that in force now, which may hold from later on.
        """
        place = max(
            (place for place, each in enumerate(self.held_since) if each[0] <= next_offset),
            default=0,
        )
        later = [offset for _, offset in self.held_since[place:]]
        return min([*later, *(offset for offset, _ in self.coming)])

    def passed_by(self, next_offset: int) -> None:
        """Forget what held before an offset that no owner will begin before any more."""
        while len(self.held_since) > 1 and self.held_since[1][0] <= next_offset:
            del self.held_since[0]

    def limit(self) -> int | None:
        """Return the offset before which the conditions in force hold, None for no end."""
        if self.coming:
            return self.coming[0][1].from_offset
        return self.asked.conditions.from_offset if self.asked else None

    @property
    def planned(self) -> Conditions | None:
        """Return what is to hold from a later offset on, None for what holds now."""
        if self.coming:
            return self.coming[-1][1]
        return self.asked.conditions if self.asked else None

    def ask(self, conditions: Conditions, by_s: float) -> Asked:
        """Note that conditions are on their way to the journal, for later, and come by a time.

        Mutates: self.
        """
        assert not self.coming
        self.coming_by_s = by_s
        self.asked = Asked(conditions, asyncio.Event())
        self.later = sorted({*self.later_than(self.position), conditions.from_offset})
        return self.asked

    def later_than(self, offset: int) -> list[int]:
        """Return the offsets behind one for which anything is journalled, in order."""
        return [each for each in self.later if each > offset]

    def give_up_coming(self) -> None:
        """Let nothing come that was journalled for later; it must be journalled otherwise there.

        Mutates: self.
        """
        self.coming.clear()
        self.asked = None

    def due(self) -> tuple[int, Conditions] | None:
        """Take the next journalled conditions whose offset is reached."""
        return self.coming.popleft() if self.is_due else None

    @property
    def is_due(self) -> bool:
        """Tell whether the offset of the next journalled conditions is reached."""
        return bool(self.coming) and self.position >= self.coming[0][1].from_offset


def _is_before(sent: asyncio.Task[int], offset: int) -> bool:
    return sent.done() and not sent.cancelled() and not sent.exception() and sent.result() < offset


def cut(arrival: Arrival, limit: int | None) -> tuple[Arrival | None, Arrival | None]:
    """Return the part of an arrival before an offset, and the rest."""
    if limit is None or arrival.offsets[-1] < limit:
        return arrival, None
    at = bisect.bisect_left(arrival.offsets, limit)
    if at == 0:
        return None, arrival
    offsets, append_ms, values = arrival.offsets, arrival.append_ms, arrival.values
    return (
        arrival._replace(offsets=offsets[:at], append_ms=append_ms[:at], values=values[:at]),
        arrival._replace(offsets=offsets[at:], append_ms=append_ms[at:], values=values[at:]),
    )


def record_check(value: bytes | None, append_ms: int) -> int:
    """Return a checksum by which a record of the log is known again; never 0."""
    return 1 + zlib.crc32(append_ms.to_bytes(8, "little", signed=True), zlib.crc32(value or b""))
