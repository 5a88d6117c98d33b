"""Learned contexts live in their rows: whoever goes on with a row goes on with its contexts."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.detectors import CONTEXT_PARTS
from stream.enforcement import KEPT_HABITS, SCORE, TALLIES, Expectation
from stream.engine import State, missing, step
from stream.events import (
    LEARNED_FORMAT,
    Conditions,
    InForce,
    Request,
    encode_request,
)
from stream.identity import home_partition
from stream.kernel import is_compiled
from stream.policy import load_policy
from stream.profiles import Arrival, Decoder, Layout, ProfileTable, RowFormat
from tests.models.tasks import (
    CLASS,
    KEY,
    T0_MS,
    THIEF,
    baseline,
    book_trip,
    call,
    history,
    pay_bill,
    task,
)

POLICY = load_policy(
    """
name: learned
tasks: vouched
rules:
- name: odd
  anomaly: {of: task-novelty, false_alarms: 0.5% of tasks}
  action: revoke
  on: task
  for: 1h
  mode: enforce
- name: unusual
  anomaly: {of: behaviour, false_alarms: 5% of tasks}
  action: throttle
  rate: 1/s
  on: workload
  for: 1h
  mode: enforce
- name: many
  limit: {measure: requests, at_most: 6, per: 10s}
  action: throttle
  rate: 1/s
  for: 10s
  mode: enforce
- name: quiet
  anomaly: {of: silence, false_alarms: 1 per workload per 365 days}
  action: revoke
  for: 1h
  mode: enforce
""",
    "test",
)
VERSIONS = {
    "one": Expectation(baseline(history(60, agents=12)), "one", KEY),
    "two": Expectation(baseline(history(40, agents=8)), "two", KEY),
    "bills": Expectation(
        baseline([each for each in history(40, agents=8) if each.purpose == "pay-bill"]),
        "bills",
        KEY,
    ),
}
STEAL = call("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")
LOOK = {**call("read_file", "path:bill-01.txt", effect="read", size=600), "outcome": "denied"}
AGENTS = ("a", "b", "c")


class Held(NamedTuple):
    """What holds from an offset on: a version, or none, and whether it is shed."""

    start: int
    version: str
    shed: str


def story(seed: int, pauses: tuple[int, ...] = (10 * 86_400_000,)) -> list[bytes]:
    """Tasks of some agents side by side, usual and odd calls, grants and ends, some never."""
    chance = random.Random(seed)
    running: list[list[Request]] = []
    for number in range(chance.randint(4, 14)):
        purpose = chance.choice(("pay-bill", "book-trip", "", "new"))
        more = [STEAL] * (chance.random() < 0.4)
        again = chance.choice((1, 1, 1, 12)) * [LOOK]
        calls = chance.choice((pay_bill, book_trip))(number, *again, *more)
        calls = calls * chance.choice((1, 1, 3))
        events = list(task(f"k{number}", chance.choice(AGENTS), purpose, calls))
        if chance.random() < 0.3:
            events = events[:-1]
        if chance.random() < 0.2:
            events = [msgspec.structs.replace(each, task="") for each in events]
        running.append(events)
    payloads, at_ms = [], T0_MS + 10**9
    while any(running):
        events = chance.choice([each for each in running if each])
        at_ms += chance.choice((100, 1_000, 1_000, 2_000, *pauses))
        payloads.append(encode_request(msgspec.structs.replace(events.pop(0), at_ms=at_ms)))
    return payloads


def hourly(seed: int) -> list[bytes]:
    """Jobs that come each hour for ten days, not for one, and then seldom; asked about always."""
    chance, at_ms = random.Random(seed), T0_MS + 10**9
    names = [f"{CLASS}/{each}" for each in AGENTS[:2]]
    events: list[Request] = []
    for hour in range(240 + 200):
        for name in names:
            place_ms = at_ms + hour * 3_600_000 + chance.randrange(60_000)
            if hour < 240 or (hour >= 264 and chance.random() < 0.05):
                events.append(Request(place_ms, name, "tool:sync"))
            if chance.random() < (0.05 if hour < 240 else 0.5):
                asked = chance.choice((*names, f"{CLASS}/nobody"))
                events.append(Request(place_ms + 1_800_000, asked, "tick", kind="tick"))
    return [encode_request(each) for each in sorted(events, key=lambda each: each.at_ms)]


def conditions(held: Held) -> tuple[Conditions, Expectation]:
    """What a partition is under, and what that is compared with."""
    here = Conditions(
        format=LEARNED_FORMAT, nonce="n", era=0, from_offset=held.start, policy_hash=POLICY.hash,
        policy_text=POLICY.text, baseline=InForce(held.version, shed=held.shed),
    )  # fmt: skip
    if held.shed or not held.version:
        return here, Expectation.without(held.version, held.shed)
    return here, VERSIONS[held.version]


class Process:
    """A worker's state, and the store that outlives it."""

    def __init__(self, store: dict[str, tuple[Any, bytes]]) -> None:
        self.store = store
        self.tallies: Counter[str] = Counter()
        self.state = State(KEY, 64, 1)
        self.decoder = Decoder(KEY, 1, with_values=True)

    def apply(self, payloads: list[bytes], start: int) -> tuple[list[bytes], list[bytes]]:
        """Apply payloads from an offset on; return commands' bodies, and what each event scored."""
        at_ms = [T0_MS + 10**12] * len(payloads)
        offsets = range(start, start + len(payloads))
        batch, rejects = self.decoder.decode([Arrival("t", 0, offsets, at_ms, payloads)])
        assert not rejects
        for event in missing(self.state, batch):
            name = batch.workload(event)
            if name in self.store:
                one = batch.events[event]
                ids = int(one["workload"]), int(one["home"]), 0
                self.state.restore(name, ids, self.store[name][1])
        scores = np.zeros(len(batch.events), SCORE)
        result = step(self.state, batch, scores)
        self.tallies.update(dict(zip(TALLIES, result.tallies.tolist(), strict=True)))
        bodies = [msgspec.json.encode(each.command.body) for each in result.outgoing]
        return bodies, [each.tobytes() for each in scores]

    def save(self, names: set[str] | None = None) -> None:
        """Store rows, all unless told whose."""
        table = self.state.table
        slots = [
            each for each in table.used_slots().tolist() if not names or table.names[each] in names
        ]
        for slot, row in zip(slots, self.state.stored(slots), strict=True):
            self.store[table.names[slot] or ""] = slot, row
        table.sections.local["unsaved_from"][slots] = 0


def told(payloads: list[bytes], held: list[Held], chance: random.Random | None) -> tuple[Any, ...]:
    """Apply a story, all at once, or with whatever may happen between two events."""
    bodies, scores = [], []
    process, tallies = Process({}), Counter[str]()
    process.state.adopt(0, *_with_policy(held[0]))
    starts = {each.start: each for each in held}
    at = 0
    while at < len(payloads):
        if at in starts:
            process.state.adopt(0, *_with_policy(starts[at]))
        next_change = min((each for each in starts if each > at), default=len(payloads))
        end = next_change
        if chance is not None:
            end = min(end, at + chance.choice((1, 2, 5)))
        mine, seen = process.apply(payloads[at:end], at)
        bodies += mine
        scores += seen
        now = max((each for each in held if each.start < end), key=lambda each: each.start)
        if chance is not None and chance.random() < 0.5:
            process.save()
            kind = chance.choice(("killed", "evicted", "saved"))
            if kind == "killed":
                tallies += process.tallies
                process = Process(process.store)
                process.state.adopt(0, *_with_policy(now))
            elif kind == "evicted":
                for slot in process.state.table.used_slots().tolist():
                    process.state.evict(slot)
                assert len(process.state.table.learned) == 0
        at = end
    process.save()
    rows = {name: row for name, (_, row) in process.store.items()}
    return bodies, scores, rows, tallies + process.tallies


def _with_policy(held: Held) -> tuple[Any, ...]:
    here, expectation = conditions(held)
    return here, POLICY, expectation


def helds(length: int, seed: int) -> list[Held]:
    """Versions that come and go, and are shed and are not."""
    chance = random.Random(seed)
    starts = sorted({0, *(chance.randrange(1, length) for _ in range(chance.randint(0, 4)))})
    return [
        Held(each, chance.choice(("one", "one", "two", "")), chance.choice(("", "", "behind")))
        for each in starts
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30))
def test_crash_eviction_and_batches_change_no_command_and_no_row(seed: int) -> None:
    """Killed between any two batches and taken over: commands, evidence and rows are the same."""
    payloads = story(seed)
    held = helds(len(payloads), seed)
    whole = told(payloads, held, None)
    assert told(payloads, held, random.Random(seed)) == whole


@pytest.mark.skipif(not is_compiled(), reason="plain Python takes minutes for weeks of intervals")
@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1 << 30))
def test_who_is_missed_is_missed_by_everybody(seed: int) -> None:
    """The same: a tick is judged by what the log has before it, and changes nothing else."""
    payloads = hourly(seed)
    held = [Held(0, "one", ""), Held(len(payloads) - 40, "one", seed % 2 * "behind")]
    whole = told(payloads, held, None)
    assert told(payloads, held, random.Random(seed)) == whole
    missed = [each for each in whole[0] if b'"rule":"quiet"' in each]
    assert missed
    assert all(b"no event for" in each for each in missed)
    assert whole[3]["ticks"] > len(missed)
    assert sorted(whole[2]) == sorted(f"{CLASS}/{each}" for each in AGENTS[:2])


def test_stories_have_anomalies_to_tell_apart() -> None:
    """Most stories have commands by learned evidence, so that the law above says something."""
    found = [told(story(seed), [Held(0, "one", "")], None)[0] for seed in range(20)]
    for rule in (b'"rule":"odd"', b'"rule":"unusual"'):
        assert sum(any(rule in each for each in bodies) for bodies in found) > 10, rule


def test_a_replay_is_what_an_undisturbed_worker_gives() -> None:
    """Every body names the version in force; shed, none is by learned evidence, and says so."""
    payloads = story(3)
    bodies = told(payloads, [Held(0, "one", "")], None)[0]
    assert bodies
    assert all(b'"baseline":"one"' in each for each in bodies)
    shed = told(payloads, [Held(0, "one", "behind")], None)[0]
    exact = [each for each in bodies if b'"rule":"many"' in each]
    assert exact != bodies
    assert [each.replace(b". Learned detectors were off (behind)", b"") for each in shed] == exact
    assert all(b"were off (behind)" in each for each in shed)


def stored_bytes(events: list[Request], shed: str = "") -> int:
    """The size of the row of a workload with these events, as it is stored."""
    process = Process({})
    process.state.adopt(0, *_with_policy(Held(0, "one", shed)))
    process.apply([encode_request(each) for each in events], 0)
    return len(process.state.stored([0])[0])


def test_rows_have_stated_sizes() -> None:
    """In the store a usual task under way costs 432 bytes, an ended one none, any at most 1,096.

    What is known of its workload's habits costs 621 bytes at first, its name among them, and 3,296
    and the name at most.
    """
    events = list(task("k", "a", "pay-bill", pay_bill(1)))
    habits = stored_bytes(events) - stored_bytes(events, "behind")
    assert habits == 621
    assert stored_bytes(events[:-1]) - stored_bytes(events[:-1], "behind") == 432 + habits
    table = ProfileTable(Layout((), (), ()), 1, KEPT_HABITS)
    table.admit(1, "w", 0, 0)
    local, sizes = table.sections.local, []
    for records, pointers, which in (
        (table.learned, local["learned"][0], 3),
        (table.habits, local["habits"], 0),
    ):
        before = len(RowFormat(table.layout, 1).encode(table, [0])[0])
        full = [np.full(each.dtype.itemsize // 8, 1, np.uint64) for each in records.arrays]
        records.restore(pointers, which, full)
        sizes.append(len(RowFormat(table.layout, 1).encode(table, [0])[0]) - before)
    assert sizes == [1_096, 3_296]


def test_what_was_not_followed_is_no_silence() -> None:
    """While shed a workload is not followed; its rates go on with what they knew before."""
    events = [
        encode_request(
            Request(
                at_ms=T0_MS + number * 60_000,
                workload=f"{CLASS}/steady",
                operation="tool:read_file",
                bytes=600,
                effect="read",
            )
        )
        for number in range(5 * 220)
    ]
    held = [Held(0, "one", ""), Held(600, "one", "behind"), Held(1_000, "one", "")]
    process, points = Process({}), []
    for start, end in ((0, 600), (600, 1_000), (1_000, 1_100)):
        process.state.adopt(0, *_with_policy(next(each for each in held if each.start == start)))
        _, scores = process.apply(events[start:end], start)
        seen = np.frombuffer(b"".join(scores), SCORE)
        behaviour = process.state.table.habits.records[0]["behaviour"]
        points.append(int(behaviour["series"]["points"][0]))
    assert points == [120, 120, 120 + 20]
    assert seen["known"][-1] >> CONTEXT_PARTS & 1


def test_versions_hold_by_partition() -> None:
    """Two partitions of one batch under two versions, or none: each as if it were alone."""
    homes: dict[int, str] = {}
    for number in range(50):
        name = f"{CLASS}/x{number}"
        homes.setdefault(home_partition(name.encode(), 3), f"x{number}")
    held = (Held(0, "one", ""), Held(0, "two", ""), Held(0, "", ""))
    payloads = {
        home: [encode_request(each) for each in task("k", name, "pay-bill", pay_bill(1, STEAL))]
        for home, name in homes.items()
    }

    def bodies_of(homes_used: list[int]) -> list[bytes]:
        state, decoder = State(KEY, 64, 3), Decoder(KEY, 3, with_values=True)
        for home in range(3):
            state.adopt(home, *_with_policy(held[home]))
        at_ms = [T0_MS + 10**12] * len(payloads[0])
        arrivals = [
            Arrival("t", home, range(len(at_ms)), at_ms, payloads[home]) for home in homes_used
        ]
        result = step(state, decoder.decode(arrivals)[0])
        return [msgspec.json.encode(each.command.body) for each in result.outgoing]

    together = bodies_of([0, 1, 2])
    assert sorted(together) == sorted(bodies_of([0]) + bodies_of([1]) + bodies_of([2]))
    assert len(bodies_of([0])) == len(bodies_of([1])) == 1
    assert not bodies_of([2])
    assert {body.partition(b'"baseline":"')[2][:3] for body in together} == {b"one", b"two"}
