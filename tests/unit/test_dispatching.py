"""Kernels that kernels call are compiled to be linked; those that Python calls, to be run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import TypingError

from stream.kernel import is_compiled, kernel, routine

pytestmark = pytest.mark.skipif(not is_compiled(), reason="kernels run as plain Python")

PROGRAM = """
import json, numba, numpy as np
from numba.core import event
from stream.kernel import kernel

@kernel
def inner(values, at):
    return values[at] * 3

@kernel
def middle(values, at):
    return inner(values, at) + inner(values, at + 1)

@kernel
def outer(values):
    return middle(values, 0) + inner(values, 2)

with event.install_recorder("numba:compile") as recorder:
    said = [outer(np.arange(1, 4)), inner(np.arange(1, 4), 1)]
print(json.dumps([*map(int, said), len(recorder.buffer)]))
"""


@kernel
def doubled(value: int) -> int:
    return value * 2


@routine
def halved(value: float) -> float:
    return value / 2


@kernel
def both(value: float) -> float:
    return doubled(value) + halved(value)


@kernel
def wrong(value: int) -> int:
    return doubled(value, value)  # type: ignore[call-arg]


def test_an_inner_kernel_is_compiled_for_whom_it_is_called_by() -> None:
    """Compiled for a kernel it is nothing that Python could call, nor is it on disk."""
    assert both(3) == 7.5
    assert both(3.0) == 7.5
    assert len(both.signatures) == 2  # type: ignore[attr-defined]
    assert doubled.signatures == halved.signatures == []  # type: ignore[attr-defined]
    assert doubled(4) == 8
    assert halved(4) == 2.0
    assert len(doubled.signatures) == len(halved.signatures) == 1  # type: ignore[attr-defined]
    assert both(np.int32(5)) == 12.5, "and is compiled for other kernels as before"


def test_what_does_not_fit_is_told_as_ever() -> None:
    """Who writes a kernel that calls another one wrongly reads which."""
    for _ in range(2):
        with pytest.raises(TypingError, match="too many positional arguments"):
            wrong(1)


def test_it_is_kept_on_disk_with_all_it_calls(tmp_path: Path) -> None:
    """A later process compiles nothing, whichever of them Python called."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    said = [
        json.loads(subprocess.check_output([sys.executable, str(program)], env=environment))
        for _ in range(2)
    ]
    # The sum is 3 + 6 + 9, and the inner one alone 6; each compilation begins and ends.
    assert said == [[18, 6, 4], [18, 6, 0]]
