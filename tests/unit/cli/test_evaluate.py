"""`evaluate`: labelled events through the engine, by files alone."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from stream.baselines import encode_baseline
from stream.events import Request, encode_request
from tests.models.tasks import T0_MS, THIEF, baseline, history, pay_bill, task
from tests.models.tasks import call as tool
from tests.unit.cli.conftest import Call

STEAL = tool("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")


def write(file: Path, events: Iterable[Request]) -> str:
    """Events as a file of lines."""
    file.write_bytes(b"".join(encode_request(each) + b"\n" for each in events))
    return str(file)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Today's events, labels for them, and a baseline of the past."""
    today: list[Request] = []
    labels = []
    for number in range(40):
        more = [STEAL] if number % 4 == 0 else []
        name = f"t{number}"
        at_ms = T0_MS + (1_000 + number) * 60_000
        today += task(name, f"agent-{number % 3}", "pay-bill", pay_bill(number, *more), at_ms)
        first = {"first": f"{name}/2"} if more else {}
        labels.append({"task": name, "label": "attack" if more else "benign", **first})
    today += task("unknown", "agent-1", "pay-bill", [STEAL], T0_MS + 10**9)
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    (tmp_path / "b").write_bytes(encode_baseline(baseline(history(60, agents=12))))
    events = write(tmp_path / "today.jsonl", sorted(today, key=lambda each: each.at_ms))
    return events, str(tmp_path / "labels.jsonl"), str(tmp_path / "b")


def test_what_is_found_is_said(call: Call, tmp_path: Path, files: tuple[str, str, str]) -> None:
    """All thefts are found at their call, at no false alarm; the stolen address is what told."""
    events, labels, learned = files
    past = write(tmp_path / "past.jsonl", history(10, agents=4))
    given = ("evaluate", events, "--labels", labels, "--baseline", learned, "--curve", past)
    plots = tmp_path / "plots"
    done = call(*given, "--plots", str(plots), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["benign"], found["attacks"]) == (30, 10)
    at = {each["percent"]: each for each in found["roc"]}
    assert at[1.0]["found"] == at[5.0]["found"] == 1.0
    assert at[1.0]["is_beyond"] and not at[5.0]["is_beyond"]
    assert found["alarms"]["attack"]["alarmed"] == 10
    assert found["alarms"]["benign"]["alarmed"] == 0
    assert found["delays"]["1 %"]["calls"] == [0] * 10
    assert found["delays_of_parts"].keys() == found["parts"].keys()
    assert found["delays_of_parts"]["identifier"]["calls"] == [0] * 10
    assert next(iter(found["parts"])) in ("identifier", "operation", "detail")
    assert found["learning_curve"].keys() == {"1", "2", "3", "5", "10"}
    assert found["learning_curve"]["10"]["1 %"] == 1.0
    assert {each.name for each in plots.iterdir()} == {"roc.svg", "delay.svg", "learning.svg"}
    shown = call(*given)
    assert "10 attacks and 30 benign tasks" in shown.stdout
    assert "tasks learned" in shown.stdout and "100.0%" in shown.stdout


def test_labels_of_events_and_lines_that_are_none(
    call: Call, tmp_path: Path, files: tuple[str, str, str]
) -> None:
    """CSV labels of events give the same figures, also between arrays and lines that are none."""
    events, labels, learned = files
    known = [json.loads(each) for each in Path(labels).read_text().splitlines()]
    rows = ["id,label"]
    rows += [
        f"{each['first']},attack" if "first" in each else f"{each['task']}/0,benign"
        for each in known
    ]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    lines = Path(events).read_bytes().splitlines()
    array = b"[" + b",".join(lines[:5]) + b"]"
    mixed = b"\n".join([b"nothing", array, b'{"at_ms": 1}', b"", *lines[5:]])
    (tmp_path / "mixed.jsonl").write_bytes(mixed)
    results = []
    for what, labelled in (
        (events, labels),
        (str(tmp_path / "mixed.jsonl"), tmp_path / "labels.csv"),
    ):
        done = call("evaluate", what, "--labels", str(labelled), "--baseline", learned, "--json")
        assert done.exit_code == 0, done.output
        results.append(json.loads(done.stdout))
    assert results[0].pop("faults") == {}
    assert results[1].pop("faults") == {"malformed": 1, "wrong_type": 1}
    assert results[0] == results[1]


def test_a_task_is_one_however_its_workload_is_spelled(
    call: Call, tmp_path: Path, files: tuple[str, str, str]
) -> None:
    """Trust domains are of any case: where the calls of a task differ, nothing else does."""
    events, labels, learned = files
    lines = Path(events).read_bytes().splitlines()
    other = [
        each.replace(b"spiffe://bank", b"SPIFFE://Bank") if place % 2 else each
        for place, each in enumerate(lines)
    ]
    assert other != lines
    (tmp_path / "other.jsonl").write_bytes(b"\n".join(other))
    said = [
        json.loads(
            call("evaluate", each, "--labels", labels, "--baseline", learned, "--json").stdout
        )
        for each in (events, str(tmp_path / "other.jsonl"))
    ]
    assert said[1]["benign"] == 30 and said[0] == said[1]


def test_plots_that_cannot_be_are_told_at_once(
    call: Call, tmp_path: Path, files: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No matplotlib, no such folder: nothing is read. One plot that fails costs no result."""
    events, labels, learned = files
    given = ("evaluate", events, "--labels", labels, "--baseline", learned, "--json", "--plots")
    plots = tmp_path / "plots"
    (plots / "roc.svg").mkdir(parents=True)
    done = call(*given, str(plots))
    assert (done.exit_code, "roc.svg cannot be written" in done.stderr) == (78, True)
    assert json.loads(done.stdout)["attacks"] == 10
    monkeypatch.setattr("stream.cli.evaluate.replayed", None)
    done = call(*given, str(tmp_path / "b" / "plots"))
    assert (done.exit_code, "b/plots cannot be written" in done.stderr) == (78, True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = call(*given, str(plots))
    assert (done.exit_code, "stream-enforcer[plots]" in done.stderr) == (78, True)


def test_mistakes_are_named(call: Call, tmp_path: Path, files: tuple[str, str, str]) -> None:
    """Labels that fit nothing, that are none, of one kind; a baseline that is none; stdin twice."""
    events, labels, learned = files
    other = tmp_path / "other"

    def ends(text: str, *more: str) -> tuple[int, str]:
        other.write_text(text)
        done = call("evaluate", events, "--labels", str(other), "--baseline", learned, *more)
        return done.exit_code, done.stderr

    assert ends("task,label\nnobody,attack")[0] == 1
    code, told = ends("task,label\nt1,benign")
    assert code == 1 and "0 attacks and 1 benign tasks have a label" in told
    code, told = ends("task,label\nt1,odd")
    assert code == 78 and "other:2: no label" in told
    done = call("evaluate", events, "--labels", labels, "--baseline", labels)
    assert (done.exit_code, "this is no baseline" in done.stderr) == (78, True)
    done = call("evaluate", "-", "--labels", labels, "--baseline", learned, "--curve", events)
    assert (done.exit_code, "reads the events again" in done.stderr) == (2, True)
    (tmp_path / "none").write_bytes(b"{}\n")
    given = ("evaluate", events, "--labels", labels, "--baseline", learned)
    done = call(*given, "--curve", str(tmp_path / "none"))
    assert (done.exit_code, "no task in these events" in done.stderr) == (78, True)
    done = call(*given, ENFORCER_HASH_KEY="0" * 31 + "1")
    assert (done.exit_code, "learned under hash key" in done.stderr) == (78, True)
