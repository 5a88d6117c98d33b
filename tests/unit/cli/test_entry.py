"""The command line as a whole: help, usage, exit codes."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from stream.cli.entry import VERBS, main
from stream.cli.failure import NotSo, code_of, exit_code_of
from stream.errors import (
    BusUnavailable,
    ConfigError,
    EnforcerError,
    PolicyError,
    RowCorrupt,
    StoreUnavailable,
)
from tests.unit.cli.conftest import Call

REPO = Path(__file__).parents[3]
HELP_WITHIN_S = 0.3
HEAVY = {"numpy", "numba", "aiokafka", "redis", "rich", "uvloop", "yaml"}


def enforcer(*args: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, *options, "-m", "stream.cli", *args]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)


def spent_s() -> float:
    """How long the processor has worked for our children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_starts_at_once() -> None:
    """`enforcer --help` costs less than 0.3 s, of the processor: others may keep us waiting."""
    took_s: list[float] = []
    while len(took_s) < 20 and min(took_s, default=HELP_WITHIN_S) >= HELP_WITHIN_S:
        began_s = spent_s()
        assert enforcer("--help").returncode == 0
        took_s.append(spent_s() - began_s)
    assert min(took_s) < HELP_WITHIN_S, took_s


def test_help_loads_nothing_heavy() -> None:
    """Help needs neither arrays, compiler, Kafka, Redis nor a terminal library."""
    script = (
        "import sys\nfrom stream.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if '.' not in name))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))


def test_a_reload_that_comes_while_run_is_loaded_ends_nothing() -> None:
    """SIGHUP in the second that the modules of `run` take is kept for later."""
    script = (
        "import importlib, os, signal\nfrom stream.cli import main\n"
        "load = importlib.import_module\n"
        "def told(name):\n    os.kill(os.getpid(), signal.SIGHUP)\n    return load(name)\n"
        "importlib.import_module = told\n"
        "try:\n    main(['run', '--help'])\n"
        "finally:\n    print(signal.getsignal(signal.SIGHUP).has_come)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["True"]), done.stderr


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_helps(name: str, call: Call) -> None:
    """A verb's help begins with the sentence of the list, and has examples and --json."""
    shown = call(name, "--help")
    assert shown.exit_code == 0
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.help or "").partition("\n")[0] == VERBS[name][1]
    assert "Examples:" in shown.stdout
    assert "--json" in shown.stdout


def verbs_of(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb below a command, however deep, with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    at = click.Context(command)
    for name in command.list_commands(at):
        below = command.get_command(at, name)
        assert below is not None
        yield from verbs_of(below, *path, name)


def test_verbs_of_verbs_help_too() -> None:
    """Also `baseline show` and its like have examples, of themselves, and --json."""
    for path, command in verbs_of(main):
        said = " ".join(path)
        assert f"enforcer {said}" in (command.epilog or ""), said
        assert any("--json" in each.opts for each in command.params), said


def test_wrong_usage_is_told_in_one_line(call: Call) -> None:
    """A verb that is not there is answered with the nearest, a missing argument by its name."""
    wrong = call("chek")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "did you mean `check`?" in wrong.stderr
    lacking = call("explain")
    assert lacking.exit_code == 2
    assert "WORKLOAD" in lacking.stderr
    assert "explain --help" in lacking.stderr


def test_errors_are_objects_for_programs(call: Call) -> None:
    """With --json an error is one JSON object on stderr, usage errors too."""
    for args, code in ((("check", "missing.yaml"), 78), (("explain", "spiffe://"), 2)):
        shown = call(*args, "--json")
        assert (shown.exit_code, shown.stdout) == (code, "")
        error = json.loads(shown.stderr)["error"]
        assert error["exit_code"] == code
        assert error["message"]


@pytest.mark.parametrize("form", [("--log", "json"), ("--log=json",)])
def test_last_words_have_the_form_of_the_log(form: tuple[str, ...], call: Call) -> None:
    """What ends a worker whose log is JSON is a line of it, before its start too."""
    shown = call("run", *form, "--as-process", "3")
    assert shown.exit_code == 78
    (line,) = map(json.loads, shown.stderr.splitlines())
    assert "there is no hash key (hint: set" in line["message"]
    assert (line["level"], line["logger"], line["process"]) == ("error", "stream.cli", 3)
    wrong = call("run", *form, "--nothing")
    assert wrong.exit_code == 2
    assert "--nothing" in json.loads(wrong.stderr)["message"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 78),
        (PolicyError("x"), 78),
        (StoreUnavailable("x"), 69),
        (BusUnavailable("x"), 69),
        (NotSo("x"), 1),
        (RowCorrupt("x"), 1),
        (EnforcerError("x"), 1),
    ],
)
def test_each_error_has_its_code(
    error: EnforcerError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors on purpose become a code and a line; there is no traceback."""

    def fail() -> None:
        raise error

    assert code_of(error) == code
    assert exit_code_of(fail, is_json=False) == code
    assert capsys.readouterr().err == "enforcer: x\n"


def test_a_broken_invariant_is_no_error_on_purpose() -> None:
    """An AssertionError crashes; nothing turns it into a message."""

    def crash() -> None:
        raise AssertionError

    with pytest.raises(AssertionError):
        exit_code_of(crash, is_json=False)


def test_hostile_errors_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """A message that quotes somebody's text cannot speak to the terminal."""

    def fail() -> None:
        raise NotSo("\x1b[2Jname", hint="\x9b1m")

    exit_code_of(fail, is_json=False)
    shown = capsys.readouterr().err
    assert shown.strip().isprintable()
    assert "\\x1b[2Jname (hint: \\x9b1m)" in shown


def test_it_refuses_to_run_without_assertions() -> None:
    """Under `python -O` every call ends with exit code 78 and says what to do."""
    shown = enforcer("--help", options=("-O",))
    assert (shown.returncode, shown.stdout) == (78, "")
    assert "without `python -O`" in shown.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`enforcer schema | head` leaves no traceback."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "stream.cli", "schema"]
    done = subprocess.run(
        command, cwd=REPO, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert done.stderr == ""


def test_version() -> None:
    """`enforcer --version` says name and version."""
    assert enforcer("--version").stdout.startswith("enforcer ")
