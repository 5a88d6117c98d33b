"""Learned contexts in memory: as many as rows need, given back with them; values where asked."""

from __future__ import annotations

import numpy as np

from stream.engine import State, trim_learned
from stream.events import Request, encode_request
from stream.kernel import HashKey
from stream.profiles import (
    LEARNED,
    LEARNED_LINES,
    Arrival,
    Decoder,
    RecordTable,
    claim_habits,
    claim_learned,
    empty_batch,
)

KEY = HashKey(b"a key for tests.")


def claimed(table: RecordTable, local: np.ndarray, context: int, task: int = 7) -> int:
    """The record of a context of a row that has none yet."""
    ids = np.uint64(1), np.uint64(task), context, np.int64(3)
    free = table.places, table.free
    return int(claim_learned(table.records, free, local, ids))


def test_records_are_given_back_and_given_again() -> None:
    """A context that begins anew keeps its record; a row that goes gives all of its back."""
    table, local = RecordTable(16, LEARNED), np.zeros(2, [("learned", np.int32, (8,))])
    table.reserve(2)
    first = claimed(table, local[0], 0)
    assert claimed(table, local[0], 0) == first
    local[0]["learned"][0] *= -1  # it has ended
    assert claimed(table, local[0], 0, task=8) == first
    second = claimed(table, local[1], 5)
    assert (len(table), first != second) == (2, True)
    table.release(local["learned"][0])
    assert (len(table), not local["learned"][0].any()) == (1, True)
    assert claimed(table, local[0], 3) == first


def test_there_are_as_many_as_rows_can_take_and_no_more() -> None:
    """Room grows with what is asked for; what was there stays."""
    table, local = RecordTable(3_000, LEARNED), np.zeros(400, [("learned", np.int32, (8,))])
    for row in range(375):
        table.reserve(8)
        for context in range(8):
            record = table.records[claimed(table, local[row], context)]
            record["calls"] = row * 8 + context
    assert len(table) == len(table.records) == 3_000
    table.reserve(8)
    calls = table.records["calls"][local["learned"][:375].ravel() - 1]
    assert calls.tolist() == list(range(3_000))
    assert LEARNED.itemsize < 1_024


def test_stored_rows_go_until_few_contexts_are_compared() -> None:
    """The longest unused first; what is not stored, or not compared, stays."""
    state = State(KEY, 64, 1)
    table = state.table
    for name in range(1, 33):
        slot = table.admit(name, f"w{name}", 0, 0)
        table.sections.local["used"][slot] = name
        if name % 2:
            table.learned.reserve(1)
            claimed(table.learned, table.sections.local[slot], 0)
    table.sections.local["unsaved_from"][table.find(1)] = 5
    assert trim_learned(state, empty_batch(), 16) == 0
    assert trim_learned(state, empty_batch(), 10) == 6
    assert len(table.learned) == 10
    assert [name for name in range(1, 33) if table.find(name) < 0] == [3, 5, 7, 9, 11, 13]
    assert trim_learned(state, empty_batch(), 0) == 9
    assert len(table.learned) == 1  # of the row that is not stored


def test_stored_rows_go_until_few_habits_are_known() -> None:
    """Also where no context is compared any more: habits outlive tasks."""
    state = State(KEY, 64, 1)
    table = state.table
    empty = np.zeros(1, table.habits.records.dtype)
    for name in range(1, 33):
        local = table.sections.local[table.admit(name, f"w{name}", 0, 0)]
        local["used"] = 100 + name
        table.habits.reserve(1)
        free = table.habits.places, table.habits.free
        claim_habits(table.habits.records, free, local, (np.uint64(name), empty))
    assert trim_learned(state, empty_batch(), 32) == 0
    assert trim_learned(state, empty_batch(), 16) == 17
    assert len(table.habits) == 15
    assert [name for name in range(1, 33) if table.find(name) < 0] == list(range(1, 18))


def test_values_are_read_where_something_is_compared() -> None:
    """What was read ahead without them does not suffice once a baseline is in force there."""
    decoder = Decoder(KEY, 1)
    value = encode_request(Request(1, "spiffe://td/w", "tool:x", resources=("to:alice",)))
    (read,) = decoder.read([Arrival("t", 0, [0], [1], [value])])
    assert decoder.suffices(read)
    decoder.adopt(0, 1, with_values=True)
    assert not decoder.suffices(read)
    (again,) = decoder.read([read.arrival])
    assert decoder.suffices(again)
    assert len(decoder.finish([again])[0].values) == 1
    decoder.adopt(0, 1)
    assert decoder.suffices(again)
    assert len(decoder.decode([read.arrival])[0].values) == 0


def test_what_calls_touch_of_a_record_is_asked_for() -> None:
    """Wherever the record begins within a line."""
    asked = {64 * line for line in LEARNED_LINES}
    for name in ("workload", "mode", "habit", "parts", "deeds", "likely"):
        kind, offset = LEARNED.fields[name][:2]
        span = {"deeds": 16, "likely": 32}.get(name, kind.itemsize)  # of lists the first few
        for shift in range(0, 64, 16):
            touched = {(shift + at) // 64 for at in range(offset, offset + span)}
            assert touched <= {(shift + at) // 64 for at in asked}, (name, shift)
