"""What operators say becomes conditions of the partition it concerns, each thing once."""

import asyncio

import msgspec

from stream.bus import Record
from stream.events import Conditions, OperatorAct, OperatorRecord, encode, operator_key
from stream.identity import home_partition
from stream.runtime import Operators

WORKLOAD = "spiffe://test.example/agents/a"
PARTITIONS = 6
HOME = home_partition(WORKLOAD.encode(), PARTITIONS)
NOW_MS = 1_790_000_000_000
BASE = Conditions(nonce="n", era=0, from_offset=0, policy_hash="h", policy_text="{}")


def said(workload: str, *acts: OperatorAct) -> Record:
    """The record of some acts; a tombstone where there are none."""
    value = encode(OperatorRecord(workload=workload, acts=acts)) if acts else None
    return Record(0, 0, NOW_MS, operator_key(workload), value)


def act(kind: str, **fields: int) -> OperatorAct:
    """One act, in force for a second."""
    span = {"at_ms": NOW_MS, "until_ms": NOW_MS + 1_000} | fields
    return msgspec.convert({"act": kind, "reason": "r", "by": "test", **span}, OperatorAct)


def wanted(operators: Operators, partition: int = HOME, at_ms: int = NOW_MS, offset: int = 7):
    """The conditions of a partition, at a time and from an offset on."""
    return operators.wanted(BASE, partition, PARTITIONS, (at_ms, offset))


def test_an_exemption_concerns_one_partition_until_it_ends() -> None:
    """An exemption is wanted at home only, and no longer once its time is over."""
    operators = Operators()
    assert operators.apply(said(WORKLOAD, act("exempt")))
    assert [each.workload for each in wanted(operators).exemptions] == [WORKLOAD]
    assert wanted(operators, (HOME + 1) % PARTITIONS) == BASE
    assert wanted(operators, at_ms=NOW_MS + 1_000) == BASE


def test_a_stop_concerns_all_and_start_takes_it_back() -> None:
    """A stop is wanted in every partition, until its record is erased."""
    operators = Operators()
    operators.apply(said("", act("stop")))
    stops = {wanted(operators, each).stopped_until_ms for each in range(PARTITIONS)}
    assert stops == {NOW_MS + 1_000}
    assert operators.apply(said(""))
    assert wanted(operators) == BASE


def test_a_lift_happens_once() -> None:
    """A lift keeps the offset at which it was first wanted, however often its record is read."""
    operators = Operators()
    operators.apply(said(WORKLOAD, act("lift")))
    first = wanted(operators)
    assert [each.offset for each in first.lifts] == [7]
    again = operators.wanted(first, HOME, PARTITIONS, (NOW_MS, 900))
    assert again == first
    operators.apply(said(WORKLOAD, act("lift", at_ms=NOW_MS + 5)))
    later = operators.wanted(first, HOME, PARTITIONS, (NOW_MS, 900))
    assert [each.offset for each in later.lifts] == [900]


def test_what_is_no_operator_record_changes_nothing() -> None:
    """Other keys, broken values and values under a wrong key are left alone."""
    operators = Operators()
    stop = encode(OperatorRecord(workload="", acts=(act("stop"),)))

    async def scene() -> None:
        for key, value in (
            (b'["home","spiffe://a/b","workload"]', stop),
            (operator_key(""), b"{"),
            (operator_key(""), b"[" * 100_000),
            (operator_key(""), stop.replace(b'"format":1', b'"format":2')),
            (operator_key(WORKLOAD), stop),
            (None, stop),
        ):
            assert not operators.apply(Record(0, 0, NOW_MS, key, value))

    asyncio.run(scene())
    assert wanted(operators) == BASE
