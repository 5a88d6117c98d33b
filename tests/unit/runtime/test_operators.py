"""What operators say becomes conditions of the partition it concerns, each thing once."""

import asyncio
from collections import Counter

import msgspec

from stream.bus import Record
from stream.events import (
    POLICY_BYTES_MAX,
    Conditions,
    OperatorAct,
    OperatorRecord,
    encode,
    encode_entry,
    operator_key,
)
from stream.identity import home_partition
from stream.runtime import Operators
from tests.signed import signed, trust

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


def signed_acts(
    workload: str, *acts: OperatorAct, at_ms: int = NOW_MS, until_ms: int = 0
) -> Record:
    """The record of some acts as the operator's key signs it."""
    record = OperatorRecord(workload=workload, acts=acts, at_ms=at_ms, until_ms=until_ms)
    pair = signed((operator_key(workload), encode(record)), "operator")
    return Record(0, 0, NOW_MS, *pair)


def keyed(*, is_strict: bool = True) -> tuple[Operators, Counter[str]]:
    """Operators that believe keys, and what they refuse."""
    refused: Counter[str] = Counter()
    return Operators(trust(is_strict=is_strict), lambda why: refused.update([why])), refused


def test_with_keys_only_operators_are_believed() -> None:
    """Who can write to the topic, and a worker's own key, stop nothing and exempt nobody."""

    async def scene() -> None:
        operators, refused = keyed()
        stop = act("stop")
        unsigned = said("", stop)
        payload = encode(OperatorRecord(workload="", acts=(stop,)))
        workers = unsigned._replace(value=signed((operator_key(""), payload))[1])
        genuine = signed_acts("", stop)
        altered = genuine._replace(value=(genuine.value or b"").replace(b'"acts":[', b'"acts": ['))
        for record in (unsigned, workers, altered):
            assert not operators.apply(record)
        assert wanted(operators) == BASE
        assert operators.apply(genuine)
        assert wanted(operators).stopped_until_ms == NOW_MS + 1_000
        assert refused == {"unsigned": 1, "wrong_role": 1, "forged": 1}

    asyncio.run(scene())


def test_with_keys_nothing_that_ended_comes_back() -> None:
    """An older record written again, and a tombstone before its time, change nothing."""

    async def scene() -> None:
        operators, refused = keyed()
        exempt = signed_acts(WORKLOAD, act("exempt"))
        ended = signed_acts(WORKLOAD, at_ms=NOW_MS + 5, until_ms=NOW_MS + 1_000)
        tombstone = said(WORKLOAD)
        assert operators.apply(exempt)
        assert not operators.apply(tombstone)
        assert [each.workload for each in wanted(operators).exemptions] == [WORKLOAD]
        assert operators.apply(ended)
        assert not operators.apply(exempt)
        assert not operators.apply(tombstone)
        assert not operators.apply(exempt)
        assert wanted(operators) == BASE
        assert operators.apply(tombstone._replace(append_ms=NOW_MS + 1_000))
        assert refused == {"unexplained": 2, "older": 2}

    asyncio.run(scene())


def test_what_covers_an_operator_s_record_is_covered_by_it() -> None:
    """Compaction keeps the last of a key, so what is not believed must not be that for long."""

    async def scene() -> None:
        operators, _ = keyed()
        exempt = signed_acts(WORKLOAD, act("exempt"))
        ended = signed_acts(WORKLOAD, at_ms=NOW_MS + 5, until_ms=NOW_MS + 1_000)
        garbage = ended._replace(value=b"{}")
        for record in (exempt, ended):
            assert operators.apply(record)
        assert operators.covered(lambda _: True) == []
        for late in (exempt, said(WORKLOAD), said(WORKLOAD, act("exempt")), garbage):
            assert not operators.apply(late._replace(partition=3))
            assert operators.covered(lambda _: False) == []
            assert operators.covered(lambda _: True) == [(ended.key, 3, ended.value)]
            assert operators.covered(lambda _: True) == []
        operators.apply(exempt)
        assert operators.apply(ended), "ours, read back"
        assert operators.covered(lambda _: True) == []
        operators.apply(exempt)
        assert operators.apply(said(WORKLOAD)._replace(append_ms=NOW_MS + 1_000))
        assert operators.covered(lambda _: True) == []

    asyncio.run(scene())


def test_without_keys_or_strictness_nothing_is_written_again() -> None:
    """Whoever wrote last is right then."""

    async def scene() -> None:
        for operators in (Operators(), keyed(is_strict=False)[0]):
            operators.apply(signed_acts(WORKLOAD, act("exempt")))
            operators.apply(said(WORKLOAD)._replace(value=b"{}"))
            assert operators.covered(lambda _: True) == []

    asyncio.run(scene())


def test_a_mode_that_warns_obeys_and_counts() -> None:
    """On the way to keys an unsigned stop still stops."""

    async def scene() -> None:
        operators, refused = keyed(is_strict=False)
        assert operators.apply(said("", act("stop")))
        assert operators.apply(said(""))
        assert refused == {"unsigned": 1, "unexplained": 1}

    asyncio.run(scene())


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


def test_what_operators_want_fits_into_a_record() -> None:
    """However long names and reasons are, the acts that end last stay beside the largest policy."""
    operators = Operators()
    for number in range(600):
        workload = f"spiffe://test.example/{number:04}" + "/" + "a" * 900
        long = {"until_ms": NOW_MS + 1_000 + number}
        reason = msgspec.structs.replace(act("exempt", **long), reason="\N{SNOWMAN}" * 500)
        assert operators.apply(said(workload, reason, act("lift", at_ms=NOW_MS + number)))
    large = msgspec.structs.replace(BASE, policy_text='"' * POLICY_BYTES_MAX)
    found = operators.wanted(large, 0, 1, (NOW_MS, 7))
    assert 50 < len(found.exemptions) < 600
    assert found.exemptions[-1].until_ms == NOW_MS + 1_599
    assert 50 < len(found.lifts) < 600
    assert len(encode_entry(found)) < 1_048_576
    # Nothing new comes of the same acts.
    assert operators.wanted(found, 0, 1, (NOW_MS, 8)) == found
