"""A gateway lives in other people's processes, so it brings little along."""

import subprocess
import sys

PROBE = """
import sys
import stream.gateway
heavy = {"numpy", "numba", "llvmlite", "redis", "uvloop", "rich", "click", "starlette"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_import_loads_nothing_heavy() -> None:
    """In a fresh process the gateway loads no numpy, Numba, Redis or web framework."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
