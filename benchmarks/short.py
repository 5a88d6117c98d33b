"""The smoke test of benchmarks, on one pair of servers: that each runs, and what it asserts.

    python -m benchmarks.short

It judges no figure. CI runs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import say
from benchmarks.rounds import FOR_LOAD, SERVERS
from stream.local import LocalServers

# Not scale: some thousands of rows say nothing of a million. Recovery is what tests of faults do.
NAMES = ("throughput",)
ONE_S = 600


def main() -> int:
    """Run them one after another; return 1 where one has failed."""
    failed, took_s = [], {}
    with tempfile.TemporaryDirectory() as folder, LocalServers(Path(folder), FOR_LOAD) as servers:
        known = servers.addresses.kafka, servers.addresses.redis
        environment = {**os.environ, **dict(zip(SERVERS, known, strict=True))}
        for name in NAMES:
            say(f"--- {name}")
            began_s = time.monotonic()
            command = [sys.executable, "-m", f"benchmarks.{name}", "--short", *sys.argv[1:]]
            done = subprocess.run(command, env=environment, check=False, timeout=ONE_S)
            took_s[name] = round(time.monotonic() - began_s, 1)
            if done.returncode:
                failed.append(name)
    say(f"seconds: {took_s}; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
