"""Who gets which partitions when the group changes."""

from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.protocol.metadata import MetadataResponse_v0
from hypothesis import given
from hypothesis import strategies as st

from stream.bus.kafka_sticky import Sticky

TOPIC = "requests"
Given = dict[str, set[int]]


def cluster(partitions: int) -> ClusterMetadata:
    """What a client knows of a broker with one topic."""
    found = ClusterMetadata()
    parts = [(0, number, 0, [0], [0]) for number in range(partitions)]
    found.update_metadata(MetadataResponse_v0([(0, "localhost", 9092)], [(0, TOPIC, parts)]))
    return found


def joining(has: Mapping[str, set[int] | None], generation: int = 1) -> dict[str, object]:
    """What members say when they join that have such partitions; None: nothing yet."""
    said = {}
    for member, partitions in has.items():
        (own,) = Sticky().assignors()
        if partitions is not None:
            own.member_assignment = [TopicPartition(TOPIC, each) for each in sorted(partitions)]
            own.on_generation_assignment(generation)
        said[member] = own.metadata([TOPIC])
    return said


def dealt(partitions: int, said: Mapping[str, object]) -> Given:
    """What a leader deals out."""
    (own,) = Sticky().assignors()
    answer = own.assign(cluster(partitions), said)
    return {
        member: {each.partition for each in assignment.partitions()}
        for member, assignment in answer.items()
    }


def check_fair(given_out: Given, partitions: int) -> None:
    """Every partition has one member, and nobody has two more than another."""
    assert sorted(each for mine in given_out.values() for each in mine) == [*range(partitions)]
    sizes = [len(mine) for mine in given_out.values()]
    assert max(sizes) - min(sizes) <= 1


def test_who_joins_takes_no_more_than_its_share() -> None:
    """Of two members with three partitions each, a third takes one each; the others stay."""
    has = {"a": {0, 2, 4}, "b": {1, 3, 5}, "new": None}
    after = dealt(6, joining(has))
    check_fair(after, 6)
    assert after["a"] < {0, 2, 4} and after["b"] < {1, 3, 5}


def test_who_leaves_moves_only_its_own() -> None:
    """The partitions of a member that is gone are shared; nobody else's move."""
    after = dealt(6, joining({"a": {0, 4}, "b": {1, 5}}))
    check_fair(after, 6)
    assert after["a"] > {0, 4} and after["b"] > {1, 5}


def test_two_consumers_of_a_process_keep_apart() -> None:
    """What one consumer was given is not said by another one."""
    one, other = Sticky().assignors()[0], Sticky().assignors()[0]
    one.member_assignment = [TopicPartition(TOPIC, 3)]
    assert other.metadata([TOPIC]).user_data == b""
    assert one.metadata([TOPIC]).user_data != b""


@given(
    st.integers(1, 24),
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=3),
        st.none() | st.sets(st.integers(0, 30), max_size=30),
        min_size=1,
        max_size=8,
    ),
    st.integers(-1, 3),
)
def test_any_claims(partitions: int, has: dict[str, set[int] | None], generation: int) -> None:
    """Claims that contradict each other, or are of what is not there, harm nobody's share."""
    check_fair(dealt(partitions, joining(has, generation)), partitions)


@given(st.binary(max_size=40), st.integers(1, 12))
def test_what_a_member_says_may_be_nonsense(said: bytes, partitions: int) -> None:
    """Bytes that are no claim are as none."""
    others = joining({"a": {0}, "b": None})
    nonsense = ConsumerProtocolMemberMetadata(0, [TOPIC], said)
    check_fair(dealt(partitions, others | {"c": nonsense}), partitions)
