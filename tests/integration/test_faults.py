"""Workers die, sleep and are cut off, on real servers: nothing is lost, nothing counted twice."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.local import Addresses
from tests.brokers import Cluster, running_cluster
from tests.faults import changed, kafka, network
from tests.faults.kafka import Scene

SESSION_MS = 2_000


@pytest.fixture
def scene(servers: Addresses, fresh_name: str, tmp_path: Path) -> Scene:
    """A scenario on the session's servers, which nothing may happen to."""
    return Scene(servers, fresh_name, tmp_path)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker of this module's own, with a proxy before its second door."""
    with running_cluster(tmp_path_factory.mktemp("broker")) as cluster:
        yield cluster


@pytest.fixture
def own(servers: Addresses, cluster: Cluster, fresh_name: str, tmp_path: Path) -> Scene:
    """A scenario on that broker."""
    return Scene(Addresses(kafka=cluster.plain, redis=servers.redis), fresh_name, tmp_path)


def check(result: kafka.Result) -> None:
    """Everything is as one replay of the log has it."""
    assert result.is_right, result


@pytest.mark.timeout(400)
def test_killed_at_random_moments(scene: Scene) -> None:
    """After SIGKILLs under load rows equal the replay's, no command is missing, none wrong."""
    check(kafka.kills(scene, 3, random.SystemRandom().randrange(10**6)))


@pytest.mark.timeout(300)
def test_zombie(scene: Scene) -> None:
    """A worker that sleeps through its session and goes on can write nothing that is wrong."""
    check(kafka.zombie(scene, SESSION_MS, times=1))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "ways", [("kill",), pytest.param(("stop", "kill"), marks=pytest.mark.soak)]
)
def test_broker_restarted_and_killed(own: Scene, cluster: Cluster, ways: tuple[str, ...]) -> None:
    """A broker that is away shows in gauge and /readyz; when it is back all goes on."""
    check(kafka.broker(own, cluster, ways))


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_disk_of_the_broker_is_full(own: Scene, cluster: Cluster) -> None:
    """A broker that cannot write halts; with room again it has all that it acknowledged."""
    check(kafka.disk_full(own, cluster))


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_links_are_cut(own: Scene, cluster: Cluster) -> None:
    """Links to Kafka and Redis are cut for shorter and longer than a session, and heal."""
    check(network.cuts(own, cluster, network.FEW))


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_worker_far_away(own: Scene, cluster: Cluster) -> None:
    """Behind 200 ms and 250 kB/s to Kafka and Redis all is exact, soon, and never begun anew."""
    result = network.far_away(own, cluster, network.NARROW)
    check(result)
    assert max(result.recovery_s.values()) < 10, result
    assert result.notes["restarts"] == 0, result
    # A wait or two may be said; what fails again and again would say so again and again.
    assert result.notes["lines"] < 40, result


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_topic_made_anew(own: Scene) -> None:
    """A deleted and recreated topic begins one new era, named, journalled and counted."""
    check(changed.recreated(own))


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_topic_cut_at_its_beginning(own: Scene) -> None:
    """Records deleted before they were applied are a named loss; the rest counts once."""
    check(changed.truncated(own))
