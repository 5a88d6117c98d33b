"""Partitions multiplied on real servers: every profile goes on, and every event counts once."""

import random
from pathlib import Path

import pytest

from stream.local import Addresses
from tests.faults import grown
from tests.faults.kafka import Scene


@pytest.mark.timeout(300)
def test_partitions_are_doubled_under_load(
    servers: Addresses, fresh_name: str, tmp_path: Path
) -> None:
    """Rows and commands are those of one replay of all events, gateways being late or not."""
    result = grown.grow(Scene(servers, fresh_name, tmp_path), (12,), 0, 5)
    assert result.is_right, result
    assert result.notes["forwarded"] > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_partitions_are_doubled_twice_while_workers_die(
    servers: Addresses, fresh_name: str, tmp_path: Path
) -> None:
    """From 6 to 12 to 24, with SIGKILLs at random moments of it."""
    seed = random.SystemRandom().randrange(10**6)
    result = grown.grow(Scene(servers, fresh_name, tmp_path), (12, 24), 3, seed)
    assert result.is_right, result
