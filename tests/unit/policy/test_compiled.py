"""A policy with its meaning: windows, sets of operations, ids, and its arrays for kernels."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest

from stream.errors import PolicyError
from stream.policy import (
    ENFORCE,
    IDLE_MAX_MS,
    NO_RULE,
    POLICY_HASH,
    SHADOW,
    SKEW_MS,
    TASKS_VOUCHED,
    Policy,
    load_policy,
    stable_id,
)
from stream.profiles import MEASURES, Layout, PairId

TEXT = """\
    name: three
    tasks: granted
    idle: 2d
    skew: 3s
    classes:
      - {name: agents, workloads: ["spiffe://td/agents/**"]}
      - {name: batch, workloads: ["spiffe://td/batch/*", "spiffe://TD/nightly"]}
    rules:
      - name: flood
        limit: {measure: requests, at_most: 100, per: 10s}
        action: throttle
        rate: 5/s
        for: 1m
        mode: enforce
      - name: flood-of-agents
        limit: {measure: requests, at_most: 50, per: 10s}
        classes: [agents]
        action: observe
      - name: sends
        limit:
          measure: requests
          at_most: 1k
          per: 1m
          operations: ["tool:send_*", "POST /mail", "tool:send_*"]
          effect: change
        classes: [agents, other]
        action: revoke
        on: token
      - name: bytes
        limit: {measure: bytes, at_most: 1GB, per: 1h}
        classes: [batch]
        action: observe
      - name: silent
        limit: {measure: errors, at_most: 1, per: 24h}
        action: observe
        mode: off
      - name: leak
        forbid: {first: ["tool:read_*"], then: ["POST /mail", "tool:send_*"], within: 5m}
        classes: [agents]
        action: revoke
        on: task
        for: 1h
        mode: enforce
      - name: leak-by-token
        forbid: {first: ["tool:read_*"], then: ["tool:mint"], within: 1m}
        action: revoke
        on: token
    exemptions:
      - {workloads: ["spiffe://td/batch/backup"], note: agreed}
    """
ALL_10S = PairId("requests", (), "", 10_000)
SENDS = PairId("requests", ("POST /mail", "tool:send_*"), "change", 60_000)
BYTES = PairId("bytes", (), "", 3_600_000)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """A policy with two classes of its own."""
    return load_policy(dedent(TEXT), "p.yaml")


def refused(pair: PairId) -> PairId:
    """The window of refused requests beside a window of requests."""
    return pair._replace(measure="refused")


def test_ids_never_change() -> None:
    """Rows are stored under these ids: what they hash and how is part of the row's format."""
    assert stable_id("rule", "agent-flood") == 15_112_205_296_256_111_018
    assert stable_id(*PairId("requests", (), "", 10_000)) == 3_321_202_367_552_292_670
    pair = PairId("bytes", ("POST /v1/**", "tool:send_*"), "change", 3_600_000)
    assert stable_id(*pair) == 13_678_861_253_445_450_605
    assert stable_id("first", ["tool:read_*"]) == 10_227_801_450_162_721_499


def test_windows_are_those_of_rules_that_are_on(policy: Policy) -> None:
    """Each once, and beside requests that lead to an act those that were refused."""
    assert policy.pairs == [ALL_10S, refused(ALL_10S), SENDS, refused(SENDS), BYTES]


def test_sets_are_shared_and_do_not_depend_on_order(policy: Policy) -> None:
    """The same patterns in any order and number are one set; with an effect they are another."""
    assert [[each.text for each in group.patterns] for group in policy.operation_sets] == [
        ["POST /mail", "tool:send_*"],
        ["tool:read_*"],
        ["POST /mail", "tool:send_*"],
        ["tool:mint"],
    ]
    assert policy.sets_of("tool:send_mail", "change") == 0b0101
    assert policy.sets_of("tool:send_mail", "read") == 0b0100
    assert policy.sets_of("tool:read_file", "read") == 0b0010
    assert policy.sets_of("GET /mail", "read") == 0


def test_the_first_class_that_matches_has_the_workload(policy: Policy) -> None:
    """What no class matches is of the class `other`, which stands behind them all."""
    names = {
        "spiffe://td/agents/a/b": "agents",
        "spiffe://td/batch/x": "batch",
        "spiffe://td/nightly": "batch",
        "spiffe://td/x": "other",
    }
    assert {each: policy.class_name(policy.class_of(each)) for each in names} == names
    assert policy.class_of("spiffe://td/x") == 2


def test_an_exemption_is_for_its_workloads_only(policy: Policy) -> None:
    """A pattern without stars is one workload."""
    assert policy.is_exempt("spiffe://td/batch/backup")
    assert not policy.is_exempt("spiffe://td/batch/backup2")


def test_the_layout_has_sums_apart_and_one_mark_for_each_set_of_firsts(policy: Policy) -> None:
    """Two sequences that begin alike share a mark."""
    assert policy.layout == Layout(
        counts=tuple(stable_id(*each) for each in policy.pairs[:4]),
        sums=(stable_id(*BYTES),),
        forbids=(stable_id("first", ["tool:read_*"]),),
    )


def test_each_class_has_its_own_ranges(policy: Policy) -> None:
    """A class is bound to the windows and rules that are about it, in the order of the file."""
    tables = policy.bind(policy.layout)
    found = {}
    for index, name in enumerate(["agents", "batch", "other"]):
        row = tables.classes[index]
        pairs = tables.class_pairs[row["pairs_start"] : row["pairs_end"]]
        limits = tables.limits[row["limits_start"] : row["limits_end"]]
        forbids = tables.forbids[row["forbids_start"] : row["forbids_end"]]
        found[name] = (
            [policy.pairs[each] for each in pairs],
            [policy.rules[each].name for each in limits["index"]],
            [policy.rules[each].name for each in forbids["index"]],
        )
    flood = [ALL_10S, refused(ALL_10S)]
    sends = [SENDS, refused(SENDS)]
    assert found == {
        "agents": (
            [*flood, *sends],
            ["flood", "flood-of-agents", "sends"],
            ["leak", "leak-by-token"],
        ),
        "batch": ([*flood, BYTES], ["flood", "bytes"], ["leak-by-token"]),
        "other": ([*flood, *sends], ["flood", "sends"], ["leak-by-token"]),
    }
    assert len(tables.limits) == 7
    assert len(tables.forbids) == 4


def test_rows_of_rules_say_what_the_file_says(policy: Policy) -> None:
    """Numbers in base units, indices of pairs, sets and marks, and the words as their index."""
    tables = policy.bind(policy.layout)
    flood = tables.limits[0]
    assert flood["rule"] == stable_id("rule", "flood")
    assert flood.tolist()[1:] == (100, 60_000, 0, 0, 1, 1, ENFORCE, 0, 0)
    observed = tables.limits[1]
    assert observed.tolist()[1:] == (50, 300_000, 1, 0, -1, 0, SHADOW, 0, 0)
    sends = tables.limits[2]
    assert sends.tolist()[1:] == (1_000, 300_000, 2, 2, 3, 3, SHADOW, 2, 0)
    leak = tables.forbids[0]
    assert leak["rule"] == stable_id("rule", "leak")
    assert leak.tolist()[1:] == (300_000, 3_600_000, 5, 0, 1, 2, 3, ENFORCE, 1, 0)
    assert tables.no_rule["index"].tolist() == [NO_RULE]


def test_rows_of_windows_name_their_place_in_a_layout(policy: Policy) -> None:
    """In a layout that has more, and in another order, the places are those of the layout."""
    before = Layout((7, stable_id(*SENDS), 8), (9,), (10,))
    layout = before.union(policy.layout)
    tables = policy.bind(layout)
    for row, pair in zip(tables.pairs, policy.pairs, strict=True):
        ids = layout.sums if pair.measure == "bytes" else layout.counts
        assert ids[row["place"]] == stable_id(*pair)
        assert row["window_ms"] == pair.window_ms
        assert MEASURES[row["measure"]] == pair.measure
        assert row["is_sum"] == (pair.measure == "bytes")
        assert row["operations"] == (0 if pair.operations else -1)
    assert layout.forbids[tables.forbids[0]["place"]] == stable_id("first", ["tool:read_*"])


def test_facts_are_those_of_the_file(policy: Policy) -> None:
    """The hash is kept bit for bit, also where it is above 2^63."""
    facts = policy.bind(policy.layout).facts
    assert facts.dtype == np.int64
    assert facts.view(np.uint64)[POLICY_HASH] == policy.number == int(policy.hash, 16)
    assert facts[[TASKS_VOUCHED, IDLE_MAX_MS, SKEW_MS]].tolist() == [0, 172_800_000, 3_000]


def test_a_policy_without_rules_binds_to_empty_tables() -> None:
    """Nothing to count, nothing to find."""
    policy = load_policy("name: empty", "p.yaml")
    tables = policy.bind(policy.layout)
    assert tables.classes.tolist() == [(0,) * 10]
    assert not any(map(len, (tables.pairs, tables.limits, tables.forbids, tables.anomalies)))


def test_the_hash_is_of_what_is_said_and_not_of_how() -> None:
    """Comments, quotes, order of settings and defaults written out change no hash; a note does."""
    plain = load_policy("name: a\nidle: 9d", "p.yaml")
    assert load_policy('# x\nskew: 5s\nidle: "9d"\nname: a', "q.yaml").hash == plain.hash
    assert load_policy("name: a\nidle: 10d", "p.yaml").hash != plain.hash


def limits(count: int, measure: str) -> str:
    """A policy that names so many windows."""
    rule = "  - {{name: r{0}, limit: {{measure: {1}, at_most: 1, per: {2}s}}, action: observe}}"
    lines = [rule.format(each, measure, each + 1) for each in range(count)]
    return "name: x\nrules:\n" + "\n".join(lines)


def sequences(count: int) -> str:
    """A policy with so many sets of first operations, and one of second ones."""
    rule = "  - {{name: r{0}, forbid: {{first: ['tool:{0}'], then: [GET /], within: 1s}}, "
    lines = [(rule + "action: observe}}").format(each) for each in range(count)]
    return "name: x\nrules:\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("fits", "is_too_much", "words"),
    [
        (limits(24, "denials"), limits(25, "denials"), "25 windows of counts (at most 24)"),
        (limits(8, "cost"), limits(9, "cost"), "9 of bytes and cost (8)"),
        (sequences(62), sequences(63), "more than 63 sets of operations"),
    ],
)
def test_a_policy_that_no_row_can_hold_is_refused(fits: str, is_too_much: str, words: str) -> None:
    """Windows, sums and sets have a stated number; the last that fits is accepted."""
    assert load_policy(fits, "p.yaml")
    with pytest.raises(PolicyError) as caught:
        load_policy(is_too_much, "p.yaml")
    assert words in str(caught.value)
