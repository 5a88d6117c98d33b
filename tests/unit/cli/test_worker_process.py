"""A worker as a child: its end is noticed, and it never outlives its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.cli.child import WorkerProcess
from stream.cli.run import compile_kernels
from stream.errors import BusUnavailable, ConfigError

REPO = Path(__file__).parents[3]
PATIENCE_S = 60.0


@pytest.fixture(autouse=True, scope="module")
def _kernels() -> None:
    """Compiled before the clocks of these tests run."""
    compile_kernels(lambda _: None)


def environment(**changes: str) -> dict[str, str]:
    """A worker's variables: a key, and a Kafka that is not there."""
    kept = {name: value for name, value in os.environ.items() if "ENFORCER" not in name}
    return (
        kept
        | {
            "ENFORCER_HASH_KEY": "ab" * 16,
            "ENFORCER_KAFKA": "127.0.0.1:1",
            "PYTHONPATH": str(REPO),
        }
        | changes
    )


def wait(is_so: Callable[[], bool], tell: Callable[[], str]) -> None:
    """Look until it is so."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s, tell()
        time.sleep(0.05)


def test_a_worker_that_ends_is_noticed(tmp_path: Path) -> None:
    """Its exit code says whose fault it is, and its last lines are told."""
    with WorkerProcess(environment(ENFORCER_HASH_KEY="no key"), (), tmp_path / "log") as worker:
        with pytest.raises(ConfigError, match="the hash key must be") as caught:
            worker.wait_ready(PATIENCE_S)
        assert "exit code 78" in caught.value.message


def test_a_worker_that_is_not_ready_in_time_is_told(tmp_path: Path) -> None:
    """Without Kafka it is never ready; leaving the block ends it."""
    log = tmp_path / "log"
    with WorkerProcess(environment(), (), log) as worker:
        wait(lambda: "BusUnavailable" in log.read_text(), log.read_text)
        with pytest.raises(BusUnavailable, match="not ready in 0 s"):
            worker.wait_ready(0)
    assert log.read_text().endswith("stopped\n")


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """When the parent is killed the worker stops by itself, in good order."""
    log = tmp_path / "log"
    parent = textwrap.dedent(f"""
        import os, pathlib, time
        from stream.cli.child import WorkerProcess
        with WorkerProcess(dict(os.environ), (), pathlib.Path({str(log)!r})):
            time.sleep({PATIENCE_S})
    """)
    running = subprocess.Popen([sys.executable, "-c", parent], env=environment(), cwd=tmp_path)
    wait(lambda: log.exists() and "BusUnavailable" in log.read_text(), lambda: str(log))
    running.send_signal(signal.SIGKILL)
    running.wait(PATIENCE_S)
    wait(lambda: log.read_text().endswith("stopped\n"), log.read_text)


def test_a_reload_during_the_start_is_done_after_it(tmp_path: Path) -> None:
    """SIGHUP before anybody listens ends no worker, and is not forgotten."""
    log = tmp_path / "log"
    with WorkerProcess(environment(), (), log) as worker:
        wait(lambda: log.exists() and "kafka.bootstrap" in log.read_text(), lambda: str(log))
        assert worker._process is not None
        worker._process.send_signal(signal.SIGHUP)
        wait(lambda: "takes effect from the next events on" in log.read_text(), log.read_text)
    assert log.read_text().endswith("stopped\n")


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """Metrics that cannot be served end the start with what to do."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "stream.cli", "run"],
            env=environment(ENFORCER_METRICS=address),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 78
    assert f"metrics cannot be served at {address}" in done.stderr
    assert "ENFORCER_METRICS" in done.stderr


def test_compiling_is_announced_where_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start says that it compiles; later ones only that kernels are ready."""
    said: list[str] = []
    compile_kernels(said.append)
    assert "kernels are ready" in said[-1]
    monkeypatch.setattr("stream.cli.run.cache_folder", lambda: tmp_path)
    said.clear()
    compile_kernels(said.append)
    assert said[0].startswith(f"compiling the kernels into {tmp_path}")
