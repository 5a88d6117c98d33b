"""`enforcer demo` does what it promises, from an empty folder to its exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]
WITHIN_S = 180.0


def demo(folder: Path, *args: str, **options: Any) -> subprocess.Popen[str]:
    """The demo, with its temporary files in a folder that can be looked at."""
    environment = {**os.environ, "TMPDIR": str(folder), "ENFORCER_POLICY": "/nowhere"}
    command = [sys.executable, "-m", "stream.cli", "demo", *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=REPO, env=environment, stdout=pipe, stderr=pipe, text=True, **options
    )


@pytest.mark.timeout(WITHIN_S + 30)
def test_the_bad_agent_is_stopped_and_nobody_else(tmp_path: Path) -> None:
    """It ends by itself with exit code 0, the reason, the numbers, and nothing left behind."""
    running = demo(tmp_path, "--seed", "7", "--seconds", "10", "--json")
    out, err = running.communicate(timeout=WITHIN_S)
    assert running.returncode == 0, out + err
    outcome = json.loads(out)
    assert outcome["problems"] == []
    assert outcome["benign_touched"] == []
    assert outcome["rule"] == "records-then-send"
    assert "GET /customers" in outcome["reason"]
    assert 0 < outcome["throttled_after_ms"] <= outcome["stopped_after_ms"] < 5_000
    assert outcome["events"] > 1_000
    assert "is stopped: tool:send_webhook" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.soak
@pytest.mark.timeout(WITHIN_S + 30)
def test_keep_stays_until_it_is_told(tmp_path: Path) -> None:
    """With --keep the agents work on, others can look, and Ctrl-C ends it with the same code."""
    running = demo(tmp_path, "--seconds", "8", "--keep")
    assert running.stdout is not None
    exported, deadline_s = {}, time.monotonic() + WITHIN_S
    for line in running.stdout:
        assert time.monotonic() < deadline_s
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            exported[name] = value
        if "until Ctrl-C" in line:
            break
    command = [sys.executable, "-m", "stream.cli", "list", "--json"]
    listed = subprocess.run(
        command, cwd=REPO, env={**os.environ, **exported}, capture_output=True, check=True
    )
    found = json.loads(listed.stdout)
    assert found["state"] == "ready"
    assert "revoke" in {each["body"]["action"] for each in found["commands"]}
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=WITHIN_S)
    assert running.returncode == 0, out + err
    assert not list(tmp_path.iterdir())


@pytest.mark.soak
@pytest.mark.timeout(WITHIN_S + 30)
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle ends servers, worker and agents, and removes their folder."""
    running = demo(tmp_path)
    assert running.stderr is not None
    for line in running.stderr:
        if "calls of" in line:
            break
    running.terminate()
    _, err = running.communicate(timeout=WITHIN_S)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
