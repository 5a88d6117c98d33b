"""What compressed batches inflate to is bounded, and nothing behind them is lost."""

from __future__ import annotations

import gzip
import struct
import time

import aiokafka.errors as vendor
import pytest
from aiokafka.record.util import calc_crc32c

from stream.bus import kafka_codecs, kafka_whole
from stream.bus.kafka_rescue import read_batch
from stream.bus.kafka_whole import ODD_MAX, hand_over_whole
from tests.batches import AT, CODECS, Fetched, batch, next_offset
from tests.buses import run


@pytest.mark.parametrize("codec", CODECS.values())
def test_a_batch_that_inflates_too_far_is_one_record(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes stand at its last offset, whoever reads it and from where; the log goes on."""
    monkeypatch.setattr(kafka_codecs, "INFLATED_BYTES_MAX", 2_000)
    drawn = {"kind": "plain", "producer": 1, "deltas": [0, 1, 2], "gap": 1, "mark": 0}
    drawn |= {"append_time": True, "is_corrupt": False, "codec": 0, "value": b"v"}

    async def scene() -> None:
        log = [batch(drawn, 0)]
        bomb = batch(drawn | {"value": bytes(1_000), "codec": codec}, next_offset(log[-1]))
        log += [bomb, batch(drawn, next_offset(bomb))]
        at, last = next_offset(log[0]), next_offset(bomb) - 1
        for start in (0, at + 1):
            columns, is_empty = hand_over_whole(
                AT, Fetched(log, [], start, is_whole=True).result, 99
            )
            assert columns is not None
            assert is_empty
            rows = list(zip(columns.offsets, columns.values, strict=True))
            before = [(0, b"v"), (1, b"v"), (2, b"v")] if start == 0 else []
            behind = [(last + 1 + place, b"v") for place in range(3)]
            assert rows == [*before, (last, bomb[61:]), *behind]
        rescued = read_batch(bomb, 0, at + 1)
        assert rescued.next_offset == last + 1
        assert [(each.offset, each.value) for each in rescued.records] == [(last, bomb[61:])]

    run(scene())


@pytest.mark.parametrize("codec", CODECS.values())
def test_an_answer_inflates_no_further_than_a_batch(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What many small batches inflate to is bounded together; the rest is asked for again."""
    for module in (kafka_codecs, kafka_whole):
        monkeypatch.setattr(module, "INFLATED_BYTES_MAX", 4_000)
    drawn = {"kind": "plain", "producer": 1, "deltas": [0, 1, 2], "gap": 1, "mark": 0}
    drawn |= {"append_time": True, "is_corrupt": False, "codec": codec, "value": bytes(400)}

    async def scene() -> None:
        log = [batch(drawn, 0)]
        for _ in range(6):
            log.append(batch(drawn, next_offset(log[-1])))
        start, answers = 0, 0
        while start < next_offset(log[-1]):
            fetched = Fetched(log, [], start, is_whole=True)
            columns, is_empty = hand_over_whole(AT, fetched.result, 99)
            assert columns is not None
            assert is_empty
            assert 0 < len(columns.offsets) <= 9
            start, answers = fetched.state.position, answers + 1
        assert 3 <= answers <= 7

    run(scene())


def odd(deltas: list[int], last_delta: int, base: int) -> bytes:
    """A batch whose checksum is right and whose records lie about their offsets."""
    drawn = {"kind": "plain", "producer": 1, "deltas": deltas, "gap": 0, "mark": 0, "codec": 0}
    drawn |= {"append_time": True, "is_corrupt": False, "value": b"v"}
    raw = bytearray(batch(drawn | {"deltas": deltas, "gap": last_delta - deltas[-1]}, base))
    return bytes(raw)


def unreadable(name: str, base: int) -> bytes:
    """A batch that a broker takes, as its clients read it, and that is odd."""
    drawn = {"kind": "plain", "producer": 1, "deltas": [0], "gap": 0, "mark": 0}
    drawn |= {"append_time": True, "is_corrupt": False, "codec": 1, "value": b"v"}
    raw = bytearray(batch(drawn, base))
    if name == "no records":
        raw[61:] = bytes(len(raw) - 61)
    elif name == "trailing":
        raw += b"garbage"
    elif name == "cut":
        del raw[-4:]
    struct.pack_into(">i", raw, 8, len(raw) - 12)
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


ODD = {
    "far": lambda base: odd([2**31 - 1], 0, base),
    "twice": lambda base: odd([0, 0], 1, base),
    "back": lambda base: odd([1, 0], 1, base),
    "before": lambda base: odd([-5], 0, base),
    "no records": lambda base: unreadable("no records", base),
    "trailing": lambda base: unreadable("trailing", base),
    "cut": lambda base: unreadable("cut", base),
}


@pytest.mark.parametrize("name", ODD)
def test_a_batch_that_nobody_can_read_is_one_record(name: str) -> None:
    """Brokers take it, so it must stop nobody, and no offset but its own may come of it."""
    drawn = {"kind": "plain", "producer": 1, "deltas": [0, 1], "gap": 0, "mark": 0, "codec": 0}
    drawn |= {"append_time": True, "is_corrupt": False, "value": b"v"}

    async def scene() -> None:
        log = [batch(drawn, 0)]
        log.append(ODD[name](next_offset(log[-1])))
        log.append(batch(drawn, next_offset(log[-1])))
        last = next_offset(log[1]) - 1
        fetched = Fetched(log, [], 0, is_whole=True)
        columns, is_empty = hand_over_whole(AT, fetched.result, 99)
        assert columns is not None
        assert is_empty
        rows = list(zip(columns.offsets, columns.values, strict=True))
        assert rows == [
            (0, b"v"),
            (1, b"v"),
            (last, log[1][61:]),
            (last + 1, b"v"),
            (last + 2, b"v"),
        ]
        assert fetched.state.position == last + 3
        rescued = read_batch(log[1], 0, 2)
        assert [(each.offset, each.value) for each in rescued.records] == [(last, log[1][61:])]
        assert rescued.next_offset == last + 1

    run(scene())


def test_a_flood_of_them_is_dealt_with_in_parts() -> None:
    """Each answer has a bounded number; all come out, in order."""

    async def scene() -> None:
        log = [ODD["back"](0)]
        while len(log) < 2 * ODD_MAX + 9:
            log.append(ODD["back"](next_offset(log[-1])))
        start, found, answers = 0, [], 0
        while start < next_offset(log[-1]):
            fetched = Fetched(log, [], start, is_whole=True)
            columns, is_empty = hand_over_whole(AT, fetched.result, 10_000)
            assert columns is not None
            assert is_empty
            found += list(columns.offsets)
            start, answers = fetched.state.position, answers + 1
        assert (found, answers) == ([next_offset(each) - 1 for each in log], 3)

    run(scene())


def test_what_was_aborted_does_not_come_back_with_a_damaged_batch() -> None:
    """Who reads the damaged one again begins behind what was left out."""
    drawn = {"kind": "transactional", "producer": 7, "deltas": [0], "gap": 0, "mark": 0}
    drawn |= {"append_time": True, "is_corrupt": False, "codec": 0, "value": b"aborted"}

    async def scene() -> None:
        log = [batch(drawn, 100), batch(drawn | {"kind": "plain", "is_corrupt": True}, 101)]
        fetched = Fetched(log, [(7, 100)], 100, is_whole=True)
        with pytest.raises(vendor.CorruptRecordException):
            hand_over_whole(AT, fetched.result, 99)
        assert fetched.state.position == 101

    run(scene())


@pytest.mark.parametrize("members", [1, 2, 30_000])
def test_gzip_in_many_members_takes_linear_time(members: int) -> None:
    """A batch may be cut into members of a byte each: all is read, in less than a second."""
    body = bytes(range(256)) * 200
    step = -(-len(body) // members)
    packed = b"".join(gzip.compress(body[at : at + step], 1) for at in range(0, len(body), step))
    began_s = time.process_time()
    assert kafka_codecs.inflate(kafka_codecs.GZIP, packed) == body
    assert time.process_time() - began_s < 2.0
    with pytest.raises(ValueError, match="damaged"):
        kafka_codecs.inflate(kafka_codecs.GZIP, packed + b"garbage")
