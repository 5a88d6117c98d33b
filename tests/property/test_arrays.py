"""Several events in one record: each is what it would be in a record of its own."""

from __future__ import annotations

import json
from itertools import groupby
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events import (
    PAYLOAD_BYTES_MAX,
    REQUESTS_MAX,
    RejectCode,
    Request,
    Source,
    decode_request,
    encode,
    encode_requests,
    has_many,
    join_requests,
    split_requests,
    wrap,
)
from stream.profiles import EVENT as ROWS
from stream.profiles import Arrival, Decoder
from stream.profiles.elements import elements_of
from stream.profiles.gathering import Gathered
from stream.records import Values
from stream.simulate.model import Line
from tests.live import fixed_part, placeless
from tests.models.driver import KEY, Driver
from tests.models.logs import Log, logs
from tests.models.plain import values_of, wanted_values

WORKLOAD = "spiffe://td/a"
EVENT = {"at_ms": 1, "workload": WORKLOAD, "operation": "tool:x", "resources": ["to:bob@b.example"]}
LONG = "x" * 40
# In an array, each as JSON: whether it is an event, and with which code it is none.
PARTS: list[tuple[bytes, RejectCode | None]] = [
    (json.dumps(EVENT).encode(), None),
    (json.dumps(EVENT | {"purpose": "p", "labels": {"a": [1, {"b": "]}"}]}}).encode(), None),
    (json.dumps(EVENT | {"operation": 'say "]," \\ ä'}).encode(), None),
    (json.dumps(EVENT | {"operation": "ä"}, ensure_ascii=False, indent=1).encode(), None),
    (json.dumps(EVENT | {"workload": "SPIFFE://TD/a"}).encode(), None),
    (json.dumps(EVENT | {"workload": "td/a"}).encode(), RejectCode.BAD_IDENTITY),
    (json.dumps(EVENT | {"count": 0}).encode(), RejectCode.WRONG_TYPE),
    (b'{"operation":"\xff","task":"xx"}', RejectCode.BAD_TEXT),
    *[
        (json.dumps(each).encode(), RejectCode.WRONG_TYPE)
        for each in ({"x": LONG}, LONG, [LONG], [{"x": LONG}])
    ],
]
SHORT = [b"{}", b"1", b"null", b'"x"', b"[]", b"[{}]", b'{"at_ms":1,"workload":"s"}']
BROKEN = [b"[", b"[]", b"[,]", b"[{}", b"[{},]", b"[{}]]", b"[1 2]", b"[01]", b"[nul]", b"\x91"]
BROKEN += [b"[" + each + b"]" for each in SHORT]
BROKEN += [b"[" * 30_000, b"\x90", b"\xdc\x00\x00", b"\xdd\x00\x00\x00\x00", b"\x91\xc1"]
BROKEN += [b"[" + b"1," * REQUESTS_MAX + b"1]", b"[" + b"1," * 999 + b"1" * 65_000 + b"]"]
spaces = st.sampled_from([b"", b"", b" ", b"\n\t", b"\r\n  "])


def decoded(*values: bytes | None) -> tuple[Any, list[Any]]:
    """What records come to, at offsets 10, 11, and so on."""
    count = len(values)
    arrival = Arrival("requests", 0, range(10, 10 + count), range(count), list(values))
    return Decoder(KEY, 1, with_values=True).decode([arrival])


@given(st.lists(st.lists(st.tuples(st.sampled_from(PARTS), spaces), min_size=1), max_size=5))
def test_each_event_of_an_array_is_judged_alone(drawn: list[list[Any]]) -> None:
    """A bad one is a reject with its ordinal and its own bytes, and costs no other."""
    values: list[bytes] = []
    rows: list[tuple[Any, ...]] = []
    faults: list[tuple[Any, ...]] = []
    for record, parts in enumerate(drawn):
        joined = b",".join(space + part + space for (part, _), space in parts)
        values.append(parts[0][1] + b"[" + joined + b"]" + parts[0][1])
        for ordinal, ((part, code), _) in enumerate(parts):
            place = 10 + record, ordinal, part
            (rows if code is None else faults).append(place if code is None else (*place, code))
    batch, rejects = decoded(*values)
    found = batch.events[["offset", "ordinal", "append_ms"]].tolist()
    assert found == [(offset, ordinal, offset - 10) for offset, ordinal, _ in rows]
    assert list(batch.payloads) == [part for _, _, part in rows]
    requests = [decode_request(part) for _, _, part in rows]
    assert [batch.request(each) for each in range(len(rows))] == requests
    assert values_of(batch.events, batch) == [wanted_values(each, KEY) for each in requests]
    told = [(each.offset, each.ordinal, each.raw, each.code) for each in rejects]
    assert sorted(told) == sorted(faults)
    assert all(f"event {each.ordinal} of its record" in each.message for each in rejects)


@pytest.mark.parametrize("place", range(len(BROKEN)))
def test_what_is_no_array_is_one_reject(place: int) -> None:
    """Cut short, empty, with too many or too long: whole, and nothing of it counts."""
    good = json.dumps(EVENT).encode()
    for value in (BROKEN[place], b" \n" + BROKEN[place] if BROKEN[place][0] == 0x5B else b"\x90"):
        batch, rejects = decoded(good, value, good)
        assert batch.events["offset"].tolist() == [10, 12]
        assert [(each.offset, each.ordinal, each.raw) for each in rejects] == [(11, 0, value)]


def test_arrays_of_all_kinds_beside_single_events() -> None:
    """JSON, msgpack and forwarded ones, also of one event, in the order of the log."""
    event = Request(1, WORKLOAD, "tool:x")
    packed = msgspec.msgpack.encode(event)
    many = [packed] * 20
    at = wrap(Source("requests", 1, 0, 7), encode_requests([event] * 2), 3, KEY.seal)
    values = [
        encode_requests([event]),
        encode_requests([event] * 3),
        b"\x91" + packed,
        join_requests(many),
        b"\xdd\x00\x00\x00\x02" + packed * 2,
        at,
        at[:-1],
        b"[" + encode_requests([event]) + b"]",
        None,
    ]
    batch, rejects = decoded(*values)
    counts = np.bincount(batch.events["offset"] - 10)
    assert counts.tolist() == [1, 3, 1, 20, 2, 2, 0, 1]
    assert np.all(np.diff(batch.events["offset"]) >= 0)
    assert batch.events["append_ms"][batch.events["offset"] == 15].tolist() == [3, 3]
    codes = [(each.offset, each.code) for each in rejects]
    assert codes == [(16, RejectCode.FORGED), (18, RejectCode.EMPTY)]
    assert all(batch.request(each) == event for each in range(30))


def test_what_comes_again_is_left_out_whole() -> None:
    """A forwarded array is heard once, as one entry of its source."""
    value = wrap(
        Source("requests", 1, 0, 7),
        join_requests([b'{"at_ms":1,"operation":"long"}'] * 2),
        3,
        KEY.seal,
    )
    arrival = Arrival("requests", 0, [1, 2], [0, 0], [value, value])
    asked: list[int] = []

    def hears(_: int, source: Source) -> bool:
        asked.append(source.offset)
        return len(asked) == 1

    batch, rejects = Decoder(KEY, 1).decode([arrival], hears)
    assert not len(batch.events)
    assert (asked, [(each.offset, each.ordinal) for each in rejects]) == ([7, 7], [(1, 0), (1, 1)])


@given(st.binary(max_size=40) | st.integers().map(lambda seed: mutated(Random(seed))))
def test_a_kernel_splits_as_msgspec_does(value: bytes) -> None:
    """Whatever comes: the same places, or one that is told to be no array."""
    good = b'{"a":1}'
    gathered = Gathered(KEY, 3, with_values=True)
    elements, _, _ = elements_of(
        Values.of([good, value, good]), KEY.seal, gathered, np.zeros(3, ROWS)
    )
    found = list(elements.values)
    assert (found[0], found[-1]) == (good, good)
    assert elements.records.tolist() == [0, *[1] * (len(found) - 2), 2]
    assert elements.ordinals.tolist() == [0, *range(len(found) - 2), 0]
    try:
        parts = [] if value.startswith(b"\xc1") else split_requests(value)
    except (ValueError, RecursionError):
        parts = []
    assert [each[0] for each in elements.faults] == ([] if parts else [1])
    assert found[1:-1] == (parts or [value])
    assert elements.is_part[1] == (has_many(value) and bool(parts))


def mutated(random: Random) -> bytes:
    """An array with a few bytes changed."""
    parts = [random.choice(PARTS)[0] for _ in range(random.randrange(4))]
    value = bytearray(b"[" + b", ".join(parts) + b"]")
    for _ in range(random.choice((0, 1, 1, 2))):
        at = random.randrange(len(value) + 1)
        value[at : at + random.randrange(3)] = random.choice((b"", b"[", b"]", b",", b'"', b"1"))
    return bytes(value)


@given(st.lists(st.sampled_from([1, 2, 3, 50]), min_size=1), st.data())
def test_records_of_several_events_come_to_the_same(sizes: list[int], data: st.DataObject) -> None:
    """One stream with an event a record and as arrays: the same bodies, findings and rows.

    Versions never repeat, and what is delivered again changes nothing.
    """
    log = data.draw(logs(partitions=data.draw(st.sampled_from([1, 3]))))
    start = [each for each in log.changes if each.conditions.from_offset == 0]
    single, several = [], []
    for number, group in enumerate(grouped(log.lines, sizes)):
        last_ms = max(each.append_ms for each in group)
        single += [each._replace(append_ms=last_ms) for each in group]
        payloads = [each.value for each in group]
        if number % 3 == 2:
            payloads = [msgspec.msgpack.encode(msgspec.json.decode(each)) for each in payloads]
        value = join_requests(payloads) if len(group) > 1 else b"[" + group[0].value + b"]"
        several.append(group[0]._replace(append_ms=last_ms, value=value))
    one = Driver(Log(log.partitions, tuple(single), tuple(start))).run(single)
    cuts = data.draw(st.sets(st.integers(1, 60)))
    many = Driver(Log(log.partitions, tuple(several), tuple(start)), slots_max=64)
    many.run(several, cuts)
    for partition in range(log.partitions):
        ours, theirs = many.of(partition), one.of(partition)
        assert bodies(ours[0]) == bodies(theirs[0])
        assert ours[1:] == theirs[1:]
        versions = [each.command.version for each in ours[0]]
        assert versions == sorted(set(versions))
    rows = many.rows()
    assert placeless_rows(rows) == placeless_rows(one.rows())
    done = len(many.outgoing)
    many.run(several, cuts)
    assert len(many.outgoing) == done
    assert many.rows() == rows


def grouped(lines: tuple[Line, ...], sizes: list[int]) -> list[list[Line]]:
    """Neighbours of one partition, in groups of up to so many, again and again."""
    groups: list[list[Line]] = []
    for _, run in groupby(lines, key=lambda each: each.partition):
        some = list(run)
        while some:
            size = sizes[len(groups) % len(sizes)]
            groups.append(some[:size])
            some = some[size:]
    return groups


def bodies(outgoing: list[Any]) -> list[bytes]:
    """The bodies of commands."""
    return [encode(each.command.body) for each in outgoing]


def placeless_rows(rows: dict[str, bytes]) -> dict[str, bytes]:
    """Rows without the places of their events."""
    return {name: placeless(fixed_part(row)) for name, row in rows.items()}


def test_what_fits_in_a_record() -> None:
    """One event is its own value; none, too many or too much are refused."""
    event = Request(1, WORKLOAD, "x")
    one = encode_requests([event])
    assert decode_request(one) == event
    assert split_requests(encode_requests([event] * 3)) == [one] * 3
    for wrong in ([], [event] * (REQUESTS_MAX + 1), [event] * (PAYLOAD_BYTES_MAX // len(one))):
        with pytest.raises(ValueError, match=r"in a record|a record holds"):
            encode_requests(wrong)
