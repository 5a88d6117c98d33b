"""The brake: how many are newly enforced, and by what; how a log is cut decides nothing."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.enforcement import NEVER_CLOSED, Expectation
from stream.engine import Enforced, State, missing, step
from stream.events import (
    BRAKE_FORMAT,
    Brake,
    Command,
    Conditions,
    InForce,
    Request,
    decode_request,
    encode_request,
    join_requests,
)
from stream.policy import Policy, load_policy
from stream.profiles import Arrival, Decoder
from tests.models.tasks import KEY, T0_MS, THIEF, baseline, call, history, task

RULES = """
name: braked
tasks: vouched
classes:
- {name: upper, workloads: ["spiffe://*/agents/u*"]}
rules:
- name: odd
  anomaly: {of: task-novelty, false_alarms: 0.5% of tasks}
  action: revoke
  on: task
  for: 10s
  mode: enforce
- name: unusual
  anomaly: {of: behaviour, false_alarms: 5% of tasks}
  action: throttle
  rate: 1/s
  for: 20s
  mode: enforce
- name: noted
  anomaly: {of: task-novelty, false_alarms: 1% of tasks}
  action: observe
  mode: enforce
- name: many
  limit: {measure: requests, at_most: 3, per: 10s}
  action: throttle
  rate: 1/s
  for: 10s
  mode: enforce
brake: {settled_after: 5s}
"""
POLICY = load_policy(RULES, "test")
OFF = load_policy(RULES.replace("brake: {settled_after: 5s}", "brake: off"), "test")
LEARNED = Expectation(baseline(history(60, agents=12)), "one", KEY)
STEAL = call("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")
UPPER, OTHER = 0, 1
SETTLED_MS = 5_000
ANOMALIES = ("odd", "unusual")


def under(
    policy: Policy = POLICY, braked: tuple[str, ...] = (), from_offset: int = 0
) -> tuple[Any, ...]:
    """What a partition is under, with some tiers braked."""
    here = Conditions(
        format=BRAKE_FORMAT, nonce="n", era=0, from_offset=from_offset, policy_hash=policy.hash,
        policy_text=policy.text, baseline=InForce("one"),
        brake=Brake(braked) if braked else msgspec.UNSET,
    )  # fmt: skip
    return here, policy, LEARNED


def steal(task_id: str, agent: str, at_ms: int) -> Request:
    """One call that no benign task makes."""
    _, called, _ = task(task_id, agent, "pay-bill", [STEAL])
    return msgspec.structs.replace(called, at_ms=at_ms)


def story(seed: int) -> list[bytes]:
    """Calls that are odd as a rule, of workloads of two classes, some of them new all the time."""
    chance = random.Random(seed)
    payloads, at_ms = [], T0_MS + 10**9
    for number in range(chance.randint(20, 60)):
        at_ms += chance.choice((10, 500, 1_000, 1_000, 4_000))
        agent = f"{chance.choice('uuo')}{chance.choice((1, 2, 3, 4, 5, number))}"
        task_id = chance.choice((f"k{number}", f"k{number % 3}"))
        payloads.append(encode_request(steal(task_id, agent, at_ms)))
    return payloads


class Came(NamedTuple):
    """What came of a log: commands, what took of the allowance, and from where tiers closed."""

    commands: list[Command]
    enforced: list[Enforced]
    closed_from: list[int]


def told(
    payloads: list[bytes],
    left: tuple[int, int],
    cuts: set[int],
    of: tuple[Any, ...] = (),
    counts_from: int = 0,
) -> Came:
    """Apply a log with an allowance for each tier, cut into batches before some offsets."""
    state, decoder = State(KEY, 128, 1), Decoder(KEY, 1, with_values=True)
    state.adopt(0, *(of or under()))
    state.brakes.left[0, :2] = left
    state.brakes.counts_from[0] = counts_from
    commands, enforced = [], []
    edges = [0, *sorted(cuts), len(payloads)]
    for start, end in pairwise(edges):
        at_ms = [T0_MS + 10**12 + each for each in range(start, end)]
        arrival = Arrival("t", 0, range(start, end), at_ms, payloads[start:end])
        batch, rejects = decoder.decode([arrival])
        assert not rejects
        assert missing(state, batch) is not None
        result = step(state, batch)
        commands += [each.command for each in result.outgoing]
        enforced += result.enforced
    return Came(commands, enforced, state.brakes.closed_from[0, :2].tolist())


def binding(commands: list[Command], rules: tuple[str, ...]) -> list[Command]:
    """The commands of rules that are enforced."""
    return [each for each in commands if each.body.rule in rules and each.body.mode == "enforce"]


def counted(payloads: list[bytes], commands: list[Command]) -> Counter[str]:
    """How many were newly enforced on and had been there for long, by tier, told by commands."""
    first: dict[str, int] = {}
    for request in map(decode_request, payloads):
        first.setdefault(request.workload, request.at_ms)
    until: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for body in (each.body for each in binding(commands, ANOMALIES)):
        name = body.subject.workload
        if until.get(name, 0) <= body.clock_ms and body.clock_ms - first[name] >= SETTLED_MS:
            counts["upper" if "/agents/u" in name else "other"] += 1
        until[name] = max(until.get(name, 0), body.until_ms)
    return counts


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30), st.tuples(st.integers(1, 4), st.integers(1, 4)), st.data())
def test_no_more_are_newly_enforced_than_allowed(
    seed: int, left: tuple[int, int], data: st.DataObject
) -> None:
    """And how the log is cut into batches changes no command, nor from where a tier is closed."""
    payloads = story(seed)
    whole = told(payloads, left, set())
    counts = Counter(each.tier for each in whole.enforced)
    assert counts == counted(payloads, whole.commands)
    assert counts["upper"] <= left[UPPER]
    assert counts["other"] <= left[OTHER]
    for tier, name in enumerate(("upper", "other")):
        closed = whole.closed_from[tier]
        assert (closed < NEVER_CLOSED) == (counts[name] == left[tier]), name
        mine = [
            each
            for each in whole.commands
            if ("/agents/u" in each.body.subject.workload) == (tier == UPPER)
        ]
        late = [each for each in binding(mine, ANOMALIES) if each.version.offset >= closed]
        assert all(each.body.repeat > 0 for each in late), "what goes on was in force"
        braked = [each for each in mine if each.body.reason.braked]
        assert all(each.version.offset >= closed for each in braked)
        assert all(each.body.mode == "shadow" for each in braked)
    cuts = data.draw(st.sets(st.integers(1, len(payloads) - 1)))
    assert told(payloads, left, cuts) == whole


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 30), st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_who_reads_the_journal_decides_the_same(seed: int, left: tuple[int, int]) -> None:
    """An heir with no allowance of its own, under what the owner journalled, from there on."""
    payloads = story(seed)
    whole = told(payloads, left, set())
    closed = sorted({each for each in whole.closed_from if each < len(payloads)})
    state, decoder = State(KEY, 128, 1), Decoder(KEY, 1, with_values=True)
    commands = []
    edges = [0, *closed, len(payloads)]
    for start, end in pairwise(edges):
        braked = tuple(
            name
            for name, from_offset in zip(("upper", "other"), whole.closed_from, strict=True)
            if from_offset <= start
        )
        state.adopt(0, *under(POLICY, braked, start))
        at_ms = [T0_MS + 10**12 + each for each in range(start, end)]
        batch, _ = decoder.decode([Arrival("t", 0, range(start, end), at_ms, payloads[start:end])])
        commands += [each.command for each in step(state, batch).outgoing]
    assert commands == whole.commands


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 30))
def test_exact_rules_are_never_braked(seed: int) -> None:
    """Limits come to the same commands, braked everywhere or not at all."""
    payloads = story(seed)
    free = told(payloads, (10**6, 10**6), set())
    held = told(payloads, (10**6, 10**6), set(), under(POLICY, ("other", "upper")))
    exact = [
        msgspec.structs.replace(each.body) for each in free.commands if each.body.rule == "many"
    ]
    assert exact == [each.body for each in held.commands if each.body.rule == "many"]
    assert not binding(held.commands, ANOMALIES)
    assert not held.enforced
    shadows = [each for each in held.commands if each.body.rule in ANOMALIES]
    assert all(each.body.reason.braked for each in shadows)


def test_before_where_it_counts_an_allowance_closes_nothing() -> None:
    """What an earlier owner may have published is decided as by that; behind it tiers close."""
    payloads = story(5)
    free = told(payloads, (10**6, 10**6), set())
    late = told(payloads, (1, 1), set(), counts_from=len(payloads))
    assert late.commands == free.commands
    assert late.closed_from == [len(payloads)] * 2
    assert told(payloads, (1, 1), set(), counts_from=NEVER_CLOSED).commands == free.commands
    assert told(payloads, (1, 1), set()).commands != free.commands


def test_young_workloads_take_nothing_and_are_held_back_too() -> None:
    """New names do not trip the brake; where it holds, they are shadows like all others."""
    events = [encode_request(steal(f"k{n}", f"u{n}", T0_MS + 10**9 + n)) for n in range(30)]
    free = told(events, (1, 1), set())
    assert len(binding(free.commands, ("odd",))) == 30
    assert free.closed_from == [NEVER_CLOSED] * 2
    assert not free.enforced
    held = told(events, (1, 1), set(), under(POLICY, ("upper",)))
    assert not binding(held.commands, ("odd",))


def test_without_a_brake_nothing_is_braked() -> None:
    """`brake: off` takes no allowance, and no journal's brake holds under it."""
    payloads = story(5)
    free = told(payloads, (1, 1), set(), under(OFF, ("other", "upper")))
    assert not free.enforced
    assert len(binding(free.commands, ANOMALIES)) > 5
    assert not any(each.body.reason.braked for each in free.commands)


def test_events_of_the_record_that_closes_a_tier_are_all_before_it() -> None:
    """Offsets decide, however the record is cut; the next record is braked."""
    at_ms = T0_MS + 10**9
    names = ("u1", "u2", "u3")
    first = [encode_request(steal("none", each, at_ms)) for each in names]
    odd = [encode_request(steal(f"k{each}", each, at_ms + 20_000)) for each in names]
    quiet = [each.replace(THIEF.encode(), b"bill") for each in first]
    payloads = [*quiet, join_requests(odd[:2]), odd[2]]
    for cuts in (set(), {4}, {1, 2, 3, 4}):
        came = told(payloads, (1, 1), cuts)
        assert came.closed_from[UPPER] == 4
        assert {each.version.offset for each in binding(came.commands, ("odd",))} & {3, 4} == {3}
        assert len({each.body.subject for each in binding(came.commands, ("odd",))}) >= 2
        assert any(each.body.reason.braked for each in came.commands)
    state = State(KEY, 8, 1)
    state.adopt(0, *under(POLICY, ("upper",), 7))
    assert state.brakes.closed_from[0, :2].tolist() == [7, NEVER_CLOSED]
    state.widen(3)
    assert state.brakes.closed_from[:, UPPER].tolist() == [7, NEVER_CLOSED, NEVER_CLOSED]


def test_a_command_says_that_it_was_braked() -> None:
    """In words, with what is allowed, and as a field."""
    payloads = story(5)
    held = told(payloads, (1, 1), set(), under(POLICY, ("other", "upper")))
    reason = next(each.body.reason for each in held.commands if each.body.reason.braked)
    assert reason.text.endswith("newly enforced as may be (10% of them in 10m, or 5)")
