"""What tests of the command share: a way to call it, and logs and signals put back as they were."""

import logging
import signal
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from stream.cli import main

Call = Callable[..., Result]


@pytest.fixture
def call() -> Iterator[Call]:
    """Calls `enforcer` in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    at_hangup = signal.getsignal(signal.SIGHUP)

    def enforcer(*args: str, stdin: bytes = b"", **environment: str) -> Result:
        clean = {"ENFORCER_HASH_KEY": None, "ENFORCER_HASH_KEY_FILE": None, "ENFORCER_CONFIG": None}
        return CliRunner().invoke(main, args, input=stdin, env={**clean, **environment})

    yield enforcer
    root.handlers[:] = handlers
    root.setLevel(level)
    signal.signal(signal.SIGHUP, at_hangup)
