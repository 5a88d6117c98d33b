"""Baselines live, on real servers: promoted, listed, rolled back, and the same as a replay."""

import json
from pathlib import Path

import pytest

from stream.events import encode_request
from stream.local import Addresses
from tests.integration.test_cli import Machine, wait
from tests.models.tasks import THIEF, call, history, pay_bill, task

RULE = """
- name: odd
  anomaly: {of: task-novelty, false_alarms: 0.5% of tasks}
  action: revoke
  on: task
  for: 1h
  mode: enforce
"""
STEAL = call("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")


def signing(machine: Machine) -> None:
    """Let a machine, and what runs on it, believe keys only, and have one of each role."""
    trusted = str(machine.folder / "trusted.jwks")
    for role in ("worker", "operator"):
        file = str(machine.folder / f"{role}.jwk")
        made = machine.call("keys", "generate", file, "--role", role, "--trust", trusted)
        assert made.exit_code == 0, made.stderr
        machine.environment[f"ENFORCER_{role.upper()}_KEY_FILE"] = file
    machine.environment["ENFORCER_TRUST_FILE"] = trusted


def test_without_a_key_to_sign_with_nothing_is_promoted(
    servers: Addresses, fresh_name: str, tmp_path: Path
) -> None:
    """Where keys are believed only, the operator hears at once that nobody would follow."""
    machine = Machine(servers, fresh_name, tmp_path)
    signing(machine)
    del machine.environment["ENFORCER_OPERATOR_KEY_FILE"]
    refused = machine.call("baseline", "rollback", "--reason", "no")
    assert refused.exit_code not in (0, 1)
    assert "ENFORCER_OPERATOR_KEY_FILE" in refused.stderr


@pytest.mark.parametrize("is_signed", [False, True])
def test_a_baseline_is_promoted_followed_and_taken_back(
    servers: Addresses, fresh_name: str, tmp_path: Path, *, is_signed: bool
) -> None:
    """Every partition journals it, a thief's command names it, and a rollback goes to none."""
    machine = Machine(servers, fresh_name, tmp_path)
    if is_signed:
        signing(machine)
    policy = tmp_path / "policy.yaml"
    policy.write_text(policy.read_text().replace("rules:\n", f"tasks: vouched\nrules:{RULE}", 1))
    past, today = tmp_path / "past.jsonl", tmp_path / "today.jsonl"
    past.write_bytes(b"\n".join(encode_request(each) for each in history(60, agents=12)))
    events = [*task("usual", "a", "pay-bill", pay_bill(1))]
    events += task("theft", "b", "pay-bill", pay_bill(2, STEAL))
    today.write_bytes(b"\n".join(map(encode_request, events)))
    file = str(tmp_path / "learned.baseline")
    version = machine.said("baseline", "learn", str(past), "--out", file)["version"]
    with machine.worker():
        assert machine.call("baseline", "rollback", "--reason", "no").exit_code == 1
        done = machine.said("baseline", "promote", file, "--reason", "reviewed", "--wait", "60")
        assert done["in_force"] == done["partitions"] == 6
        live = machine.said("baseline", "list", "--live")
        assert {each["version"] for each in live["partitions"]} == {version}
        assert [each["version"] for each in live["kept"]] == [version]
        assert live["promoted"]["reason"] == "reviewed"
        machine.said("send", str(today))
        wait(lambda: bool(machine.said("list")["commands"]), machine.logged)
        (found,) = machine.said("list")["commands"]
        assert (found["body"]["rule"], found["body"]["baseline"]) == ("odd", version)
        assert found["body"]["subject"]["task"] == "theft"
        machine.said("baseline", "rollback", "--reason", "alarms", "--wait", "60")
        live = machine.said("baseline", "list", "--live")
        assert {(each["version"], each["previous"]) for each in live["partitions"]} == {
            ("", version)
        }
    # What no worker has heard of yet is taken back by going nowhere.
    assert (
        machine.call("baseline", "promote", file, "--reason", "again", "--wait", "1").exit_code == 1
    )
    taken = machine.said("baseline", "rollback", "--reason", "not that one")
    assert (taken["promoted"]["version"], taken["in_force"]) == ("", 6)
    commands = tmp_path / "commands.jsonl"
    machine.said("replay", str(today), "--baseline", file, "--commands", str(commands))
    replayed = [json.loads(each) for each in commands.read_text().splitlines()]
    assert replayed == [found["body"]]


def test_a_baseline_is_learned_from_what_kafka_holds(
    servers: Addresses, fresh_name: str, tmp_path: Path
) -> None:
    """The same version as from files; what was alarmed at is held aside until it is released."""
    machine = Machine(servers, fresh_name, tmp_path)
    policy = tmp_path / "policy.yaml"
    policy.write_text(policy.read_text().replace("rules:\n", f"tasks: vouched\nrules:{RULE}", 1))
    past, today = tmp_path / "past.jsonl", tmp_path / "today.jsonl"
    benign = [encode_request(each) for each in history(60, agents=12)]
    past.write_bytes(b"\n".join(benign))
    theft = list(task("theft", "b", "pay-bill", pay_bill(2, STEAL)))
    today.write_bytes(b"\n".join(map(encode_request, theft)))
    both = tmp_path / "both.jsonl"
    both.write_bytes(b"\n".join([*benign, today.read_bytes()]))
    file, live, aside = (str(tmp_path / each) for each in ("file", "live", "aside.jsonl"))
    learn = "baseline", "learn"
    wanted = machine.said(*learn, str(past), "--out", file)
    nobody = machine.call(*learn, "--live", "--out", live)
    assert nobody.exit_code != 0
    with machine.worker():
        machine.said("baseline", "promote", file, "--reason", "reviewed", "--wait", "60")
        machine.said("send", str(past))
        machine.said("send", str(today))
        wait(lambda: bool(machine.said("list")["commands"]), machine.logged)
        found = machine.said(*learn, "--live", "--out", live, "--aside", aside)
        fits = machine.said("baseline", "drift", "--live")
        assert (fits["version"], fits["tasks_seen"]) == (wanted["version"], 121)
        assert [each["over"] for each in fits["purposes"]] == [1, 0]
    # Without a worker too: all of it is read from the log.
    again = machine.said(*learn, "--live", "--out", live)
    assert found["version"] == again["version"] == wanted["version"]
    assert (found["held_aside"], found["judged_by"]["baseline"]) == (1, wanted["version"])
    assert sum(each["to_offset"] - each["from_offset"] for each in found["ranges"]) == len(
        benign
    ) + len(theft)
    (line,) = [json.loads(each) for each in Path(aside).read_text().splitlines()]
    assert (line["task"], line["purpose"], line["rules"]) == ("theft", "pay-bill", ["odd"])
    released = machine.said(*learn, "--live", "--out", live, "--release", aside)
    every = machine.said(*learn, str(both), "--out", file)
    assert (released["version"], released["held_aside"]) == (every["version"], 0)
    late = machine.call(*learn, "--live", "--since", "1s", "--out", live)
    assert (late.exit_code, "no task" in late.stderr) == (1, True)
    Path(aside).write_text('{"task": 7}')
    wrong = machine.call(*learn, "--live", "--release", aside, "--out", live)
    assert (wrong.exit_code, "--aside" in wrong.stderr) == (1, True)
