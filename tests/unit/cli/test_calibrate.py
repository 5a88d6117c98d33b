"""`calibrate`: thresholds from benign history, how sure they are, and nothing written unasked."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from stream.baselines import decode_baseline
from stream.events import encode_request
from stream.kernel import is_compiled
from stream.policy import load_policy
from stream.replay import Replay
from tests.models.tasks import KEY, baseline, history
from tests.unit.cli.conftest import Call

compiled = pytest.mark.skipif(
    not is_compiled(), reason="twenty baselines take minutes with kernels as plain Python"
)
POLICY = """
name: p
rules:
  - name: odd
    anomaly: {{of: task-novelty, false_alarms: {budget}}}
    action: observe
"""


@pytest.fixture
def events(tmp_path: Path) -> str:
    """A history of the small estate."""
    file = tmp_path / "history.jsonl"
    file.write_bytes(b"".join(encode_request(each) + b"\n" for each in history(60, agents=12)))
    return str(file)


def learned(call: Call, events: str, folder: Path) -> str:
    """A baseline of these events."""
    out = str(folder / "learned.baseline")
    assert call("baseline", "learn", events, "--out", out).exit_code == 0
    return out


@compiled
def test_thresholds_of_a_history_by_itself(call: Call, events: str, tmp_path: Path) -> None:
    """Cross-fitted: a threshold for each budget and mode, within its interval; nothing written."""
    before = set(tmp_path.iterdir())
    done = call(
        "calibrate", events, "--budget", "5% of tasks", "--budget", "1 % of tasks", "--json"
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["tasks"], found["workloads"], found["tasks_scored"]) == (120, 12, 120)
    rows = {(each["budget"], each["mode"]): each for each in found["thresholds"]}
    assert len(rows) == 6
    loose, tight = rows["5% of tasks", "known"], rows["1 % of tasks", "known"]
    assert loose["bits"] <= tight["bits"] and loose["tasks"] == 120
    for row in (loose, tight):
        low, high = row["bits_between"]
        assert low <= row["bits"] <= high
        least, most = row["rate_between"]
        assert 0 <= least < most < 0.3
    assert tight["is_beyond_seen"] and not loose["is_beyond_seen"]
    # There are two purposes, so that a new one has nothing to be compared with.
    assert rows["5% of tasks", "new"]["bits"] is None
    assert set(tmp_path.iterdir()) == before
    shown = call("calibrate", events)
    assert "0.5% of tasks" in shown.stdout and "too few tasks" in shown.stdout, shown.output


@compiled
def test_budgets_are_those_of_the_policy(call: Call, events: str, tmp_path: Path) -> None:
    """One a workload and day: each of 12 workloads has 10 tasks in an hour, so 240 a day."""
    policy = tmp_path / "p.yaml"
    policy.write_text(POLICY.format(budget="1 per workload per 1 day"))
    done = call("calibrate", events, "--policy", str(policy), "--json")
    (row,) = [each for each in json.loads(done.stdout)["thresholds"] if each["mode"] == "known"]
    assert row["budget"] == "1 per workload per 1 day"
    assert row["share"] == pytest.approx(1 / 240, rel=0.05)


def test_a_baseline_is_written_only_where_asked(call: Call, events: str, tmp_path: Path) -> None:
    """--out has the same knowledge and other tails; the history's time overlaps, which is said."""
    made = learned(call, events, tmp_path)
    more = tmp_path / "more.jsonl"
    more.write_bytes(b"".join(encode_request(each) + b"\n" for each in history(90, agents=9)))
    out = tmp_path / "calibrated.baseline"
    data = Path(made).read_bytes()
    done = call("calibrate", str(more), "--baseline", made, "--out", str(out), "--json")
    assert done.exit_code == 0, done.output
    assert "learned from the time of this history" in done.stderr
    assert Path(made).read_bytes() == data
    one, other = decode_baseline(data, "a"), decode_baseline(out.read_bytes(), "b")
    assert (one.listed == other.listed).all()
    assert (one.facts.tails[0].tasks, other.facts.tails[0].tasks) == (120, 180)
    assert one.facts.tails[1] == other.facts.tails[1]
    # How calls are made is measured too; what was not known stays as it was.
    pairs = list(zip(one.facts.habits, other.facts.habits, strict=True))
    assert any(old != new for old, new in pairs) and any(old == new for old, new in pairs)
    assert {new.tasks for old, new in pairs if old != new} <= set(range(181, 200))


@compiled
def test_denied_calls_do_not_count(call: Call, events: str, tmp_path: Path) -> None:
    """What targets denied is not compared while events are judged, so neither is it here."""
    made = learned(call, events, tmp_path)
    usual = history(60)
    tried = [
        replace(
            each,
            at_ms=each.at_ms + 1,
            kind="request",
            operation="tool:wipe",
            resources=("disk:all",),
            outcome="denied",
            id=f"{each.task}/odd",
        )
        for each in usual
        if each.kind == "grant" and each.purpose == "book-trip"
    ]
    more = tmp_path / "more.jsonl"
    found = []
    for requests in (usual, sorted([*usual, *tried], key=lambda each: each.at_ms)):
        more.write_bytes(b"".join(encode_request(each) + b"\n" for each in requests))
        done = call("calibrate", str(more), "--baseline", made, "--json")
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout)["thresholds"])
    assert found[0] == found[1]


def test_mistakes_are_named(call: Call, events: str, tmp_path: Path) -> None:
    """No tasks, no such budget, --out without a baseline, another key, what is no baseline."""
    empty = tmp_path / "empty"
    empty.write_bytes(b"{}\nnot json\n\xff\xfe\n")
    done = call("calibrate", str(empty))
    assert (done.exit_code, "no task" in done.stderr) == (1, True)
    for budget in (
        "5%",
        "0 per workload per 1 day",
        "1 per workload per 999 weeks",
        "50% of tasks",
    ):
        done = call("calibrate", events, "--budget", budget)
        assert (done.exit_code, "no budget of false alarms" in done.stderr) == (2, True), budget
    done = call("calibrate", events, "--out", str(tmp_path / "x"))
    assert (done.exit_code, "--out needs --baseline" in done.stderr) == (2, True)
    done = call("calibrate", events, "--baseline", events)
    assert (done.exit_code, "this is no baseline" in done.stderr) == (78, True)
    made = learned(call, events, tmp_path)
    key = {"ENFORCER_HASH_KEY": "0" * 31 + "1"}
    done = call("calibrate", events, "--baseline", made, **key)
    assert (done.exit_code, "another hash key" in done.stderr) == (78, True)


def test_a_policys_budget_a_workload_decides_as_its_share_does() -> None:
    """The threshold of one false alarm a workload and day is that of its share of tasks."""
    made = baseline(history(60, agents=12))
    facts = made.facts
    assert facts.seen == 120
    share = 1 / (10 / ((facts.until_ms - facts.from_ms) / 86_400_000))
    rows = []
    for budget in ("1 per workload per 1 day", f"{100 * share:.4f}% of tasks"):
        machine = Replay(load_policy(POLICY.format(budget=budget), "p"), KEY)
        machine.expect(made, "v")
        policy = machine.state.bound[next(iter(machine.state.bound))].policy
        rows.append(machine.state.expected[0].thresholds(policy)[0].tolist())
    # Parts of a million are whole, so a rarity of them differs by a little.
    assert rows[0][:-1] == pytest.approx(rows[1][:-1], rel=2e-3)
    # What the budget itself is goes last: a share of tasks that is written with four places.
    assert rows[0][-1] == pytest.approx(rows[1][-1], rel=2e-2)
    assert rows[0][0] < rows[0][3]
