"""What operators said, from the enforcement topic, as conditions of a home partition.

Records of issuer `operator` are read from the start of the compacted topic on; what they come to
for a partition is compared with what is journalled there, and journalled where it differs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from stream.bus import Rarely, Record
from stream.events import (
    ACTS_MAX,
    Conditions,
    Exemption,
    Lift,
    OperatorRecord,
    decode_value,
    operator_key,
)
from stream.identity import positive_murmur2

rarely = Rarely(logging.getLogger(__name__), every_s=10.0)

LIFT_KEPT_MS: Final = 8 * 86_400_000  # longer than any command lasts
OPERATORS_MAX: Final = 100_000


class Operators:
    """The acts in force by workload; the empty workload stands for everything."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[int, OperatorRecord]] = {}  # with the workload's murmur2

    def apply(self, record: Record) -> bool:
        """Take one enforcement record; tell whether it was an operator's."""
        if record.key is None or not record.key.startswith(b'["operator",'):
            return False
        if record.value is None:
            key = record.key
            gone = [each for each in self._records if operator_key(each) == key]
            for workload in gone:
                del self._records[workload]
            return bool(gone)
        try:
            value = decode_value(record.value)
        except (ValueError, RecursionError) as error:
            rarely.warning("an operator record cannot be read: %s", error)
            return False
        if not isinstance(value, OperatorRecord) or operator_key(value.workload) != record.key:
            rarely.warning("an operator record does not belong under its key")
            return False
        if len(self._records) >= OPERATORS_MAX and value.workload not in self._records:
            rarely.warning("more than %d workloads have operator records", OPERATORS_MAX)
            return False
        self._records[value.workload] = positive_murmur2(value.workload.encode()), value
        return True

    def wanted(
        self, conditions: Conditions, partition: int, partitions: int, wall: tuple[int, int]
    ) -> Conditions:
        """Return the conditions of a partition as operators want them.

        `wall` is the wall time and the offset from which lifts hold. Acts beyond ACTS_MAX are
        left out, the oldest first.
        """
        wall_ms, offset = wall
        stopped = 0
        exemptions, lifts = [], list(conditions.lifts)
        for workload, (home, record) in self._records.items():
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
        return msgspec.structs.replace(
            conditions,
            stopped_until_ms=stopped,
            exemptions=tuple(exemptions[-ACTS_MAX:]),
            lifts=tuple(sorted(lifts, key=lambda each: (each.at_ms, each.workload))[-ACTS_MAX:]),
        )


def _with_lift(lifts: Iterable[Lift], lift: Lift, wall_ms: int) -> list[Lift]:
    """Return the lifts with one more, if it is new and not forgotten."""
    kept = [each for each in lifts if each.at_ms + LIFT_KEPT_MS > wall_ms]
    if lift.at_ms + LIFT_KEPT_MS <= wall_ms:
        return kept
    if any(each.workload == lift.workload and each.at_ms >= lift.at_ms for each in kept):
        return kept
    return [*(each for each in kept if each.workload != lift.workload), lift]
