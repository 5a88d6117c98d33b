"""Whether the table is what the workers published: one account for each home partition.

A home partition's owner says by heartbeat how many records it has published and the sum of their
hashes. Its heartbeats travel in the same Kafka partition as its records, so at the place of a
heartbeat in the log both sides speak of the same records, and a record lost between (by compaction
gone wrong, by a forged tombstone, by a broker that forgot) cannot stay unnoticed (DESIGN 3.16).

How old a proof is, is judged by the older of two times, the owner's and the broker's: an old
heartbeat that is written to the log again proves nothing new.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from stream.events import TIME_MS_MAX, Heartbeat, Version

from .binding import INT64_MAX, PARTITIONS_MAX

StateName = Literal["ready", "loading", "overflow", "mismatch", "stale"]
HomeStateName = Literal["ready", "overflow", "mismatch", "stale", "replaying", "unseen"]

EVERY_MS_MAX: Final = 3_600_000
_WORD: Final = (1 << 64) - 1
_is_digest = re.compile(r"[0-9a-fA-F]{1,16}").fullmatch
_ZERO: Final = Version(0, 0)


class HomeState(msgspec.Struct, frozen=True, kw_only=True):
    """One home partition as the gateway sees it.

    `held` and `published` are numbers of records, `published` as of the last heartbeat;
    `age_ms` is that of the last proof, None while there was none.
    """

    partition: int
    state: HomeStateName
    held: int
    published: int
    age_ms: int | None


class Home(msgspec.Struct, gc=False):
    """The account of one home partition; times in Unix milliseconds, 0 before the first.

    `records`, `digest` describe what is held; `published` what the last heartbeat claimed.
    `epoch` is that of the latest owner of whom anything was read, `proven_epoch` that of the latest
    who proved something. `alive_until_ms` follows every
    heartbeat, `proven_until_ms` only complete ones.
    """

    records: int = 0
    digest: int = 0
    published: int = 0
    version: Version = _ZERO
    epoch: int = 0
    proven_epoch: int = 0
    next_offset: int = 0
    said_ms: int = 0
    partitions: int = 0
    alive_until_ms: int = 0
    proven_until_ms: int = 0
    proven_ms: int = 0
    is_proven: bool = False
    matches: bool = False
    overflowed: bool = False

    def meet(self, epoch: int) -> bool:
        """Note whose record or heartbeat was read; return False if a later owner was met before.

        What an owner had published before its heir began to write lies before all that the heir
        has written, and what lies behind that and counts, the heir writes again: so nothing is
        missed. Mutates: self.
        """
        if epoch == self.epoch:
            return True
        if 0 < epoch < self.epoch:
            return False
        self.epoch = max(self.epoch, epoch)
        return True

    def is_behind(self, heartbeat: Heartbeat, append_ms: int, missed_max: int) -> bool:
        """Tell whether a heartbeat says no more than was heard before: where keys are, a replay.

        Proofs rise by version, by offset and, of one owner, by time; any other heartbeat only
        says that somebody is alive, and for how long. The last proof once more would be compared
        with what has been published since.
        """
        if heartbeat.complete:
            said = heartbeat.version, heartbeat.next_offset, heartbeat.at_ms
            is_first = heartbeat.epoch > self.proven_epoch
            return not is_first and said <= (self.version, self.next_offset, self.said_ms)
        until_ms = min(heartbeat.at_ms, append_ms) + missed_max * heartbeat.every_ms
        return until_ms < self.alive_until_ms

    def hear(self, heartbeat: Heartbeat, append_ms: int, missed_max: int) -> bool:
        """Compare the account with a heartbeat at its place in the log; return False if too old.

        An owner whose proof names a lower version than an earlier proof did has lost the
        partition and does not know yet; not so the first proof of a later owner: whoever it took
        the partition from may have gone on for a while, and named what never counted.

        Mutates: self.
        Requires: `is_sound_heartbeat(heartbeat)`.
        """
        if not self.meet(heartbeat.epoch):
            return False
        is_first = heartbeat.epoch > self.proven_epoch
        if heartbeat.complete and heartbeat.version < self.version and not is_first:
            return False
        said_ms = min(heartbeat.at_ms, append_ms)
        until_ms = said_ms + missed_max * heartbeat.every_ms
        self.partitions = heartbeat.partitions
        self.alive_until_ms = until_ms
        if heartbeat.complete:
            self.version = heartbeat.version
            self.proven_epoch = max(self.proven_epoch, heartbeat.epoch)
            self.next_offset = heartbeat.next_offset
            self.said_ms = heartbeat.at_ms
            self.published = heartbeat.records
            self.is_proven = True
            self.proven_ms = said_ms
            self.proven_until_ms = until_ms
            self.matches = (self.records, self.digest) == (
                heartbeat.records,
                int(heartbeat.digest, 16),
            )
            # What was refused for want of room is not missing from a table that matches.
            self.overflowed = self.overflowed and not self.matches
        return True

    def state_at(self, now_ms: int) -> HomeStateName:
        """Return the name of what is known at a time."""
        if self.overflowed:
            return "overflow"
        if self.is_proven and not self.matches:
            return "mismatch"
        if self.is_proven and now_ms < self.proven_until_ms:
            return "ready"
        if now_ms < self.alive_until_ms:
            return "replaying"
        return "stale" if self.partitions else "unseen"


class Homes:
    """The accounts of all home partitions, and what follows from them for the whole table."""

    def __init__(self, missed_max: int) -> None:
        self._missed_max = missed_max
        self._homes: dict[int, Home] = {}

    def credit(self, partition: int, record_hash: int) -> None:
        """Count a record that is held from now on."""
        home = self._homes.get(partition) or self._home(partition)
        home.records += 1
        home.digest = (home.digest + record_hash) & _WORD

    def debit(self, partition: int, record_hash: int) -> None:
        """Count a record that is held no more."""
        home = self._home(partition)
        home.records -= 1
        home.digest = (home.digest - record_hash) & _WORD

    def overflow(self, partition: int) -> None:
        """Note that a record of the partition found no room."""
        self._home(partition).overflowed = True

    def hear(self, heartbeat: Heartbeat, append_ms: int) -> bool:
        """Compare a partition's account with its heartbeat; return False if that is too old."""
        return self._home(heartbeat.partition).hear(heartbeat, append_ms, self._missed_max)

    def meet(self, partition: int, epoch: int) -> bool:
        """Note whose record of a partition was read; return False if a later owner was met."""
        home = self._homes.get(partition) or self._home(partition)
        return home.meet(epoch)

    def is_behind(self, heartbeat: Heartbeat, append_ms: int) -> bool:
        """Tell whether a partition's heartbeat says no more than was heard of it before."""
        return self._home(heartbeat.partition).is_behind(heartbeat, append_ms, self._missed_max)

    def accounts_for(self, partition: int, version: Version, epoch: int) -> bool:
        """Tell whether what is held of a partition is proven to be all up to a version.

        Of that owner's epoch or earlier: a later one publishes again what it replays, and counts
        it.
        """
        home = self._homes.get(partition)
        if home is None or epoch > home.proven_epoch:
            return False
        return home.is_proven and home.matches and version <= home.version

    def disagrees(self, partition: int) -> bool:
        """Tell whether what is held of a partition is proven not to be what was published."""
        home = self._home(partition)
        return home.is_proven and not home.matches

    def forget(self, partition: int) -> None:
        """Forget the heartbeats of a partition, but not what is held of it."""
        held = self._home(partition)
        self._homes[partition] = Home(records=held.records, digest=held.digest, epoch=held.epoch)

    def expected(self, now_ms: int) -> int:
        """Return the number of home partitions, 0 while no heartbeat has said.

        Who is alive says it; the largest number counts, because partitions are multiplied, and an
        owner may not have noticed yet. While nobody is alive, whoever was.
        """
        alive = 0
        ever = 0
        for home in self._homes.values():
            ever = max(ever, home.partitions)
            if now_ms < home.alive_until_ms:
                alive = max(alive, home.partitions)
        return alive or ever

    def state_at(self, now_ms: int) -> tuple[StateName, int]:
        """Return the name of the state, and until when it holds if nothing more is heard.

        Cost: O(home partitions).
        """
        expected = self.expected(now_ms)
        until_ms = TIME_MS_MAX if expected else 0
        names: set[HomeStateName] = set() if expected else {"unseen"}
        for partition in range(expected):
            home = self._homes.get(partition)
            if (home is None or not home.partitions) and self._is_to_come(partition):
                continue
            if home is None:
                names.add("unseen")
            else:
                names.add(home.state_at(now_ms))
                until_ms = min(until_ms, home.proven_until_ms)
        if any(home.overflowed for home in self._homes.values()):
            return "overflow", TIME_MS_MAX
        if "mismatch" in names:
            return "mismatch", TIME_MS_MAX
        if names != {"ready"}:
            return "stale", TIME_MS_MAX
        return "ready", until_ms

    def _is_to_come(self, partition: int) -> bool:
        """Tell whether a partition is so new that the one it comes from still speaks for it all.

        Partitions are multiplied one by one. An owner says the larger number when it has seen the
        heartbeats of those that its workloads went to, so until then nothing is missing.
        """
        counts = {home.partitions for home in self._homes.values() if home.partitions}
        before = max((count for count in counts if count <= partition), default=0)
        parent = self._homes.get(partition % before) if before else None
        return parent is not None and 0 < parent.partitions <= partition

    def states_at(self, now_ms: int) -> tuple[HomeState, ...]:
        """Return the home partitions one by one: the expected, and others of which we hold some."""
        others = {key for key, home in self._homes.items() if home.records or home.overflowed}
        partitions = sorted(others.union(range(self.expected(now_ms))))
        return tuple(self._state_of(partition, now_ms) for partition in partitions)

    def _state_of(self, partition: int, now_ms: int) -> HomeState:
        home = self._homes.get(partition, Home())
        return HomeState(
            partition=partition,
            state=home.state_at(now_ms),
            held=home.records,
            published=home.published,
            age_ms=now_ms - home.proven_ms if home.is_proven else None,
        )

    def _home(self, partition: int) -> Home:
        home = self._homes.get(partition)
        if home is None:
            home = self._homes[partition] = Home()
        return home


def is_sound_heartbeat(heartbeat: Heartbeat) -> bool:
    """Tell whether a heartbeat claims nothing impossible."""
    return (
        0 <= heartbeat.partition < heartbeat.partitions <= PARTITIONS_MAX
        and heartbeat.records >= 0
        and 0 <= heartbeat.epoch <= INT64_MAX
        and 0 <= heartbeat.at_ms <= TIME_MS_MAX
        and 0 < heartbeat.every_ms <= EVERY_MS_MAX
        and _is_digest(heartbeat.digest) is not None
    )
