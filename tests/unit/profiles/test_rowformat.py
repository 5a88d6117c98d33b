"""The stored row, byte by byte: a file that was written once must be readable for ever.

`golden/row-1.hex` is a row of format 1, a word a line. It never changes; a format that writes other
bytes has another number, and another file beside it: a row with learned contexts and habits is
`row-2.hex`. Records name their layouts themselves, so one that grows has another id and no other
number: `row-2-resources.hex` is the same row since different resources are counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream.detectors import HABITS, HABITS_BEFORE, is_sound_workload
from stream.enforcement import KEPT_HABITS
from stream.errors import NewerFormat, RowCorrupt
from stream.events import TIME_MS_MAX
from stream.profiles import (
    FORMAT_VERSION,
    LEARNED,
    Layout,
    RowFormat,
    stored_clock_ms,
    tail_of,
    with_tail,
)
from stream.profiles.layout import TRANSITION_SETS
from stream.profiles.learned_sections import section_id, widened
from stream.profiles.rowformat import PLAIN_BYTES_MAX, ROW_BYTES_MAX
from stream.profiles.rowwords import SIZES, checksum
from stream.profiles.table import ProfileTable

GOLDEN = Path(__file__).parent / "golden"
KEY_ID = 0xBEEF
LAYOUT = Layout((30, 10), (20,), (50, 40))
NAME = 0xA1A2A3A4A5A6A7A8
TAIL = b"what is in force, in words"


def filled() -> ProfileTable:
    """A row with something in every kind of section, and with unused ones between."""
    table = ProfileTable(LAYOUT, 2, KEPT_HABITS)
    table.admit(1, "other", 0, 0)
    slot = table.admit(NAME, "spiffe://td/golden", 1_234_567, 3)
    views = table.sections
    head = views.head[slot]
    for number, name in enumerate(head.dtype.names):
        if name not in {"workload", "home", "partition"}:
            head[name] = 1_000 + number
    head["clock_ms"] = 1_700_000_000_123
    views.counts[slot, 1]["total"] = 6
    views.counts[slot, 1]["bins"][[0, 5, 16]] = [1, 2, 3]
    views.sums[slot, 0]["total"] = 1 << 40
    views.sums[slot, 0]["bins"][16] = 1 << 40
    for context in (0, 7):
        place = views.contexts[slot, context]
        place["task"], place["used_ms"], place["events"] = context * 11, 5, 9
        place["granted"] = int(context == 7)
        place["recent"] = [1, 2, 3]
    views.marks[slot, 7, 1]["at_ms"], views.marks[slot, 7, 1]["operation"] = 77, 78
    views.marks[slot, 0, 0]["at_ms"], views.marks[slot, 0, 0]["operation"] = 79, 80
    pair = views.transitions[slot, 4 * TRANSITION_SETS - 3]
    pair["source"], pair["target"], pair["count"], pair["error"] = 5, 6, 7, 1
    entry = views.ledger[slot, 2]
    for number, name in enumerate(entry.dtype.names):
        entry[name] = 200 + number
    table.sections.local[slot]["class_index"] = 99
    return table


def stored() -> bytes:
    """The stored form of that row, with a tail."""
    row = RowFormat(LAYOUT, KEY_ID).encode(filled(), [1])[0]
    return with_tail(row, TAIL)


def golden(version: str = "1") -> bytes:
    """The bytes of a golden file."""
    lines = (GOLDEN / f"row-{version}.hex").read_text().splitlines()
    words = [line.partition("#")[0] for line in lines]
    return bytes.fromhex("".join(words))


def empty(layout: Layout = LAYOUT) -> ProfileTable:
    """A table with an empty row of that workload."""
    table = ProfileTable(layout, 1, KEPT_HABITS)
    table.admit(NAME, "spiffe://td/golden", 1_234_567, 3)
    return table


def test_the_written_bytes_are_those_of_the_golden_file() -> None:
    """A row without learned contexts is what format 1 always was."""
    assert stored() == golden()


def test_rows_are_read_among_others_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their bytes are joined for that; a longer one is left to be read alone."""
    row = RowFormat(LAYOUT, KEY_ID).encode(filled(), [1])[0]
    for longest, is_read in ((len(row), True), (len(row) - 8, False)):
        monkeypatch.setattr("stream.profiles.rowformat.PLAIN_BYTES_MAX", longest)
        done = RowFormat(LAYOUT, KEY_ID).restore_plain(empty(), [0], [row])
        assert done.tolist() == [is_read]
    assert 4_096 * PLAIN_BYTES_MAX <= 1 << 28, "what a process joins at once"


def learned() -> tuple[ProfileTable, bytes]:
    """That row with two learned contexts, habits of all, and its stored form."""
    table = filled()
    mine = table.sections.local["learned"][1]
    for context, task in ((0, 0), (7, 77)):
        record = np.zeros(1, LEARNED)
        record["workload"], record["task"], record["baseline"] = NAME, task, 0x1234567
        record["group"], record["calls"], record["bits_max"] = 5, 3 + context, 1_024
        record["novel"][0, :2], record["novel_count"] = [8, 9], 2
        record["likely"][0, 63] = -5
        beside = np.zeros(1, KEPT_HABITS.context)
        beside["loops"]["next"], beside["fallback"]["denied"] = 3 + context, 12
        words = record.view(np.uint64), beside.view(np.uint64)
        table.learned.restore(mine, context, words)
    habits = np.zeros(1, KEPT_HABITS.workload)
    habits["workload"], habits["followed"], habits["interval"] = NAME, 17, 5_000
    habits["behaviour"]["rates"]["amount"], habits["behaviour"]["series"]["points"] = 6, 288
    spread = habits["behaviour"]["resources"]
    spread["filled"], spread["cells"][0, 3] = 1, 1 << 40
    silence = habits["behaviour"]["silence"]
    silence["count"], silence["begun"], silence["tails"]["threshold"] = 3, 101, 1 << 19
    table.habits.restore(table.sections.local["habits"], 1, [habits.view(np.uint64)])
    mine[3] = -mine[0]  # a context that has ended: its record is nothing
    row = RowFormat(LAYOUT, KEY_ID).encode(table, [1])[0]
    mine[3] = 0
    return table, with_tail(row, TAIL)


def test_a_row_with_learned_contexts_is_format_3() -> None:
    """It is written as its golden file says, and comes back; the rest of it is format 1's."""
    table, data = learned()
    assert data == golden("3")
    assert FORMAT_VERSION == 3
    other = empty()
    assert RowFormat(LAYOUT, KEY_ID).restore(other, 0, data) == TAIL
    places = other.sections.local["learned"][0]
    assert np.flatnonzero(places).tolist() == [0, 7]
    for context in (0, 7):
        place = table.sections.local["learned"][1, context] - 1
        for ours, theirs in zip(other.learned.arrays, table.learned.arrays, strict=True):
            assert ours[places[context] - 1].tobytes() == theirs[place].tobytes()
    assert other.habits.records[0].tobytes() == table.habits.records[0].tobytes()
    assert with_tail(RowFormat(LAYOUT, KEY_ID).encode(other, [0])[0], TAIL) == data
    assert stored_clock_ms(data) == 1_700_000_000_123
    # Once more, into a row that has some: what it had is free again.
    RowFormat(LAYOUT, KEY_ID).restore(other, 0, data)
    assert (len(other.learned), len(other.habits)) == (2, 1)
    other.remove(0)
    assert (len(other.learned), len(other.habits)) == (0, 0)


def test_habits_of_the_layout_before_are_read() -> None:
    """Written before silences were learned: all that they say, and nothing of those."""
    table, _ = learned()
    expected = table.habits.records[:1].copy()
    expected["behaviour"]["silence"] = np.zeros((), expected["behaviour"]["silence"].dtype)
    other = empty()
    assert RowFormat(LAYOUT, KEY_ID).restore(other, 0, golden("2")) == TAIL
    assert other.habits.records[0].tobytes() == expected[0].tobytes()
    assert (len(other.learned), len(other.habits)) == (2, 1)
    assert is_sound_workload(other.habits.records[0])
    # What is written is as it is now, and comes back as that.
    again, data = empty(), RowFormat(LAYOUT, KEY_ID).encode(other, [0])[0]
    RowFormat(LAYOUT, KEY_ID).restore(again, 0, data)
    assert again.habits.records[0].tobytes() == expected[0].tobytes()
    # A row that is read once more has what its later bytes say.
    RowFormat(LAYOUT, KEY_ID).restore(again, 0, golden("3"))
    assert again.habits.records[0].tobytes() == table.habits.records[0].tobytes()


def test_what_was_stored_is_the_beginning_of_what_is() -> None:
    """Each field of the layout before has the same values in the layout now, whatever they are."""
    chance = np.random.default_rng(3)
    words = chance.integers(0, 1 << 63, HABITS_BEFORE.itemsize // 8, np.uint64)
    before = words.view(HABITS_BEFORE)[0]
    now = widened(words, HABITS_BEFORE, HABITS).view(HABITS)[0]
    mine, theirs = now["behaviour"], before["behaviour"]
    for name in ("workload", "followed", "interval", "held", "why"):
        assert np.array_equal(now[name], before[name])
    for name in ("rates", "series", "shares", "operations", "resources"):
        assert mine[name].tobytes() == theirs[name].tobytes()
    assert not any(mine["silence"].tobytes())
    assert section_id(HABITS_BEFORE) == 5_705_723_355, "it is what earlier versions wrote"


@pytest.mark.parametrize(
    ("field", "value"), [("novel_count", 25), ("mode", 4), ("granted_count", -1), ("workload", 1)]
)
def test_a_learned_context_that_cannot_be_is_left_out(field: str, value: int) -> None:
    """Kernels never follow a count that is too large; the row itself is good."""
    table, _ = learned()
    mine = table.sections.local["learned"][1]
    table.learned.records[field][mine[7] - 1] = value
    other = empty()
    RowFormat(LAYOUT, KEY_ID).restore(other, 0, RowFormat(LAYOUT, KEY_ID).encode(table, [1])[0])
    assert np.flatnonzero(other.sections.local["learned"][0]).tolist() == [0]


def test_habits_of_another_workload_are_left_out() -> None:
    """What is stored under a row is that row's, or nothing."""
    table, _ = learned()
    table.habits.records["workload"][0] = NAME + 1
    other = empty()
    RowFormat(LAYOUT, KEY_ID).restore(other, 0, RowFormat(LAYOUT, KEY_ID).encode(table, [1])[0])
    assert other.sections.local["habits"][0] == len(other.habits) == 0


@pytest.mark.parametrize("kind", [7, 8, 9])
def test_records_of_another_layout_begin_anew(kind: int) -> None:
    """Their sections are skipped, as those of windows that nobody names."""
    _, data = learned()
    words = np.frombuffer(data[: -len(TAIL)], "<u8").tolist()
    at = 2
    while at < len(words):
        if words[at] & 0xFF == kind:
            words[at + 1] ^= 1
        at += 2 + (words[at] >> 16 & 0xFFFF)
    other = empty()
    RowFormat(LAYOUT, KEY_ID).restore(other, 0, resealed(words))
    local = other.sections.local[0]
    assert local["learned"].any() == (kind != 7)
    assert local["habits"].any() == (kind != 9)
    assert kind == 7 or other.learned.arrays[1].view(np.uint64).any() == (kind != 8)
    assert other.sections.head[0]["clock_ms"] == 1_700_000_000_123


@pytest.mark.parametrize("kind", [7, 8, 9])
def test_a_block_beyond_the_record_is_skipped(kind: int) -> None:
    """Whatever a section of a record says, nothing is written beside its record."""
    for index in range(256):
        other = empty()
        identity = int(other.stored_as.ids[kind - 7])
        body = [kind | index << 8 | 16 << 16, identity, *[1 << 40] * 16]
        RowFormat(LAYOUT, KEY_ID).restore(other, 0, resealed([FIRST, 0, *HEAD, *body]))
        assert not other.sections.local["learned"][0].any()
        assert not other.sections.local["habits"][0].any()


def test_the_golden_file_is_read() -> None:
    """Every field comes back, and the tail; what is local to a process is not in it."""
    table = empty()
    assert RowFormat(LAYOUT, KEY_ID).restore(table, 0, golden()) == TAIL
    expected = filled().rows[1].copy()
    expected["local"] = table.rows[0]["local"]
    assert table.rows[0].tobytes() == expected.tobytes()
    assert table.sections.local[0]["class_index"] == 0
    assert stored_clock_ms(golden()) == 1_700_000_000_123


def test_the_golden_file_is_what_the_format_says() -> None:
    """Read without our code: version, key, length, then sections of kind, index, id and body."""
    words = np.frombuffer(golden()[: -len(TAIL)], "<u8").tolist()
    assert (words[0] & 0xFFFF, words[0] >> 16 & 0xFFFF, words[0] >> 32) == (1, KEY_ID, len(words))
    found, at = [], 2
    while at < len(words):
        kind, index, size = words[at] & 0xFF, words[at] >> 8 & 0xFF, words[at] >> 16 & 0xFFFF
        found.append((kind, index, words[at + 1], size))
        at += 2 + size
    assert at == len(words)
    assert found == [
        (0, 0, 0, 14),
        (1, 0, 10, 10),
        (2, 0, 20, 18),
        (3, 0, 0, 7),
        (4, 0, 50, 2),
        (3, 7, 0, 7),
        (4, 7, 40, 2),
        (5, 7, 0, 12),
        (6, 2, 0, 8),
    ]
    assert words[4] == NAME


def test_a_policy_that_names_less_skips_the_rest() -> None:
    """Sections of windows and sequences no longer in force are no fault; the others come back."""
    layout = Layout((10,), (), (40, 60))
    table = empty(layout)
    RowFormat(layout, KEY_ID).restore(table, 0, golden())
    assert table.sections.counts[0, 0]["total"] == 6
    assert table.sections.marks[0, 7]["at_ms"].tolist() == [77, 0]
    assert not table.sections.sums[0]["total"].any()
    again = RowFormat(layout, KEY_ID).unnamed(golden())
    assert again == Layout((), (20,), (50,))
    assert RowFormat(LAYOUT, KEY_ID).unnamed(golden()) is None


def resealed(words: list[int]) -> bytes:
    """Words with a right length and a right checksum, whatever they say."""
    words = [words[0] & 0xFFFFFFFF | len(words) << 32, *words[1:]]
    data = np.array(words, np.uint64)
    data[1] = checksum(data, 0, len(data))
    return data.tobytes()


def section(kind: int, size: int, index: int = 0) -> list[int]:
    """A section of ones."""
    return [kind | index << 8 | size << 16, 0, *[1] * size]


HEAD = [0 | 14 << 16, 0, NAME, *[1] * 13]
FIRST = FORMAT_VERSION | KEY_ID << 16


def refusal(data: bytes) -> str:
    """The message with which a row is refused; the row is then as empty as it was."""
    table = empty()
    before = table.rows.tobytes()
    with pytest.raises(RowCorrupt) as caught:
        RowFormat(LAYOUT, KEY_ID).restore(table, 0, data)
    assert table.rows.tobytes() == before
    return caught.value.message


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([FIRST - 3, 0, *HEAD], "format is unknown"),
        ([FIRST ^ 1 << 16, 0, *HEAD], "another hash key"),
        ([FIRST, 0, *HEAD, 0], "length is wrong"),
        ([FIRST, 0, *HEAD, *section(3, 7)[:-1]], "length is wrong"),
        ([FIRST, 0], "length is wrong"),
        ([FIRST, 0, *HEAD, *section(10, 2)], "unknown kind or size"),
        ([FIRST, 0, *HEAD, *section(7, 17)], "unknown kind or size"),
        ([FIRST, 0, *HEAD, *section(9, 17)], "unknown kind or size"),
        ([FIRST - 2, 0, *HEAD, *section(9, 2)], "unknown kind or size"),
        ([FIRST - 2, 0, *HEAD, *section(7, 2)], "unknown kind or size"),
        ([FIRST, 0, *HEAD, *section(1, 11)], "unknown kind or size"),
        ([FIRST, 0, *HEAD[:-1]], "length is wrong"),
        ([FIRST, 0, 13 << 16, *HEAD[1:-1]], "unknown kind or size"),
        ([FIRST, 0, *section(6, 8), *HEAD], "no head"),
        ([FIRST, 0, *HEAD[:2], NAME + 1, *HEAD[3:]], "unknown kind or size"),
    ],
)
def test_what_another_version_may_write_is_refused(words: list[int], fault: str) -> None:
    """A right checksum is not enough: newer formats, other sections, other workloads are faults."""
    assert fault in refusal(resealed(words))


def test_a_newer_row_is_told_from_a_corrupt_one() -> None:
    """An intact row of a newer format is NewerFormat and never old; a spoiled one is corrupt."""
    newer = resealed([FIRST + 1, 0, *HEAD])
    table = empty()
    before = table.rows.tobytes()
    with pytest.raises(NewerFormat, match=r"format 4, .* up to 3 .*upgrade"):
        RowFormat(LAYOUT, KEY_ID).restore(table, 0, newer)
    assert table.rows.tobytes() == before
    with pytest.raises(NewerFormat):
        tail_of(newer)
    assert tail_of(golden()) == TAIL
    assert stored_clock_ms(resealed([FIRST, 0, *HEAD])) == 1
    assert stored_clock_ms(newer) == TIME_MS_MAX
    spoiled = (int.from_bytes(golden()[:2], "little") + 2).to_bytes(2, "little") + golden()[2:]
    assert "checksum is wrong" in refusal(spoiled)


def test_a_plain_row_is_accepted() -> None:
    """The words that the refusals above are made from are a row."""
    known = [each for kind in (3, 6) for each in section(kind, SIZES[kind])]
    table = empty()
    assert RowFormat(LAYOUT, KEY_ID).restore(table, 0, resealed([FIRST, 0, *HEAD, *known])) == b""
    assert table.sections.ledger[0, 0]["rule"] == 1


def test_a_row_is_bounded() -> None:
    """What is longer than any row is refused before it is looked at."""
    assert "length is wrong" in refusal(golden() + bytes(ROW_BYTES_MAX))


@pytest.mark.parametrize("data", [b"", b"\0", golden()[:15], golden()[:16], golden()[:31]])
def test_a_stump_is_refused(data: bytes) -> None:
    """Too short for a length, for a checksum, or for a head."""
    assert "length is wrong" in refusal(data)


def test_nothing_to_store_is_nothing() -> None:
    """No slots, no rows."""
    assert RowFormat(LAYOUT, KEY_ID).encode(filled(), []) == []


def test_rows_are_cut_where_they_end() -> None:
    """Stored together, each row is the bytes it is alone."""
    table, rows = filled(), RowFormat(LAYOUT, KEY_ID)
    assert rows.encode(table, [1, 0, 1]) == [rows.encode(table, [slot])[0] for slot in (1, 0, 1)]
