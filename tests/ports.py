"""Ports for servers of a test's own, which nobody else takes before the server does.

They lie below the range that outgoing connections are given, so no client gets one meanwhile, and
each process of a run in parallel (pytest -n) chooses among its own.
"""

from __future__ import annotations

import os
import random
import re

from stream.local.folder import is_free

FIRST, END = 20_000, 32_000
# As many processes beside each other as never meet.
LANES = 8

_given: set[int] = set()


def lane() -> int:
    """Which of the processes of this run this one is; 0 where there is only one."""
    found = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    return int(found[1]) % LANES if found else 0


def free_port() -> int:
    """A port that nobody listens on, and that was not given before."""
    while True:
        port = random.randrange(FIRST + lane(), END, LANES)
        if port not in _given and is_free(port):
            _given.add(port)
            return port


def free_ports(count: int) -> list[int]:
    """So many of them."""
    return [free_port() for _ in range(count)]
