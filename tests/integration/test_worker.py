"""The main job on real servers: the live path does what a replay does, whatever happens to it."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.quality import agentdojo, cloudtrail, weblogs
from stream.events import encode, encode_request
from stream.local import Addresses
from tests.live import Installation, differences, other_rows

DATA = {"weblogs": weblogs, "cloudtrail": cloudtrail, "agentdojo": agentdojo}


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 3])
@pytest.mark.parametrize("name", tuple(DATA))
def test_live_equals_replay(
    name: str, workers: int, data_folder: Path, servers: Addresses, fresh_name: str
) -> None:
    """Real input through Kafka and Redis gives the bodies and rows of a replay, byte for byte."""
    payloads = [encode_request(each) for each in DATA[name].read_events(data_folder)]
    installation = Installation(servers, fresh_name)

    async def live() -> tuple[list[bytes], dict[int, bytes]]:
        await installation.topics()
        async with installation.workers(workers):
            sent = await installation.feed(payloads)
            await installation.wait_applied(sent)
        commands = await installation.commands()
        return [encode(each.body) for each in commands], await installation.rows()

    bodies, rows = asyncio.run(live())
    expected_bodies, expected_rows = installation.replayed(payloads)
    assert len(expected_bodies) > 3
    assert differences(bodies, expected_bodies) == ""
    assert other_rows(rows, expected_rows) == []
