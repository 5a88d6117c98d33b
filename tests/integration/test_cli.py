"""The verbs on real servers, as an operator uses them; `run` and `up` in processes of their own."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stream.cli import main
from stream.config import make_hash_key
from stream.events import Request, encode_request
from stream.local import Addresses, LocalServers

REPO = Path(__file__).parents[2]
PATIENCE_S = 90.0
CROWD = "spiffe://cli.example/agent/crowd"
QUIET = "spiffe://cli.example/agent/quiet\u202e"
OTHER = "spiffe://cli.example/agent/other"
POLICY = """
name: cli-test
classes: [{name: agents, workloads: ["spiffe://cli.example/**"]}]
rules:
- name: crowd
  limit: {measure: requests, at_most: 20, per: 1m}
  action: revoke
  for: 1h
  mode: enforce
  note: Too many for a test.
"""


class Machine:
    """A machine with settings of its own, and the command on it."""

    def __init__(self, servers: Addresses, name: str, folder: Path) -> None:
        self.folder = folder
        make_hash_key(folder / "hash.key")
        (folder / "policy.yaml").write_text(POLICY)
        kept = {name: value for name, value in os.environ.items() if "ENFORCER" not in name}
        self.environment = {
            **kept,
            "ENFORCER_KAFKA": servers.kafka,
            "ENFORCER_REDIS": servers.redis,
            "ENFORCER_PREFIX": name[-30:].strip("-"),
            "ENFORCER_HASH_KEY_FILE": str(folder / "hash.key"),
            "ENFORCER_POLICY": str(folder / "policy.yaml"),
            "ENFORCER_METRICS": "127.0.0.1:0",
        }

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Begin a verb."""
        command = [sys.executable, "-m", "stream.cli", *args]
        return subprocess.Popen(
            command, cwd=REPO, env=self.environment, text=True, stdin=subprocess.DEVNULL, **options
        )

    def call(self, *args: str) -> Result:
        """Run a verb to its end, in this process: loading everything anew costs a second each."""
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        missing = {name: None for name in os.environ if "ENFORCER" in name}
        try:
            return CliRunner().invoke(main, args, env=missing | self.environment)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)

    def said(self, *args: str) -> Any:
        """Run a verb and return its JSON."""
        done = self.call(*args, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def worker(self) -> Iterator[subprocess.Popen[str]]:
        """A worker that works, ended by SIGTERM in good order."""
        log = self.folder / "worker.log"
        with log.open("w") as sink:
            running = self.start("run", "--log", "json", stderr=sink)
            try:
                wait(lambda: "took partitions" in log.read_text(), log.read_text)
                yield running
            finally:
                running.terminate()
                assert running.wait(PATIENCE_S) == 0, log.read_text()

    def logged(self) -> list[dict[str, Any]]:
        """What the worker has logged."""
        return [json.loads(line) for line in (self.folder / "worker.log").read_text().splitlines()]


def wait(is_so: Callable[[], bool], tell: Callable[[], Any] = lambda: "") -> None:
    """Look until it is so, and fail with what there is to tell."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s, tell()
        time.sleep(0.1)


@pytest.fixture
def machine(servers: Addresses, fresh_name: str, tmp_path: Path) -> Machine:
    """A fresh installation on the session's servers."""
    return Machine(servers, fresh_name, tmp_path)


def recorded(machine: Machine, count: int) -> str:
    """A file with so many calls of one agent a second apart, and two of another one."""
    file = machine.folder / "events.jsonl"
    calls = [Request(1_000 * each, CROWD, f"GET /a/{each % 2}") for each in range(count)]
    calls += [Request(1_000 * count, OTHER, "tool:x\x1b[2J", task="t")] * 2
    file.write_bytes(b"\n".join(map(encode_request, calls)))
    return str(file)


def test_an_operators_day(machine: Machine) -> None:
    """Topics, a worker, events, what is in force and why, and all that an operator may say."""
    assert [each["partitions"] for each in machine.said("topics")] == [6, 6, 6, 6, 2]
    nothing = machine.call("list")
    assert "no worker has ever sent a heartbeat" in nothing.stdout
    unknown = machine.call("explain", CROWD)
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    with machine.worker():
        sent = machine.said("send", recorded(machine, 30), "--now", "--rate", "1000/s")
        assert (sent["acknowledged"], sent["faults"]) == (32, {})
        wait(lambda: machine.call("explain", CROWD).exit_code == 0)
        wait(lambda: machine.said("explain", CROWD)["events"] == 30)

        wait(lambda: machine.said("list")["state"] == "ready")
        listed = machine.said("list")
        (command,) = listed["commands"]
        assert command["body"]["subject"]["workload"] == CROWD
        profile = machine.said("explain", CROWD)
        (held,) = profile["in_force"]
        assert (held["rule"], held["command"]) == ("crowd", command["id"])
        assert held["reason"] == command["body"]["reason"]["text"]
        assert profile["windows"][0]["limits"][0]["left"] == 20 - profile["windows"][0]["now"] < 0
        assert {each["source"] for each in profile["transitions"]} == {"GET /a/0", "GET /a/1"}
        shown = machine.call("explain", OTHER).stdout
        assert "tool:x\\x1b[2J" in shown
        assert all(line.isprintable() for line in shown.splitlines())
        other = machine.call("explain", CROWD, "--policy", "stream/policy/default.yaml")
        assert "policy default" in other.stdout

        _acts(machine)
        _watch(machine)
    assert [each["message"] for each in machine.logged()][-1] == "stopped"


def _acts(machine: Machine) -> None:
    """Exempt, stop, start and lift, and see each of them in the list."""

    def acts() -> set[tuple[str, str]]:
        return {(each["act"], each["workload"]) for each in machine.said("list")["acts"]}

    assert machine.call("start").exit_code == 1
    machine.said("stop", "--for", "1h", "--reason", "an exercise")
    machine.said("exempt", OTHER, "--for", "1h", "--reason", "an exercise")
    assert acts() == {("stop", ""), ("exempt", OTHER)}
    assert any("stopped" in each for each in machine.said("explain", CROWD)["notes"])
    machine.said("start")
    machine.said("exempt", OTHER, "--end")
    machine.said("lift", CROWD, "--reason", "a false alarm")
    assert acts() == {("lift", CROWD)}
    assert machine.said("list")["commands"] == []
    wait(lambda: any("lifted" in each for each in machine.said("explain", CROWD)["notes"]))
    assert machine.call("exempt", OTHER).exit_code == 2
    assert machine.call("stop", "--reason", "two\nlines").exit_code == 2


def _watch(machine: Machine) -> None:
    """A list that is watched is shown again when something changes, until Ctrl-C."""
    shown = machine.folder / "watched"
    with shown.open("w") as sink:
        watching = machine.start("list", "--watch", "--json", stdout=sink)
        try:
            wait(lambda: len(shown.read_text().splitlines()) == 1)
            machine.said("stop", "--for", "1h", "--reason", "an exercise")
            wait(lambda: '"act":"stop"' in shown.read_text(), shown.read_text)
        finally:
            watching.send_signal(signal.SIGINT)
            assert watching.wait(PATIENCE_S) == 130


def test_a_policy_is_reloaded_or_kept(machine: Machine) -> None:
    """SIGHUP puts a good file in force; a bad one changes nothing and is logged with its line."""
    policy = machine.folder / "policy.yaml"

    def messages() -> str:
        return " | ".join(each["message"] for each in machine.logged())

    with machine.worker() as running:
        settings = next(each["settings"] for each in machine.logged() if "settings" in each)
        assert settings["worker"]["slots_max"] == 200_000
        policy.write_text(POLICY.replace("action: revoke", "action: rewoke"))
        running.send_signal(signal.SIGHUP)
        wait(lambda: "the policy in force stays" in messages(), messages)
        assert f"{policy}:7" in messages()
        policy.write_text(POLICY.replace("cli-test", "second"))
        running.send_signal(signal.SIGHUP)
        wait(lambda: "policy second" in messages(), messages)
        machine.said("send", recorded(machine, 5), "--now")
        wait(
            lambda: (
                machine.call("explain", CROWD).exit_code == 0
                and machine.said("explain", CROWD)["policy"] == "second"
            )
        )


def test_what_is_wrong_at_start_is_told(machine: Machine, servers: Addresses) -> None:
    """Wrong settings end with 78 and a sentence; what is not there with 69."""
    machine.environment["ENFORCER_HASH_KEY_FILE"] = "/nowhere"
    done = machine.call("run")
    assert done.exit_code == 78
    assert "/nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    machine.environment["ENFORCER_KAFKA"] = "127.0.0.1:1"
    done = machine.call("list", "--json")
    assert done.exit_code == 69
    assert json.loads(done.stderr)["error"]["kind"] == "BusUnavailable"


@pytest.mark.soak
def test_up_runs_until_it_is_told_to_stop(machine: Machine, tmp_path: Path) -> None:
    """`up` starts all, says where it is, lets others use it, and leaves nothing but its data."""
    folder = tmp_path / "up"
    for name in ("ENFORCER_KAFKA", "ENFORCER_REDIS", "ENFORCER_PREFIX", "ENFORCER_HASH_KEY_FILE"):
        del machine.environment[name]
    out = tmp_path / "out"
    with out.open("w") as sink, (tmp_path / "err").open("w") as errors:
        running = machine.start("up", "--folder", str(folder), stdout=sink, stderr=errors)
        try:
            wait(lambda: "Ctrl-C" in out.read_text(), (tmp_path / "err").read_text)
            exported = dict(
                line.removeprefix("export ").split("=", 1)
                for line in (folder / "environment").read_text().splitlines()
            )
            assert all(f"export {each}=" in out.read_text() for each in exported)
            machine.environment |= exported
            wait(lambda: machine.said("list")["state"] == "ready")
            second = machine.call("up", "--folder", str(folder))
            assert second.exit_code == 78
            assert f"run by process {running.pid}" in second.stderr
        finally:
            running.send_signal(signal.SIGINT)
            assert running.wait(PATIENCE_S) == 0, (tmp_path / "err").read_text()
    assert (folder / "hash.key").exists()
    assert not (folder / "environment").exists()
    assert machine.call("topics").exit_code == 69
    with LocalServers(folder):  # Nobody holds the folder any more, and its data is sound.
        pass
