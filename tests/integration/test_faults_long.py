"""The long forms of the scenarios of `test_faults`: more kills, all cuts, brokers in turn."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.local import Addresses
from tests.brokers import Cluster, running_cluster
from tests.faults import kafka, network
from tests.faults.kafka import Scene

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3_600)]


@pytest.fixture(params=[1])
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """As many brokers as asked for, with proxies before their second doors."""
    with running_cluster(tmp_path / "brokers", request.param) as cluster:
        yield cluster


@pytest.fixture
def scene(servers: Addresses, cluster: Cluster, fresh_name: str, tmp_path: Path) -> Scene:
    """A scenario on those brokers."""
    return Scene(Addresses(kafka=cluster.plain, redis=servers.redis), fresh_name, tmp_path)


def test_killed_at_random_moments(scene: Scene) -> None:
    """After twenty SIGKILLs under load rows equal the replay's, no command is missing or wrong."""
    result = kafka.kills(scene, 20, random.SystemRandom().randrange(10**6))
    assert result.is_right, result


def test_all_links_cut(scene: Scene, cluster: Cluster) -> None:
    """Every way and length of a cut, slow and narrow links, one after another."""
    result = network.cuts(scene, cluster, network.ALL)
    assert result.is_right, result


def test_broker_killed_many_times(scene: Scene, cluster: Cluster) -> None:
    """A broker that dies again and again loses nothing that it acknowledged."""
    result = kafka.broker(scene, cluster, ("kill", "stop") * 10)
    assert result.is_right, result


@pytest.mark.parametrize("cluster", [3], indirect=True)
def test_one_of_three_in_turn(scene: Scene, cluster: Cluster) -> None:
    """Each of three brokers is lost and comes back, twice; leaders move each time."""
    result = kafka.one_of_three(scene, cluster, rounds=6)
    assert result.is_right, result


def test_zombie_again_and_again(scene: Scene) -> None:
    """A worker that is stopped twenty times never writes what is wrong."""
    result = kafka.zombie(scene, 2_000, times=20)
    assert result.is_right, result
