"""What benchmarks compare: the peers' work is ours, and a recount is what a replay gives."""

import argparse
import json
import random
import re
from collections import Counter

import pytest

from benchmarks import figures
from benchmarks.contenders import KEY
from benchmarks.events import Load, events, with_offenders
from benchmarks.growth import rules_policy, steepest, windows_policy
from benchmarks.inside import Inside, alternated, decode_us
from benchmarks.latency import Carried, Spans, quantile, report_of
from benchmarks.peers import MODULES, PEERS, lacking, rules, seen_in
from benchmarks.plots import bars_plot, curves_plot, quantiles_plot
from benchmarks.recount import expected, replayed
from benchmarks.rounds import POLICY
from benchmarks.throughput import pairs
from stream.events import Request, encode, encode_request
from stream.kernel import is_compiled
from stream.policy import load_policy
from stream.replay import Replay
from tests.live import rows_of

PARTITIONS = 6
compiled = pytest.mark.skipif(
    not is_compiled(), reason="kernels as plain Python would take minutes for these events"
)


def disorderly(seed, count):
    """Payloads of few workloads that break every rule of the benchmark's policy, in event time."""
    choose = random.Random(seed)
    at_ms = 1_790_000_000_000
    for number in range(count):
        at_ms += choose.choice((0, 0, 0, 1, 12))
        agent = min(choose.randrange(6), choose.randrange(6))
        yield encode_request(
            Request(
                at_ms=at_ms,
                workload=f"spiffe://test.example/agents/a{agent}",
                operation=f"tool:{choose.choice(('query', 'query', 'read', 'send'))}_{number % 3}",
                outcome=choose.choice(("served", "served", "failed", "denied")),
                bytes=choose.randrange(40_000_000),
                task=choose.choice(("", "task-1", "task-2")),
            )
        )


def ours(payloads, policy_text):
    """The commands of a replay, renewals and releases left out."""
    replay = Replay(load_policy(policy_text, "test"), KEY, 1, 1_000)
    found = [each.command.body for result, _ in replay.run(payloads) for each in result.outgoing]
    return Counter(seen_in(encode(each)) for each in found if each.action != "release")


def theirs(payloads):
    """The commands of the peers' rules."""
    states = {}
    found = Counter()
    for payload in payloads:
        event = json.loads(payload)
        state = states.setdefault(event["workload"], rules.new_state())
        for each in rules.apply(state, event):
            found[each["workload"], each["rule"], each["action"], each["clock_ms"]] += 1
    return found


@compiled
def test_peers_do_our_work_on_the_load():
    """On the load of the throughput benchmark the peers' rules give exactly our commands."""
    load = Load(50_000, 500)._replace(per_ms=20)
    payloads = [payload for _, payload in events(load, with_offenders(load))]
    found = theirs(payloads)
    assert found == ours(payloads, POLICY.read_text())
    assert {rule for _, rule, _, _ in found} == {"sustained", "read-then-send"}


@compiled
@pytest.mark.parametrize("rule", ["sustained", "errors", "denials", "volume", "read-then-send"])
def test_peers_find_what_we_find_first(rule):
    """In any disorder each rule is first broken at the same event, for each workload.

    Each alone: ours holds a command back while a stricter one of another rule is in force.
    """
    payloads = list(disorderly(3, 4_000))
    text = POLICY.read_text()
    head, *parts = re.split(r"^  - name: ", text.partition("rules:\n")[2], flags=re.MULTILINE)
    (alone,) = [each for each in parts if each.startswith(f"{rule}\n")]
    assert not head
    alone = text.partition("rules:\n")[0] + "rules:\n  - name: " + alone
    mine = first(ours(payloads, alone))
    assert len(mine) >= 2
    assert mine == {place: at for place, at in first(theirs(payloads)).items() if place[1] == rule}


def first(found):
    """The clock of the first command of each rule for each workload."""
    least = {}
    for workload, rule, _, clock_ms in found:
        place = workload, rule
        least[place] = min(least.get(place, clock_ms), clock_ms)
    return least


def test_what_is_lacking_is_said():
    """A peer whose packages are missing names them, and how to get them."""
    assert lacking("bytewax") == "" or "pip install" in lacking("bytewax")
    assert set(MODULES) | {"flink"} == set(PEERS)


@compiled
def test_recount_of_some_workloads_is_part_of_a_replay():
    """The rows and commands of a sample, with their offsets, are those of a replay of all."""
    load = Load(30_000, 3_000)
    some = list(events(load, with_offenders(load)))
    wanted = expected(some, PARTITIONS, load.workloads)
    assert wanted.counts == Counter(key for key, _ in some)
    assert 1_500 < len(wanted.sample) < 2_500
    bodies, rows = replayed(POLICY.read_text(), wanted.logs)
    replay = Replay(load_policy(POLICY.read_text(), "test"), KEY, PARTITIONS, 20_000)
    all_bodies = Counter(
        encode(each.command.body)
        for result, _ in replay.run(payload for _, payload in some)
        for each in result.outgoing
    )
    everything = rows_of(replay)
    assert len(rows) == len(wanted.sample)
    assert all(everything[each] == row for each, row in rows.items())
    assert not bodies - all_bodies


@compiled
def test_inside_counts_every_pass():
    """Each pass counts every event of every workload again, at whatever batch size."""
    load = Load(2_000, 100)
    payloads = [payload for _, payload in events(load)]
    end_ms = load.start_ms + 2_000 // load.per_ms
    inside = Inside(windows_policy(32), payloads, 400, end_ms)
    for batch_events in (7, 500, 2_000):
        assert inside.apply(batch_events) > 0
    head = inside.state.table.sections.head
    assert head["events"].sum() == 3 * 2_000
    assert head["late"].sum() == 0
    assert decode_us(payloads, end_ms) > 0


def test_growth_policies_are_as_large_as_they_say():
    """Windows are distinct, and each of a hundred classes has its share of the rules."""
    assert [len(windows_policy(count).pairs) for count in (1, 24, 32)] == [1, 24, 32]
    policy = rules_policy(1_000)
    assert len(policy.spec.rules) == 1_000
    names = [f"spiffe://prod.example/agents/agent-{number:07d}" for number in range(300)]
    assert len({policy.class_of(name) for name in names}) == 100


def test_cliffs_are_seen():
    """A cost that grows as what it depends on has no cliff; a jump between two points is one."""
    assert steepest({1: 1.0, 2: 2.0, 4: 4.0}, is_proportional=True) == 1.0
    assert steepest({1: 1.0, 2: 4.0, 4: 4.0}, is_proportional=True) == 2.0
    assert steepest({100: 3.0, 1_000: 1.0, 5_000: 1.7}, is_proportional=False) == 1.7


def test_alternated_takes_the_least_after_a_warm_up():
    """The first round of each measure is not counted."""
    costs = {"a": iter([1, 5, 4, 6]), "b": iter([2, 3, 9, 8])}
    assert alternated(3, {name: each.__next__ for name, each in costs.items()}) == {"a": 4, "b": 3}


def test_quantiles_are_of_what_was_seen():
    """A quantile is a span that occurred, and the 99th of a hundred is the largest but none."""
    spans = [float(each) for each in range(100)]
    assert (quantile(spans, 0.5), quantile(spans, 0.99)) == (50.0, 99.0)
    assert quantile([7.0], 0.99) == 7.0


def test_pairs_are_those_that_ran():
    """Only contenders of this run are compared, and ours by msgspec with the floor too."""
    assert pairs(["floor", "ours"]) == [("ours_to_floor", "ours", "floor")]
    assert ("ours-msgspec_to_floor", "ours-msgspec", "floor") in pairs(["floor", "ours-msgspec"])


@pytest.mark.parametrize(("is_short", "code"), [(False, 1), (True, 0)])
def test_a_missed_figure_fails_only_a_full_run(capsys, is_short, code):
    """JSON has value, target and met of each figure; the exit code judges full runs."""
    report = {"figures": {"a": figures.at_least(1.0, 2.0), "b": figures.informs(3)}}
    args = argparse.Namespace(short=is_short, json=True)
    assert figures.finish(report, args) == code
    shown = json.loads(capsys.readouterr().out)
    assert shown["figures"]["a"] == {"value": 1.0, "target": 2.0, "met": False}
    assert shown["figures"]["b"]["met"] and shown["machine"]["versions"]["aiokafka"]


def test_tables_line_up(capsys):
    """Every line of a table is as wide as the others, and says which figure is missed."""
    report = {"figures": {"one": figures.at_most(3, 2), "another": figures.at_most(1, 2)}}
    figures.finish(report, argparse.Namespace(short=True, json=False))
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(set(map(len, lines))) == 1
    assert [line.split()[-1] for line in lines[1:]] == ["MISSED", "met"]


def test_plots_are_made_and_the_same_each_time(tmp_path):
    """Each kind of plot is an SVG with its labels, byte for byte the same for the same figures."""
    for folder in (tmp_path / "one", tmp_path / "two"):
        quantiles_plot(folder / "spans.svg", {"ours": [1.0, 2.0, 9.0], "echo": [0.5, 0.7]})
        bars_plot(folder / "rates.svg", {"floor": 400_000, "ours": 900_000}, "events/s")
        curves_plot(folder / "curve.svg", {"rules": {1: 0.2, 1_000: 0.3}}, ("rules", "us"))
    names = ["curve.svg", "rates.svg", "spans.svg"]
    assert sorted(each.name for each in (tmp_path / "one").iterdir()) == names
    for name in names:
        text = (tmp_path / "one" / name).read_text()
        assert text.startswith("<?xml") and "</svg>" in text
        assert text == (tmp_path / "two" / name).read_text()


def test_an_echo_that_falls_behind_is_no_measure():
    """Beside a loaded echo that keeps up the target holds; beside one that does not, none does."""
    ours = Carried(Spans([30.0] * 10, [5.0] * 10, 0, 0), 1_000.0, 0.0)
    for span_ms, target in ((10.0, 3.0), (8_000.0, None)):
        loaded = Carried(Spans([], [span_ms] * 10, 0, 0), 1_000.0, 0.0)
        found = report_of(ours, loaded, 1_000.0)["figures"]
        assert found["latency_p99_to_loaded_echo"]["target"] == target
        assert not found["latency_p99_to_echo"]["met"]
    lost = Carried(Spans([], [5.0], 0, 9), 1_000.0, 0.0)
    assert report_of(ours, lost, 1_000.0)["figures"]["latency_p99_to_loaded_echo"]["target"] is None
