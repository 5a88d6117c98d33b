"""The repo keeps its rules, and each rule bites. What is agreed stands in tests/tidy/agreed.py."""

import re
import subprocess
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.tidy.agreed import DOORS, EVERYWHERE
from tests.tidy.rules import RULES, Violation
from tests.tidy.source import Source

CACHE = "compiled kernels live in a folder on disk, named by their sources and versions"
# (rule, path, what the message names): the reason. One that no longer applies fails the test.
EXCEPTIONS: dict[tuple[str, str, str], str] = {
    ("core", "stream/kernel/compiling.py", "os"): CACHE,
    ("core", "stream/kernel/compiling.py", "pathlib"): CACHE,
    ("core", "stream/kernel/compiling.py", "shutil"): CACHE,
    ("core", "stream/kernel/compiling.py", "sys"): CACHE,
    ("core", "stream/kernel/compiling.py", "atexit"): CACHE,
    ("core", "stream/kernel/compiling.py", "tempfile"): CACHE,
    ("core", "stream/policy/settings.py", "importlib"): "the shipped policy is a file of ours",
    ("except", "stream/bus/kafka_together.py", "AssertionError"): (
        "aiokafka asserts its state, which its sender task may end in between two of our lines"
    ),
    ("except", "tests/fuzz/loop.py", "Exception"): (
        "whatever a target raises that it did not declare is what fuzzing looks for"
    ),
    (
        "core",
        "stream/kernel/compiling.py",
        "warnings",
    ): "Numba's warning filter stands once, with its reason",
}

REPO = Path(__file__).parents[1]
TEXT_BYTES_MAX = 1_000_000

LONG_DOCSTRING = 'def f():\n    """' + "x\n" * 90 + '"""\n' + "    x = 1\n" * 59

# Each text breaks its rule once. A path may appear alone or with the files that it needs.
BREACHES: list[tuple[str, Mapping[str, str]]] = [
    ("direction", {"stream/clock.py": "from stream.engine import step"}),
    ("direction", {"stream/store/redis.py": "def f():\n    from stream.bus import Record"}),
    ("direction", {"stream/clock.py": "if TYPE_CHECKING:\n    from stream.events import Request"}),
    ("direction", {"stream/gateway/table.py": "from stream.profiles import Table"}),
    ("direction", {"stream/gateway/table.py": "from stream import policy"}),
    ("direction", {"stream/clock.py": "import stream.engine"}),
    ("direction", {"stream/clock.py": "from .engine import step"}),
    ("direction", {"stream/engine.py": "from stream.extras import thing"}),
    ("direction", {"stream/extras/thing.py": ""}),
    ("entry", {"stream/runtime/worker.py": "from stream.bus.kafka import KafkaBus"}),
    ("entry", {"stream/runtime/worker.py": "import stream.bus"}),
    ("entry", {"stream/runtime/worker.py": "from stream import bus"}),
    ("entry", {"stream/runtime/worker.py": "from ..bus import Record"}),
    ("entry", {"stream/runtime/worker.py": "from stream.bus import _Secret"}),
    ("entry", {"stream/runtime/w.py": "from stream.bus import kafka", "stream/bus/kafka.py": ""}),
    ("entry", {"stream/bus/kafka.py": "from stream.bus.contract import Record"}),
    ("door", {"stream/runtime/worker.py": "import redis.asyncio"}),
    ("door", {"stream/bus/memory.py": "from aiokafka import AIOKafkaProducer"}),
    ("door", {"stream/runtime/worker.py": "from prometheus_client import Counter"}),
    ("door", {"stream/runtime/worker.py": "import uvloop"}),
    ("door", {"stream/detectors/rate.py": "from numba import njit"}),
    ("door", {"stream/config.py": "import yaml"}),
    ("door", {"stream/runtime/worker.py": "from rich.table import Table"}),
    ("door", {"stream/events/codec.py": "import numpy as np"}),
    ("door", {"stream/runtime/worker.py": "import psutil"}),
    ("core", {"stream/engine.py": "import time"}),
    ("core", {"stream/detectors/rate.py": "import asyncio.events"}),
    ("core", {"stream/policy/lint.py": "from os import environ"}),
    ("core", {"stream/policy/lint.py": "from urllib.request import urlopen"}),
    ("core", {"stream/profiles/table.py": "slot = hash(name)"}),
    ("core", {"stream/policy/text.py": "text = open(path)"}),
    ("core", {"stream/explain/text.py": "at = datetime.now(UTC)"}),
    ("core", {"stream/engine.py": "x = np.random.default_rng()"}),
    ("root", {"stream/__init__.py": '"""Doc."""\nfrom stream.engine import step'}),
    ("file-size", {"stream/engine.py": "x = 1\n" * 401}),
    ("line-size", {"tests/unit/test_x.py": f"x = '{'x' * 100}'"}),
    ("function-size", {"stream/engine.py": "def f():\n" + "    x = 1\n" * 60}),
    ("function-size", {"stream/engine.py": "async def f():\n" + "    x = 1\n" * 60}),
    ("parameters", {"stream/engine.py": "def f(a, b, c, d, *e, f, **g): ..."}),
    ("parameters", {"stream/engine.py": "class C:\n    def f(self, a, b, c, d, e, f, g): ..."}),
    ("print", {"stream/engine.py": "print(1)"}),
    ("print", {"stream/local/kafka.py": "import sys\nsys.stderr.write('up')"}),
    ("except", {"tests/x.py": "try:\n    f()\nexcept:\n    raise"}),
    ("except", {"stream/bus/kafka.py": "try:\n    f()\nexcept (OSError, Exception):\n    raise"}),
    ("except", {"benchmarks/x.py": "try:\n    f()\nexcept* BaseException:\n    g()"}),
    ("except", {"stream/x.py": "try:\n    f()\nexcept asyncio.CancelledError:\n    pass"}),
    ("except", {"stream/x.py": "with contextlib.suppress(Exception):\n    f()"}),
    ("except", {"stream/x.py": "with suppress(asyncio.CancelledError):\n    f()"}),
    ("ignore", {"stream/x.py": "x = 1  # type: ignore"}),
    ("ignore", {"stream/x.py": "x = 1  # noqa"}),
    ("unfinished", {"stream/x.py": "x = 1  # TODO: more"}),
    ("unfinished", {"stream/x.py": "raise NotImplementedError"}),
    ("unfinished", {"stream/x.py": "# ------- kernels -------"}),
    ("docstring", {"stream/x.py": "x = 1"}),
    ("docstring", {"stream/x.py": '"""Doc."""\ndef f(): ...'}),
    ("docstring", {"stream/x.py": '"""Doc."""\nclass C:\n    "Doc."\n    async def f(self): ...'}),
    ("law", {"tests/unit/test_x.py": "def test_x(): ..."}),
    ("name", {"stream/bus/helpers.py": ""}),
    ("name", {"stream/bus/topic_utils.py": ""}),
    ("name", {"stream/runtime/context.py": ""}),
    ("name", {"stream/x.py": "class StoreManager: ..."}),
    ("name", {"stream/x.py": "class BaseStore: ..."}),
    ("name", {"stream/x.py": "class Context: ..."}),
    ("name", {"stream/x.py": "class App: ..."}),
    ("orphan", {"stream/bus/old.py": "", "tests/unit/test_old.py": "from stream.bus.old import x"}),
    ("orphan", {"stream/errors.py": "", "stream/__init__.py": ""}),
    ("orphan", {"tests/models/old.py": ""}),
    ("orphan", {"benchmarks/old.py": "x = 1"}),
    ("top-level", {"docs/index.md": ""}),
    ("place", {"README.md": "fetch https://pypi\x2eorg/simple"}),
    ("place", {"compose.yaml": "path: /\x68ome/somebody"}),
    ("place", {"tests/unit/test_x.py": "DATA = '/\x77ork/shared/data'"}),
]

# What comes near, and is fine.
FINE: list[tuple[str, Mapping[str, str]]] = [
    ("direction", {"stream/gateway/table.py": "from stream.bus import Bus\nfrom .rate import x"}),
    ("direction", {"stream/cli/run.py": "from stream import __version__"}),
    ("entry", {"stream/cli/run.py": "from stream.bus import Bus\nfrom stream import __version__"}),
    ("entry", {"stream/bus/kafka.py": "from . import contract\nfrom .contract import Record"}),
    ("door", {"stream/store/redis_scripts.py": "import redis.asyncio as vendor\nimport asyncio"}),
    ("door", {"stream/bus/kafka.py": "import aiokafka\nimport numpy\nimport msgspec"}),
    ("core", {"stream/engine.py": "from urllib.parse import quote\nfrom collections import abc"}),
    ("core", {"stream/engine.py": "key = self.hash(name)\nwith_id = row.id"}),
    ("core", {"stream/runtime/worker.py": "import time\nnow = datetime.now(UTC)"}),
    ("function-size", {"stream/x.py": LONG_DOCSTRING}),
    ("parameters", {"stream/x.py": "class C:\n    def f(self, a, b, c, d, e, f): ..."}),
    ("parameters", {"stream/cli/x.py": "@group.command('up')\ndef f(a, b, c, d, e, f, g): ..."}),
    ("print", {"stream/cli/run.py": "print(1)", "benchmarks/x.py": "print(1)"}),
    ("except", {"stream/x.py": "try:\n    f()\nexcept CancelledError:\n    g()\n    raise"}),
    ("ignore", {"stream/x.py": "x = 1  # type: ignore[misc]  # noqa: E501\ny = '# type: ignore'"}),
    ("docstring", {"stream/x.py": '"""Doc."""\ndef _f():\n    def g(): ...\nclass _C: ...'}),
    ("name", {"stream/profiles/contexts.py": "class TaskContext: ...\nclass Baseline: ..."}),
    (
        "orphan",
        {"stream/bus/a.py": "", "stream/bus/__init__.py": "from .a import x", "x.md": "stream.bus"},
    ),
    (
        "orphan",
        {"tests/models/a.py": "", "tests/conftest.py": "pytest_plugins = ['tests.models.a']"},
    ),
    ("orphan", {"benchmarks/a.py": 'if __name__ == "__main__":\n    main()'}),
]
CYCLES: list[Mapping[str, str]] = [
    {"stream/bus/a.py": "from .b import x", "stream/bus/b.py": "def f():\n    from .a import y"},
    {"stream/bus/__init__.py": "from .a import x", "stream/bus/a.py": "from . import y"},
]
NO_CYCLE = {
    "stream/bus/__init__.py": "from .a import x",
    "stream/bus/a.py": "from . import b",
    "stream/bus/b.py": "from stream.errors import BusUnavailable",
    "stream/errors.py": "",
}


@cache
def repo() -> tuple[Source, ...]:
    """All files that are, or would be, in the repo; what is not text has empty text."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPO, capture_output=True, check=True, text=True)
    sources = []
    for name in sorted(set(listed.stdout.split("\0")) - {""}):
        if (REPO / name).is_file():
            raw = (REPO / name).read_bytes()
            is_text = len(raw) <= TEXT_BYTES_MAX and b"\0" not in raw
            sources.append(Source(name, raw.decode(errors="replace") if is_text else ""))
    return tuple(sources)


def found_by(rule: str, files: Mapping[str, str]) -> list[Violation]:
    """What the rule finds in these texts."""
    return list(RULES[rule]([Source(path, text) for path, text in files.items()]))


@pytest.mark.parametrize("rule", RULES)
def test_repo_keeps_the_rule(rule: str) -> None:
    """Every file obeys the rule, or stands in EXCEPTIONS."""
    found = [each for each in RULES[rule](repo()) if each[:2] + each[3:4] not in EXCEPTIONS]
    assert not found, "\n" + "\n".join(map(str, found))


def test_exceptions_are_needed_and_reasoned() -> None:
    """An exception that nothing needs any more is taken out; each of them says why."""
    found = {each[:2] + each[3:4] for rule in RULES for each in RULES[rule](repo())}
    assert EXCEPTIONS.keys() <= found
    assert all(len(reason.split()) > 3 for reason in EXCEPTIONS.values())


def test_doors_and_pyproject_name_the_same_dependencies() -> None:
    """What has a door is declared, and what is declared has a door."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["local"], *extras["signing"], *extras["plots"]]
    names = {re.split(r"[^\w-]", each)[0].replace("-", "_") for each in declared}
    assert names - {"pyyaml"} | {"yaml"} == DOORS.keys() | EVERYWHERE


@pytest.mark.parametrize(("rule", "files"), BREACHES)
def test_rule_bites(rule: str, files: Mapping[str, str]) -> None:
    """A breach is found, once, in the first of the files, and by the rule meant for it."""
    found = found_by(rule, files)
    assert [(each.rule, each.path) for each in found] == [(rule, next(iter(files)))], found


@pytest.mark.parametrize(("rule", "files"), FINE)
def test_rule_lets_pass(rule: str, files: Mapping[str, str]) -> None:
    """What comes near a breach and is none is let pass."""
    assert not found_by(rule, files)


@pytest.mark.parametrize("files", CYCLES)
def test_cycle_is_found_at_all_its_files(files: Mapping[str, str]) -> None:
    """A cycle names each file in it, also where a function hides the import."""
    assert {each.path for each in found_by("cycle", files)} == files.keys()


def test_room_without_cycle_passes() -> None:
    """An entry that imports its parts, which import each other one way, is no cycle."""
    assert not found_by("cycle", NO_CYCLE)


def test_every_rule_has_a_breach() -> None:
    """No rule is trusted that was never seen to bite."""
    assert RULES.keys() == {rule for rule, _ in BREACHES} | {"cycle"}
