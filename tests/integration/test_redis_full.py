"""A server whose memory is full takes nothing more until it has room: saves wait, nothing else."""

import asyncio
from pathlib import Path

import pytest

from stream.local import Addresses
from tests.faults import redis as scenarios
from tests.faults.run import assert_nothing_lost


@pytest.mark.timeout(180)
def test_memory_is_full_for_a_while(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """No session ends by it, and with room again all goes on where it was."""
    outcome = asyncio.run(scenarios.memory_full(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.causes["oom"] >= 5
    assert not outcome.restarts
    assert not outcome.modes
