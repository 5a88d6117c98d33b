"""A program under its keeper: it starts, tells its last words, and never outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.local.leftover import is_ours, living, wait_until
from stream.local.program import Program, ProgramSpec, environment, tail

# A server that is ready when it has written a file, and obeys SIGTERM unless told otherwise.
SERVER = """
import pathlib, signal, sys
folder, mode = sys.argv[1:]
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
(pathlib.Path(folder) / "ready").touch()
signal.pause()
"""
FAILING = "import sys; print('reading', sys.argv[1]); sys.exit('the port is in use')"
# A parent that launches the server, shows both numbers, and waits to be killed.
PARENT = """
import os, sys, pathlib
from stream.local.program import Program, ProgramSpec
folder = pathlib.Path(sys.argv[1])
command = tuple(sys.argv[2:])
program = Program(ProgramSpec(name="Test", command=command, folder=folder, stop_within_s=0.5))
program.launch()
program.await_ready(lambda pid: (folder / "ready").exists(), within_s=10)
if os.environ.get("TEST_FORK") and os.fork() == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
print(program.server_pid(), flush=True)
sys.stdin.read()
"""

Make = Callable[..., Program]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # Nothing of a folder's name needs escaping: not spaces, not letters outside ASCII.
    made = (tmp_path / "a é, b:c $x").resolve()
    made.mkdir()
    return made


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    made = []

    def make(code: str, *arguments: str, stop_within_s: float = 5.0) -> Program:
        command = (sys.executable, "-c", code, f"{folder}/", *arguments)
        spec = ProgramSpec(
            name="Test", command=command, folder=folder, stop_within_s=stop_within_s, logs=("log",)
        )
        made.append(Program(spec))
        return made[-1]

    yield make
    for program in made:
        program.stop()


def await_ready(program: Program) -> int:
    """Return the server's number once it is ready."""
    ready = program.spec.folder / "ready"
    program.await_ready(lambda _: ready.exists(), within_s=10)
    ready.unlink()
    pid = program.server_pid()
    assert pid is not None
    return pid


def test_a_program_runs_until_it_is_stopped(make: Make, folder: Path) -> None:
    """Launch, ready, alive, stop: then neither server nor keeper nor pid file is left."""
    program = make(SERVER, "")
    program.launch()
    pid = await_ready(program)
    program.check_alive()
    assert is_ours(pid, folder)
    assert len(living(program.pid_file, folder)) == 2
    program.stop()
    assert not is_ours(pid, folder)
    assert not program.pid_file.exists()
    program.stop()


def test_a_program_that_does_not_listen_is_killed(make: Make, folder: Path) -> None:
    """Stop has an end, whatever the server does."""
    program = make(SERVER, "deaf", stop_within_s=0.1)
    program.launch()
    pid = await_ready(program)
    program.stop()
    assert not is_ours(pid, folder)


def test_a_killed_program_can_be_launched_again(make: Make, folder: Path) -> None:
    """A crash for tests: gone when `kill` returns, and startable as before."""
    program = make(SERVER, "deaf", stop_within_s=0.2)
    program.launch()
    first = await_ready(program)
    program.kill()
    assert not is_ours(first, folder)
    with pytest.raises(ConfigError, match="Test is not running"):
        program.check_alive()
    program.launch()
    assert await_ready(program) != first
    program.check_alive()


def test_a_program_that_fails_tells_its_last_words(make: Make) -> None:
    """What the server said before it ended stands in the error."""
    program = make(FAILING)
    program.launch()
    with pytest.raises(ConfigError, match=r"(?s)ended with exit code 1.*the port is in use"):
        program.await_ready(lambda _: False, within_s=10)


def test_last_words_are_of_this_launch(make: Make, folder: Path) -> None:
    """A log goes on over launches; an error shows none of an earlier one."""
    (folder / "log").write_text("an old trouble\n")
    program = make("import sys; open('log', 'a').write('a new trouble\\n'); sys.exit(3)")
    program.launch()
    with pytest.raises(ConfigError, match="exit code 3") as caught:
        program.await_ready(lambda _: False, within_s=10)
    assert "a new trouble" in str(caught.value)
    assert "an old trouble" not in str(caught.value)


def test_a_program_that_never_gets_ready_is_an_error(make: Make) -> None:
    """Waiting ends; the program still runs, for its owner to stop."""
    program = make(SERVER, "")
    program.launch()
    await_ready(program)
    with pytest.raises(ConfigError, match="not ready after 0 s"):
        program.await_ready(lambda _: False, within_s=0.05)
    program.check_alive()


def test_the_end_of_a_short_program_is_awaited(make: Make) -> None:
    """Success says nothing, failure has the exit code, and neither leaves a process."""
    fine = make("pass")
    fine.launch()
    fine.await_end(within_s=10)
    failing = make("raise SystemExit(4)")
    failing.launch()
    with pytest.raises(ConfigError, match="exit code 4"):
        failing.await_end(within_s=10)
    stuck = make(SERVER, "")
    stuck.launch()
    with pytest.raises(ConfigError, match="did not end in time"):
        stuck.await_end(within_s=0.05)


@pytest.mark.parametrize(("mode", "fork"), [("", ""), ("deaf", ""), ("", "yes")])
def test_a_server_dies_with_its_killed_parent(folder: Path, mode: str, fork: str) -> None:
    """SIGKILL of the parent leaves neither server nor keeper, though a forked child lives on."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, folder, sys.executable, "-c", SERVER, f"{folder}/", mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TEST_FORK": fork},
    )
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    assert is_ours(server, folder)
    pid_file = folder / "server.pid"
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not living(pid_file, folder), within_s=8)
    assert not is_ours(server, folder)
    parent.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_a_server_dies_with_its_killed_keeper(make: Make, folder: Path) -> None:
    """SIGKILL of the keeper leaves no server."""
    program = make(SERVER, "deaf", stop_within_s=0.2)
    program.launch()
    server = await_ready(program)
    keeper = living(program.pid_file, folder)[0]
    assert keeper != server
    os.kill(keeper, signal.SIGKILL)
    assert wait_until(lambda: not is_ours(server, folder), within_s=5)


def test_a_server_outlives_the_thread_that_launched_it(make: Make) -> None:
    """The process is the parent, not one of its threads (the trap of parent-death signals)."""
    program = make(SERVER, "")
    thread = threading.Thread(target=program.launch)
    thread.start()
    thread.join()
    await_ready(program)
    # The kernel would have sent its signal when the thread ended, so before this round trip.
    program.check_alive()


def test_the_terminal_does_not_reach_the_server(make: Make) -> None:
    """Ctrl-C is for the worker; its servers have a session of their own."""
    program = make(SERVER, "")
    program.launch()
    assert os.getsid(await_ready(program)) != os.getsid(0)


def test_a_server_sees_no_secrets(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of our environment a server gets what it needs to run, in UTF-8."""
    monkeypatch.setenv("ENFORCER_HASH_KEY", "secret")
    program = make("import os; print(sorted(os.environ))")
    program.launch()
    program.await_end(within_s=10)
    assert "ENFORCER" not in (program.spec.folder / "output.log").read_text()
    ours = {"PATH": "/bin", "ENFORCER_HASH_KEY": "secret", "JAVA_TOOL_OPTIONS": "-Xmx1m"}
    assert environment(ours) == {"PATH": "/bin", "LC_ALL": "C.UTF-8"}


def test_a_tail_is_bounded_and_starts_where_it_should(tmp_path: Path) -> None:
    """Fifteen lines at most, none from before `start`; a shorter file was begun anew."""
    log = tmp_path / "log"
    assert tail(log, start=0) == ""
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(100_000)))
    assert tail(log, start=0).splitlines() == [
        f"line {number}" for number in range(99_985, 100_000)
    ]
    assert tail(log, start=log.stat().st_size - 11) == "line 99999"
    log.write_bytes(b"anew \xff")
    assert tail(log, start=500) == "anew \ufffd"
