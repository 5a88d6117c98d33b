"""Habits through the engine: how calls are made, by each context and each workload."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.baselines import Baseline, decode_baseline, encode_baseline, promote
from stream.cli.score_lines import score_lines
from stream.detectors import (
    DETAILS,
    EXPECTED,
    FULL,
    HABIT_NAMES,
    HABITS,
    JUDGES,
    OBSERVED,
    usual_in,
)
from stream.enforcement import Expectation
from stream.enforcement.habit_reason import _said
from stream.enforcement.habits import _usual_in
from stream.engine import State
from stream.events import Finding, Request, encode_request
from stream.policy import default_policy
from stream.profiles import claim_habits, end_habits, find_habits
from stream.profiles.layout import LOCAL
from stream.replay import Replay
from tests.models.tasks import KEY, T0_MS, baseline, call, history, learned, pay_bill, task

INTERVAL_MS = 300_000
DAY = 288
CLASS = "spiffe://shop.example/services"
START_MS = T0_MS // INTERVAL_MS * INTERVAL_MS


def served(name: str, counts: Iterable[int], seed: int = 1) -> Iterator[Request]:
    """Requests of a service without tasks: so many in each interval, of four operations."""
    chance = random.Random(seed)
    for place, count in enumerate(counts):
        times = sorted(chance.randrange(INTERVAL_MS) for _ in range(count))
        for number, at_ms in enumerate(times):
            yield Request(
                at_ms=START_MS + place * INTERVAL_MS + at_ms,
                workload=f"{CLASS}/{name}",
                operation=f"GET /{number % 4}",
                bytes=chance.randrange(500, 1_500),
                id=f"{name}/{place}/{number}",
            )


def steady(days: float, each: int = 4) -> list[int]:
    """As many requests in each interval."""
    return [each] * round(days * DAY)


@cache
def services() -> Baseline:
    """What three services teach in a day and a half each."""
    events = [one for number in range(3) for one in served(f"s{number}", steady(1.5), number)]
    events.sort(key=lambda one: one.at_ms)
    return promote(learned(events), KEY.id, JUDGES, {})


@cache
def agents() -> Baseline:
    """What agents teach: tasks of two purposes, and some in which a target denied a call."""
    return baseline(history(60, agents=12) + denied_tasks(12))


def denied_tasks(count: int) -> list[Request]:
    """Benign tasks that were denied a call and went on reading."""
    ask = {**call("open_vault", "path:vault", effect="read"), "outcome": "denied"}
    read = call("read_file", "path:bill-01.txt", effect="read", size=600)
    return [
        each
        for number in range(count)
        for each in task(
            f"d{number}", f"agent-{number % 12}", "pay-bill", [ask, read], T0_MS + number
        )
    ]


def replayed(
    events: Iterable[Request], made: Baseline, cut: int = 5_000
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The lines of evidence of events under the default policy, and what its rules found."""
    machine = Replay(default_policy(), KEY, slots_max=64)
    machine.expect(made, "v")
    lines, findings = [], []
    payloads = [encode_request(each) for each in events]
    for start in range(0, len(payloads), cut):
        result, _, scores = machine.score(payloads[start : start + cut])
        lines += [json.loads(each) for each in score_lines(scores)]
        findings += [each for each in result.findings if each.rule == "behaviour"]
    return lines, findings


@pytest.mark.parametrize("times", [5, 20])
def test_a_flood_after_a_steady_past_is_caught_in_its_first_interval(times: int) -> None:
    """A service that nobody learned, two steady days, then many times as much: an alarm."""
    past = steady(2)
    events = list(served("new", [*past, 4 * times], 9))
    lines, findings = replayed(events, services())
    before, after = lines[: 4 * len(past)], lines[4 * len(past) :]
    assert not any(each["alarm"] for each in before)
    assert any(each["alarm"] for each in after)
    assert after[-1]["alarm"], "it stays as long as the interval"
    assert after[-1]["parts"]["requests_rate"] > 20
    first = findings[0]
    assert " in five minutes where 4" in first.text
    assert " were expected; the last was GET /" in first.text
    assert (first.detector, first.action, first.mode) == ("anomaly", "throttle", "shadow")
    assert first.bits == first.observed > first.expected


def reading(name: str, customers: Iterable[int]) -> Iterator[Request]:
    """Twelve requests of one operation in each interval, over so many different customers."""
    for place, different in enumerate(customers):
        for number in range(12):
            mine = range(number, max(different, number + 1), 12)
            yield Request(
                at_ms=START_MS + place * INTERVAL_MS + 20_000 * number,
                workload=f"{CLASS}/{name}",
                operation="GET /customers/{id}",
                resources=tuple(f"customer:{1_000 * place + which}" for which in mine),
                bytes=1_000,
                id=f"{name}/{place}/{number}",
            )


@cache
def readers() -> Baseline:
    """What three services teach that read twelve customers in each of a hundred intervals."""
    events = [one for number in range(3) for one in reading(f"s{number}", [12] * 110)]
    events.sort(key=lambda one: one.at_ms)
    return promote(learned(events), KEY.id, JUDGES, {})


def test_one_operation_over_many_customers_is_caught() -> None:
    """As many requests of the operation as ever, over ninety customers: an alarm, and why."""
    lines, findings = replayed(reading("new", [*[12] * 150, 90]), readers())
    before, during = lines[:-12], lines[-12:]
    assert not any(each["alarm"] for each in before)
    assert during[-1]["alarm"]
    assert during[-1]["parts"]["resources_rate"] > 20
    rates = [name for name in during[-1]["parts"] if name.endswith("_rate")]
    assert rates == ["resources_rate"]
    text = findings[0].text
    assert " different resources in five minutes where 1" in text
    assert text.partition(" were expected; ")[2].startswith("the last was GET /customers/{id} (")
    assert 12 < int(text.split()[0]) <= 100


@pytest.mark.parametrize("name", ["operations", "resources"])
def test_more_than_can_be_told_apart_is_said_as_that(name: str) -> None:
    """Of five thousand customers as many as are told apart, or more: no number that is wrong."""
    details = [0] * DETAILS
    details[EXPECTED] = 12
    for count, words in ((FULL - 1, "3,548"), (FULL, "3,549 or more")):
        details[OBSERVED] = count
        said = _said(f"{name}_rate", details, "GET /")
        assert said == (
            f"{words} different {name} in five minutes where 12 were expected; the last was GET /"
        )


def test_a_baseline_that_measured_no_resources_is_compared_with() -> None:
    """What it says of other parts holds; of resources it is asserted, as where nothing is known."""
    made = readers()
    at = HABIT_NAMES.index("resources_rate")
    assert made.facts.habits[at].tasks > 0
    fewer = made.facts.habits[:at] + made.facts.habits[at + 1 :]
    older = made._replace(facts=msgspec.structs.replace(made.facts, habits=fewer))
    data = encode_baseline(older)
    older = decode_baseline(data, "older")
    assert (data[6], encode_baseline(made)[6], encode_baseline(older)) == (1, 2, data)
    scales = [Expectation(each, "v", KEY).habits.scales for each in (older, made)]
    parts = [part for part in range(len(HABIT_NAMES)) if part != at]
    assert np.array_equal(scales[0][parts], scales[1][parts])
    without = msgspec.structs.replace(made.facts, habits=())
    asserted = Expectation(made._replace(facts=without), "v", KEY).habits.scales
    assert np.array_equal(scales[0][at], asserted[at])
    lines, findings = replayed(reading("new", [*[12] * 150, 90]), older)
    assert any(each["alarm"] for each in lines[-12:])
    assert "different resources in five minutes" in findings[0].text


def test_a_steady_past_as_it_was_alarms_nobody() -> None:
    """Services that go on as they were: no alarm in two days of each."""
    for seed in (21, 22):
        lines, _ = replayed(served("other", steady(2), seed), services())
        assert not any(each["alarm"] for each in lines)


def test_what_cannot_know_yet_says_so() -> None:
    """Rates know after a hundred intervals, shares at once, order only where it was learned."""
    lines, _ = replayed(served("new", steady(0.5)), services())
    rates = [name for name in HABIT_NAMES if name.endswith("_rate")]
    assert lines[0]["unready"] == rates
    assert "unready" not in lines[-1]
    nothing = baseline(history(1))
    empty = nothing._replace(listed=nothing.listed[:0])
    line = replayed(served("new", [1]), empty)[0][0]
    assert line["unready"] == ["first_use", "sequence", *rates]


def test_a_loop_is_caught() -> None:
    """The same call with the same values again and again: an alarm, and a reason that counts."""
    again = [call("read_file", "path:bill-01.txt", effect="read", size=600)] * 40
    lines, findings = replayed(task("t", "x", "pay-bill", again), agents())
    assert lines[-1]["alarm"]
    assert not any(each["alarm"] for each in lines[:4]), "three reads are no loop yet"
    under = [each["evidence_bits"] for each in lines if not each["alarm"]]
    over = [each["evidence_bits"] for each in lines if each["alarm"]]
    assert min(over) > max(under), "evidence and alarm say the same"
    text = next(each.text for each in findings if "in a row" in each.text)
    assert "tool:read_file: the same call" in text


def test_paging_is_no_loop() -> None:
    """Forty reads of forty different files are no loop."""
    pages = [call("read_file", f"path:bill-{each}.txt", effect="read") for each in range(40)]
    lines, _ = replayed(task("t", "x", "pay-bill", pages), agents())
    assert not any("loops" in each.get("parts", {}) for each in lines)


def test_a_retry_storm_is_caught() -> None:
    """A call that fails and is made again and again is more than a loop."""
    failing = {**call("send_money", "recipient:DE1", "amount:1"), "outcome": "failed"}
    lines, findings = replayed(task("t", "x", "pay-bill", [failing] * 20), agents())
    alarms = [place for place, each in enumerate(lines) if each["alarm"]]
    assert alarms, lines[-1]
    assert any("fail" in each.text for each in findings)


def test_a_fallback_after_a_denial_is_caught() -> None:
    """Benign tasks that were denied went on reading; one that changes something is odd."""
    denied = {**call("open_vault", "path:vault", effect="read"), "outcome": "denied"}
    pays = pay_bill(3)
    lines, _ = replayed(task("t", "x", "pay-bill", [pays[0], denied, pays[1]]), agents())
    assert lines[2]["parts"].get("fallback", 0) == 0
    assert lines[3]["parts"]["fallback"] > 12
    assert lines[3]["alarm"]
    went_on = task("u", "x", "pay-bill", [denied, pays[0]])
    assert not any(each["alarm"] for each in replayed(went_on, agents())[0])


def test_a_context_without_a_task_ends_with_a_pause() -> None:
    """What a workload's own context showed is forgotten where the learner ends a task."""
    again = [
        Request(START_MS + each, f"{CLASS}/x", "GET /0", resources=("a:1",), id=str(each))
        for each in range(60)
    ]
    later = [Request(START_MS + 3_600_000, f"{CLASS}/x", "GET /1", id="later")]
    lines, _ = replayed([*again, *later], services())
    assert lines[59]["evidence_bits"] > 12
    assert lines[60]["evidence_bits"] < 4
    assert "loops" not in lines[60]["parts"]


def test_batches_change_nothing() -> None:
    """However events are cut: the same lines, and the same findings."""
    events = [*served("new", [*steady(0.6), 80], 3)]
    events += task("t", "x", "pay-bill", [*pay_bill(1), *[pay_bill(2)[0]] * 30])
    events.sort(key=lambda each: each.at_ms)
    whole, findings = replayed(events, agents())
    for cut in (7, 301):
        lines, others = replayed(events, agents(), cut)
        assert lines == whole
        assert others == findings


def test_habits_are_part_of_the_version() -> None:
    """What was learned of habits is in the baseline's bytes, the same whatever the order."""
    events = history(40, agents=5) + denied_tasks(5)
    chance = random.Random(2)
    tasks = learned(events)
    moved = tasks.chosen(chance.sample(range(len(tasks.tasks)), len(tasks.tasks)))
    one = promote(tasks, KEY.id, JUDGES, {})
    assert encode_baseline(promote(moved, KEY.id, JUDGES, {})) == encode_baseline(one)
    assert len(one.facts.habits) == len(HABIT_NAMES)
    without = promote(learned(history(40, agents=5)), KEY.id, JUDGES, {})
    assert encode_baseline(without) != encode_baseline(one)


def test_habits_go_on_under_a_new_baseline_and_end_with_their_row() -> None:
    """Another version keeps what is known of workloads; a row that restarts begins anew."""
    past = [encode_request(each) for each in served("new", steady(0.5))]
    machine = Replay(default_policy(), KEY, slots_max=64)
    machine.expect(services(), "one")
    machine.score(past)
    machine.expect(agents(), "two")
    rates = [name for name in HABIT_NAMES if name.endswith("_rate")]
    for days, unready in ((1, []), (10, rates)):
        at_ms = START_MS + days * 86_400_000
        event = Request(at_ms=at_ms, workload=f"{CLASS}/new", operation="GET /0", id="x")
        _, _, scores = machine.score([encode_request(event)])
        (line,) = [json.loads(each) for each in score_lines(scores)]
        assert [name for name in line.get("unready", ()) if name in rates] == unready


def test_a_row_keeps_its_record_and_begins_it_anew() -> None:
    """Each row has a record of its own; one whose habits have ended takes it again, empty."""
    records, empty = np.zeros(2, HABITS), np.zeros(1, HABITS)
    free = np.array([1, 0], np.int32), np.array([2])
    rows = np.zeros(2, LOCAL)
    for row, workload in zip(rows, (7, 8), strict=True):
        assert find_habits(records, row, np.uint64(workload)) == -1
        place = claim_habits(records, free, row, (np.uint64(workload), empty))
        records[place]["behaviour"]["rates"]["amount"] = workload
    assert [find_habits(records, row, records[row["habits"] - 1]["workload"]) for row in rows] == [
        0,
        1,
    ]
    end_habits(rows[0])
    assert find_habits(records, rows[0], np.uint64(7)) == -1
    assert claim_habits(records, free, rows[0], (np.uint64(7), empty)) == 0
    assert not records[0]["behaviour"]["rates"]["amount"].any()
    assert records[1]["behaviour"]["rates"]["amount"].all()
    assert free[1][0] == 0


def test_a_record_is_whole_words() -> None:
    """2,928 bytes a workload: what rows hold is copied in words."""
    assert HABITS.itemsize == 2928
    assert HABITS.itemsize % 8 == 0


def stored_row() -> tuple[State, tuple[int, int, int], str]:
    """A row with a task under way, and habits of both."""
    machine = Replay(default_policy(), KEY, slots_max=64)
    machine.expect(agents(), "v")
    events = list(task("t", "x", "pay-bill", [*pay_bill(1), *pay_bill(2)]))[:-1]
    machine.score([encode_request(each) for each in events])
    state = machine.state
    head = state.table.sections.head[0]
    ids = int(head["workload"]), int(head["home"]), int(head["partition"])
    return state, ids, state.table.names[0] or ""


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        ("context", "loops.next", 200),
        ("context", "fallback.left", 6),
        ("workload", "behaviour.operations.filled", 64),
        ("workload", "behaviour.resources.filled", 64),
        ("workload", "behaviour.series.unit", 1 << 30),
        ("workload", "behaviour.series.points", -1),
        ("workload", "behaviour.series.tails.exceeded", -1),
        ("workload", "behaviour.rates.amount", -5),
        ("workload", "behaviour.rates.opened", 1 << 60),
    ],
)
def test_what_kernels_must_not_follow_is_left_out(where: str, field: str, value: int) -> None:
    """A stored row that says what cannot be is good, but for that."""
    state, ids, name = stored_row()
    whole = state.stored([0])[0]
    kinds = {"context": state.table.learned.arrays[1], "workload": state.table.habits.records}
    place = kinds[where]
    for each in field.split(".")[:-1]:
        place = place[each]
    place[field.rpartition(".")[2]] = value
    spoiled = state.stored([0])[0]
    for stored, is_sound in ((whole, True), (spoiled, False)):
        state.evict(0)
        local = state.table.sections.local[state.restore(name, ids, stored)]
        assert (local["learned"] > 0).any() == (is_sound or where == "workload")
        assert (local["habits"] > 0) == (is_sound or where == "context")
    state.evict(0)
    assert (len(state.table.learned), len(state.table.habits)) == (0, 0)


def test_what_is_usual_in_a_class_is_looked_up_once() -> None:
    """What is kept is what each event would look up; a class that the baseline lacks is looked up.

    That of `services` has classes whose tasks declared nothing, `agents` one with purposes.
    """
    for made in (agents(), services()):
        expected = Expectation(made, "v1", KEY)
        view, usual = expected.view, expected.habits.usual
        assert len(usual) == len(view.groups) + 1
        for group, kept in zip(view.groups["group"], usual[:-1], strict=True):
            assert np.array_equal(kept, usual_in(group, view.entries))
            assert _usual_in(group, view.entries, view.groups, usual) < len(usual) - 1
        for other in (np.uint64(5), np.uint64(KEY.hash(CLASS))):
            place = _usual_in(other, view.entries, view.groups, usual)
            assert np.array_equal(usual[place], usual_in(other, view.entries))
