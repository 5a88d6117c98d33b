"""A real Kafka and a real Valkey for the tests of one session.

Started once, when the first test asks, and gone with the session, however it ends. Servers that run
already serve instead when ENFORCER_TEST_KAFKA (`host:port`) and ENFORCER_TEST_REDIS (`redis://...`)
name them. Tests share them, so each takes its topics and keys below a `fresh_name`.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator

import pytest

from stream.local import Addresses, LocalServers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """Where the session's Kafka and Redis are."""
    kafka = os.environ.get("ENFORCER_TEST_KAFKA")
    redis = os.environ.get("ENFORCER_TEST_REDIS")
    if kafka and redis:
        yield Addresses(kafka=kafka, redis=redis)
        return
    with LocalServers(tmp_path_factory.mktemp("servers")) as local:
        started = local.addresses
        yield Addresses(kafka=kafka or started.kafka, redis=redis or started.redis)


@pytest.fixture
def fresh_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test and no other run uses; fit for topics, groups and keys."""
    readable = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:40].strip("-")
    return f"{readable}-{uuid.uuid4().hex[:12]}"
