"""Behaviours that must be caught, and ones that must not poison: small self-made stories.

    python -m benchmarks.quality --only behaviours

Rates and habits are asked of the kernels that the product runs; a new agent version and poisoning
go through learning and the engine. Everything is drawn from a seed; bits are those of the kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from benchmarks.quality.figures import at_most, figure
from stream.baselines import Baseline, promote, table_of, threshold_of
from stream.detectors import (
    BIT,
    COUNTED,
    FALLBACK,
    FALLBACK_PARTS,
    JUDGES,
    LEVEL,
    LEVEL_PARTS,
    LOOP_PARTS,
    LOOPS,
    RATE,
    RATE_PARTS,
    SPREAD,
    USUAL_LOOPS,
    counted,
    fallback_bits,
    follow_fallback,
    follow_loops,
    learn_fallbacks,
    learn_sequences,
    observe_resources,
    repeated_bits,
    score_level,
    usual_in,
)
from stream.events import Request, encode_request
from stream.kernel import HashKey
from stream.policy import default_policy
from stream.profiles import VALUE
from stream.replay import History, Replay, batches

KEY: Final = HashKey(b"no secret at all")
INTERVAL_MS: Final = 300_000
DAY: Final = 288
WEEK: Final = 7 * DAY
RARE: Final = 22 * BIT  # a series of the Numenta benchmark reports as much once in 60 days
BOIL: Final = 26 * BIT
DAYS: Final = 60
T0_MS: Final = 1_700_000_000_000
CLASS: Final = "spiffe://estate.example/clerks"
CLERKS, POISONERS = 1_000, 10
CUSTOMERS: Final = 5_000
OPERATIONS: Final = 4
HOLD: Final = np.uint64(7)

PASTS: Final = {
    "nothing": lambda chance: np.zeros(WEEK, int),
    "forty": lambda chance: np.full(WEEK, 40),
    "Poisson of 20": lambda chance: chance.poisson(20, WEEK),
    "Poisson of 0.2": lambda chance: chance.poisson(0.2, WEEK),
}


def _learned(counts: Sequence[int]) -> tuple[Any, Any]:
    """Return a series that learned counts, and what it reported of each."""
    state, parts = np.zeros(1, LEVEL), np.zeros(LEVEL_PARTS, np.int64)
    found = [
        score_level(state[0], counted(int(count)), place * INTERVAL_MS, COUNTED, parts)
        for place, count in enumerate(counts)
    ]
    return state, np.array(found)


def bursts(times: int) -> tuple[int, int]:
    """Return of how many steady weeks a burst is caught in its first interval; false alarms."""
    caught = alarms = 0
    for past in PASTS.values():
        counts = past(np.random.default_rng(7))
        state, reported = _learned(counts)
        alarms += int((reported[DAY:] >= RARE).sum())
        burst = counted(times * max(1, round(float(counts.mean()))))
        bits = score_level(
            state[0], burst, WEEK * INTERVAL_MS, COUNTED, np.zeros(LEVEL_PARTS, np.int64)
        )
        caught += bits >= RARE
    return caught, alarms


def boil_day(seed: int) -> float:
    """Return the day on which 2 % more each day is reported first; past the end if never."""
    means = 100 * 1.02 ** (np.arange(DAYS * DAY) / DAY)
    _, reported = _learned(np.random.default_rng(seed).poisson(means))
    loud = np.flatnonzero(reported >= BOIL)
    return round(float(loud[0]) / DAY, 1) if len(loud) else float(DAYS + 1)


def customers(usual: int) -> int:
    """Return the other customer of five thousand at which one operation over them is reported.

    After a week of the same `usual` ones in each interval; past the end if never.
    """
    values = np.zeros(usual + CUSTOMERS, VALUE)
    values["value"] = np.arange(len(values)) + 1
    state = tuple(np.zeros(1, each)[0] for each in (SPREAD, RATE, LEVEL))
    parts, scratch = np.zeros(RATE_PARTS, np.int64), np.zeros(RATE_PARTS, np.int64)
    measure = COUNTED, INTERVAL_MS, scratch
    for place in range(WEEK):
        observe_resources(state, place * INTERVAL_MS, (values, 0, usual), measure, parts)
    for place in range(usual, len(values)):
        named = values, place, place + 1
        if observe_resources(state, WEEK * INTERVAL_MS, named, measure, parts) >= RARE:
            return place - usual + 1
    return CUSTOMERS + 1


def loop(turns: int, *, is_failed: bool) -> float:
    """Return the bits of one call made so many times, nothing being learned."""
    state, facts = np.zeros(1, LOOPS), table_of(learn_sequences([]))
    for _ in range(turns):
        follow_loops(state[0], np.uint64(5), int(is_failed))
    how, parts = int(usual_in(HOLD, facts)[USUAL_LOOPS, 0]), np.zeros(LOOP_PARTS, np.int64)
    return repeated_bits(state[0], how, (HOLD, facts), parts) / BIT


def fallback() -> float:
    """Return the bits of another change after a denial, where fifty denials had none."""
    state, facts = np.zeros(1, FALLBACK), table_of(learn_fallbacks([(7, 20, 0)] * 50))
    follow_fallback(state[0], (np.uint64(11), 1, 2))
    denied = np.uint64(follow_fallback(state[0], (np.uint64(12), 1, 0)))
    parts = np.zeros(FALLBACK_PARTS, np.int64)
    return fallback_bits(denied, np.uint64(12), HOLD, facts, parts) / BIT


def task(clerk: str, name: str, number: int, *, is_theft: bool = False) -> Iterator[Request]:
    """Yield the events of one task: an invoice is read and paid, or somebody else is."""
    account = f"account-{99_000 if is_theft else number % 12:05}"
    calls = [
        ("tool:read_invoice", "read", (f"path:invoice-{number % 40}.pdf",)),
        ("tool:list_accounts", "read", (f"query:{'open' if number % 3 else 'all'}",)),
        ("tool:pay", "change", (f"recipient:{account}@bank.example", f"amount:{number % 7}")),
    ][:OPERATIONS]
    if is_theft:
        calls.append(("tool:share_ledger", "change", ("recipient:thief@elsewhere.example",)))
    at_ms = T0_MS + number * 60_000
    for place, (operation, effect, resources) in enumerate(calls):
        yield Request(
            at_ms=at_ms + place * 1_000,
            workload=f"{CLASS}/{clerk}",
            operation=operation,
            effect=effect,  # type: ignore[arg-type]
            purpose="pay-invoice",
            task=name,
            resources=resources,
            bytes=200,
            id=f"{name}/{place}",
        )


def estate(poisoners: int) -> Baseline:
    """Return what a thousand clerks teach, some of them by stealing each time."""
    history = History(KEY)
    events = [
        event
        for number in range(CLERKS)
        for turn in range(2)
        for event in task(
            f"clerk-{number}", f"t{number}-{turn}", number, is_theft=number < poisoners
        )
    ]
    for part in batches(map(encode_request, events)):
        history.add(part)
    return promote(history.tasks(), KEY.id, JUDGES, history.names, seen=history.ended)


def alarms(baseline: Baseline, clerk: str, count: int, *, is_theft: bool) -> int:
    """Return how many of a clerk's tasks alarm under the default policy."""
    machine = Replay(default_policy(), KEY, slots_max=64)
    machine.expect(baseline, "behaviours")
    events = [
        event
        for number in range(count)
        for event in task(clerk, f"new-{number}", 5_000 + number, is_theft=is_theft)
    ]
    _, _, scores = machine.score([encode_request(each) for each in events])
    raised = {
        events[position].task
        for position, row in zip(scores.positions.tolist(), scores.rows, strict=True)
        if row["alarm"]
    }
    return len(raised)


def measure() -> dict[str, dict[str, Any]]:
    """Return all figures; each is a count, a day or bits."""
    out: dict[str, dict[str, Any]] = {}
    for times in (5, 20):
        caught, false = bursts(times)
        out[f"steady past, then x{times}: caught in the first interval, of 4"] = figure(caught, 4)
    out["steady weeks: false alarms"] = at_most(false, 0)
    for usual, most in ((0, 100), (3, 100), (40, 500)):
        name = f"one operation over 5,000 customers, {usual} as ever: reported at the"
        out[name] = at_most(customers(usual), most)
    out["loop of 13 turns, cold: bits"] = figure(round(loop(14, is_failed=False), 1), 6.0)
    out["retry storm of 9 calls, cold: bits"] = figure(round(loop(9, is_failed=True), 1), 7.0)
    out["fallback after a denial, 50 had none: bits"] = figure(round(fallback(), 1), 7.0)
    days = [boil_day(seed) for seed in range(4)]
    out["slow boil, 2 % a day: first report, day, latest of 4"] = at_most(max(days), 30.0)
    clean, poisoned = estate(0), estate(POISONERS)
    out["new agent version: its 40 usual tasks that alarm"] = at_most(
        alarms(clean, "clerk-v2", 40, is_theft=False), 1
    )
    out["new agent version: its 10 thefts that alarm"] = figure(
        alarms(clean, "clerk-v2", 10, is_theft=True), 10
    )
    out["10 of 1,000 workloads poison: thefts that alarm, of 10"] = figure(
        alarms(poisoned, "clerk-500", 10, is_theft=True), 10
    )
    out["10 of 1,000 workloads poison: usual tasks that alarm, of 40"] = at_most(
        alarms(poisoned, "clerk-500", 40, is_theft=False), 1
    )
    out["10 of 1,000 workloads poison: tasks set aside"] = figure(poisoned.facts.aside)
    known = poisoned.facts.tails[0]
    out["threshold of 0.5 % of tasks there: bits"] = figure(
        round(threshold_of(known, 0.005) / BIT, 1)
    )
    return out
