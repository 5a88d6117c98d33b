"""`baseline` and `replay --baseline --scores`: from recorded events to evidence, by files alone."""

import json
from pathlib import Path

import pytest

from stream.events import encode_request
from tests.models.tasks import THIEF, history, pay_bill, task
from tests.models.tasks import call as tool
from tests.unit.cli.conftest import Call

STEAL = tool("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")


@pytest.fixture
def learned(call: Call, tmp_path: Path) -> str:
    """A baseline file of the small estate's history."""
    events = tmp_path / "history.jsonl"
    events.write_bytes(b"".join(encode_request(each) + b"\n" for each in history(60, agents=12)))
    out = str(tmp_path / "learned.baseline")
    done = call("baseline", "learn", str(events), "--out", out, "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["tasks"], summary["workloads"], summary["rejects"]) == (120, 12, {})
    assert summary["classes"] == {"spiffe://bank.example/agents": 2}
    return out


def test_learned_then_replayed(call: Call, tmp_path: Path, learned: str) -> None:
    """Under the default policy a stolen payment alarms, the usual task does not."""
    events, scores = tmp_path / "today.jsonl", tmp_path / "scores.jsonl"
    today = [*task("good", "x", "pay-bill", pay_bill(1)), *task("bad", "y", "pay-bill", [STEAL])]
    events.write_bytes(b"".join(encode_request(each) + b"\n" for each in today))
    done = call("replay", str(events), "--baseline", learned, "--scores", str(scores), "--json")
    assert done.exit_code == 0, done.output
    lines = [json.loads(each) for each in scores.read_bytes().splitlines()]
    assert [each["id"] for each in lines] == [each.id for each in today]
    alarms = {each["id"].partition("/")[0] for each in lines if each["alarm"]}
    assert alarms == {"bad"}
    (rule,) = [each for each in json.loads(done.stdout)["rules"] if each["rule"] == "task-novelty"]
    assert (rule["mode"], rule["findings"], rule["commands"]) == ("shadow", 1, 1)


def test_show_and_diff(call: Call, tmp_path: Path, learned: str) -> None:
    """A baseline shows its classes and thresholds; against itself nothing differs."""
    shown = call("baseline", "show", learned)
    assert shown.exit_code == 0, shown.output
    assert "spiffe://bank.example/agents" in shown.stdout
    assert "120 tasks of 12 workloads" in shown.stdout
    same = json.loads(call("baseline", "diff", learned, learned, "--json").stdout)
    assert (same["entries_new"], same["entries_gone"], same["same_key"]) == (0, 0, True)


def test_mistakes_are_named(call: Call, tmp_path: Path, learned: str) -> None:
    """A file that is none, another key, scores without a baseline: each says what to do."""
    none = tmp_path / "none"
    none.write_bytes(b"hello")
    done = call("baseline", "show", str(none))
    assert (done.exit_code, "this is no baseline" in done.stderr) == (78, True)
    events = tmp_path / "e.jsonl"
    events.write_bytes(b"")
    key = {"ENFORCER_HASH_KEY": "0" * 31 + "1"}
    done = call("replay", str(events), "--baseline", learned, **key)
    assert (done.exit_code, "learned under hash key" in done.stderr) == (78, True)
    done = call("replay", str(events), "--scores", "-")
    assert (done.exit_code, "--baseline" in done.stderr) == (2, True)
    done = call("baseline", "learn", str(events), "--out", str(tmp_path / "b"))
    assert (done.exit_code, "no task" in done.stderr) == (1, True)


def test_files_or_what_kafka_holds(call: Call, tmp_path: Path) -> None:
    """One of them, and what belongs to --live only with it."""
    events = tmp_path / "e.jsonl"
    events.write_bytes(b"")
    out = "--out", str(tmp_path / "b")
    for given in ((), ("--live", str(events)), ("--aside", "-", str(events))):
        done = call("baseline", "learn", *out, *given)
        assert (done.exit_code, "--live" in done.stderr) == (2, True)


def test_what_happens_fits_or_does_not(call: Call, tmp_path: Path, learned: str) -> None:
    """Other workloads at the usual work fit; thieves do not, and the purpose is named."""
    usual = [
        each
        for number in range(60)
        for each in task(f"t{number}", f"new-{number % 20}", "pay-bill", pay_bill(number))
    ]
    events = tmp_path / "now.jsonl"
    events.write_bytes(b"".join(encode_request(each) + b"\n" for each in usual))
    given = "baseline", "drift", str(events), "--baseline", learned
    done = call(*given, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["tasks_seen"], found["is_over"]) == (60, False)
    assert {(each["mode"], each["tasks"]) for each in found["rates"]} == {("known", 60)}
    thefts = [
        each
        for number in range(20)
        for each in task(f"x{number}", f"new-{number}", "pay-bill", pay_bill(number, STEAL))
    ]
    events.write_bytes(b"".join(encode_request(each) + b"\n" for each in [*usual, *thefts]))
    done = call(*given, "--json")
    assert (done.exit_code, "more tasks than promised" in done.stderr) == (1, True)
    found = json.loads(done.stdout)
    assert all(each["over"] == 20 and each["is_over"] for each in found["rates"])
    (purpose,) = found["purposes"]
    assert (purpose["group"], purpose["purpose"]) == ("spiffe://bank.example/agents", "pay-bill")
    assert (purpose["tasks"], purpose["over"], purpose["is_over"]) == (80, 20, True)
    shown = call(*given)
    assert "MORE" in shown.stdout
    assert "pay-bill" in shown.stdout


def test_drift_counts_no_denied_calls(call: Call, tmp_path: Path, learned: str) -> None:
    """Thefts that their target denied are not compared live, so neither are they here."""
    denied = {**STEAL, "outcome": "denied"}
    tasks = [
        each
        for number in range(60)
        for each in task(f"t{number}", f"new-{number % 20}", "pay-bill", pay_bill(number, denied))
    ]
    events = tmp_path / "now.jsonl"
    events.write_bytes(b"".join(encode_request(each) + b"\n" for each in tasks))
    done = call("baseline", "drift", str(events), "--baseline", learned, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["tasks_seen"], found["is_over"]) == (60, False)
    assert all(each["over"] == 0 for each in found["rates"])


def test_drift_says_what_it_lacks(call: Call, tmp_path: Path, learned: str) -> None:
    """Files or Kafka, and of files which baseline; nothing to compare is no fit."""
    events = tmp_path / "e.jsonl"
    events.write_bytes(b"")
    for given in ((), (str(events),), ("--live", str(events)), (str(events), "--since", "1h")):
        assert call("baseline", "drift", *given).exit_code == 2
    done = call("baseline", "drift", str(events), "--baseline", learned)
    assert (done.exit_code, "no task can be compared" in done.stderr) == (1, True)
    other = {"ENFORCER_HASH_KEY": "1" * 32}
    done = call("baseline", "drift", str(events), "--baseline", learned, **other)
    assert (done.exit_code, "another hash key" in done.stderr) == (78, True)


def test_too_many_classes_are_refused_in_words(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No baseline is written that nothing could read."""
    monkeypatch.setattr("stream.baselines.promotion.GROUPS_MAX", 0)
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"".join(encode_request(each) + b"\n" for each in history(4)))
    done = call("baseline", "learn", str(events), "--out", str(tmp_path / "b"))
    assert done.exit_code == 1
    assert "at most 0 classes, this one 1" in done.stderr
    assert not (tmp_path / "b").exists()
