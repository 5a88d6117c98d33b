"""What compressed batches inflate to is bounded, and nothing behind them is lost."""

from __future__ import annotations

import pytest

from stream.bus import kafka_codecs, kafka_whole
from stream.bus.kafka_rescue import read_batch
from stream.bus.kafka_whole import hand_over_whole
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
