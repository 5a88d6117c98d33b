"""The one way to compile a kernel, and the arithmetic that must be the same compiled or not.

Numba's disk cache does not notice a change in a called function of another file, so the cache
folder is named by a hash of every source that can hold kernels, and of the versions of Python,
numpy and Numba. `NUMBA_DISABLE_JIT=1` runs the same functions as plain Python (coverage,
debugging); for the two to agree, wrapping 64-bit arithmetic happens only in this room.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numba.core.errors import NumbaExperimentalFeatureWarning

from .dispatching import Dispatcher

KERNEL_ROOMS: Final = (
    "kernel",
    "records",
    "profiles",
    "baselines",
    "detectors",
    "policy",
    "enforcement",
    "engine",
)
CACHES_MAX: Final = 16

Function = TypeVar("Function", bound=Callable[..., Any])

# First-class record types are what numba calls experimental; we use only field access on them.
warnings.filterwarnings("ignore", category=NumbaExperimentalFeatureWarning)


def is_compiled() -> bool:
    """Tell whether kernels are compiled in this process."""
    return not numba.config.DISABLE_JIT


def cache_folder() -> Path:
    """Return the folder for compiled kernels of exactly these sources and versions."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(
        f"{sys.version} {np.__version__} {numba.__version__}".encode()  # no separator needed
    )
    package = Path(__file__).parent.parent
    for room in KERNEL_ROOMS:
        for file in sorted((package / room).glob("*.py")):
            digest.update(file.name.encode() + file.read_bytes())
    return root / "stream-enforcer" / f"kernels-{digest.hexdigest()[:16]}"


def _use_cache() -> None:
    """Point Numba at our folder, keeping only the newest few of earlier versions.

    Where it cannot be written, a folder for this process alone: Numba refuses to compile with
    none, and each start then compiles anew.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        old = sorted(folder.parent.glob("kernels-*"), key=lambda each: -each.stat().st_mtime)
        for stale in old[CACHES_MAX:]:
            shutil.rmtree(stale, ignore_errors=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="stream-enforcer-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    numba.config.CACHE_DIR = str(folder)


_use_cache()


def kernel(function: Function) -> Function:
    """Compile a function: no GIL, cached on disk, no fast math, integer overflow never raises.

    Requires: no allocation, no exception, bounded loops, at most six arguments.
    """
    # The tables are tuples of arrays. Called, each is copied and its arrays are counted up and
    # down, atomically; inlined, and without counting (nothing is allocated here, so nothing
    # can be freed), an event costs 0.3 us instead of 1.1 (10,000 workloads, 7 windows).
    return _compiled(function, is_inlined=True)


def routine(function: Function) -> Function:
    """Compile a function like a kernel, once, however many kernels call it.

    For what takes few arrays and is called in many places: inlined into all of them it would take
    long to compile (24 s instead of 9 for the reading of events).
    """
    return _compiled(function, is_inlined=False)


def _compiled(function: Function, *, is_inlined: bool) -> Function:
    if not is_compiled():
        return function
    options = {
        "nopython": True,
        "nogil": True,
        "fastmath": False,
        "error_model": "numpy",
        "forceinline": is_inlined,
        "_nrt": False,
        "no_cfunc_wrapper": True,  # Nobody calls one from C: 6 % of the time to compile.
    }
    compiled = Dispatcher(function, targetoptions=options)
    compiled.enable_caching()
    return cast(Function, compiled)
