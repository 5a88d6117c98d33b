"""All learned detectors at one place: what they want of a row, what they know when."""

from __future__ import annotations

import numpy as np
import pytest

from stream.baselines import ENTRY, table_of
from stream.detectors import (
    ASSERTED,
    BIT,
    CLASS,
    CONTEXT_HABITS,
    CONTEXT_NAMES,
    CONTEXT_PARTS,
    DETAILS,
    HELD,
    LOOP_PARTS,
    OBSERVED,
    POOLED,
    SEQUENCE_PARTS,
    UNREADY,
    WORKLOAD,
    WORKLOAD_NAMES,
    WORKLOAD_PARTS,
    BenignTask,
    follow_context,
    follow_order,
    follow_workload,
    learn_loops,
    learn_sequences,
    repeated_bits,
    usual_in,
)
from stream.detectors.loops import PLACES, usual_loops
from stream.detectors.sequence import FIRST_HOW_PART, usual_order
from stream.detectors.workload import LOOPED, ORDER, USUAL_LOOPS
from stream.kernel import kernel
from stream.profiles import COMPLETION, EVENT, FAILED, GRANT, REFUSED, REQUEST, SERVED, VALUE

NOTHING = table_of(np.zeros(0, ENTRY))
GROUP = np.uint64(3)
INTERVAL_MS = 300_000
WORKLOAD_BITS = {name: 1 << place for place, name in enumerate(WORKLOAD_NAMES)}
CONTEXT_BITS = {name: 1 << place for place, name in enumerate(CONTEXT_NAMES)}


def events_of(at_ms: list[int], **fields: object) -> np.ndarray:
    """Served requests of one operation, a thousand bytes and ten units of cost each."""
    events = np.zeros(len(at_ms), EVENT)
    events["at_ms"], events["operation"], events["count"] = at_ms, 77, 1
    events["bytes"], events["cost"] = 1000, 10
    for name, value in fields.items():
        events[name] = value
    return events


@kernel
def follow_all(given, state, usual, refused, out):
    """Follow events one after another; given = (events, values).

    Mutates: state, out = (all bits, masks, rest).
    """
    events, values = given
    rows, masks, rest = out
    for place in range(len(events)):
        event = events[place]
        known = usual, refused, values
        inner = rows[place], rest[0], rest[1]
        masks[place] = follow_workload(state, event, event["at_ms"], known, inner)


def naming(events: np.ndarray, each: int, different: int, first: int = 1) -> np.ndarray:
    """Values of events that name so many each, so many different ones in turn. Mutates: events."""
    values = np.zeros(each * len(events), VALUE)
    values["name"], values["value"] = 5, first + np.arange(len(values)) % different
    events["values_from"], events["values_count"] = each * np.arange(len(events)), each
    return values


def followed(
    events: np.ndarray,
    state: np.ndarray | None = None,
    refused: int = 0,
    values: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bits and mask after each event, and the state."""
    values = np.zeros(0, VALUE) if values is None else values
    state = np.zeros(1, WORKLOAD) if state is None else state
    bits, masks = np.zeros((len(events), WORKLOAD_PARTS), np.int64), np.zeros(len(events), int)
    rest = np.zeros((WORKLOAD_PARTS, DETAILS), np.int64), np.zeros(DETAILS, np.int64)
    usual = usual_in(GROUP, NOTHING)
    follow_all((events, values), state[0], usual, refused, (bits, masks, rest))
    return bits, masks, state


def steady(intervals: int, each: int) -> list[int]:
    """Times of so many events in each interval."""
    return [at * INTERVAL_MS + place for at in range(intervals) for place in range(each)]


def test_rates_are_ready_after_a_hundred_intervals_and_shares_at_once() -> None:
    """The mask says which part knows: nothing of rates at first, all of them later."""
    _, masks, _ = followed(events_of(steady(110, 2)))
    rates = sum(WORKLOAD_BITS[name] for name in WORKLOAD_NAMES[:HELD])
    shares = WORKLOAD_BITS["error_share"] | WORKLOAD_BITS["denial_share"]
    assert masks[0] == shares and masks[-1] == shares | rates
    assert np.argmax(masks == masks[-1]) == 2 * 101


@pytest.mark.parametrize(
    ("part", "fields", "count"),
    [
        ("requests", {}, 200),
        ("errors", {"outcome": FAILED}, 20),
        ("bytes", {"bytes": 40_000}, 1),
        ("cost", {"cost": 20_000}, 1),
        ("error_share", {"outcome": FAILED}, 20),
    ],
)
def test_each_part_sees_its_flood(part: str, fields: dict[str, object], count: int) -> None:
    """After two perfectly steady days a flood of its own passes 22 bits at one of its events.

    A day of 8,000 bytes an interval is no blind spot for 40,000, nor one of 80 units for 20,000.
    """
    _, _, state = followed(events_of(steady(576, 8)))
    at_ms = 576 * INTERVAL_MS
    bits, _, _ = followed(events_of([at_ms + each for each in range(count)], **fields), state)
    assert bits[:, WORKLOAD_NAMES.index(part)].max() >= 22 * BIT


@pytest.mark.parametrize("usual", [0, 2])
@pytest.mark.parametrize("each", [2, 20])
def test_one_operation_over_many_resources_is_seen(usual: int, each: int) -> None:
    """After two days of none, or of the same two, sixty others are enough for 22 bits.

    Each value of an event counts, in one event or in many; as many requests of as many operations
    as ever, so nothing else speaks. Where they are the usual ones, resources do not either.
    """
    events = events_of(steady(576, 40))
    values = naming(events, 1, usual) if usual else None
    _, masks, state = followed(events, values=values)
    assert masks[-1] & WORKLOAD_BITS["resources"]
    again = state.copy()
    more = events_of([576 * INTERVAL_MS + place for place in range(40)])
    bits, _, _ = followed(more, state, values=naming(more, each, 5_000, 10))
    resources = WORKLOAD_NAMES.index("resources")
    passed = np.flatnonzero(bits[:, resources] >= 22 * BIT)
    assert len(passed) and passed[0] * each < 60
    assert not np.delete(bits, resources, axis=1).any()
    assert abs(int(state["rates"]["amount"][0, resources]) - 40 * each) < 4 * each
    if usual:
        bits, _, _ = followed(more, again, values=naming(more, each, usual))
        assert not bits.any()


def test_of_paging_each_page_counts_and_of_a_retry_none() -> None:
    """The same name with the same value is one resource, another name with it another one."""
    events = events_of([7] * 40)
    for different in (1, 8, 40):
        _, _, state = followed(events, values=naming(events, 1, different))
        amount = int(state["rates"]["amount"][0, WORKLOAD_NAMES.index("resources")])
        assert abs(amount - different) <= 3
    values = naming(events, 1, 1)
    values["name"][::2] = 6
    _, _, state = followed(events, values=values)
    assert state["rates"]["amount"][0].tolist() == [40, 0, 40_000, 400, 1, 2]


def test_refusals_add_nothing_but_time() -> None:
    """What we refused, grants and completions leave amounts alone; only the clock goes on."""
    _, _, state = followed(events_of(steady(3, 2)))
    before = state.copy()
    at_ms = 2 * INTERVAL_MS + 9
    for refused, fields in (
        (1, {"outcome": REFUSED}),
        (0, {"kind": GRANT}),
        (0, {"kind": COMPLETION}),
    ):
        events = events_of([at_ms] * 50, **fields)
        followed(events, state, refused, naming(events, 1, 50))
    assert state.tobytes() == before.tobytes()
    followed(events_of([3 * INTERVAL_MS], kind=GRANT), state)
    assert (state["rates"]["opened"] == 4).all() and (state["rates"]["amount"] == 0).all()


def test_a_stored_workload_goes_on() -> None:
    """However events are cut, and the state stored between: the same evidence, bit for bit."""
    chance = np.random.default_rng(4)
    times = np.cumsum(chance.integers(0, 90_000, 600)).tolist()
    events = events_of(times, outcome=chance.integers(0, 3, 600))
    events["operation"] = chance.integers(1, 9, 600)
    values = naming(events, 3, 400)
    whole, _, end = followed(events, values=values)
    first, _, state = followed(events[:333], values=values)
    stored = np.frombuffer(state.tobytes(), WORKLOAD).copy()
    second, _, last = followed(events[333:], stored, values=values)
    assert np.array_equal(np.concatenate([first, second]), whole)
    assert last.tobytes() == end.tobytes()


def test_a_context_knows_what_was_learned() -> None:
    """Nothing learned: loops and fallbacks are asserted, order and first use unknown; else all."""
    tasks = [BenignTask(int(GROUP), [(10, 0), (11, 0), (12, 1)]) for _ in range(120)]
    asserted = CONTEXT_BITS["loops"] | CONTEXT_BITS["fallback"]
    for facts, mask in ((NOTHING, asserted), (table_of(learn_sequences(tasks)), 15)):
        state = np.zeros(1, CONTEXT_HABITS)
        bits = np.zeros(CONTEXT_PARTS, np.int64)
        out = bits, np.zeros((CONTEXT_PARTS, DETAILS), np.int64)
        event = events_of([0], operation=99, kind=REQUEST, outcome=SERVED)[0]
        known = GROUP, facts, np.uint64(0), usual_in(GROUP, facts)
        assert follow_context(state[0], event, 1, known, out) == mask
        assert (bits[CONTEXT_NAMES.index("first_use")] > 8 * BIT) == (facts is not NOTHING)


def test_what_is_looked_up_once_for_a_class_says_what_each_call_would_look_up() -> None:
    """Order and loops, of a class that is known, of one that is not, and where nothing is known."""
    tasks = [BenignTask(int(GROUP), [(10, 0), (11, 0), (12, 1)]) for _ in range(120)]
    levels = np.zeros((120, PLACES), np.uint8)
    levels[:9, 1] = 3
    learned = learn_sequences(tasks), learn_loops(np.full(120, GROUP), levels)
    known, hows = table_of(np.concatenate(learned)), set()
    for facts, group in ((known, GROUP), (known, np.uint64(5)), (NOTHING, GROUP)):
        state, parts = np.zeros(1, CONTEXT_HABITS), np.zeros(SEQUENCE_PARTS, np.int64)
        alone = np.zeros(1, CONTEXT_HABITS)
        bits, details = np.zeros(CONTEXT_PARTS, np.int64), np.zeros((CONTEXT_PARTS, DETAILS), int)
        usual, repeated = usual_in(group, facts), np.zeros(LOOP_PARTS, np.int64)
        for operation in (10, 12, 12, 12, 12, 99):
            event = events_of([0], operation=operation, kind=REQUEST, outcome=SERVED)[0]
            known_of = group, facts, np.uint64(1), usual
            follow_context(state[0], event, 0, known_of, (bits, details))
            call = np.uint64(operation), 0
            of, how = (group, facts), usual_loops(group, facts)
            asked = usual_order(group, facts)
            order = follow_order(alone[0]["sequence"], call, of, asked, parts)
            loops = repeated_bits(state[0]["loops"], how, of, repeated)
            assert (bits[ORDER], bits[LOOPED]) == (order, loops)
            assert details[ORDER, :SEQUENCE_PARTS].tolist() == parts.tolist()
            assert details[LOOPED, :LOOP_PARTS].tolist() == repeated.tolist()
        hows.add((int(parts[FIRST_HOW_PART]), int(usual[USUAL_LOOPS, 0])))
    assert hows == {(CLASS, CLASS), (POOLED, POOLED), (UNREADY, ASSERTED)}


def test_paging_is_no_loop_and_the_same_call_is() -> None:
    """Twenty calls with other values each have no evidence, with the same values 6 bits."""
    for step, most in ((1, 0), (0, 6 * BIT)):
        state = np.zeros(1, CONTEXT_HABITS)
        bits = np.zeros(CONTEXT_PARTS, np.int64)
        out = bits, np.zeros((CONTEXT_PARTS, DETAILS), np.int64)
        event = events_of([0])[0]
        for place in range(20):
            known = GROUP, NOTHING, np.uint64(1000 + step * place), usual_in(GROUP, NOTHING)
            follow_context(state[0], event, 0, known, out)
        assert bits[CONTEXT_NAMES.index("loops")] >= most
        assert step == 0 or not bits.any()


def test_states_are_whole_words_of_integers() -> None:
    """2,736 bytes a workload, 136 a context; rows hold words."""
    assert (WORKLOAD.itemsize, CONTEXT_HABITS.itemsize) == (2736, 136)
    assert OBSERVED < DETAILS
