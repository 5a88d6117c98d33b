"""What the benchmark of learned detection measures: a known estate, and what a pause is."""

import json

import numpy as np

from benchmarks.belt import Appended
from benchmarks.contenders import KEY
from benchmarks.estate import (
    AT_MS,
    EACH,
    Estate,
    _of_purposes,
    class_of,
    estate_baseline,
    estate_events,
)
from benchmarks.events import Load
from benchmarks.inside import arrival_of
from benchmarks.pausing import Gap, Span, gaps_in
from benchmarks.rounds import LEARNED_POLICY
from stream.baselines import (
    asked_of,
    decode_baseline,
    encode_baseline,
    find_usual,
    place_of,
    table_of,
)
from stream.policy import load_policy
from stream.profiles import Decoder
from stream.replay import Replay

FEW = Estate(2, 3, 40)


def test_a_purpose_of_the_estate_has_120_entries_and_its_usual_calls():
    """So many are asked for by the budget; usual calls say again what those say."""
    places = np.arange(1, 3, dtype=np.uint64)
    large = Estate(1, 2, 40)
    assert sum(map(len, _of_purposes(places, large))) == (120 + EACH) * len(places)


def test_calls_that_a_purpose_of_the_estate_is_known_for_are_usual():
    """All but one in sixteen or so, as promotion would have written them."""
    made = estate_baseline(FEW)
    payloads = [payload for _, payload in estate_events(Load(2_000, 50, "M"), FEW)]
    batch, _ = Decoder(KEY, 1, with_values=True).decode([arrival_of(payloads, AT_MS)])
    names = [class_of(each) for each in range(FEW.classes)]
    classes = dict(zip(names, KEY.hash_all(names), strict=True))
    table, found = table_of(made.listed), 0
    for payload, event in zip(payloads, batch.events, strict=True):
        group = np.uint64(classes[json.loads(payload)["workload"].rpartition("/")[0]])
        place = np.uint64(place_of(group, event["purpose"]))
        found += find_usual(table, place, 0, np.uint64(asked_of(event, batch.values))) >= 0
    assert 1_800 < found < 1_950


def test_events_of_the_estate_are_what_its_baseline_knows():
    """All are compared with a known purpose, and all but one in sixteen or so speak for it."""
    replay = Replay(load_policy(LEARNED_POLICY, "test"), KEY)
    made = encode_baseline(estate_baseline(FEW))
    replay.expect(decode_baseline(made, "estate"), "estate")
    payloads = [payload for _, payload in estate_events(Load(2_000, 50, "M"), FEW)]
    _, rejects, scores = replay.score(payloads)
    assert not rejects
    assert (scores.rows["mode"] == 0).all()
    assert 0.9 < (scores.rows["bits"] < 0).mean() < 0.97


def test_a_gap_counts_where_it_touches_a_span() -> None:
    """Also one that began before, or ends after."""
    moved = [(0.0, {0: 0}), (1.0, {0: 10}), (1.5, {0: 20}), (3.0, {0: 30}), (3.25, {0: 40})]
    gaps = gaps_in(moved, [Appended(0, 40, 0)], Span("small", 1.25, 1.75))
    assert gaps == [Gap(500.0, 500.0), Gap(1_500.0, 1_500.0)]


def test_a_pause_is_only_while_an_event_waits() -> None:
    """All of the first gap, a quarter of the second, none of the third: in any partition."""
    moved = [(0.0, {0: 10}), (1.0, {0: 15}), (2.0, {0: 25}), (3.0, {0: 25, 1: 9})]
    appended = [Appended(0, 25, 1_750), Appended(0, 15, 0), Appended(1, 9, 3_000)]
    gaps = gaps_in(moved, appended, Span("small", 0.0, 3.0))
    assert gaps == [Gap(1_000.0, 1_000.0), Gap(1_000.0, 250.0), Gap(1_000.0, 0.0)]


def test_a_pause_ends_for_nobody_who_is_passed_over() -> None:
    """An event of one partition waits from the beginning on, however far another is."""
    moved = [(0.0, {0: 0, 1: 0}), (1.0, {0: 50, 1: 0}), (2.0, {0: 50, 1: 5})]
    appended = [Appended(1, 5, 0), Appended(0, 50, 0), Appended(0, 60, 1_900)]
    assert gaps_in(moved, appended, Span("small", 1.5, 3.0)) == [Gap(1_000.0, 1_000.0)]
