"""Who comes from whom when partitions are multiplied, and what a new one begins with."""

import asyncio
from itertools import accumulate
from operator import mul

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bus import Bounds
from stream.errors import ConfigError, RowCorrupt
from stream.events import (
    Ancestor,
    Conditions,
    Growth,
    Heartbeat,
    Lift,
    Request,
    Version,
    decode_entry,
    encode_entry,
    encode_request,
    heartbeat_key,
)
from stream.gateway.homes import Homes
from stream.runtime import Place, extended, parent_of, where_to_start
from stream.runtime.beginning import STORE_FORGOT, reborn
from stream.runtime.growth import (
    children_of,
    claimed,
    heir_of,
    inherited,
    least_of,
    longest,
    next_home,
    speaker_of,
    with_counts,
)
from stream.store import Birth, Checkpoint, Grown, MemoryStore
from tests.live import events_in, wait_until
from tests.unit.runtime.test_worker import START_MS, TOPICS, Estate

histories = st.lists(st.integers(2, 4), max_size=3).flatmap(
    lambda factors: st.integers(1, 6).map(lambda first: tuple(accumulate([first, *factors], mul)))
)


@given(histories)
def test_every_later_partition_has_one_parent(counts: tuple[int, ...]) -> None:
    """Children of all partitions together are all but the first, each once, with higher numbers."""
    children = [child for each in range(counts[-1]) for child in children_of(counts, each)]
    assert sorted(children) == list(range(counts[0], counts[-1]))
    for partition in range(counts[-1]):
        assert (parent_of(counts, partition) is None) == (partition < counts[0])
        for child in children_of(counts, partition):
            assert parent_of(counts, child) == partition < child


@given(histories, st.integers(0, 2**31 - 1), st.data())
def test_all_owners_forward_to_the_same_home(
    counts: tuple[int, ...], workload: int, data: st.DataObject
) -> None:
    """Also one that knows of fewer growths, where it forwards at all; and all come home."""
    at = data.draw(st.integers(0, counts[-1] - 1))
    hops = 0
    while workload % counts[-1] != at:
        there = next_home(counts, at, workload)
        for known in range(1, len(counts)):
            if at < counts[known - 1] and workload % counts[known - 1] != at:
                assert next_home(counts[:known], at, workload) == there
        at, hops = there, hops + 1
    assert hops <= len(counts) + 1


@given(histories, st.integers(0, 2**31 - 1))
def test_a_workload_comes_home_through_heirs(counts: tuple[int, ...], workload: int) -> None:
    """From its first home on, each next heir is a child, until its home; all in one group."""
    at, home = workload % counts[0], workload % counts[-1]
    while at != home:
        heir = heir_of(counts, at, home)
        assert heir in children_of(counts, at)
        assert heir % counts[0] == workload % counts[0]
        at = heir


@given(histories, st.data())
def test_what_is_born_decides_the_least(counts: tuple[int, ...], data: st.DataObject) -> None:
    """The least history has all that are born, and no shorter one has."""
    born = data.draw(st.sets(st.integers(0, counts[-1] - 1)))
    least = least_of(counts, born)
    assert counts[: len(least)] == least
    assert all(each < least[-1] for each in born)
    assert len(least) == 1 or any(each >= least[-2] for each in born)


@pytest.mark.parametrize(
    ("found", "enforcement", "said"),
    [(3, 6, "had 6 before"), (10, 6, "no multiple"), (12, 4, "do not divide"), (8_190, 6, "4096")],
)
def test_what_cannot_grow_is_refused(found: int, enforcement: int, said: str) -> None:
    """Fewer, no multiple, an enforcement topic that does not fit, too many: each says why."""
    with pytest.raises(ConfigError, match=said) as caught:
        extended((6,), found, enforcement)
    assert caught.value.hint or said == "4096"


def test_histories_of_one_installation_fit() -> None:
    """The longer one holds; where neither begins the other they are of two installations."""
    assert extended((6,), 12, 6) == (6, 12)
    assert extended((6, 12), 12, 5) == (6, 12)
    assert longest((6,), (6, 12)) == longest((6, 12), ()) == (6, 12)
    with pytest.raises(ConfigError, match="do not fit"):
        longest((6, 12), (12,))


THEIRS = Conditions(
    nonce="p",
    era=3,
    from_offset=40,
    policy_hash="h",
    policy_text="{}",
    lifts=(Lift("spiffe://a/b", 30, 1), Lift("spiffe://a/c", 40, 2)),
    modes=("log_cut",),
    growth=Growth((6, 12), (Ancestor(1, 2, 100),)),
)


def test_a_child_inherits_what_held_at_the_cut() -> None:
    """Policy, stop, exemptions as they are; offsets shifted before its own, of all ancestors."""
    mine = inherited(THEIRS, Birth(7, 3, 45, 9))
    assert mine.ancestors == (Ancestor(7, 3, 45), Ancestor(1, 2, 145))
    assert [each.offset for each in mine.lifts] == [-15, -5]
    assert (mine.from_offset, mine.modes, mine.policy_hash) == (0, (), "h")
    assert (mine.counts, decode_entry(encode_entry(mine))) == ((6, 12), mine)


def test_entries_that_an_older_version_must_not_misread_say_so() -> None:
    """One number of partitions is nothing new; more of them raise the format."""
    plain = msgspec.structs.replace(THEIRS, growth=msgspec.UNSET)
    assert with_counts(plain, (6,)).format == 1
    assert with_counts(plain, (6, 12)).format == 2


BIRTH = Checkpoint(
    format=2,
    next_offset=0,
    journal_offset=0,
    topic_id="t",
    era=2,
    check=0,
    version_offset=-1,
    version_ordinal=0,
    at_ms=0,
    log_era=1,
    fresh_era=2,
    growth=Grown((6, 12), Birth(1, 2, 45, 9)),
)


@pytest.mark.parametrize(
    ("era", "log_era", "topic_id", "expected"),
    [
        (2, 0, "t", (2, 0)),  # the same era of the same log: the same is decided again
        (1, 1, "t", (2, 1)),
        (5, 1, "t", (6, 1)),  # the child knows more eras than the parent
        (2, 0, "other", (3, 3)),
    ],
)
def test_a_child_born_again_begins_an_era_that_none_had(
    era: int, log_era: int, topic_id: str, expected: tuple[int, int]
) -> None:
    """Unless nothing else can come of it than came before."""
    lived = msgspec.structs.replace(THEIRS, era=era, log_era=log_era, topic_id=topic_id)
    bounds = Bounds(0, 9)
    place = Place(7, bounds, "t", "requests", "journal", ("enforcement", 1), "w", "n")
    again = reborn(place, BIRTH, [lived])
    assert (again.era, again.log_era) == expected
    assert reborn(place, BIRTH, []) is BIRTH
    start = where_to_start(place, again, [lived])
    assert (start.offset, start.era, STORE_FORGOT in start.modes) == (0, expected[0], False)


def test_a_parent_claims_more_partitions_when_it_has_seen_its_children() -> None:
    """Until their heartbeats are there, gateways are to expect nothing of them."""
    counts = (6, 12, 24)
    assert claimed(counts, 1, set()) == 6
    assert claimed(counts, 1, {7}) == 12
    assert claimed(counts, 1, {7, 13}) == 24
    assert claimed(counts, 7, set()) == 12
    assert claimed(counts, 7, {19}) == claimed(counts, 19, set()) == 24
    assert speaker_of(heartbeat_key(17)) == 17
    assert [speaker_of(each) for each in (None, b"x", b'["heartbeat",x]')] == [None] * 3


def beat(partition: int, partitions: int) -> Heartbeat:
    """A proof of a partition with nothing published."""
    return Heartbeat(
        partition=partition,
        partitions=partitions,
        next_offset=0,
        version=Version(0, 0),
        records=0,
        digest="0",
        complete=True,
        at_ms=1_000,
        every_ms=1_000,
    )


def test_a_gateway_stays_ready_while_partitions_grow() -> None:
    """A new partition is expected once the one it comes from says that it is there."""
    homes = Homes(5)
    for partition in range(2):
        homes.hear(beat(partition, 2), 1_000)
    assert homes.state_at(1_500)[0] == "ready"
    homes.hear(beat(2, 4), 1_000)
    assert homes.state_at(1_500)[0] == "ready"
    homes.hear(beat(0, 4), 1_000)
    assert homes.state_at(1_500)[0] == "ready"
    homes.hear(beat(1, 4), 1_000)
    assert homes.state_at(1_500)[0] == "stale"
    homes.hear(beat(3, 4), 1_000)
    assert homes.state_at(1_500)[0] == "ready"


def test_a_parent_whose_checkpoint_is_lost_counts_nothing_twice() -> None:
    """Its children are born, so it counts by more partitions from the start of its log.

    What moved workloads did before the cut it forwards, and they have heard it.
    """
    payloads = [
        encode_request(
            Request(
                at_ms=START_MS + each * 40,
                workload=f"spiffe://test.example/agents/a{each % 61}",
                operation="tool:get_1",
            )
        )
        for each in range(600)
    ]
    estate = Estate()

    async def story() -> tuple[dict[int, bytes], dict[int, bytes]]:
        await estate.topics()
        async with estate.worker():
            await estate.feed(payloads[:400])
            await wait_until(lambda: at_rest(estate, 6), bool)
            estate.log.grow(TOPICS.journal, 12)
            estate.log.grow(TOPICS.requests, 12)
            await wait_until(lambda: at_rest(estate, 12), bool)
            await estate.feed(payloads[400:])
            await wait_until(lambda: at_rest(estate, 12), bool)
        before = await estate.rows()
        for parent in range(6):
            estate.server.partition(parent).checkpoint = b"{"
        async with estate.worker():
            await wait_until(lambda: at_rest(estate, 12), bool)
        return before, await estate.rows()

    before, after = asyncio.run(story())
    assert sum(map(events_in, before.values())) == len(payloads)
    assert {each: events_in(row) for each, row in after.items()} == {
        each: events_in(row) for each, row in before.items()
    }


async def at_rest(estate: Estate, partitions: int) -> bool:
    """Whether every one of so many partitions is stored up to its log's end."""
    store = MemoryStore(estate.server)
    ends = [each.end for each in estate.log.partitions(TOPICS.requests)]
    try:
        found = [await store.checkpoint(each) for each in range(partitions)]
    except RowCorrupt:
        return False
    return [each and each.birth is None and each.next_offset for each in found] == ends
