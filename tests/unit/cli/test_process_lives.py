"""Lives of several processes, which tiny scripts stand for: how they begin, hang and end."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.cli import process
from stream.cli.doors import wait_for
from stream.cli.failure import NOT_SO
from stream.cli.processes import Order, Together
from stream.config import load_config

SETTINGS = "processes: {count: 2, restart_wait_ms: 10, restart_wait_max_ms: 20, stop_wait_ms: 9000"
POLICY = "name: {name}\nrules: [{{name: crowd, limit: {{measure: requests, at_most: 20, per: 1m}},"
POLICY += " action: throttle, rate: 1/s, for: 1h, mode: shadow}}]\n"
WITHIN_S = 20.0
REPO = Path(__file__).parents[3]

# What it does is the names of files: a signal that it heard, and that it saved.
WORKER = """
import os, pathlib, signal, sys
folder, code = pathlib.Path(sys.argv[1]), int(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: os._exit(130))
for each in (signal.SIGHUP, signal.SIGUSR2):
    signal.signal(each, lambda number, _: (folder / signal.Signals(number).name).touch())
print(1, flush=True)
sys.stdin.read()
(folder / "saved").touch()
sys.exit(code)
"""
ON_LEASH = """
import asyncio, os, signal
from stream.cli.processes import end_when_told
async def work():
    told = []
    end_when_told(lambda: told.append(1), lambda: os._exit(130), has_stdin=True)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
    return told
assert asyncio.run(work()) == [1]
"""
SILENT = "import time; time.sleep(600)"


def worker(folder: Path, code: int = 0) -> list[str]:
    """The command line of a process that ends at the end of its stdin, and badly at SIGTERM."""
    folder.mkdir(exist_ok=True)
    return [sys.executable, "-S", "-c", WORKER, str(folder), str(code)]


def silent() -> list[str]:
    """The command line of a process that never says anything."""
    return [sys.executable, "-S", "-c", SILENT]


def together(folder: Path, more: str = "", **environment: str) -> Together:
    """Two processes, whose commands are for the test to say."""
    (folder / "settings.yaml").write_text(f"{SETTINGS}{more}}}\n")
    config = load_config(str(folder / "settings.yaml"), environment)
    (folder / "copies").mkdir()
    return Together(Order(config, dict(os.environ), "stem", (), is_reload=False), folder / "copies")


def commands(made: Together, *told: Callable[[], list[str]]) -> None:
    """Have the processes begun with these."""
    for member, each in zip(made.members, told, strict=True):
        member._command = each


def restarts(made: Together, how: str) -> float:
    """How often the first of them was begun again after such an end."""
    name = f'enforcer_process_restarts_total{{how="{how}",process="0"}} '
    lines = made.merged.text().decode().splitlines()
    return sum(float(each.removeprefix(name)) for each in lines if each.startswith(name))


async def until(is_so: Callable[[], bool]) -> None:
    """Look until it is so."""
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - what a process did is no event of ours
            await asyncio.sleep(0.01)


async def played(made: Together, play: Callable[[], object]) -> int:
    """Run all until what is played is over, and all have been told to stop."""
    running = asyncio.create_task(made.run())
    playing = asyncio.ensure_future(play())  # type: ignore[call-overload]
    await asyncio.wait({running, playing}, return_when=asyncio.FIRST_COMPLETED)
    made.stop()
    code = await running
    await playing
    return code


def test_the_copy_of_the_policy_is_made_anew(tmp_path: Path) -> None:
    """A folder that was cleaned away is there at the next life, and at the next reload."""
    policy, copy = tmp_path / "policy.yaml", tmp_path / "copies" / "policy.yaml"
    policy.write_text(POLICY.format(name="first"))
    made = together(tmp_path, ENFORCER_POLICY=str(policy))
    begin = made._command(0)
    policy.write_text("name: [not asked for")
    for _ in range(2):
        shutil.rmtree(copy.parent)
        begin()
        assert copy.read_text() == POLICY.format(name="first")
        assert copy.parent.stat().st_mode & 0o777 == 0o700
    policy.write_text(POLICY.format(name="second"))
    shutil.rmtree(copy.parent)
    made.reload()
    assert copy.read_text() == POLICY.format(name="second")


def test_a_folder_of_somebody_else_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever takes the name of one that is gone gives nobody a policy; a reload says so."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(name="first"))
    made = together(tmp_path, ENFORCER_POLICY=str(policy))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError):
        made._command(0)()
    policy.write_text(POLICY.format(name="second"))
    made.reload()
    assert "the policy in force stays" in caplog.text
    monkeypatch.undo()
    made._command(0)()
    assert (tmp_path / "copies" / "policy.yaml").read_text() == POLICY.format(name="first")


def test_one_that_cannot_be_begun_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No room for a process is the end of one life, which costs the others nothing."""
    made = together(tmp_path)
    lives: list[list[str]] = [[str(tmp_path / "no python")]] * 2
    commands(
        made,
        lambda: lives.pop() if lives else worker(tmp_path / "0"),
        lambda: worker(tmp_path / "1"),
    )

    async def play() -> None:
        # One that has not been heard has nothing to save, and ends at the signal.
        await until(lambda: all(each._has_begun_work for each in made.members))

    assert wait_for(played(made, play)) == 0
    assert restarts(made, "exit") == 2
    assert [each.lives for each in made.members] == [3, 1]
    assert all((tmp_path / each / "saved").exists() for each in "01")
    assert "process 0 could not be begun ([Errno 2]" in caplog.text


def test_a_bug_in_one_lets_the_others_save(tmp_path: Path) -> None:
    """What ends the one that watches is told only after all had their time."""
    made = together(tmp_path)

    def crash() -> list[str]:
        raise AssertionError

    def listens() -> bool:
        return made.members[1]._has_begun_work

    lives = [lambda: [sys.executable, "-S", "-c", ""]] * 3

    def first() -> list[str]:
        return crash() if listens() else lives[0]()

    commands(made, first, lambda: worker(tmp_path / "1"))
    with pytest.raises(AssertionError):
        wait_for(made.run())
    assert (tmp_path / "1" / "saved").exists()


@pytest.mark.parametrize(("ends_with", "code"), [(0, 0), (69, NOT_SO)])
def test_they_end_with_their_leash(tmp_path: Path, ends_with: int, code: int) -> None:
    """No signal comes beside the end of stdin; one that then ends badly makes all end so."""
    made = together(tmp_path)
    commands(made, lambda: worker(tmp_path / "0", ends_with), lambda: worker(tmp_path / "1"))

    async def play() -> None:
        await until(lambda: all(each._port for each in made.members))

    assert wait_for(played(made, play)) == code
    assert all((tmp_path / each / "saved").exists() for each in "01")


def test_a_second_signal_is_no_second_wish_on_a_leash() -> None:
    """Whoever holds it ends by force what does not end; systemd may signal at any time."""
    command = [sys.executable, "-c", ON_LEASH]
    done = subprocess.run(command, cwd=REPO, stdin=subprocess.PIPE, check=False, timeout=WITHIN_S)
    assert done.returncode == 0


def test_one_that_does_not_listen_yet_is_not_waited_for(tmp_path: Path) -> None:
    """It has nothing to save, so SIGTERM ends it, which is no bad end."""
    made = together(tmp_path)
    commands(made, silent, lambda: worker(tmp_path / "1"))

    async def play() -> None:
        await until(lambda: bool(made.members[1]._port and made.members[0]._process))

    assert wait_for(played(made, play)) == 0
    assert (tmp_path / "1" / "saved").exists()


def test_one_that_never_comes_up_has_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says no port for long is killed and begun again."""
    monkeypatch.setattr(process, "START_S", 0.2)
    made = together(tmp_path, ", hung_after_ms: 100")
    lives = [silent(), [sys.executable, "-S", "-c", f"print('a word', flush=True); {SILENT}"]]
    commands(made, lambda: lives.pop() if lives else silent(), lambda: worker(tmp_path / "1"))

    async def play() -> None:
        await until(lambda: restarts(made, "hung") >= 2)

    assert wait_for(played(made, play)) == 0
    assert made.members[1].lives >= 1


def test_one_that_ends_as_all_are_told(tmp_path: Path) -> None:
    """A process that is dead, and not known to be, is told like the others."""
    made = together(tmp_path)
    commands(made, silent, lambda: worker(tmp_path / "1"))

    async def play() -> None:
        await until(lambda: bool(made.members[1]._port and made.members[0]._process))
        first = made.members[0]
        assert first._process is not None
        # Seen by us before the loop can see it.
        os.kill(first._process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, first._process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
        made.stop()

    assert wait_for(played(made, play)) == NOT_SO
    assert (tmp_path / "1" / "saved").exists()


def test_a_bad_policy_keeps_no_baseline_away(tmp_path: Path) -> None:
    """They are told of the baseline alone; the copy read again could undo another's policy."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(name="first"))
    made = together(tmp_path, ENFORCER_POLICY=str(policy), ENFORCER_BASELINE="next.baseline")
    commands(made, lambda: worker(tmp_path / "0"), lambda: worker(tmp_path / "1"))

    async def play() -> None:
        policy.write_text("name: [bad")
        # Those that do not listen yet are told when they do.
        made.reload()
        await until(lambda: all((tmp_path / each / "SIGUSR2").exists() for each in "01"))
        for each in "01":
            (tmp_path / each / "SIGUSR2").unlink()
        made.reload()
        await until(lambda: all((tmp_path / each / "SIGUSR2").exists() for each in "01"))
        assert not any((tmp_path / each / "SIGHUP").exists() for each in "01")
        policy.write_text(POLICY.format(name="second"))
        made.reload()
        await until(lambda: all((tmp_path / each / "SIGHUP").exists() for each in "01"))

    assert wait_for(played(made, play)) == 0
