"""What operators said, from the enforcement topic, as conditions of a home partition.

Records of issuer `operator` are read from the start of the compacted topic on; what they come to
for a partition is compared with what is journalled there, and journalled where it differs.

With keys only what an operator's key has signed is believed, in the order of signing, and nothing
ends before its time: a tombstone says nothing, an older record written again is still older. But
compaction keeps what was written last: so where anything was written behind a record that holds and
is not believed, owners write that record again, before whoever reads later finds only the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from stream.bus import Rarely, Record
from stream.events import (
    ACTS_MAX,
    TIME_MS_MAX,
    Conditions,
    Exemption,
    Lift,
    OperatorRecord,
    decode_value,
    operator_key,
    split_signature,
)
from stream.identity import positive_murmur2
from stream.signing import Trust

Act = TypeVar("Act", Exemption, Lift)
log = logging.getLogger(__name__)
rarely = Rarely(log, every_s=10.0)

LIFT_KEPT_MS: Final = 8 * 86_400_000  # longer than any command lasts
OPERATORS_MAX: Final = 100_000
ACTS_BYTES_MAX: Final = 192 * 1024  # of each kind; a record of 1 MiB also holds the policy
REFUSED_EVERY_S: Final = 60.0
COVERED_MAX: Final = 10_000
COVERED_AT_ONCE: Final = 1_000


class Held(NamedTuple):
    """A record that is believed: the workload's murmur2, what it says, and its bytes."""

    home: int
    record: OperatorRecord
    payload: bytes


class Operators:
    """The acts in force by workload; the empty workload stands for everything.

    `trust` are the keys without whose signature nothing is believed; `refused` is told why a record
    was not, or, in mode `warn`, would not be.
    """

    def __init__(
        self, trust: Trust | None = None, refused: Callable[[str], None] = lambda why: None
    ) -> None:
        self.trust = trust
        self._refused = refused
        self._rarely = Rarely(log, REFUSED_EVERY_S)
        self._records: dict[bytes, Held] = {}  # by key
        # Where something that is not believed was written behind what is: (key, Kafka partition).
        self._covered: dict[tuple[bytes, int], None] = {}

    def apply(self, record: Record) -> bool:
        """Take one enforcement record; tell whether it was an operator's, and changed something.

        Requires: with keys, an event loop that runs.
        """
        if record.key is None or not record.key.startswith(b'["operator",'):
            return False
        is_taken = self._end(record) if record.value is None else self._take(record, record.value)
        place, held = (record.key, record.partition), self._records.get(record.key)
        # What is ours is not believed any more itself where its key was retired.
        if is_taken or held is None or held.payload == record.value:
            self._covered.pop(place, None)
        elif self.trust is not None and self.trust.is_strict and len(self._covered) < COVERED_MAX:
            self._covered[place] = None
        return is_taken

    def covered(self, is_mine: Callable[[int], bool]) -> list[tuple[bytes, int, bytes]]:
        """Take what must be written again: key, Kafka partition, bytes.

        Of workloads whose murmur2 the caller says is its own. Mutates: self.
        """
        mine = [each for each in self._covered if is_mine(self._records[each[0]].home)]
        for each in mine[:COVERED_AT_ONCE]:
            del self._covered[each]
        return [(key, at, self._records[key].payload) for key, at in mine[:COVERED_AT_ONCE]]

    def _take(self, record: Record, payload: bytes) -> bool:
        """Believe a record that is no tombstone, or say why not; tell whether it is believed."""
        assert record.key is not None, "the key was compared"
        signed = split_signature(payload)
        try:
            value = decode_value(signed.payload)
        except (ValueError, RecursionError) as error:
            rarely.warning("an operator record cannot be read: %s", error)
            return False
        if not isinstance(value, OperatorRecord) or operator_key(value.workload) != record.key:
            rarely.warning("an operator record does not belong under its key")
            return False
        if self.trust is not None:
            fault = self.trust.fault_of(record.key, record.append_ms, signed, value)
            if self._is_refused(fault or self._replay(record.key, value)):
                return False
        if len(self._records) >= OPERATORS_MAX and record.key not in self._records:
            rarely.warning("more than %d workloads have operator records", OPERATORS_MAX)
            return False
        home = positive_murmur2(value.workload.encode())
        self._records[record.key] = Held(home, value, payload)
        return True

    def _end(self, record: Record) -> bool:
        """Forget the acts under a tombstone's key; with keys only when they are over anyway."""
        assert record.key is not None, "the key was compared"
        held = self._records.get(record.key)
        if held is None:
            return False
        is_over = record.append_ms >= over_ms(held.record)
        if self.trust is not None and not is_over and self._is_refused("unexplained"):
            return False
        del self._records[record.key]
        for place in [each for each in self._covered if each[0] == record.key]:
            del self._covered[place]
        return True

    def _replay(self, key: bytes, value: OperatorRecord) -> str | None:
        held = self._records.get(key)
        return "older" if held is not None and value.at_ms < held.record.at_ms else None

    def _is_refused(self, fault: str | None) -> bool:
        """Count and log a fault; tell whether it means that the record is not taken."""
        if fault is None:
            return False
        assert self.trust is not None, "only keys find faults"
        self._refused(fault)
        self._rarely.warning("an operator record is not believed: %s", fault)
        return self.trust.is_strict

    def wanted(
        self, conditions: Conditions, partition: int, partitions: int, wall: tuple[int, int]
    ) -> Conditions:
        """Return the conditions of a partition as operators want them.

        `wall` is the wall time and the offset from which lifts hold. Acts beyond ACTS_MAX, or of
        more than ACTS_BYTES_MAX, are left out, the oldest first, and that is said.
        """
        wall_ms, offset = wall
        stopped = 0
        exemptions, lifts = [], list(conditions.lifts)
        for home, record, _ in self._records.values():
            workload = record.workload
            if workload and home % partitions != partition:
                continue
            for act in record.acts:
                if act.act == "lift":
                    lifts = _with_lift(lifts, Lift(workload, offset, act.at_ms), wall_ms)
                elif act.until_ms <= wall_ms:
                    continue
                elif act.act == "stop" and not workload:
                    stopped = max(stopped, act.until_ms)
                elif act.act == "exempt" and workload:
                    exemptions.append(
                        Exemption(workload=workload, until_ms=act.until_ms, reason=act.reason)
                    )
        exemptions.sort(key=lambda each: (each.until_ms, each.workload))
        lifts.sort(key=lambda each: (each.at_ms, each.workload))
        return msgspec.structs.replace(
            conditions,
            stopped_until_ms=stopped,
            exemptions=_fitting(exemptions),
            lifts=_fitting(lifts),
        )


def over_ms(record: OperatorRecord) -> int:
    """Return when nothing in a record, or in one before it, is in force any more."""
    return max([record.until_ms, *(act.until_ms or TIME_MS_MAX for act in record.acts)])


def _fitting(acts: Sequence[Act]) -> tuple[Act, ...]:
    """Return as many of the last acts as a journal entry has room for: it must fit in a record."""
    left, first = ACTS_BYTES_MAX, len(acts)
    while first and len(acts) - first < ACTS_MAX:
        left -= len(msgspec.json.encode(acts[first - 1])) + 1
        if left < 0:
            break
        first -= 1
    if first:
        rarely.warning("%d acts of operators have no room in the journal: the oldest", first)
    return tuple(acts[first:])


def _with_lift(lifts: Iterable[Lift], lift: Lift, wall_ms: int) -> list[Lift]:
    """Return the lifts with one more, if it is new and not forgotten."""
    kept = [each for each in lifts if each.at_ms + LIFT_KEPT_MS > wall_ms]
    if lift.at_ms + LIFT_KEPT_MS <= wall_ms:
        return kept
    if any(each.workload == lift.workload and each.at_ms >= lift.at_ms for each in kept):
        return kept
    return [*(each for each in kept if each.workload != lift.workload), lift]
