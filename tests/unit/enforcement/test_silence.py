"""Silence through the engine: whoever should have called by now is said to be missed, at a tick."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import pytest

from stream.baselines import Baseline, promote
from stream.detectors import JUDGES
from stream.events import Finding, Request, encode_request
from stream.policy import default_policy
from stream.replay import Replay
from tests.models.tasks import KEY, T0_MS, learned

INTERVAL_MS = 300_000
HOUR_MS = 12 * INTERVAL_MS
DAY = 288
NAME = "spiffe://shop.example/services/s"
START_MS = T0_MS // INTERVAL_MS * INTERVAL_MS


def steady(days: float, each: int = 2, seed: int = 1) -> Iterator[Request]:
    """So many requests in each interval."""
    chance = random.Random(seed)
    for place in range(round(days * DAY)):
        for at_ms in sorted(chance.randrange(INTERVAL_MS) for _ in range(each)):
            yield Request(START_MS + place * INTERVAL_MS + at_ms, NAME, "GET /")


def tick(at_ms: int, workload: str = NAME) -> Request:
    """What a worker writes to ask whether a workload should have called by a time."""
    return Request(at_ms, workload, "tick", kind="tick")


@cache
def services() -> Baseline:
    """A baseline of nothing much: silence is judged beside a workload's own past alone."""
    return promote(learned(list(steady(0.5))), KEY.id, JUDGES, {})


def replayed(events: list[Request], *, compares: bool = True) -> tuple[Replay, list[Finding]]:
    """What rules on silence found, and all that is known after it."""
    replay = Replay(default_policy(), KEY)
    if compares:
        replay.expect(services(), "v")
    found: list[Finding] = []
    for result, rejects in replay.run([encode_request(each) for each in events]):
        assert not rejects
        assert not result.refused
        found += [each for each in result.findings if each.rule == "silence"]
    return replay, found


def row_of(replay: Replay) -> bytes:
    """The row, as it is stored, as if all events had come at one offset."""
    head = replay.state.table.sections.head
    (slot,) = replay.state.table.used_slots().tolist()
    head["offset"][slot] = 0
    return replay.state.stored([slot])[0]


def test_who_should_have_called_is_missed() -> None:
    """A steady workload is not missed after minutes, but is after hours; the reason says why."""
    days, last_ms = 8, START_MS + 8 * DAY * INTERVAL_MS
    soon, late = tick(last_ms + INTERVAL_MS), tick(last_ms + 12 * HOUR_MS)
    assert replayed([*steady(days), soon])[1] == []
    _, (found,) = replayed([*steady(days), soon, late])
    assert (found.detector, found.action, found.mode) == ("silence", "throttle", "shadow")
    assert found.at_ms == late.at_ms and found.bits > 8 * 1024
    assert found.text.startswith("no event for 12h, where 2")
    assert "requests or more were expected" in found.text
    assert "a past of its own without any" in found.text


def test_nothing_is_changed_by_asking() -> None:
    """Rows are the same but for the offset, and so is what follows."""
    events = list(steady(8))
    after = [each for each in steady(9) if each.at_ms > events[-1].at_ms + 6 * HOUR_MS]
    asks = [tick(events[-1].at_ms + minutes * 60_000) for minutes in (10, 20)]
    plain, _ = replayed([*events, *after])
    asked, found = replayed([*events, *asks, *after])
    assert found == []
    rows = [row_of(each) for each in (plain, asked)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("kept_days", [0, 6])
def test_a_short_past_misses_nobody(kept_days: int) -> None:
    """Cold for a week: it abstains."""
    last_ms = START_MS + kept_days * DAY * INTERVAL_MS
    assert replayed([*steady(kept_days), tick(last_ms + 48 * HOUR_MS)])[1] == []


def test_nobody_is_missed_where_nothing_is_compared() -> None:
    """What was not followed is no silence."""
    last_ms = START_MS + 8 * DAY * INTERVAL_MS
    assert replayed([*steady(8), tick(last_ms + 24 * HOUR_MS)], compares=False)[1] == []


def test_a_tick_makes_nobody() -> None:
    """Of whom nobody knows there is no row afterwards, and no event is refused."""
    replay, found = replayed([tick(START_MS, f"{NAME}/other"), *steady(0.1)])
    assert found == []
    assert len(replay.state.table) == 1


def test_who_rests_each_night_is_not_missed_at_night() -> None:
    """But is on the next day."""
    events = [each for each in steady(14, 6) if (each.at_ms // HOUR_MS) % 24 in range(8, 18)]
    last_ms = events[-1].at_ms
    assert replayed([*events, tick(last_ms + 13 * HOUR_MS)])[1] == []
    assert len(replayed([*events, tick(last_ms + 96 * HOUR_MS)])[1]) == 1
