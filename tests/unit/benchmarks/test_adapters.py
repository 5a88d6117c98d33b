"""The recorded data of others, as events that the product accepts."""

import gzip
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from benchmarks.quality import agentdojo, cloudtrail, read_lines, weblogs, write_lines
from stream.events import Request, decode_request, encode_request
from stream.identity import canonical_workload, parent_path

EVENTS = {"agentdojo": 23_647, "weblogs": 10_000, "cloudtrail": 413}
ADAPTERS = {"agentdojo": agentdojo, "weblogs": weblogs, "cloudtrail": cloudtrail}


def run_of(calls=(), **fields):
    """Return a run of AgentDojo with the given calls."""
    usual = {"suite": "bank", "pipeline": "m/1", "model": "m", "user_task_id": "user_task_0"}
    known = {"sid": "m/bank/0", "kind": "benign", "duration_s": 6.0}
    return agentdojo.Run(**{**usual, **known, **fields}, calls=list(calls))


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_every_recorded_event_is_valid(name, data_folder):
    """Each event decodes to itself, under a canonical name, at its time, with an id of its own."""
    events = list(ADAPTERS[name].read_events(data_folder))
    assert len(events) == EVENTS[name]
    assert all(decode_request(encode_request(event)) == event for event in events)
    assert all(canonical_workload(event.workload) == event.workload for event in events)
    assert all(before.at_ms <= after.at_ms for before, after in pairwise(events))
    assert len({event.id for event in events}) == len(events)
    assert all(name and value for event in events for name, value in map(pair, event.resources))


def pair(resource):
    """Return the name and value of a resource."""
    name, _, value = resource.partition(":")
    return name, value


@pytest.mark.parametrize("name", ["agentdojo", "cloudtrail"])
def test_labels_are_aside_and_complete(name, data_folder):
    """Every event has a label, and reading twice gives the same events and labels."""
    found = ADAPTERS[name].read(data_folder)
    assert found.labels.keys() == {event.id for event in found.events}
    assert found == ADAPTERS[name].read(data_folder)


def test_agentdojo_runs_are_tasks(data_folder):
    """Each run is one task of one workload, from its grant to its completion, in order."""
    found = agentdojo.read(data_folder)
    runs = agentdojo.read_runs(data_folder)
    tasks = defaultdict(list)
    for event in found.events:
        tasks[event.task].append(event)
    assert len(tasks) == len(runs)
    assert Counter(label.kind for label in {x.sid: x for x in found.labels.values()}.values()) == {
        "attack_failed": 2446,
        "benign": 1107,
        "attack_success": 700,
    }
    for run in runs:
        events = tasks[agentdojo.task_of(run)]
        assert [event.kind for event in events] == [
            "grant",
            *["request"] * len(run.calls),
            "completion",
        ]
        assert {event.workload for event in events} == {agentdojo.workload_of(run)}
        assert [found.labels[event.id].call for event in events[1:-1]] == list(
            range(len(run.calls))
        )
    assert sum(label.mal for label in found.labels.values()) == sum(
        call.mal for run in runs for call in run.calls
    )


def test_no_agentdojo_event_tells_its_label(data_folder):
    """Nothing but the calls themselves differs between attacked runs and benign ones."""
    for event in agentdojo.read_events(data_folder):
        told = f"{event.workload} {event.operation} {event.purpose} {event.task} {event.id}"
        assert "injection" not in told
        assert "important_instructions" not in told


def test_runs_of_a_workload_follow_one_another():
    """A workload's runs do not overlap, those of another do, and calls of a turn share a time."""
    calls = [agentdojo.Call(turn=turn, tool="get_x", args={}) for turn in (0, 0, 1)]
    runs = [
        run_of(calls, sid="a"),
        run_of(sid="b"),
        run_of(sid="c", pipeline="other"),
    ]
    events, _ = agentdojo.events_of(runs)
    first, second, third = (agentdojo.task_of(run) for run in runs)
    times = {
        task: [event.at_ms - agentdojo.START_MS for event in events if event.task == task]
        for task in (first, second, third)
    }
    assert times == {
        first: [0, 2000, 2000, 4000, 6000],
        second: [6000 + agentdojo.GAP_MS, 12_000 + agentdojo.GAP_MS],
        third: [0, 6000],
    }
    assert parent_path(events[0].workload) == "spiffe://agentdojo.example/bank"


def test_arguments_of_a_call_become_resources():
    """Lists that were recorded as text are lists again, cut ones as far as they go."""
    args = {
        "amount": 50.0,
        "cc": None,
        "recipients": '["a@x.example", "b@x.example"]',
        "names": '["New Asiaway", "The \\"yard\\"", "Chi~163',
        "note": "[sic] as it stands",
    }
    call = agentdojo.Call(turn=0, tool="send_money", args=args, ok=None, mal=1)
    events, labels = agentdojo.events_of([run_of([call], kind="attack_success", first_mal=0)])
    assert events[1] == Request(
        at_ms=agentdojo.START_MS + 3000,
        workload=events[0].workload,
        operation="tool:send_money",
        effect="change",
        outcome="failed",
        purpose="bank/user_task_0",
        task=events[0].task,
        resources=(
            "amount:50",
            "recipients:a@x.example",
            "names:New Asiaway",
            "note:[sic] as it stands",
            "recipients:b@x.example",
            'names:The "yard"',
        ),
        id=f"{events[0].task}/0",
    )
    assert [labels[event.id].mal for event in events] == [0, 1, 0]


def test_weblogs_and_cloudtrail_name_workloads(data_folder):
    """A web client is a workload, and so is an identity of AWS, below its kind."""
    clients = {event.workload for event in weblogs.read_events(data_folder)}
    assert len(clients) == 1753
    assert {parent_path(client) for client in clients} == {"spiffe://weblogs.example/client"}
    identities = {event.workload for event in cloudtrail.read_events(data_folder)}
    assert "spiffe://cloudtrail.example/user/pedro" in identities
    assert "spiffe://cloudtrail.example/assumed-role/test-role/cli" in identities
    assert len(identities) == 14


def test_written_files_are_equal_for_equal_events(tmp_path):
    """A packed file holds the plain file's lines, and its bytes do not depend on when or where."""
    lines = [b"{}", b"[]"]
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.gz"):
        assert write_lines(lines, tmp_path / name) == 2
    assert (tmp_path / "b.jsonl.gz").read_bytes() == (tmp_path / "c.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes()) == b"{}\n[]\n"
    assert (tmp_path / "a.jsonl").read_bytes() == b"{}\n[]\n"


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_an_adapter_is_a_command(name, data_folder, tmp_path):
    """`python -m benchmarks.quality.<name> --out FILE` writes the events as JSON lines."""
    out = tmp_path / "events.jsonl.gz"
    command = [sys.executable, "-m", f"benchmarks.quality.{name}", "--data", str(data_folder)]
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True, timeout=60)
    written = [decode_request(line) for line in read_lines(out)]
    assert written == list(ADAPTERS[name].read_events(data_folder))
