"""All learned detectors at one place: what they want of a row, what they know when."""

from __future__ import annotations

import numpy as np
import pytest

from stream.baselines import ENTRY, table_of
from stream.detectors import (
    BIT,
    CONTEXT_HABITS,
    CONTEXT_NAMES,
    CONTEXT_PARTS,
    DETAILS,
    OBSERVED,
    WORKLOAD,
    WORKLOAD_NAMES,
    WORKLOAD_PARTS,
    BenignTask,
    follow_context,
    follow_workload,
    learn_sequences,
    usual_shares,
)
from stream.kernel import kernel
from stream.profiles import COMPLETION, EVENT, FAILED, GRANT, REFUSED, REQUEST, SERVED

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
def follow_all(events, state, usual, refused, out):
    """Follow events one after another. Mutates: state, out = (all bits, masks, rest)."""
    rows, masks, rest = out
    for place in range(len(events)):
        event = events[place]
        known = usual, refused
        inner = rows[place], rest[0], rest[1]
        masks[place] = follow_workload(state, event, event["at_ms"], known, inner)


def followed(
    events: np.ndarray, state: np.ndarray | None = None, refused: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bits and mask after each event, and the state."""
    state = np.zeros(1, WORKLOAD) if state is None else state
    bits, masks = np.zeros((len(events), WORKLOAD_PARTS), np.int64), np.zeros(len(events), int)
    rest = np.zeros((WORKLOAD_PARTS, DETAILS), np.int64), np.zeros(DETAILS, np.int64)
    usual = usual_shares(GROUP, NOTHING)
    follow_all(events, state[0], usual, refused, (bits, masks, rest))
    return bits, masks, state


def steady(intervals: int, each: int) -> list[int]:
    """Times of so many events in each interval."""
    return [at * INTERVAL_MS + place for at in range(intervals) for place in range(each)]


def test_rates_are_ready_after_a_hundred_intervals_and_shares_at_once() -> None:
    """The mask says which part knows: nothing of rates at first, all of them later."""
    _, masks, _ = followed(events_of(steady(110, 2)))
    rates = sum(WORKLOAD_BITS[name] for name in WORKLOAD_NAMES[:5])
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


def test_refusals_add_nothing_but_time() -> None:
    """What we refused, grants and completions leave amounts alone; only the clock goes on."""
    _, _, state = followed(events_of(steady(3, 2)))
    before = state.copy()
    at_ms = 2 * INTERVAL_MS + 9
    followed(events_of([at_ms] * 50, outcome=REFUSED), state, refused=1)
    followed(events_of([at_ms] * 50, kind=GRANT), state)
    followed(events_of([at_ms] * 50, kind=COMPLETION), state)
    assert state.tobytes() == before.tobytes()
    followed(events_of([3 * INTERVAL_MS], kind=GRANT), state)
    assert (state["rates"]["opened"] == 4).all() and (state["rates"]["amount"] == 0).all()


def test_a_stored_workload_goes_on() -> None:
    """However events are cut, and the state stored between: the same evidence, bit for bit."""
    chance = np.random.default_rng(4)
    times = np.cumsum(chance.integers(0, 90_000, 600)).tolist()
    events = events_of(times, outcome=chance.integers(0, 3, 600))
    events["operation"] = chance.integers(1, 9, 600)
    whole, _, end = followed(events)
    first, _, state = followed(events[:333])
    second, _, last = followed(events[333:], np.frombuffer(state.tobytes(), WORKLOAD).copy())
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
        known = GROUP, facts, np.uint64(0)
        assert follow_context(state[0], event, 1, known, out) == mask
        assert (bits[CONTEXT_NAMES.index("first_use")] > 8 * BIT) == (facts is not NOTHING)


def test_paging_is_no_loop_and_the_same_call_is() -> None:
    """Twenty calls with other values each have no evidence, with the same values 6 bits."""
    for step, most in ((1, 0), (0, 6 * BIT)):
        state = np.zeros(1, CONTEXT_HABITS)
        bits = np.zeros(CONTEXT_PARTS, np.int64)
        out = bits, np.zeros((CONTEXT_PARTS, DETAILS), np.int64)
        event = events_of([0])[0]
        for place in range(20):
            known = GROUP, NOTHING, np.uint64(1000 + step * place)
            follow_context(state[0], event, 0, known, out)
        assert bits[CONTEXT_NAMES.index("loops")] >= most
        assert step == 0 or not bits.any()


def test_states_are_whole_words_of_integers() -> None:
    """2,184 bytes a workload, 136 a context; rows hold words."""
    assert (WORKLOAD.itemsize, CONTEXT_HABITS.itemsize) == (2184, 136)
    assert OBSERVED < DETAILS
