"""Where conformance suites get what they run over."""

from collections.abc import Iterator

import pytest

from tests.buses import Bus, kafka_bus, memory_bus
from tests.stores import Lab, MemoryLab, RedisLab


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    if request.param == "memory":
        yield MemoryLab()
        return
    lab = RedisLab(request.getfixturevalue("servers").redis)
    yield lab
    lab.close()


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
def bus(request: pytest.FixtureRequest, fresh_name: str) -> Bus:
    if request.param == "memory":
        return memory_bus(fresh_name)
    return kafka_bus(fresh_name, request.getfixturevalue("servers").kafka)
