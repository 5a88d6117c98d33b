"""One server that comes back with less than it had: the log gives the rest, and it is said."""

import asyncio
from pathlib import Path

import pytest

from stream.local import Addresses
from tests.faults import redis as scenarios
from tests.faults.run import assert_nothing_lost


@pytest.mark.timeout(180)
def test_comes_back_empty(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """Under load: rebuilt from the log, named `store_forgot` in each partition's journal."""
    outcome = asyncio.run(scenarios.emptied(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.modes == outcome.counted == {"store_forgot": 6}
    assert outcome.restarts == {"StoreForgot": 1}


@pytest.mark.timeout(180)
def test_comes_back_with_an_older_log(servers: Addresses, fresh_name: str, tmp_path: Path) -> None:
    """An append-only file of before is noticed, and the events since are replayed."""
    outcome = asyncio.run(scenarios.older_log(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.writes_lost > 0
    assert outcome.restarts == {"StoreForgot": 1}
    assert not outcome.modes


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_comes_back_with_an_older_snapshot(
    servers: Addresses, fresh_name: str, tmp_path: Path
) -> None:
    """The same with a snapshot."""
    outcome = asyncio.run(scenarios.older_snapshot(servers.kafka, fresh_name, tmp_path))
    assert_nothing_lost(outcome)
    assert outcome.writes_lost > 0
    assert outcome.restarts == {"StoreForgot": 1}
