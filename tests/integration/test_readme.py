"""README.md is true: its commands run as they stand there, and its policy is one."""

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from stream.events import encode_request
from stream.policy import lint_policy, load_policy
from tests.models.tasks import THIEF, call, history, pay_bill, task

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)(?: ([\w=]+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
HOWS = {None: "", "run": "run", "run=background": "background", "terminal": "terminal"}
HERE = str(Path(sys.executable).parent)
PATIENCE_S = 120


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a language and their text; how to run it: see HOWS."""
    for found in BLOCK.finditer(README.read_text()):
        if found[1] == language:
            yield HOWS[found[2]], found[3]


def without_venv(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a terminal in which nothing of ours is on the path."""
    path = environment["PATH"].split(os.pathsep)
    return {**environment, "PATH": os.pathsep.join(each for each in path if each != HERE)}


def test_policy_of_the_readme() -> None:
    """The policy in the README loads, and lint has nothing to say about it."""
    texts = [text for _, text in blocks("yaml")]
    assert len(texts) == 1
    assert lint_policy(load_policy(texts[0], "README.md")) == []


def test_python_of_the_readme() -> None:
    """The Python in the README compiles, and everything it imports is there."""
    for _, text in blocks("python"):
        body = "".join(f"    {line}\n" for line in text.splitlines())
        compile(f"async def main():\n{body}", "README.md", "exec")
        imports = "\n".join(line for line in text.splitlines() if line.startswith("from "))
        exec(imports, {})


@pytest.mark.timeout(300)
def test_commands_of_the_readme(tmp_path: Path) -> None:
    """The quick start's commands run one after another, as a newcomer types them."""
    if not (Path(sys.prefix, "bin", "activate").exists() and shutil.which("enforcer", path=HERE)):
        pytest.skip("the package is not installed in a venv of its own: pip install -e .")
    lines = [
        f"203.0.113.{7 + number % 3} - - [24/Nov/2026:10:00:{number // 10:02d} +0000] "
        f'"GET /items/{number} HTTP/1.1" 200 512 "-" "curl/8"\n'
        for number in range(400)
    ]
    (tmp_path / "access.log").write_text("".join(lines))
    (tmp_path / "policy.yaml").write_text(next(text for _, text in blocks("yaml")))
    write_learned(tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (terminal,) = (text for how, text in blocks("sh") if how == "terminal")
    environment = without_venv(os.environ)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for how, text in blocks("sh"):
            if how == "background":
                command = ["bash", "-ec", f"{terminal}exec {text.strip()}"]
                started.append(subprocess.Popen(command, cwd=tmp_path, env=environment))
                wait_for(tmp_path / "try" / "environment", started[-1])
            elif how == "run":
                done = subprocess.run(
                    ["bash", "-exc", terminal + text],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE_S,
                    check=False,
                )
                assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "commands.jsonl").exists()
        assert (tmp_path / "here.baseline").exists()
    finally:
        for process in started:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    assert [process.returncode for process in started] == [0]


def write_learned(folder: Path) -> None:
    """Write what the section on learned behaviour reads: benign tasks, and some with a theft."""
    steal = call("send_money", f"recipient:{THIEF}", "amount:5000")
    some = [
        event
        for number in range(20)
        for event in task(
            f"t{number}", "agent-1", "pay-bill", pay_bill(number, *[steal] * (number % 2))
        )
    ]
    (folder / "last-month").mkdir()
    for name, events in (
        ("last-month/1.jsonl.gz", history(60, agents=12)),
        ("last-week.jsonl", history(60, agents=5)),
        ("today.jsonl", some),
        ("incidents.jsonl", some),
    ):
        data = b"".join(encode_request(each) + b"\n" for each in events)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    rows = [f"t{number},{('benign', 'attack')[number % 2]}" for number in range(20)]
    (folder / "labels.csv").write_text("\n".join(["task,label", *rows]))


def wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a program that keeps running has written a file."""
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline, f"no {file}"
        time.sleep(0.1)
