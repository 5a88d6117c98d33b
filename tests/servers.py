"""A real Kafka and a real Valkey for the tests of one session.

Started once, when the first test asks, and gone with the session, however it ends. The processes of
a run in parallel (pytest -n) share them: who asks first starts them, and ends them when nobody uses
them any more. Servers that run already serve instead when ENFORCER_TEST_KAFKA (`host:port`) and
ENFORCER_TEST_REDIS (`redis://...`) name them. Tests share them, so each takes its topics and keys
below a `fresh_name`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stream.local import Addresses, LocalServers

IN_USE = pytest.StashKey[contextlib.ExitStack]()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Addresses:
    """Where the session's Kafka and Redis are."""
    kafka = os.environ.get("ENFORCER_TEST_KAFKA")
    redis = os.environ.get("ENFORCER_TEST_REDIS")
    if kafka and redis:
        return Addresses(kafka=kafka, redis=redis)
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # That of the whole run.
    until_the_end = request.config.stash.setdefault(IN_USE, contextlib.ExitStack())
    started = until_the_end.enter_context(shared(folder))
    return Addresses(kafka=kafka or started.kafka, redis=redis or started.redis)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let go of the servers: not within the last test, for the other processes may go on long."""
    session.config.stash.get(IN_USE, contextlib.ExitStack()).close()


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[Addresses]:
    """The servers of a run, started here unless another of its processes has them.

    Users hold a shared lock, which the kernel drops with its holder: so whoever started the servers
    learns when the last of the others is gone, even one that crashed.
    """
    told = folder / "servers.json"
    with (folder / "servers.users").open("w") as users, contextlib.ExitStack() as undo:
        with _turn(folder):
            fcntl.flock(users, fcntl.LOCK_SH)
            if told.exists():
                addresses = msgspec.json.decode(told.read_bytes(), type=Addresses)
            else:
                servers = LocalServers(folder / f"servers-{uuid.uuid4().hex[:8]}")
                addresses = undo.enter_context(servers).addresses
                told.write_bytes(msgspec.json.encode(addresses))
                undo.callback(_await_others, folder, users.fileno())
        yield addresses


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Be the only one of the run's processes in here."""
    with (folder / "servers.turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _await_others(folder: Path, users: int) -> None:
    """Name the servers to nobody any more; return when those who use them have ended."""
    with _turn(folder):
        (folder / "servers.json").unlink()
    fcntl.flock(users, fcntl.LOCK_EX)


@pytest.fixture
def fresh_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test and no other run uses; fit for topics, groups and keys."""
    readable = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:40].strip("-")
    return f"{readable}-{uuid.uuid4().hex[:12]}"
