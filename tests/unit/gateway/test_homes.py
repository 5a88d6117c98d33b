"""A gateway knows whether its table is what was published."""

from typing import Any

import pytest

from stream.events import Heartbeat, Version, decode_value
from stream.gateway.homes import Homes, is_sound_heartbeat
from tests.models.owner import NOW_MS, Owner


def beat(partition: int = 0, partitions: int = 1, at_ms: int = NOW_MS, **changes: Any) -> Heartbeat:
    _, value = Owner(partition, partitions).heartbeat(at_ms, **changes)
    heartbeat = decode_value(value)
    assert isinstance(heartbeat, Heartbeat)
    return heartbeat


def hear(homes: Homes, heartbeat: Heartbeat, append_ms: int | None = None) -> bool:
    return homes.hear(heartbeat, heartbeat.at_ms if append_ms is None else append_ms)


@pytest.mark.parametrize("epoch", [-1, 1 << 63])
def test_an_impossible_epoch_is_not_sound(epoch: int) -> None:
    """What no owner can have is not taken for the latest."""
    assert not is_sound_heartbeat(beat(epoch=epoch))


def test_nothing_heard_is_not_ready() -> None:
    """A log without heartbeats proves nothing: nobody has said that it is complete."""
    assert Homes(3).state_at(NOW_MS)[0] == "stale"


def test_every_home_partition_must_have_spoken() -> None:
    """Ready means that each of the partitions that heartbeats speak of has proved its records."""
    homes = Homes(3)
    hear(homes, beat(0, 2))
    assert homes.state_at(NOW_MS)[0] == "stale"
    assert [home.state for home in homes.states_at(NOW_MS)] == ["ready", "unseen"]
    hear(homes, beat(1, 2))
    assert homes.state_at(NOW_MS)[0] == "ready"


def test_a_proof_ages() -> None:
    """A proof holds for the stated number of intervals, to the millisecond."""
    homes = Homes(3)
    hear(homes, beat(every_ms=1_000))
    assert homes.state_at(NOW_MS + 2_999) == ("ready", NOW_MS + 3_000)
    assert homes.state_at(NOW_MS + 3_000)[0] == "stale"


@pytest.mark.parametrize(("said_ms", "append_ms"), [(-10_000, 0), (0, -10_000), (-10_000, 10_000)])
def test_the_older_time_counts(said_ms: int, append_ms: int) -> None:
    """An old heartbeat written again is old, and so is one that a wrong clock dates ahead."""
    homes = Homes(3)
    hear(homes, beat(at_ms=NOW_MS + said_ms), NOW_MS + append_ms)
    assert homes.state_at(NOW_MS)[0] == "stale"


def test_count_and_digest_must_match() -> None:
    """One record more, one fewer, or another one: a mismatch."""
    for changes in ({"records": 1}, {"digest": "00000000000000ff"}):
        homes = Homes(3)
        hear(homes, beat(**changes))
        assert homes.state_at(NOW_MS)[0] == "mismatch"
        hear(homes, beat())
        assert homes.state_at(NOW_MS)[0] == "ready"


def test_an_incomplete_heartbeat_shows_life_and_proves_nothing() -> None:
    """An owner that replays neither confirms nor refutes, and the old proof goes on ageing."""
    homes = Homes(3)
    hear(homes, beat(complete=False, records=7))
    assert homes.states_at(NOW_MS)[0].state == "replaying"
    assert homes.state_at(NOW_MS)[0] == "stale"
    hear(homes, beat())
    hear(homes, beat(at_ms=NOW_MS + 2_000, complete=False, records=7))
    assert homes.state_at(NOW_MS + 2_000)[0] == "ready"
    assert homes.states_at(NOW_MS + 3_500)[0].state == "replaying"
    assert homes.states_at(NOW_MS + 9_000)[0].state == "stale"


def test_an_owner_that_lost_the_partition_is_not_heard() -> None:
    """A proof of fewer versions than an earlier proof had comes from who does not know yet."""
    homes = Homes(3)
    assert hear(homes, beat(version=Version(0, 9)))
    assert not hear(homes, beat(version=Version(0, 8), records=4))
    assert homes.state_at(NOW_MS)[0] == "ready"
    assert hear(homes, beat(version=Version(1, 0)))


def test_partitions_may_grow_and_a_log_made_anew_may_have_fewer() -> None:
    """Who is alive says how many partitions there are; the largest number counts meanwhile."""
    homes = Homes(3)
    hear(homes, beat(0, 2))
    hear(homes, beat(1, 2))
    hear(homes, beat(0, 4))
    assert homes.expected(NOW_MS) == 4
    assert homes.state_at(NOW_MS)[0] == "stale"
    later_ms = NOW_MS + 60_000
    hear(homes, beat(0, 1, later_ms))
    assert homes.expected(later_ms) == 1
    assert homes.state_at(later_ms)[0] == "ready"


def test_what_found_no_room_is_an_overflow_until_a_proof_matches() -> None:
    """A refused record is missing until the owner says that nothing is."""
    homes = Homes(3)
    homes.overflow(0)
    hear(homes, beat(records=1))
    assert homes.state_at(NOW_MS)[0] == "overflow"
    hear(homes, beat())
    assert homes.state_at(NOW_MS)[0] == "ready"


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": -1},
        {"partition": 1, "partitions": 1},
        {"partitions": 10**9},
        {"records": -1},
        {"every_ms": 0},
        {"every_ms": 10**12},
        {"at_ms": -1},
        {"at_ms": 10**20},
        {"digest": ""},
        {"digest": "0x1"},
        {"digest": "1_0"},
        {"digest": "f" * 17},
    ],
)
def test_impossible_heartbeats_are_not_believed(changes: dict[str, Any]) -> None:
    """Nothing that a heartbeat claims may cost memory, time, or readiness for ever."""
    assert not is_sound_heartbeat(beat(**changes))
    assert is_sound_heartbeat(beat())
